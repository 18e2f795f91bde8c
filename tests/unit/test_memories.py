"""What a policy remembers: in checkpoints, verified and put back, and in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppo_mpi.agent import Agent
from ppo_mpi.build import Run, build_run, make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.iteration_clock import CLOCK_COLUMNS
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.modes.playback import Player, advance
from ppo_mpi.modes.train import run_iteration
from ppo_mpi.predicting import act_in_rows
from ppo_mpi.snapshot import restore, snapshot_of, state_of
from ppo_mpi.snapshot_checks import check_fits
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.memories import check_memories, memory_key
from ppo_mpi.suites import make_envs

COMM = Communicator()


def config_for(**values: Any) -> TrainConfig:
    job = {"env": "probe:memory", "num_envs": 3, "rollout_timesteps": 33, "num_minibatches": 2,
           "recurrent": "lstm", "recurrent_size": 8, "hidden_sizes": (8,)}  # fmt: skip
    return with_values(TrainConfig(), job | values)


def checkpoint_of(run: Run, config: TrainConfig) -> Checkpoint:
    snapshot = snapshot_of(run)
    tensors = {
        stem: {name: tensor.detach().clone() for name, tensor in group.items()}
        for stem, group in snapshot.tensors.items()
    }
    state = state_of(snapshot, config, COMM)
    return Checkpoint(Path("kept"), tensors, dict(snapshot.environments), state)


def trained(config: TrainConfig) -> Run:
    run = build_run(config, COMM)
    run_iteration(run, config, COMM)
    return run


@pytest.mark.parametrize("values", [{}, {"shared_torso": False, "recurrent": "gru"}])
def test_a_run_taken_up_goes_on_as_if_nothing_had_happened(values: dict[str, Any]):
    config = config_for(**values)
    first = trained(config)
    assert first.collector.actor.memory.any()
    checkpoint = checkpoint_of(first, config)
    check_fits(config, checkpoint)
    second = build_run(config, COMM, checkpoint.state)
    assert restore(second, checkpoint, COMM) == 0
    assert torch.equal(second.collector.actor.memory, first.collector.actor.memory)
    for _ in range(2):
        expected, _ = run_iteration(first, config, COMM)
        found, _ = run_iteration(second, config, COMM)
        same = [name for name in expected if name not in CLOCK_COLUMNS]
        np.testing.assert_equal([found[n] for n in same], [expected[n] for n in same])
    for own, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(own, other)


def test_an_environment_that_begins_afresh_remembers_nothing():
    config = config_for()
    checkpoint = checkpoint_of(trained(config), config)
    del checkpoint.environments["train/000001"]  # as if it could not be saved
    second = build_run(config, COMM, checkpoint.state)
    assert restore(second, checkpoint, COMM) == 1
    assert [bool(row.any()) for row in second.collector.actor.memory] == [True, False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_memory/000001": None}, "it lacks 'train_memory/000001'"),
        ({"train_memory/000003": bytes(64)}, "it also has 'train_memory/000003'"),
        ({"test_memory/000000": bytes(64)}, "it also has 'test_memory/000000'"),
        ({"train_memory/000001": bytes(60)}, "train_memory/000001 of 60 bytes, where its config"),
        (
            {"train_memory/000001": np.full(16, np.nan, "<f4").tobytes()},
            "train_memory/000001 with a NaN",
        ),
    ],
)
def test_memories_that_do_not_fit_are_refused(change: dict[str, bytes | None], message: str):
    config = config_for()
    checkpoint = checkpoint_of(trained(config), config)
    for key, value in change.items():
        if value is None:
            del checkpoint.environments[key]
        else:
            checkpoint.environments[key] = value
    with pytest.raises(CheckpointError, match=message):
        check_fits(config, checkpoint)


def test_who_remembers_nothing_has_no_memories():
    config = config_for(recurrent="none", recurrent_size=0)
    checkpoint = checkpoint_of(trained(config), config)
    check_fits(config, checkpoint)
    assert set(checkpoint.environments) == {f"train/00000{i}" for i in range(3)}
    checkpoint.environments[memory_key("train", 0)] = b""
    with pytest.raises(CheckpointError, match="also has 'train_memory/000000'"):
        check_fits(config, checkpoint)


def test_what_environments_gave_to_a_phase_is_no_memory():
    check_memories("x", {"train/000000": b"s", "phase/000000": b"p"}, 0)
    memory = {memory_key("train", 0): bytes(16)}
    check_memories("x", {"train/000000": b"s", "phase/000000": b"p"} | memory, 4)


def make_agent(**values: Any) -> Agent:
    config = config_for(precision="float32", **values)
    envs = make_envs(config, range(1), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    with torch.no_grad():
        model.policy_head.weight.mul_(100)  # a policy with a will of its own
    return Agent(config, Path("runs/r"), 0, model, None, Path("runs/r/x"))


@pytest.mark.parametrize("env", ["probe:memory", "CartPole-v1"])
def test_an_evaluation_plays_the_same_on_any_number_of_environments(env: str):
    agent = make_agent(env=env)
    results = [
        evaluate_agent(agent, "train", 19, 3, False, num_envs, COMM) for num_envs in (1, 4, 19)
    ]
    assert results[0] == results[1] == results[2]
    assert len({(e.episode_return, e.length) for e in results[0].episodes}) > 1


@pytest.mark.parametrize("greedy", [True, False])
def test_what_is_watched_are_the_episodes_that_are_evaluated(greedy: bool):
    agent = make_agent(env="CartPole-v1")
    evaluated = evaluate_agent(agent, "train", 6, 3, greedy, 2, COMM).episodes
    players = [
        Player(agent, iter([k, k + 3]), seed=3, levels="train", hold_steps=2) for k in range(3)
    ]
    watched = {}
    while not all(player.finished for player in players):
        advance(agent, players, greedy=greedy)
        for view in (player.view for player in players):
            if view.ended:
                watched[view.episode] = (view.episode_return, view.num_steps)
    expected = {e.episode: (e.episode_return, e.length) for e in evaluated}
    assert watched == expected


def test_an_agent_acts_with_what_it_remembers_and_asks_for_it():
    agent = make_agent()
    obs = np.zeros((2, 4), np.float32)
    obs[0, 0] = obs[1, 1] = 1
    first = agent.act(obs, None, agent.no_memory(2))
    assert first.memory.shape == (2, 16)
    later = np.zeros_like(obs)
    remembering = agent.act(later, None, first.memory).values
    assert remembering[0] != remembering[1]
    forgetful = agent.act(later, None, agent.no_memory(2)).values
    assert forgetful[0] == forgetful[1]
    with pytest.raises(ValueError, match=r"is recurrent; give act\(\) the memory"):
        agent.act(obs, None)


def test_what_is_remembered_does_not_depend_on_who_else_acts():
    agent = make_agent()
    random = np.random.default_rng(0)
    obs = random.standard_normal((40, 4)).astype(np.float32)
    memory = random.standard_normal((40, 16)).astype(np.float32)
    together = act_in_rows(agent, obs, None, memory).memory
    assert (together != memory).any(1).all()
    for i in range(40):
        own = act_in_rows(agent, obs[i : i + 1], None, memory[i : i + 1]).memory
        np.testing.assert_array_equal(own[0], together[i])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recurrent": "none"}, "recurrent_size=8 has no effect on recurrent=none"),
        ({"recurrent_size": 10}, "recurrent_size=10 is not a multiple of 4; use for example 12"),
        ({"sequence_steps": 12}, "sequence_steps=12 is longer than the 11 steps"),
        ({"num_minibatches": 4}, "num_minibatches=4 is more than the 3 sequences"),
        ({"num_minibatches": 7, "sequence_steps": 6}, "more than the 6 sequences"),
        (
            {"recurrent": "none", "recurrent_size": 0, "sequence_steps": 4},
            "sequence_steps=4 has no effect on recurrent=none",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        config_for(**values).validate(1)
