"""What a stranger's checkpoint lends is looked at before any of it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppo_mpi.build import build_run, make_model
from ppo_mpi.config import TrainConfig, flatten, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.modes.borrowing import Loan, loan_of, take
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.suites import make_envs

CONFIG = with_values(
    TrainConfig(),
    {
        "env": "probe:match", "hidden_sizes": (8,), "precision": "float32",
        "normalize_values": True, "normalize_observations": True, "normalize_rewards": True,
    },
)  # fmt: skip


def borrowed(file: str, name: str, tensor: Tensor | None) -> Loan:
    """Return the loan of a checkpoint with one tensor changed, or missing."""
    envs = make_envs(CONFIG, range(1), 0, "shape")
    model = make_model(CONFIG, envs, torch.device("cpu"))
    seen = torch.zeros(envs.obs_spec.shape, dtype=torch.float64)
    tensors = {
        "model": dict(model.state_dict()),
        "normalizers": {
            "observation/mean": seen, "observation/variance": seen + 1,
            "observation/count": torch.tensor(100.0, dtype=torch.float64),
            **{f"reward/{own}": torch.tensor(9.0, dtype=torch.float64)
               for own in ("mean", "variance", "count")},
        },
    }  # fmt: skip
    tensors[file].pop(name)
    if tensor is not None:
        tensors[file][name] = tensor
    return loan_of(model, Checkpoint(Path("lender"), tensors, {}, {}), (), CONFIG)


def test_statistics_come_with_the_layers_that_need_them():
    loan = borrowed("model", "value_scale.mean", torch.tensor(3.0, dtype=torch.float64))
    assert (loan.observations, loan.value_scale, loan.rewards, loan.left_out) == (
        *(True, True, True), (),
    )  # fmt: skip


def test_values_are_not_borrowed_from_a_run_with_rewards_of_another_unit():
    with pytest.raises(ConfigError, match=r"normalize_rewards=false, but this run has true; .* "
                       "without value_head"):  # fmt: skip
        borrowed("normalizers", "reward/count", None)


def test_the_heirs_rewards_begin_in_the_lenders_unit():
    config = with_values(CONFIG, {"num_envs": 4, "rollout_timesteps": 40, "num_minibatches": 1})
    run = build_run(config, Communicator())
    scale = {f"value_scale.{own}": torch.tensor(2.0, dtype=torch.float64)
             for own in ("mean", "variance", "count")}  # fmt: skip
    unit = {f"reward/{own}": torch.tensor(float(value))
            for own, value in (("mean", 7), ("variance", 16), ("count", 500))}  # fmt: skip
    shape = run.observation_normalizer.moments.mean.shape
    seen = {name: value.expand(shape) if "count" not in name else value
            for name, value in (("observation/mean", torch.tensor(0.0)),
                                ("observation/variance", torch.tensor(1.0)),
                                ("observation/count", torch.tensor(5.0)))}  # fmt: skip
    tensors = {"model": dict(run.model.state_dict()) | scale, "normalizers": seen | unit}
    checkpoint = Checkpoint(Path("lender"), tensors, {}, {})
    take(run, checkpoint, loan_of(run.model, checkpoint, (), config))
    moments = run.reward_normalizer.moments
    assert (float(moments.mean), float(moments.variance), moments.count) == (7.0, 16.0, 500.0)
    run.close()


NAN, THREE = torch.tensor(float("nan")), torch.zeros(3)


@pytest.mark.parametrize(
    ("file", "name", "tensor"),
    [
        ("model", "value_scale.variance", None),
        ("model", "value_scale.variance", NAN),
        ("model", "value_scale.variance", THREE),
        ("normalizers", "observation/mean", None),
        ("normalizers", "observation/mean", NAN),
        ("normalizers", "reward/variance", NAN),
        ("normalizers", "reward/variance", THREE),
    ],
)
def test_statistics_that_are_none_are_refused(file: str, name: str, tensor: Tensor | None):
    with pytest.raises(CheckpointError, match=f"lender has no {name}"):
        borrowed(file, name, tensor)


@pytest.mark.parametrize(("name", "is_taken"), [("distance", True), ("side", False)])
def test_a_head_is_not_borrowed_for_another_truth(name: str, is_taken: bool):
    small = {"env": "probe:beacon", "hidden_sizes": (8,), "normalize_rewards": False}

    def config_of(head: str) -> TrainConfig:
        heads = {"auxiliary_heads": (f"{head}:regression",)}
        return with_values(TrainConfig(), small | heads)

    lender, own = config_of("distance"), config_of(name)
    envs = make_envs(own, range(1), 0, "shape")
    model = make_model(own, envs, torch.device("cpu"))
    state = {"config": flatten(lender)}
    checkpoint = Checkpoint(Path("lender"), {"model": dict(model.state_dict())}, {}, state)
    loan = loan_of(model, checkpoint, (), own)
    assert ("auxiliary_heads.0.weight" in loan.parameters) == is_taken
    assert any("of another truth" in left for left in loan.left_out) != is_taken
