"""What dead jobs left is removed, and nothing that a living process uses."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_mpi.distributed.leftovers import LEAST_AGE_SECONDS, clean_leftovers, files_in_use

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")


def old_file(path: Path, size: int = 4096) -> Path:
    path.write_bytes(bytes(size))
    then = path.stat().st_mtime - 10 * LEAST_AGE_SECONDS
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize("name", ["mpich_shm_1f_0", "sm_segment.a.0.1", "vader_segment.a.0.1"])
def test_a_segment_that_nobody_uses_is_removed(name: str, tmp_path: Path):
    segment = old_file(tmp_path / name)
    other = old_file(tmp_path / "somebody_elses")
    assert clean_leftovers(tmp_path, tmp_path) == [segment]
    assert not segment.exists()
    assert other.exists()


def test_a_segment_that_is_open_or_mapped_is_left_alone(tmp_path: Path):
    is_open, is_mapped = old_file(tmp_path / "mpich_shm_1"), old_file(tmp_path / "mpich_shm_2")
    code = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(is_open)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    with is_mapped.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert files_in_use(tmp_path) == {str(is_open), str(is_mapped)}
    assert clean_leftovers(tmp_path, tmp_path) == []
    holder.communicate()
    mapped.close()
    assert set(clean_leftovers(tmp_path, tmp_path)) == {is_open, is_mapped}


def test_what_was_made_just_now_is_left_alone(tmp_path: Path):
    (tmp_path / "mpich_shm_1").write_bytes(b"")
    assert clean_leftovers(tmp_path, tmp_path) == []


def test_a_launchers_files_stay_while_such_a_launcher_runs(tmp_path: Path):
    folder = tmp_path / "ompi.host.0"
    (folder / "1234").mkdir(parents=True)
    os.utime(folder, (1, 1))
    launcher = tmp_path / "prterun"
    launcher.symlink_to("/bin/sleep")
    running = subprocess.Popen([launcher, "60"])
    try:
        # The kernel lets the parent go on shortly before it gives the program its name.
        while Path(f"/proc/{running.pid}/comm").read_text().strip() != launcher.name:
            assert running.poll() is None
        assert clean_leftovers(tmp_path, tmp_path) == []
    finally:
        running.kill()
        running.wait()
    assert clean_leftovers(tmp_path, tmp_path) in ([folder], [])  # another test's may run
