"""What a job under a real Slurm prints where srun stands at a terminal: plain lines, or a panel."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from runs import JOBS
from slurm import Slurm
from test_slurm import MPI_TYPES, environment

WORDS = ["train", *JOBS["CartPole"], "--run", "r", "--total-timesteps", "1024", "--report", "false"]


def at_a_terminal(slurm: Slurm, options: list[str], words: list[str], cwd: Path) -> str:
    """Run srun with a terminal as its output; return all that was written there."""
    command = ["srun", f"--mpi={MPI_TYPES['mpich']}", *options, "python", "-m", "ppo_mpi", *words]
    ours, theirs = pty.openpty()
    job = subprocess.Popen(
        slurm.on_login_node(command), cwd=cwd, env=environment(slurm, "mpich"),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            content = os.read(ours, 2**16)
        except OSError:  # the last one that had the terminal is gone
            break
        if not content:
            break
        written += content
    os.close(ours)
    text = written.decode(errors="replace")
    assert job.wait(60) == 0, text
    return text


@pytest.mark.parametrize("display", ["auto", "live"])
def test_lines_without_escape_codes_though_srun_stands_at_a_terminal(slurm, tmp_path, display):
    options = ["--nodes", "2", "--ntasks-per-node", "1"]
    text = at_a_terminal(slurm, options, [*WORDS, "--ui", display], tmp_path)
    assert "\x1b" not in text
    assert "100%  1.024k/1.024k timesteps" in text
    assert ("no terminal on which a panel can be drawn" in text) == (display == "live")


def test_a_terminal_of_slurms_own_has_the_panel_if_it_is_asked_for(slurm, tmp_path):
    text = at_a_terminal(slurm, ["--pty", "-n1"], [*WORDS, "--ui", "live"], tmp_path)
    shown = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text)
    assert "─ gym:CartPole-v1  r ─" in shown
    assert "100%" in shown.rpartition("─ gym:CartPole-v1  r ─")[2]
