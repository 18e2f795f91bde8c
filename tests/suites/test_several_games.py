"""One agent in several Procgen games, and in games that it was not trained in."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("procgen")

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.modes.evaluation_report import report_games
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.suites import make_envs

ALONE = Communicator()


def make(env: str, indices: Sequence[int]) -> VecEnvs:
    return make_envs(with_values(TrainConfig(), {"env": env}), indices, 5, "train")


def agent_in(env: str, **values: Any) -> Agent:
    small = {"precision": "float32", "channel_multiplier": 0.25, "feature_size": 16}
    config = with_values(TrainConfig(), {"env": env, **small, **values})
    envs = make_envs(config, (), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    with torch.no_grad():
        model.policy_head.weight.mul_(50)
    return Agent(config, Path("r"), 0, model, None, Path())


def test_each_environment_is_what_it_is_in_its_game_alone() -> None:
    envs = make("starpilot,fruitbot", range(5))
    alone = [make("starpilot", [0, 2, 4]), make("fruitbot", [1, 3])]
    slots = [[0, 2, 4], [1, 3]]
    obs = envs.reset()
    for own, game in zip(slots, alone, strict=True):
        np.testing.assert_array_equal(obs[own], game.reset())
    random, ends = np.random.default_rng(0), 0
    for _ in range(250):
        actions = random.integers(15, size=5)
        result = envs.step(actions)
        for own, game in zip(slots, alone, strict=True):
            expected = game.step(actions[own])
            for name in ("obs", "rewards", "terminated", "levels"):
                np.testing.assert_array_equal(getattr(result, name)[own], getattr(expected, name))
            facts = {own[slot]: told for slot, told in expected.episode_facts.items()}
            assert {s: f for s, f in result.episode_facts.items() if s in own} == facts
        ends += int(result.terminated.sum())
    assert ends > 5


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_an_evaluation_in_several_games_does_not_depend_on_the_environments(num_envs: int) -> None:
    agent = agent_in("starpilot,fruitbot")
    expected = evaluate_agent(agent, "test", 6, 3, False, 4, ALONE)
    assert evaluate_agent(agent, "test", 6, 3, False, num_envs, ALONE) == expected
    # Episode n is of the game n modulo 2, on a level and with actions of its own.
    for game in (0, 1):
        own = agent.shown_in(agent.games[game])
        alone = evaluate_agent(own, "test", 6, 3, False, 4, ALONE)
        assert alone.episodes[game::2] == expected.episodes[game::2]


def test_the_score_of_several_games_is_the_mean_of_theirs() -> None:
    result = evaluate_agent(agent_in("starpilot,fruitbot"), "test", 6, 3, False, 4, ALONE)
    returns = [e.episode_return for e in result.episodes]
    starpilot = (np.mean(returns[0::2]) - 2.5) / (64 - 2.5)
    fruitbot = (np.mean(returns[1::2]) + 1.5) / (32.4 + 1.5)
    assert result.normalized == pytest.approx((starpilot + fruitbot) / 2)


def test_a_coinrun_that_pays_for_something_else_has_no_score() -> None:
    for values, has_score in (({}, True), ({"random_percent": 5}, False)):
        result = evaluate_agent(agent_in("coinrun", **values), "test", 1, 3, False, 1, ALONE)
        assert (result.normalized is not None) == has_score


def test_an_agent_is_shown_in_another_game_and_says_so() -> None:
    agent = agent_in("coinrun")
    assert agent.note == ""
    other = agent.shown_in("starpilot")
    assert other.note == "r was trained in coinrun; here it is in procgen:starpilot"
    assert other.shown_in("coinrun").note == ""
    envs, expected = other.make_envs(2, 1, stream="evaluate"), make("starpilot", range(2))
    assert envs.reset().shape == expected.reset().shape
    result = evaluate_agent(other, "0:3", 3, 1, True, 2, ALONE)
    assert [e.level for e in result.episodes] == [0, 1, 2]
    both = agent_in("coinrun,maze")
    assert both.games == ("procgen:coinrun", "procgen:maze")
    assert both.shown_in("maze").note == ""


def test_an_agent_is_not_shown_where_it_sees_or_does_something_else() -> None:
    with pytest.raises(ConfigError, match=r"env=CartPole-v1 shows .*was trained in coinrun"):
        agent_in("coinrun").shown_in("CartPole-v1")
    with pytest.raises(ConfigError, match=r"env=CartPole-v1 shows .*was trained in coinrun"):
        agent_in("coinrun", corruption="fog").shown_in("CartPole-v1")


def test_a_report_of_several_games_has_all_of_them(tmp_path: Path) -> None:
    agent = agent_in("starpilot,fruitbot", num_levels=2)
    config = EvaluateConfig(
        json=str(tmp_path / "r.json"),
        table=str(tmp_path / "r.csv"),
        level_table=str(tmp_path / "levels.csv"),
        compare_levels=False,
    )
    measured = []
    for game in agent.games:
        own = agent.shown_in(game)
        measured.append((own, [evaluate_agent(own, "train", 3, 1, False, 2, ALONE)]))
    report_games(config, measured)
    document = json.loads((tmp_path / "r.json").read_text())
    assert list(document["games"]) == ["procgen:starpilot", "procgen:fruitbot"]
    for (_, results), told in zip(measured, document["games"].values(), strict=True):
        assert told["mean_return"] == results[0].returns.mean()
        assert told["trained_in"] == "starpilot,fruitbot"
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert [row["env"] for row in rows] == ["procgen:starpilot"] * 3 + ["procgen:fruitbot"] * 3
    levels = list(csv.DictReader((tmp_path / "levels.csv").open()))
    assert [(row["env"], row["level"]) for row in levels] == [
        (f"procgen:{game}", level) for game in ("starpilot", "fruitbot") for level in "01"
    ]


def test_a_report_names_the_game_that_was_chosen_of_several(capsys: pytest.CaptureFixture) -> None:
    agent = agent_in("starpilot,fruitbot").shown_in("fruitbot")
    results = [evaluate_agent(agent, "0:1", 1, 1, False, 1, ALONE)]
    report_games(EvaluateConfig(compare_levels=False), [(agent, results)])
    assert "r at 0 timesteps in procgen:fruitbot" in " ".join(capsys.readouterr().out.split())
