"""The interpreter that has the peer: an environment over this one's packages, and its versions."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

PEER = "stable-baselines3"
REQUIREMENT = f"{PEER}==2.9.2"
"""A fixed version, so that ratios of two days can be compared."""
SHARED = ("torch", "numpy", "gymnasium")
"""Packages that have to be the same on both sides."""


class InterpreterError(Exception):
    """The peer cannot be run; the message says what to do."""


def peer_interpreter(asked: str | None, folder: Path) -> str:
    """Return an interpreter that has the peer.

    Args:
        asked: the user's own interpreter; None makes one.
        folder: of the environment to make or to take again.

    Raises:
        InterpreterError: there is no such program, or the environment cannot be made.
    """
    if asked is not None:
        found = shutil.which(asked)
        if found is None:
            raise InterpreterError(f"--python {asked} is no program; give an interpreter's path")
        # Contestants start in folders of their own. Links stay: they tell an environment apart.
        return str(Path(found).absolute())
    folder = folder.absolute()
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        print(f"peers: making {folder} for {REQUIREMENT}", flush=True)
        _must([sys.executable, "-m", "venv", str(folder)])
    _share_packages(python)
    if not _has_peer(python):
        # Without its dependencies: torch would be another one, and they are all shared.
        _must([str(python), "-m", "pip", "install", "--quiet", "--no-deps", REQUIREMENT])
    return str(python)


def versions_here() -> dict[str, str]:
    """Return the versions of the shared packages that this interpreter finds."""
    return {name: metadata.version(name) for name in SHARED}


def versions_of_peer(python: str) -> dict[str, str]:
    """Return the versions of the shared packages and of the peer that an interpreter finds.

    Raises:
        InterpreterError: it does not start, or cannot import the peer or what that needs.
    """
    code = (
        "import importlib.metadata as m, json, stable_baselines3\n"
        f"print(json.dumps({{name: m.version(name) for name in {[*SHARED, PEER]!r}}}))"
    )
    done = _run([python, "-c", code])
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise InterpreterError(
            f"{python} cannot import {PEER} ({lines[-1]}); install what is missing there, or "
            "leave out --python and remove the folder of --environment, so that it is made anew"
        )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_same(ours: dict[str, str], theirs: dict[str, str]) -> None:
    """Check that both sides have the same torch, numpy and gymnasium.

    Raises:
        InterpreterError: they have not, and a ratio would say nothing about the two programs.
    """
    for name in SHARED:
        if ours[name] != theirs[name]:
            raise InterpreterError(
                f"{name} is {theirs[name]} beside {PEER} and {ours[name]} here; leave out "
                "--python, so that an environment over the packages of this one is made"
            )


def _share_packages(python: Path) -> None:
    # A line of a .pth file is one more folder to import from; what is installed in the
    # environment itself comes before it.
    own = _run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    if own.returncode:
        raise InterpreterError(
            f"{python} does not start ({own.stderr.strip()}); remove the folder of --environment"
        )
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    paths |= set(site.getsitepackages())
    listing = "".join(f"{path}\n" for path in sorted(paths) if Path(path).is_dir())
    Path(own.stdout.strip(), "shared.pth").write_text(listing, encoding="utf-8")


def _has_peer(python: Path) -> bool:
    return not _run([str(python), "-c", "import stable_baselines3"]).returncode


def _must(words: list[str]) -> None:
    done = _run(words)
    if done.returncode:
        raise InterpreterError(
            f"{' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}; or give "
            f"--python an interpreter that has {PEER}"
        )


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    # Elsewhere than in this folder, whose program has the name of the peer's package.
    try:
        return subprocess.run(words, cwd=Path.home(), capture_output=True, text=True, check=False)
    except OSError as error:
        raise InterpreterError(f"{words[0]} does not start: {error}") from error
