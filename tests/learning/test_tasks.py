"""Auxiliary heads learn their truths; runs borrow from others; frozen layers keep their bits."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.run_folder import checkpoints_of

HEADS = {"auxiliary_heads": ["distance:regression", "side:classes:2@policy.1"]}
SMALL = {
    "num_envs": 4, "rollout_timesteps": 128, "hidden_sizes": [16, 8], "display": "off",
    "precision": "float32",
}  # fmt: skip


def train(comm: Communicator, folder: Path, run: str, timesteps: int, **settings: Any) -> Path:
    values = {**SMALL, "checkpoint_dir": str(folder), "run": run, "total_timesteps": timesteps}
    env = settings.pop("env", "probe:beacon")
    assert api.train(env, comm=comm, **values | settings).status == 0
    return folder / run


def model_of(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints_of(run_dir)[0] / "model.safetensors")


@pytest.mark.parametrize("seed", [0])
def test_heads_learn_what_they_are_told_while_the_policy_learns(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    settings = {"rollout_timesteps": 256, "num_envs": 8, "seed": seed, "learning_rate": 4e-3}
    run_dir = train(
        comm, shared_tmp_path, "r", 4_096, **HEADS, **settings, bonus_rewards=True,
        hidden_sizes=[32, 32],
    )  # fmt: skip
    if not comm.is_root:
        return
    with (run_dir / "progress.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["auxiliary/distance_explained_variance"]) > 0.9
    assert float(row["auxiliary/side_accuracy"]) > 0.97
    assert 0.6 < float(row["auxiliary/side_known"]) < 0.9
    assert float(row["mean_return"]) > 8.5
    # Each step that is paid has a bonus of a quarter, which is no part of the return.
    assert 0.23 < float(row["bonus_return_mean"]) / float(row["mean_return"]) < 0.27


def test_a_run_borrows_what_fits_and_leaves_what_is_frozen(
    comm: Communicator, shared_tmp_path: Path
):
    normalized = {"normalize_observations": True, "normalize_values": True}
    lender = train(comm, shared_tmp_path, "lender", 512, **normalized)
    frozen = {"borrow_from": "lender", "frozen_layers": ["torso", "value_torso.layers.0"]}
    settings = {**normalized, **frozen, **HEADS, "seed": 5}
    run_dir = train(comm, shared_tmp_path, "heir", 256, **settings)
    lent, own = model_of(lender), model_of(run_dir)
    for name in own:
        is_frozen = name.startswith(("torso.", "value_torso.layers.0."))
        if not name.startswith("value_scale.") and name in lent:
            assert torch.equal(lent[name], own[name]) == is_frozen, name
    optimizer = load_file(checkpoints_of(run_dir)[0] / "optimizer.safetensors")
    assert not [name for name in optimizer if name.startswith("torso.")]
    assert "auxiliary_heads.0.weight/exp_avg" in optimizer
    # The statistics went on from the lender's.
    for name, stem, key in (
        ("observations", "normalizers", "observation/count"),
        ("values", "model", "value_scale.count"),
    ):
        both = [load_file(checkpoints_of(r)[0] / f"{stem}.safetensors") for r in (lender, run_dir)]
        assert float(both[1][key]) == pytest.approx(float(both[0][key]) + 256), name
    # It goes on without its lender.
    comm.barrier()
    if comm.is_root:
        shutil.rmtree(lender)
    comm.barrier()
    train(comm, shared_tmp_path, "heir", 512, **settings)
    if comm.is_root:
        state = json.loads((checkpoints_of(run_dir)[0] / "state.json").read_text())
        assert state["timesteps"] == 512
    assert torch.equal(model_of(run_dir)["torso.layers.0.weight"], lent["torso.layers.0.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_sizes": [16, 12], "borrow_layers": ["2"]}, "8x16 there, 12x16 here"),
        ({"hidden_sizes": [12, 12]}, "16x5 there, 12x5 here"),
        ({"borrow_layers": ["torsi"]}, "did you mean"),
        ({"normalize_observations": False}, "normalize_observations=true"),
        ({"borrow_from": "nobody"}, "unknown run 'nobody'"),
        ({"frozen_layers": ["nothing"]}, "names no layer"),
    ],
)
def test_what_cannot_be_borrowed_is_refused_before_anything_is_written(
    comm: Communicator, shared_tmp_path: Path, settings: dict[str, Any], message: str
):
    train(comm, shared_tmp_path, "lender", 128, normalize_observations=True)
    values = {"borrow_from": "lender", "normalize_observations": True} | settings
    with pytest.raises(ConfigError, match=message):
        train(comm, shared_tmp_path, "heir", 128, **values)
    assert not (shared_tmp_path / "heir").exists()
