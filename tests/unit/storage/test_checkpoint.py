"""Checkpoints: what is saved comes back, and what is damaged is found."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_checkpoint_everywhere,
    load_newest,
    load_newest_everywhere,
    save_checkpoint,
)
from ppo_mpi.storage.run_folder import checkpoints_of, clean_leftovers, prune, step_name

STATE = {"iteration": 3, "seed": 2**70, "kl": 0.1, "window": [[1.5, 20]], "name": "é"}
ENVIRONMENTS = {"train/000000": bytes(range(256)), "train/000001": b"", "test/000000": b"\0\1"}


def some_tensors() -> dict[str, dict[str, Tensor]]:
    flat = torch.arange(12, dtype=torch.float32)
    model = {"weight": flat[:8].view(2, 4), "bias": flat[8:], "transposed": flat.view(3, 4).T}
    moments = {"step": torch.tensor(7), "mean": torch.tensor([1 / 3], dtype=torch.float64)}
    return {"model": model, "optimizer": moments, "normalizers": {}}


def save(run_dir: Path, timesteps: int) -> Path:
    return save_checkpoint(run_dir, timesteps, some_tensors(), ENVIRONMENTS, STATE, Communicator())


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def assert_is_what_was_saved(checkpoint: Checkpoint) -> None:
    expected = some_tensors()
    assert checkpoint.state == STATE
    assert checkpoint.environments == ENVIRONMENTS
    assert checkpoint.tensors.keys() == expected.keys()
    for stem, group in expected.items():
        assert checkpoint.tensors[stem].keys() == group.keys()
        for name, value in group.items():
            assert checkpoint.tensors[stem][name].dtype == value.dtype
            assert torch.equal(checkpoint.tensors[stem][name], value)


def test_everything_comes_back_to_the_bit(tmp_path: Path) -> None:
    path = save(tmp_path, 123_456)
    assert path == tmp_path / "step-000000123456"
    assert sorted(p.name for p in path.iterdir()) == [
        "environments.safetensors",
        "manifest.json",
        "model.safetensors",
        "normalizers.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert_is_what_was_saved(load_checkpoint(path))
    assert_is_what_was_saved(load_checkpoint_everywhere(path, Communicator()))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["NEWEST", path.name]


def test_a_loaded_tensor_can_be_changed_in_place(tmp_path: Path) -> None:
    loaded = load_checkpoint(save(tmp_path, 1)).tensors["model"]["weight"]
    loaded.add_(1)
    assert torch.equal(loaded, some_tensors()["model"]["weight"] + 1)


def test_the_same_timesteps_again_replace_the_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5)
    path = save_checkpoint(tmp_path, 5, {}, {}, {"iteration": 9}, Communicator())
    assert load_checkpoint(path).state == {"iteration": 9}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["NEWEST", path.name]


def test_a_crash_while_replacing_leaves_one_of_the_two(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path, 5)
    rename = os.rename

    def die_on_commit(source: Path, target: Path) -> None:
        if Path(source).name.startswith(".tmp-"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", die_on_commit)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 5, {}, {}, {"iteration": 9}, Communicator())
    monkeypatch.undo()
    assert checkpoints_of(tmp_path) == []
    clean_leftovers(tmp_path)
    assert_is_what_was_saved(load_newest(tmp_path)[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["NEWEST", step_name(5)]


@pytest.mark.parametrize("name", ["model", "optimizer", "environments"])
def test_a_flipped_bit_is_found_and_the_older_checkpoint_is_used(tmp_path: Path, name: str) -> None:
    old, new = save(tmp_path, 100), save(tmp_path, 200)
    flip_a_bit(new / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=f"damaged: {name}.safetensors was changed .*SHA-256"):
        load_checkpoint(new)
    checkpoint, warnings = load_newest(tmp_path)
    assert checkpoint.path == old
    assert len(warnings) == 1
    assert f"{name}.safetensors was changed" in warnings[0]
    assert f"using {old.name} instead" in warnings[0]
    assert new.exists()


def test_a_flipped_bit_of_the_state_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    text = (path / "state.json").read_text()
    (path / "state.json").write_text(text.replace('"iteration": 3', '"iteration": 2'))
    with pytest.raises(CheckpointError, match=r"state\.json was changed"):
        load_checkpoint(path)


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    size = (path / "model.safetensors").stat().st_size
    os.truncate(path / "model.safetensors", size - 1)
    expected = f"model.safetensors has {size - 1} bytes, expected {size}"
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(path)


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    (path / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "manifest.json is missing"),
        (b"{", "manifest.json is not a manifest"),
        (b"[]", "manifest.json is not a manifest"),
        (b'{"format": "other", "version": 1, "files": {}}', "has format 'other' version 1"),
        (b'{"format": "ppo_mpi checkpoint", "version": 2, "files": {}}', "version 2, expected"),
        (
            b'{"format": "ppo_mpi checkpoint", "version": 1, "timesteps": 1, "files": {}}',
            "state.json is missing",
        ),
        (
            b'{"format": "ppo_mpi checkpoint", "version": 1, "timesteps": 2, "files": {}}',
            "manifest.json is of 2 timesteps, unlike the folder",
        ),
        (
            b'{"format": "ppo_mpi checkpoint", "version": 1, "files": {"../x.safetensors": {}}}',
            "which is no file of a checkpoint",
        ),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = save(tmp_path, 1)
    (path / "manifest.json").unlink()
    if content is not None:
        (path / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(path)


def test_a_half_written_folder_is_never_taken(tmp_path: Path) -> None:
    whole = save(tmp_path, 100)
    shutil.copytree(whole, tmp_path / ".tmp-step-000000000200-1")
    shutil.copytree(whole, tmp_path / ".del-step-000000000300-1")
    assert load_newest(tmp_path)[0].path == whole
    clean_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["NEWEST", whole.name]


def test_no_checkpoint_and_no_whole_one_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"there is no checkpoint in {tmp_path}"):
        load_newest(tmp_path)
    for timesteps in (1, 2):
        (save(tmp_path, timesteps) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole.*--clobber") as caught:
        load_newest(tmp_path)
    assert step_name(1) in str(caught.value)
    assert step_name(2) in str(caught.value)


def test_a_run_that_goes_on_moves_damaged_checkpoints_aside_so_that_pruning_spares_whole_ones(
    tmp_path: Path,
) -> None:
    old, new = save(tmp_path, 100), save(tmp_path, 200)
    flip_a_bit(new / "model.safetensors")
    checkpoint, warnings = load_newest_everywhere(tmp_path, Communicator())
    assert checkpoint.path == old
    assert "it was renamed to unreadable-step-000000000200" in warnings[0]
    latest = save(tmp_path, 150)
    prune(tmp_path, keep=1)
    assert checkpoints_of(tmp_path) == [latest]


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_named_model_is_refused_and_not_executed(tmp_path: Path, how: str) -> None:
    crater = tmp_path / "crater"
    path = save(tmp_path, 1)
    if how == "pickle":
        (path / "model.safetensors").write_bytes(pickle.dumps(Bomb(crater)))
    else:
        torch.save({"weight": Bomb(crater)}, path / "model.safetensors")
    content = (path / "model.safetensors").read_bytes()
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["files"]["model.safetensors"] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not in its format"):
        load_checkpoint(path)
    assert not crater.exists()
    if how == "pickle":
        pickle.loads(content)
        assert crater.exists(), "the bomb of this test is a dud"
