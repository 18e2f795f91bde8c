"""What goes wrong with the disk is loud: an older checkpoint, or an error on all ranks.

Never a silent fresh start, and never half a checkpoint.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_jobs import ENDLESS, ITERATION, FaultyJob
from jobs import job_command, job_environment, run_job
from runs import JOBS, assert_same_bits, episodes, newest
from wheels import WHEELS

from ppo_mpi.storage.checkpoint import load_checkpoint, load_newest
from ppo_mpi.storage.run_folder import checkpoints_of, is_done

WORDS = ["train", *JOBS["CartPole"], "--run", "r", "--checkpoint-every", "2", "--eval-every", "0"]
HALF = [*WORDS, "--total-timesteps", str(4 * ITERATION)]
WHOLE = [*WORDS, "--total-timesteps", str(6 * ITERATION)]
FILES = ("manifest.json", "state.json", "model.safetensors", "optimizer.safetensors",
         "normalizers.safetensors", "environments.safetensors")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a run with two checkpoints, and one that went on undisturbed."""
    found = {}
    for name, words in (("half", HALF), ("whole", WHOLE)):
        folder = tmp_path_factory.mktemp(name)
        run_job(0, *words, cwd=folder)
        found[name] = folder / "checkpoints" / "r"
    return found


def damage(path: Path, how: str) -> None:
    """Flip a bit in the middle, cut the file short, or remove it."""
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_is_taken(
    name: str, how: str, made: dict[str, Path], tmp_path: Path
):
    run_dir = Path(shutil.copytree(made["half"], tmp_path / "r"))
    new, old = checkpoints_of(run_dir)
    damage(new / name, how)
    checkpoint, (warning,) = load_newest(run_dir)
    assert checkpoint.path == old
    assert name in warning
    assert new.name in warning


@pytest.mark.parametrize(
    ("wheel", "ranks"),
    [("mpich", 2), *(pytest.param(wheel, 3, marks=pytest.mark.faults) for wheel in WHEELS)],
)
def test_a_job_goes_on_from_the_checkpoint_before_the_damaged_one_and_says_so(
    wheel: str, ranks: int, made: dict[str, Path], tmp_path: Path
):
    run_dir = Path(shutil.copytree(made["half"], tmp_path / "checkpoints" / "r"))
    damage(checkpoints_of(run_dir)[0] / "model.safetensors", "flip")
    done = run_job(ranks, *WHOLE, cwd=tmp_path, wheel=wheel)
    assert done.stderr.count("model.safetensors was changed") == 1
    assert any(path.name.startswith("unreadable-step-") for path in run_dir.iterdir())
    assert_same_bits(run_dir, made["whole"], ("model", "optimizer", "normalizers"))
    assert episodes(run_dir) == episodes(made["whole"])


def test_a_run_without_a_whole_checkpoint_is_an_error_and_is_left_as_it_is(
    made: dict[str, Path], tmp_path: Path
):
    run_dir = Path(shutil.copytree(made["half"], tmp_path / "checkpoints" / "r"))
    for path in checkpoints_of(run_dir):
        damage(path / "state.json", "cut")
    curves = (run_dir / "progress.csv").read_bytes()
    done = run_job(2, *WHOLE, cwd=tmp_path, status=2)
    assert done.stderr.count("ppo_mpi: error: no checkpoint in") == 1
    assert "--clobber" in done.stderr
    assert (run_dir / "progress.csv").read_bytes() == curves
    for path in checkpoints_of(run_dir):
        shutil.rmtree(path)
    done = run_job(2, *WHOLE, cwd=tmp_path, status=2)
    assert "--clobber" in done.stderr
    assert (run_dir / "progress.csv").read_bytes() == curves


def test_files_that_cannot_grow_are_an_error_and_the_next_start_goes_on(
    made: dict[str, Path], tmp_path: Path
):
    # The files of tensors are larger than that; the curves are not. Works without root, but not
    # with MPI, whose shared memory is files too.
    limited = 'ulimit -f 48; exec "$@"'
    command = ["sh", "-c", limited, "-", *job_command(0, ["-m", "ppo_mpi", *WHOLE])]
    done = subprocess.run(
        command, cwd=tmp_path, env=job_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 74, done.stderr
    assert done.stderr.count("cannot save the checkpoint step-") == 1
    assert "make room" in done.stderr
    run_dir = tmp_path / "checkpoints" / "r"
    assert checkpoints_of(run_dir) == []
    assert not [path for path in run_dir.iterdir() if path.name.startswith(".tmp-")]
    run_job(2, *WHOLE, cwd=tmp_path)
    assert_same_bits(run_dir, made["whole"], ("model", "optimizer", "normalizers"))


def in_private_mounts(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount, or skip the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("unshare --mount is not allowed here")
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=folder, env=job_environment(),
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def test_a_full_disk_is_an_error_that_leaves_the_older_checkpoints_and_the_run_goes_on(
    made: dict[str, Path], tmp_path: Path
):
    all_kept = ["--checkpoint-every", "1", "--keep-checkpoints", "100"]
    train = " ".join(job_command(2, ["-m", "ppo_mpi", *WHOLE, *all_kept]))
    done = in_private_mounts(
        f"""
        mkdir checkpoints && mount -t tmpfs -o size=600k tmpfs checkpoints
        {train}; echo "first $?"
        cp -r checkpoints full
        mount -o remount,size=50m checkpoints
        {train}; echo "second $?"
        cp -r checkpoints mended
        """,
        tmp_path,
    )
    assert "first 74" in done.stdout, done.stdout + done.stderr
    assert "second 0" in done.stdout, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert "make room" in done.stderr
    for path in checkpoints_of(tmp_path / "full" / "r"):
        load_checkpoint(path)
    assert checkpoints_of(tmp_path / "full" / "r")
    mended = tmp_path / "mended" / "r"
    assert is_done(mended)
    assert_same_bits(mended, made["whole"], ("model", "optimizer", "normalizers"))
    assert episodes(mended) == episodes(made["whole"])


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_learned(tmp_path: Path):
    train = " ".join(job_command(2, ["-m", "ppo_mpi", *WHOLE]))
    done = in_private_mounts(
        f'mkdir checkpoints && mount -t tmpfs -o ro tmpfs checkpoints; {train}; echo "left $?"',
        tmp_path,
    )
    assert "left 2" in done.stdout, done.stdout + done.stderr
    assert "Read-only file system" in done.stderr
    assert "--checkpoint-dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_job_is_refused_by_name_and_a_killed_ones_lock_is_no_obstacle(
    tmp_path: Path,
):
    first = FaultyJob(tmp_path, "mpich", 2, "train", *ENDLESS)
    first.wait_for_iteration(3)
    second = run_job(2, "train", *ENDLESS, cwd=tmp_path, status=2)
    holder = f"process {first.rank_pid(0)} on {socket.gethostname()}"
    assert second.stderr.count(f"another job trains in checkpoints/r ({holder})") == 1
    os.kill(first.rank_pid(0), signal.SIGKILL)
    first.ended(time.time(), 5)
    before = newest(first.run_dir)
    third = FaultyJob(tmp_path, "mpich", 2, "train", *ENDLESS)
    third.wait_for(lambda: newest(third.run_dir) != before)
    third.process.send_signal(signal.SIGUSR1)
    assert third.ended(time.time(), 20)[0] == 75


WITHOUT_LOCKS = """
import errno, fcntl, sys
def refuse(*arguments): raise OSError(errno.ENOLCK, "no locks")
fcntl.flock = refuse
from pathlib import Path
from ppo_mpi.storage.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_where_there_are_no_locks_a_dead_holder_of_this_host_is_recognized(tmp_path: Path):
    words = [sys.executable, "-c", WITHOUT_LOCKS, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first = subprocess.Popen(words, text=True, **pipes)
    assert first.stdout is not None
    assert first.stdout.readline() == "\n"
    second = subprocess.run(words, input="", capture_output=True, text=True)
    assert f"(process {first.pid} on {socket.gethostname()})" in second.stderr
    first.kill()
    first.communicate()
    third = subprocess.run(words, input="", capture_output=True, text=True)
    assert third.returncode == 0, third.stderr
    assert f"was left by process {first.pid} on" in third.stdout
