"""What a stranger's checkpoint lends is looked at before any of it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, flatten, with_values
from ppo_mpi.errors import CheckpointError
from ppo_mpi.modes.borrowing import Loan, loan_of
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.suites import make_envs

CONFIG = with_values(
    TrainConfig(),
    {
        "env": "probe:match", "hidden_sizes": (8,), "precision": "float32",
        "normalize_values": True, "normalize_observations": True,
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
        },
    }  # fmt: skip
    tensors[file].pop(name)
    if tensor is not None:
        tensors[file][name] = tensor
    return loan_of(model, Checkpoint(Path("lender"), tensors, {}, {}), (), CONFIG)


def test_statistics_come_with_the_layers_that_need_them():
    loan = borrowed("model", "value_scale.mean", torch.tensor(3.0, dtype=torch.float64))
    assert (loan.observations, loan.value_scale, loan.left_out) == (True, True, ())


NAN, THREE = torch.tensor(float("nan")), torch.zeros(3)


@pytest.mark.parametrize(
    ("file", "name", "tensor"),
    [
        ("model", "value_scale.variance", None),
        ("model", "value_scale.variance", NAN),
        ("model", "value_scale.variance", THREE),
        ("normalizers", "observation/mean", None),
        ("normalizers", "observation/mean", NAN),
    ],
)
def test_statistics_that_are_none_are_refused(file: str, name: str, tensor: Tensor | None):
    with pytest.raises(CheckpointError, match=f"lender has no {name}"):
        borrowed(file, name, tensor)


@pytest.mark.parametrize(("name", "is_taken"), [("distance", True), ("side", False)])
def test_a_head_is_not_borrowed_for_another_truth(name: str, is_taken: bool):
    def config_of(head: str) -> TrainConfig:
        heads = {"auxiliary_heads": (f"{head}:regression",)}
        return with_values(TrainConfig(), {"env": "probe:beacon", "hidden_sizes": (8,)} | heads)

    lender, own = config_of("distance"), config_of(name)
    envs = make_envs(own, range(1), 0, "shape")
    model = make_model(own, envs, torch.device("cpu"))
    state = {"config": flatten(lender)}
    checkpoint = Checkpoint(Path("lender"), {"model": dict(model.state_dict())}, {}, state)
    loan = loan_of(model, checkpoint, (), own)
    assert ("auxiliary_heads.0.weight" in loan.parameters) == is_taken
    assert any("of another truth" in left for left in loan.left_out) != is_taken
