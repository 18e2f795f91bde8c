"""What a stranger's checkpoint lends is looked at before any of it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
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
