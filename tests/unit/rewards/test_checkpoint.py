"""A reward model in checkpoints: all of it, verified, and put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppo_mpi.build import Run, build_run
from ppo_mpi.config import TrainConfig, flatten, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.iteration_clock import CLOCK_COLUMNS
from ppo_mpi.errors import CheckpointError
from ppo_mpi.modes.train import run_iteration
from ppo_mpi.rewards.making import make_reward_model
from ppo_mpi.seeding import generator
from ppo_mpi.snapshot import restore, snapshot_of, state_of
from ppo_mpi.snapshot_checks import check_fits
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.stored_config import stored_config
from ppo_mpi.storage.stored_state import check_state
from ppo_mpi.suites import make_envs

COMM = Communicator()


def config_for(model: str, env: str = "probe:corridor", **values: Any) -> TrainConfig:
    layers = ("encoder_hidden", "inverse_hidden", "forward_hidden", "rnd_predictor")
    small = {f"{name}_sizes": (8,) for name in layers}
    small |= {"encoded_size": 4, "rnd_output_size": 4, "reward_network": "mlp", "network": "mlp"}
    job = {"env": env, "num_envs": 2, "rollout_timesteps": 90, "num_minibatches": 2,
           "reward_model": model}  # fmt: skip
    return with_values(TrainConfig(), job | small | values)


def checkpoint_of(run: Run, config: TrainConfig) -> Checkpoint:
    snapshot = snapshot_of(run)
    state = state_of(snapshot, config, COMM)
    window = {"train": [], "test": []}
    state["logger"] = {"windows": window, "num_episodes": {"train": 0, "test": 0}}
    state["logger"]["wall_seconds"] = 0.0
    tensors = {
        stem: {name: tensor.detach().clone() for name, tensor in group.items()}
        for stem, group in snapshot.tensors.items()
    }
    return Checkpoint(Path("kept"), tensors, dict(snapshot.environments), state)


def trained(config: TrainConfig) -> Run:
    run = build_run(config, COMM)
    run_iteration(run, config, COMM)
    return run


@pytest.mark.parametrize(
    "env",
    ["probe:corridor", "probe:corridor-image", "gym:CartPole-v1", "probe:picture_and_vector",
     "probe:tuple", "probe:dict", "probe:multi_discrete", "probe:multi_binary"],
)  # fmt: skip
@pytest.mark.parametrize("model", ["icm", "rnd"])
def test_a_run_taken_up_goes_on_as_if_nothing_had_happened(model: str, env: str):
    config = config_for(model, env)
    first = trained(config)
    checkpoint = checkpoint_of(first, config)
    check_state(checkpoint, config)
    check_fits(config, checkpoint)
    assert any(pair[0] for pair in checkpoint.state["intrinsic_returns"].values())
    second = build_run(config, COMM, checkpoint.state)
    assert restore(second, checkpoint, COMM) == 0
    for _ in range(2):
        expected, _ = run_iteration(first, config, COMM)
        found, _ = run_iteration(second, config, COMM)
        same = [name for name in expected if name not in CLOCK_COLUMNS]
        np.testing.assert_equal([found[n] for n in same], [expected[n] for n in same])
        assert expected["intrinsic_reward_mean"] > 0
    for stem, group in snapshot_of(first).tensors.items():
        for name, tensor in group.items():
            assert torch.equal(tensor, snapshot_of(second).tensors[stem][name]), (stem, name)


def lose(stem: str) -> Callable[[Checkpoint], object]:
    return lambda checkpoint: checkpoint.tensors.pop(stem)


def lose_one(stem: str, name: str) -> Callable[[Checkpoint], object]:
    return lambda checkpoint: checkpoint.tensors[stem].pop(name)


def spoil(stem: str, name: str, value: float) -> Callable[[Checkpoint], object]:
    return lambda checkpoint: checkpoint.tensors[stem][name].fill_(value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose("reward_model"), "of the files, it lacks 'reward_model'"),
        (lose("reward_optimizer"), "of the files, it lacks 'reward_optimizer'"),
        (lose_one("reward_model", "target.head.head.bias"), "it lacks 'target.head.head.bias'"),
        (lose_one("normalizers", "rnd_observation/mean"), "it lacks 'rnd_observation/mean'"),
        (lose_one("normalizers", "intrinsic/count"), "it lacks 'intrinsic/count'"),
        (spoil("reward_model", "predictor.head.head.bias", float("nan")), "with a NaN"),
        (spoil("normalizers", "rnd_observation/variance", -1.0), "variance below 0"),
        (spoil("reward_optimizer", "predictor.head.head.bias/exp_avg_sq", -1.0), "sq below 0"),
    ],
)
def test_a_checkpoint_without_all_of_it_is_refused(
    damage: Callable[[Checkpoint], object], message: str
):
    config = config_for("rnd")
    checkpoint = checkpoint_of(trained(config), config)
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        check_fits(config, checkpoint)


@pytest.mark.parametrize(
    "returns", [None, {}, {"0": [0.0, 0.0]}, {"0": [0.0], "1": [0.0]}, {"0": 1.0, "1": 1.0},
                {"0": [0.0, float("nan")], "1": [0.0, 0.0]}],
)  # fmt: skip
def test_returns_that_do_not_fit_are_refused(returns: Any):
    config = config_for("icm")
    checkpoint = checkpoint_of(trained(config), config)
    checkpoint.state["intrinsic_returns"] = returns
    with pytest.raises(CheckpointError, match="has intrinsic_returns=.* of 2 pairs of numbers"):
        check_state(checkpoint, config)


def test_a_checkpoint_from_before_there_were_reward_models_still_fits():
    config = config_for("none")
    checkpoint = checkpoint_of(trained(config), config)
    assert set(checkpoint.tensors) == {"model", "optimizer", "normalizers"}
    new = {name for name in flatten(config) if name in vars(config.rewards)}
    checkpoint.state["config"] = {
        name: value for name, value in checkpoint.state["config"].items() if name not in new
    }
    read = stored_config(checkpoint)
    assert read.rewards.reward_model == "none"
    check_state(checkpoint, read)
    check_fits(read, checkpoint)


def test_its_first_weights_are_the_seeds_and_leave_those_of_the_policy_alone():
    config = config_for("icm")
    envs = make_envs(config, (), 0, "shape")
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(int(generator(seed, "anything").integers(100)))
        model = make_reward_model(with_values(config, {"seed": seed}), envs)
        assert model is not None
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    with_model, without = (build_run(c, COMM) for c in (config, config_for("none")))
    for one, other in zip(with_model.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(one, other)
