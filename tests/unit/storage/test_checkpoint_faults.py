"""Checkpoints under bad conditions: kills, full disks, several ranks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.checkpoint import load_checkpoint, load_newest, save_checkpoint
from ppo_mpi.storage.run_folder import clean_leftovers

STATE = {"iteration": 3}


def save(run_dir: Path, timesteps: int) -> Path:
    tensors = {name: {"x": torch.arange(3.0)} for name in ("model", "optimizer", "normalizers")}
    return save_checkpoint(run_dir, timesteps, tensors, {"train/0": b"x"}, STATE, Communicator())


def test_every_byte_is_on_the_disk_before_the_rename_and_the_rename_before_the_return(
    tmp_path: Path, monkeypatch
) -> None:
    calls: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(descriptor: int) -> None:
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def recorded_rename(source: Path, target: Path) -> None:
        calls.append(("rename", Path(target).name))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    path = save(tmp_path, 7)
    files = ["model", "optimizer", "normalizers", "environments"]
    assert calls == [
        *(("fsync", f"{name}.safetensors") for name in files),
        ("fsync", "state.json"),
        ("fsync", "manifest.json"),
        ("fsync", f".tmp-{path.name}-{os.getpid()}"),
        ("rename", path.name),
        ("fsync", tmp_path.name),
        ("fsync", f".tmp-NEWEST-{os.getpid()}"),
        ("rename", "NEWEST"),
        ("fsync", tmp_path.name),
    ]


def test_a_full_disk_is_a_checkpoint_error_and_older_checkpoints_stay(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        old = save(tmp_path, 1)
        large = {"model": {"weight": torch.zeros(1_000_000)}}
        with pytest.raises(CheckpointError, match=r"No space left on device.*make room"):
            save_checkpoint(tmp_path, 2, large, {}, {}, Communicator())
        assert sorted(p.name for p in tmp_path.iterdir()) == ["NEWEST", old.name]
        assert load_checkpoint(old).state == STATE
        assert load_checkpoint(save(tmp_path, 3)).state == STATE
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_cannot_be_written_is_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot save the checkpoint .*Not a directory"):
        save(tmp_path / "file", 1)


def test_a_state_that_json_cannot_hold_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, 1, {}, {}, {"seed": object()}, Communicator())
    assert list(tmp_path.iterdir()) == []


SAVER = """
import sys, torch
from pathlib import Path
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.storage.checkpoint import save_checkpoint
from ppo_mpi.storage.run_folder import clean_leftovers, prune

run_dir, first = Path(sys.argv[1]), int(sys.argv[2])
clean_leftovers(run_dir)
for number in range(first, first + 10_000):
    tensors = {"model": {"weight": torch.full((100_000,), float(number))}}
    save_checkpoint(run_dir, number // 2, tensors, {"train/0": b"x"}, {"n": number}, Communicator())
    print(number, flush=True)
    prune(run_dir, 2)
"""


def test_a_kill_at_any_moment_leaves_the_newest_checkpoint_whole(tmp_path: Path) -> None:
    announced = 0
    for kill in range(10):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path), str(announced + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert saver.stdout is not None
        announced = int(saver.stdout.readline())
        time.sleep(0.0137 * kill)
        saver.send_signal(signal.SIGKILL)
        announced = max([announced, *(int(line) for line in saver.stdout if line.strip())])
        saver.wait()
        saver.stdout.close()
        clean_leftovers(tmp_path)
        checkpoint, warnings = load_newest(tmp_path)
        assert warnings == []
        assert checkpoint.state["n"] in (announced, announced + 1)
        assert checkpoint.tensors["model"]["weight"].unique().tolist() == [checkpoint.state["n"]]
        announced = checkpoint.state["n"]


ON_RANKS = """
import sys, torch
from pathlib import Path
from ppo_mpi.distributed.communicator import connect
from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.checkpoint import load_newest_everywhere, save_checkpoint

comm, run_dir = connect(60), Path(sys.argv[1])
assert comm.world_size == 3
mine = {f"train/{index:06d}": bytes([index] * 9) for index in comm.shard(4)}
model = {"model": {"weight": torch.arange(5.0)}}
path = save_checkpoint(run_dir, 10, model, mine, {"rank": comm.rank}, comm)
loaded, warnings = load_newest_everywhere(run_dir, comm)
assert loaded.path == path and loaded.state == {"rank": 0} and warnings == []
assert loaded.environments == {f"train/{i:06d}": bytes([i] * 9) for i in range(4)}
assert torch.equal(loaded.tensors["model"]["weight"], torch.arange(5.0))
for attempt in (
    lambda: save_checkpoint(run_dir / "file", 10, model, mine, {}, comm),
    lambda: load_newest_everywhere(run_dir / "none", comm),
):
    try:
        attempt()
    except CheckpointError as error:
        messages = comm.gather_all(str(error))
        assert len(set(messages)) == 1, messages
    else:
        raise AssertionError("no error")
try:
    save_checkpoint(run_dir, 11, model, mine, {"object": object()} if comm.is_root else {}, comm)
except (TypeError if comm.is_root else RuntimeError) as error:
    assert "not JSON serializable" in str(error)
else:
    raise AssertionError("no error")
print(f"rank {comm.rank} is content", flush=True)
"""


def test_ranks_save_and_load_together_and_share_errors(tmp_path: Path) -> None:
    mpirun = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if mpirun is None:
        pytest.skip("needs an MPI launcher")
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [mpirun, "-np", "3", sys.executable, "-c", ON_RANKS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is content") == 3
