"""Where the real terminal is: tried with real pseudo-terminals, pipes, files and launchers."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppo_mpi.storage.terminal import terminal_size

# The answer goes to a file: standard output is what the question is about.
ASK = (
    "import sys; from pathlib import Path; from ppo_mpi.storage.terminal import terminal_size; "
    "Path(sys.argv[1]).write_text(repr(terminal_size()))"
)


@pytest.fixture
def terminal() -> Iterator[int]:
    """A terminal of 123 columns and 45 rows."""
    controller, descriptor = pty.openpty()
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 123, 0, 0))
    yield descriptor
    os.close(descriptor)
    os.close(controller)


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    return tmp_path / "answer"


def ask(answer: Path, stdout: int, command: str = "{ask}", **variables: str) -> str:
    """Run ``command`` in a shell; {ask} stands for the program that writes the answer."""
    program = f"{sys.executable} -c {shlex.quote(ASK)} {shlex.quote(str(answer))}"
    hidden = ("SLURM_JOB_ID", "TERM")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment |= {"PYTHONPATH": ":".join(["", *sys.path])} | variables
    subprocess.run(
        ["sh", "-c", command.replace("{ask}", program)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        env=environment,
        check=True,
        timeout=60,
    )
    return answer.read_text()


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    """A program named mpirun that starts its command with a pipe, as MPICH does."""
    path = tmp_path / "mpirun"
    path.write_text('#!/bin/sh\nsh -c "$*" | cat\n')
    path.chmod(0o755)
    return str(path)


def test_a_terminal_is_found_with_its_size(answer: Path, terminal: int) -> None:
    assert ask(answer, terminal) == "(123, 45)"


def test_pipes_and_files_are_no_terminals(answer: Path, terminal: int, tmp_path: Path) -> None:
    assert ask(answer, terminal, "{ask} | cat") == "None"
    assert ask(answer, terminal, f"{{ask}} > {tmp_path}/log") == "None"


def test_slurm_and_dumb_terminals_get_plain_lines(answer: Path, terminal: int) -> None:
    assert ask(answer, terminal, SLURM_JOB_ID="7") == "None"
    assert ask(answer, terminal, TERM="dumb") == "None"
    assert ask(answer, terminal, TERM="xterm") == "(123, 45)"


def test_slurm_is_looked_behind_if_asked(answer: Path, terminal: int) -> None:
    program = f"{sys.executable} -c {shlex.quote(ASK.replace('size()', 'size(True)'))} {answer}"
    assert ask(answer, terminal, program, SLURM_JOB_ID="7") == "(123, 45)"
    assert ask(answer, terminal, program, SLURM_JOB_ID="7", TERM="dumb") == "None"


def test_it_is_known_whether_errors_go_to_the_same_terminal(
    answer: Path, terminal: int, launcher: str, tmp_path: Path
) -> None:
    asking = ASK.replace("terminal_size", "errors_share_terminal")
    program = f"{sys.executable} -c {shlex.quote(asking)} {answer}"
    assert ask(answer, terminal, f"{program} 2>&1") == "True"
    assert ask(answer, terminal, f"{program} 2>{tmp_path}/log") == "False"
    behind = f"{quoted(launcher, f'{program} 2>&1')}"
    assert ask(answer, terminal, f"{behind} 2>&1") == "True"
    assert ask(answer, terminal, f"{behind} 2>{tmp_path}/log") == "False"
    assert ask(answer, terminal, quoted(launcher, f"{program} 2>{tmp_path}/l") + " 2>&1") == "False"


def quoted(launcher: str, inner: str) -> str:
    return f"{launcher} {shlex.quote(inner)}"


def test_behind_a_launcher_the_launchers_output_counts(
    answer: Path, terminal: int, launcher: str, tmp_path: Path
) -> None:
    program = f"{sys.executable} -c {shlex.quote(ASK)} {answer}"
    assert ask(answer, terminal, quoted(launcher, program)) == "(123, 45)"
    assert ask(answer, terminal, quoted(launcher, program) + " | cat") == "None"
    assert ask(answer, terminal, quoted(launcher, program) + f" > {tmp_path}/log") == "None"


def test_output_redirected_behind_the_launcher_is_no_terminal(
    answer: Path, terminal: int, launcher: str, tmp_path: Path
) -> None:
    program = f"{sys.executable} -c {shlex.quote(ASK)} {answer}"
    assert ask(answer, terminal, quoted(launcher, f"{program} > {tmp_path}/log")) == "None"
    assert ask(answer, terminal, quoted(launcher, f"{program} | cat; true")) == "None"


def test_under_a_real_launcher_the_terminal_is_found(
    answer: Path, terminal: int, tmp_path: Path
) -> None:
    folder = Path(sys.executable).parent
    mpirun = shutil.which("mpirun", path=f"{folder}:{os.environ['PATH']}")
    if mpirun is None:
        pytest.skip("needs an MPI launcher")
    command = f"{mpirun} -np 1 {{ask}}"
    assert ask(answer, terminal, command) == "(123, 45)"
    assert ask(answer, terminal, f"{command} | cat") == "None"
    assert ask(answer, terminal, f"{command} > {tmp_path}/log") == "None"


def test_a_replaced_standard_output_is_no_terminal(capsys) -> None:
    assert sys.stdout is not sys.__stdout__
    assert terminal_size() is None
