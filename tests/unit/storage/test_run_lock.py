"""One job at a time in a run's folder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.run_lock import RunLock

HOLD = """
import sys
from pathlib import Path
from ppo_mpi.storage.run_lock import RunLock
RunLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_job_is_told_who_trains_in_the_folder(tmp_path):
    first = RunLock(tmp_path)
    first.acquire()
    first.acquire()  # its own lock is no obstacle
    with pytest.raises(ConfigError, match=rf"another job trains in .*process {os.getpid()} on "):
        RunLock(tmp_path).acquire()
    first.release()
    RunLock(tmp_path).acquire()


def test_the_lock_ends_with_its_holder_even_if_that_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ConfigError, match=rf"process {holder.pid} on "):
        RunLock(tmp_path).acquire()
    holder.kill()
    holder.communicate()
    RunLock(tmp_path).acquire()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write .*file/.lock"):
        RunLock(tmp_path / "file").acquire()
