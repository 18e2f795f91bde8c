"""Evaluation: which episodes are played is fixed beforehand; figures by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.errors import (
    ConfigError,
    FailedEnvironmentError,
    IterationAbandonedError,
    NonFiniteError,
)
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.modes.evaluation_report import (
    EvaluationResult,
    check_writable,
    level_words,
    report,
)
from ppo_mpi.modes.evaluation_tables import PlayedEpisode
from ppo_mpi.modes.intervals import standard_error
from ppo_mpi.modes.playing import play_episodes
from ppo_mpi.predicting import act_in_rows
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.suites import make_envs

COMM = Communicator()


def make_agent(env: str, **values: object) -> Agent:
    """Return an agent with fresh weights."""
    small = {"env": env, "precision": "float32", "channel_multiplier": 0.25, "feature_size": 32}
    config = with_values(TrainConfig(), small | values)
    envs = make_envs(config, range(1), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    with torch.no_grad():
        model.policy_head.weight.mul_(50)  # a policy with a will of its own
    envs.close()
    return Agent(config, Path("runs/r"), 1000, model, None, Path("runs/r/step-000000001000"))


def episodes_of(agent: Agent, **changed: object) -> list[PlayedEpisode]:
    settings = {"levels": "train", "episodes": 17, "seed": 5, "greedy": False, "num_envs": 4}
    return evaluate_agent(agent, **(settings | changed), comm=COMM).episodes


@pytest.mark.parametrize(
    ("env", "values"),
    [("CartPole-v1", {}), ("probe:box", {}), ("starpilot", {"num_levels": 4}),
     ("CartPole-v1", {"hidden_sizes": (10, 7)})],
)  # fmt: skip
@pytest.mark.parametrize("greedy", [False, True])
def test_the_number_of_environments_changes_nothing(env, values, greedy):
    agent = make_agent(env, **values)
    one_by_one = episodes_of(agent, num_envs=1, greedy=greedy, episodes=6)
    assert [e.episode for e in one_by_one] == list(range(6))
    for num_envs in (2, 4, 32):
        assert episodes_of(agent, num_envs=num_envs, greedy=greedy, episodes=6) == one_by_one


@pytest.mark.parametrize("num_ranks", [2, 3, 5])
def test_the_number_of_ranks_changes_nothing(num_ranks):
    agent = make_agent("CartPole-v1")
    expected = episodes_of(agent)
    played = []
    for rank in range(num_ranks):
        comm = Communicator()
        comm.rank, comm.world_size = rank, num_ranks
        numbers = [list(range(slot, 17, 4)) for slot in comm.shard(4)]
        played += play_episodes(agent, numbers, "train", 5, False, Heart())
    assert sorted(played, key=lambda e: e.episode) == expected


def test_the_first_episodes_of_a_longer_evaluation_are_those_of_a_shorter_one():
    agent = make_agent("CartPole-v1")
    assert episodes_of(agent, episodes=30)[:17] == episodes_of(agent, episodes=17)


def test_short_episodes_are_not_favored():
    """Playing in parallel until enough have ended would mostly count the short ones."""
    agent = make_agent("CartPole-v1")
    lengths = [e.length for e in episodes_of(agent, episodes=64, num_envs=1)]
    assert max(lengths) > 3 * min(lengths)
    in_parallel = [e.length for e in episodes_of(agent, episodes=16, num_envs=16)]
    assert in_parallel == lengths[:16]
    # What a hasty evaluation does with 16 environments: takes the first 16 that end.
    ends = sorted((sum(lengths[s : k + 1 : 16]), lengths[k]) for s in range(16)
                  for k in range(s, 64, 16))  # fmt: skip
    hasty = np.mean([length for _, length in ends[:16]])
    assert hasty < 0.9 * np.mean(lengths), "the case is too tame to show anything"


def test_episodes_differ_by_seed_and_sampling():
    agent = make_agent("CartPole-v1")
    first = episodes_of(agent)
    assert episodes_of(agent, seed=6) != first
    assert episodes_of(agent, greedy=True) != first
    assert episodes_of(agent) == first


def test_training_levels_are_played_evenly_and_held_out_ones_are_others():
    agent = make_agent("starpilot", num_levels=3, start_level=50)
    train = episodes_of(agent, episodes=6)
    assert sorted(e.level for e in train) == [50, 50, 51, 51, 52, 52]
    test = episodes_of(agent, episodes=6, levels="test")
    assert not {e.level for e in test} & {50, 51, 52}
    assert len({e.level for e in test}) == 6


@pytest.mark.parametrize(("levels", "expected"), [("7:9", [7, 8, 7, 8]), ("60,4", [60, 4, 60, 4])])
def test_the_levels_asked_for_are_played_in_turn(levels, expected):
    agent = make_agent("starpilot", num_levels=3, start_level=50)
    played = episodes_of(agent, episodes=4, levels=levels, num_envs=3)
    assert [e.level for e in played] == expected


def test_lengths_and_returns_are_those_of_whole_episodes():
    played = episodes_of(make_agent("probe:match"), episodes=7)
    assert [e.length for e in played] == [10] * 7
    assert all(e.episode_return == int(e.episode_return) for e in played)
    assert all(e.episode_return == e.length for e in episodes_of(make_agent("CartPole-v1")))


def test_fewer_episodes_than_environments_are_played_once_each():
    assert len(episodes_of(make_agent("probe:match"), episodes=2, num_envs=32)) == 2


def test_actions_do_not_depend_on_who_else_acts():
    agent = make_agent("CartPole-v1", hidden_sizes=(6,))
    random = np.random.default_rng(0)
    obs = random.standard_normal((40, 4)).astype(np.float32)
    noise = random.random((40, 1))
    together = act_in_rows(agent, obs, noise).actions
    alone = [act_in_rows(agent, obs[i : i + 1], noise[i : i + 1]).actions[0] for i in range(40)]
    assert together.tolist() == alone


def result_of(returns: list[float]) -> EvaluationResult:
    episodes = [PlayedEpisode(k, -1, r, 10 + k) for k, r in enumerate(returns)]
    return EvaluationResult("train", episodes, None)


def test_the_summary_by_hand():
    summary = result_of([1.0, 2.0, 3.0, 10.0]).summary()
    error = math.sqrt((9 + 4 + 1 + 36) / 3) / 2
    assert summary["episodes"] == 4
    assert summary["mean_return"] == 4.0
    assert summary["standard_error"] == pytest.approx(error)
    low, high = summary["interval_95"]
    assert (low + high) / 2 == pytest.approx(4.0)
    assert (high - low) / 2 == pytest.approx(3.182 * error, rel=1e-3)
    assert (summary["median_return"], summary["min_return"], summary["max_return"]) == (2.5, 1, 10)
    assert summary["mean_length"] == 11.5


@pytest.mark.parametrize(
    ("count", "quantile"), [(4, 3.182), (6, 2.571), (11, 2.228), (31, 2.042), (200, 1.972)]
)
def test_the_interval_is_students(count, quantile):
    error, half_width = standard_error(np.arange(float(count)))
    assert error == pytest.approx(np.arange(count).std(ddof=1) / math.sqrt(count))
    assert half_width / error == pytest.approx(quantile, abs=6e-4)


def test_one_episode_says_nothing_of_the_spread():
    summary = result_of([3.0]).summary()
    assert summary["standard_error"] is None
    assert summary["interval_95"] is None


def test_the_report_names_levels_and_writes_json(tmp_path, capsys):
    agent = make_agent("starpilot", num_levels=3)
    config = EvaluateConfig(json=str(tmp_path / "result.json"), greedy=True)
    train, test = result_of([1.0, 3.0]), replace(result_of([0.0]), levels="test")
    report(agent, config, [train, test])
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["mean_return"] == 2.0
    assert document["greedy"] is True
    assert document["timesteps"] == 1000
    assert document["levels"]["train (3)"]["mean_return"] == 2.0
    assert document["levels"]["held-out"]["episodes"] == 1
    assert [e["episode_return"] for e in document["episodes"]["train (3)"]] == [1.0, 3.0]
    table = capsys.readouterr().out
    assert "r at 1,000 timesteps" in table
    assert "held-out" in table


@pytest.mark.parametrize(
    ("env", "num_levels", "levels", "words"),
    [
        ("starpilot", 200, "train", "train (200)"),
        ("starpilot", 200, "test", "held-out"),
        ("starpilot", 0, "test", "all levels"),
        ("starpilot", 200, "3:9", "3:9"),
        ("CartPole-v1", 0, "train", "all"),
    ],
)
def test_levels_have_names_in_reports(env, num_levels, levels, words):
    assert level_words(make_agent(env, num_levels=num_levels), levels) == words


def test_a_folder_that_is_not_there_is_named_before_any_episode_is_played(tmp_path):
    check_writable(json="", table="")
    check_writable(json=str(tmp_path / "scores.json"))
    with pytest.raises(ConfigError, match=r"json=.*/missing/scores.json: the folder .* not exist"):
        check_writable(table="", json=str(tmp_path / "missing" / "scores.json"))


BROKEN = "gym:broken_env:Broken-v0"


@pytest.mark.parametrize(
    ("how", "what"), [("reward", "a reward"), ("observation", "an observation")]
)
def test_what_is_not_finite_ends_an_evaluation_by_name(how, what):
    agent = make_agent(BROKEN, env_kwargs=(f"how={how}", "step=5"))
    with pytest.raises(NonFiniteError, match=f"{what} of {BROKEN} is nan in an evaluation"):
        episodes_of(agent, num_envs=17)


def test_an_environment_that_raises_costs_an_evaluation_its_episode_if_so_wished():
    how = {"env_kwargs": ("how=raise", "step=30")}
    with pytest.raises(FailedEnvironmentError, match="raised in step"):
        episodes_of(make_agent(BROKEN, **how), num_envs=17)
    sound = episodes_of(make_agent("CartPole-v1"), num_envs=10, episodes=40)
    played = episodes_of(
        make_agent(BROKEN, **how, restart_failed_envs=True), num_envs=10, episodes=40
    )
    assert 20 < len(played) < 40
    # The episodes behind a failure are those that they would have been.
    assert [e for e in sound if e.episode in {p.episode for p in played}] == played


def test_a_stop_that_is_overdue_gives_an_evaluation_up(monkeypatch):
    agent = make_agent("CartPole-v1")
    monkeypatch.setattr(STOP, "signal_name", "SIGTERM")
    monkeypatch.setattr(STOP, "grace_seconds", math.inf)  # a test that trained may have left less
    assert len(episodes_of(agent)) == 17
    monkeypatch.setattr(STOP, "grace_seconds", 0.0)
    with pytest.raises(IterationAbandonedError, match="came during an evaluation"):
        episodes_of(agent)
