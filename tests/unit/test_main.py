"""The program as a user meets it: what it prints, where to, and its exit status."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run_program(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ppo_mpi`` as a user would."""
    command = [sys.executable, "-m", "ppo_mpi", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)


def test_the_program_answers_a_mistake_with_one_line_and_status_2(tmp_path):
    done = run_program("train", "--num-evns", "3", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ppo_mpi: error: unknown setting '--num-evns'; did you mean")
    assert len(done.stderr.splitlines()) == 1


def test_the_program_without_words_shows_the_modes_and_leaves_with_status_2(tmp_path):
    done = run_program(cwd=tmp_path)
    assert done.returncode == 2
    assert "evaluate" in done.stderr


def test_help_goes_to_standard_output_with_status_0(tmp_path):
    done = run_program("train", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--total-timesteps" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_reader_that_leaves_early_brings_no_traceback(tmp_path):
    line = f"{sys.executable} -m ppo_mpi train --dry-run CartPole-v1 | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "environment:\n"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_other_ranks_are_silent_and_agree_on_the_status(tmp_path, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "3")
    monkeypatch.setenv("PMI_SIZE", "4")
    for words in (["tain"], ["presets", "x"], []):
        done = run_program(*words, cwd=tmp_path)
        assert (done.stdout, done.stderr) == ("", "")
    assert run_program("tain", cwd=tmp_path).returncode == 2
