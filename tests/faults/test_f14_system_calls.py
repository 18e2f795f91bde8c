"""A save calls the system in the right order, and survives an end between any two calls."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jobs import job_environment
from runs import JOBS

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.checkpoint import load_newest, save_checkpoint
from ppo_mpi.storage.run_folder import clean_leftovers, prune

CALLS = ("fsync", "rename", "mkdir")
"""Functions of ``os`` that a save calls; the opening of a file comes from pathlib."""


def save(run_dir: Path, number: int) -> None:
    """Save the ``number``-th checkpoint of a small run and remove older ones, as training does."""
    tensors = {"model": {"weight": torch.full((1000,), float(number))}}
    save_checkpoint(run_dir, number, tensors, {"train/000000": b"x"}, {"n": number}, Communicator())
    prune(run_dir, 2)


def count_calls(before: Callable[[int], None], after: Callable[[int], None]) -> None:
    """Let every call be preceded and followed by a function that is told its number."""
    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            number = calls
            before(number)
            result = function(*arguments, **keywords)
            after(number)
            return result

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    Path.open = counted(Path.open)  # type: ignore[method-assign]


def in_a_child(action: Callable[[], None]) -> int:
    """Run ``action`` in a copy of this process; return how it ended, 0 if it came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def nothing(number: int) -> None:
    """Do nothing."""


def number_of_calls(run_dir: Path) -> int:
    """Return how many calls the saves number 3 make."""
    seen = run_dir.parent / "calls"

    def remember(number: int) -> None:
        with open(seen, "w") as file:
            file.write(str(number))

    def action() -> None:
        count_calls(nothing, remember)
        save(run_dir, 3)

    assert in_a_child(action) == 0
    return int(seen.read_text())


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for number in (1, 2):
        save(folder, number)
    return folder


def copy_of(run_dir: Path, name: str) -> Path:
    return Path(shutil.copytree(run_dir, run_dir.parent / name))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_between_any_two_calls_leaves_a_whole_checkpoint(when: str, run_dir: Path):
    total = number_of_calls(copy_of(run_dir, "counted"))
    assert total > 12  # files, folders, renames, removals
    numbers = []
    for chosen in range(1, total + 1):
        folder = copy_of(run_dir, f"{when}{chosen}")

        def kill(number: int, chosen: int = chosen) -> None:
            if number == chosen:
                os.kill(os.getpid(), signal.SIGKILL)

        def action(folder: Path = folder, kill: Callable[[int], None] = kill) -> None:
            count_calls(*((kill, nothing) if when == "before" else (nothing, kill)))
            save(folder, 3)

        assert in_a_child(action) == signal.SIGKILL
        clean_leftovers(folder)
        checkpoint, warnings = load_newest(folder)
        assert warnings == []
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        numbers.append(checkpoint.state["n"])
        save(folder, 4)
        assert load_newest(folder)[0].state["n"] == 4
    # The old one until the rename, the new one from there on.
    assert numbers == sorted(numbers)
    assert set(numbers) == {2, 3}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_of_any_call_is_reported_and_older_checkpoints_stay(number: int, run_dir: Path):
    total = number_of_calls(copy_of(run_dir, "counted"))
    for chosen in range(1, total + 1):
        folder = copy_of(run_dir, f"error{chosen}")

        def fail(call: int, chosen: int = chosen) -> None:
            if call == chosen:
                raise OSError(number, os.strerror(number))

        def action(folder: Path = folder, fail: Callable[[int], None] = fail) -> None:
            count_calls(fail, nothing)
            with pytest.raises(CheckpointError, match="make room or make the folder writable"):
                save(folder, 3)

        assert in_a_child(action) == 0, f"call {chosen} of {total}"
        assert load_newest(folder)[0].state["n"] in (2, 3)
        clean_leftovers(folder)
        save(folder, 4)
        assert load_newest(folder)[0].state["n"] == 4


def test_every_file_is_on_the_disk_before_the_rename_and_the_rename_before_it_goes_on(
    tmp_path: Path,
):
    if shutil.which("strace") is None:
        pytest.skip("needs strace: apt-get install strace")
    log = tmp_path / "calls.txt"
    calls = "trace=openat,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2"
    train = ["-m", "ppo_mpi", "train", *JOBS["CartPole"], "--run", "r", "--total-timesteps", "512"]
    done = subprocess.run(
        ["strace", "-f", "-y", "-s", "0", "-e", calls, "-o", str(log), sys.executable, *train],
        cwd=tmp_path, env=job_environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip(f"strace is not allowed here: {done.stderr.strip()[:100]}")
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    half = r"\.tmp-step-000000000512-\d+"

    def place(pattern: str) -> int:
        found = [i for i, line in enumerate(lines) if re.search(pattern, line)]
        assert found, pattern
        return found[-1]

    rename = place(rf"rename.*{half}.*step-000000000512")
    folder_synced = place(rf"fsync\(\d+<[^>]*{half}>")
    files = {m[1] for line in lines if (m := re.search(rf"{half}/([a-z.]+)\"", line))}
    assert files >= {"model.safetensors", "optimizer.safetensors", "environments.safetensors",
                     "state.json", "manifest.json"}  # fmt: skip
    for name in files:
        written = place(rf"write[v64]*\(\d+<[^>]*{half}/{re.escape(name)}>")
        synced = place(rf"fsync\(\d+<[^>]*{half}/{re.escape(name)}>")
        assert written < synced < folder_synced < rename, name
    parent = [i for i, line in enumerate(lines) if re.search(r"fsync\(\d+<[^>]*/r>", line)]
    assert any(i > rename for i in parent)
    marked = place(r"rename.*\.tmp-DONE.*DONE")
    assert min(i for i in parent if i > rename) < marked
