"""Tab, pressed in real shells: bash, zsh and fish, each skipped where it is not installed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
"""How long a shell may take for an answer; it is there within one on an idle machine."""
LINES = [
    ("ppo-mpi tra", "ppo-mpi train "),
    ("ppo-mpi train --preset procgen-easy-", "--preset procgen-easy-200 "),
    ("ppo-mpi train --env=atari:Pong --devi", "--env=atari:Pong --device "),
    ("ppo-mpi train --env=atari:Breako", "--env=atari:Breakout "),
    ("ppo-mpi train env=starp", "env=starpilot "),
    ("ppo-mpi train num_env", "num_envs="),
    ("ppo-mpi play wal", "ppo-mpi play walker "),
    ("ppo-mpi play walker:b", "ppo-mpi play walker:best "),
    ("ppo-mpi train --config m", "--config my.yaml "),
    ("python -m ppo_mpi mode=eva", "mode=evaluate "),
    ("mpirun -np 2 python -m ppo_mpi train --discou", "train --discount "),
    ("python scri", "python script.py "),
]
"""What is typed before Tab, and how it then ends."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a run, files, and a program ppo-mpi in bin/."""
    folder = tmp_path / "checkpoints" / "walker"
    (folder / "step-000000001024").mkdir(parents=True)
    (folder / "tags.json").write_text('{"best": "step-000000001024"}')
    for name in ("my.yaml", "script.py"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ppo-mpi"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ppo_mpi "$@"\n')
    program.chmod(0o755)
    return tmp_path


def surroundings(place: Path) -> dict[str, str]:
    path = os.pathsep.join(
        (str(place / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
    )
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "TERM": "dumb", "HOME": str(place)}


class Shell:
    """An interactive shell in a terminal of its own."""

    def __init__(self, words: list[str], place: Path) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(place)
            os.execvpe(words[0], words, surroundings(place))
        self.shown = ""

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str) -> bool:
        """Return whether the shell shows a text before the patience is at its end."""
        end = time.monotonic() + PATIENCE_SECONDS
        while text not in self.shown and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.shown += os.read(self.terminal, 4096).decode(errors="replace")
        return text in self.shown

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


STARTS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "bind 'set enable-bracketed-paste off'"),
    "zsh": (["zsh", "-f", "-i"], "unset zle_bracketed_paste"),
}


@pytest.fixture(params=STARTS)
def shell(request: pytest.FixtureRequest, place: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    words, quiet = STARTS[request.param]
    shell = Shell(words, place)
    load = f'eval "$(ppo-mpi --completion {request.param})"'
    shell.type(f"{quiet}; {load}; echo rea''dy\n")
    assert shell.wait_for("ready"), shell.shown
    yield shell
    shell.close()


def test_tab_completes_modes_settings_names_runs_and_files(shell):
    for typed, completed in LINES:
        shell.type(typed + "\t")
        assert shell.wait_for(completed), f"{typed!r} became {shell.shown!r}"
        shell.type("\x15")  # Ctrl-U: away with the line


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_fish_completes_the_same(place):
    (place / "c.fish").write_bytes(
        subprocess.check_output(["ppo-mpi", "--completion", "fish"], env=surroundings(place))
    )
    for typed, completed in LINES:
        asked = ["fish", "--no-config", "-c", f"source c.fish; complete -C '{typed}'"]
        done = subprocess.run(
            asked, cwd=place, env=surroundings(place), capture_output=True, text=True, check=True
        )
        words = [line.partition("\t")[0] for line in done.stdout.splitlines()]
        assert completed.split()[-1] in words, f"{typed!r} gave {done.stdout} {done.stderr}"
