"""What a run ran on: versions, ranks, hosts, processor, commit; kept in ``system.json``."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo_mpi.distributed.machine import available_cores
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.durable import explained, write_atomically
from ppo_mpi.storage.run_folder import SYSTEM
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.untrusted_files import read_regular_file

MAX_BYTES = 2**26
"""Largest ``system.json``; a session takes about 2 kB."""

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator

_PACKAGES = (
    "ppo_mpi",
    "torch",
    "numpy",
    "mpi4py",
    "procgen",
    "procgen-mirror",
    "ale-py",
    "gymnasium",
    "gym",
)


def system_info(comm: Communicator) -> dict[str, Any]:
    """Describe the job: the same on every rank, ready for JSON. Collective."""
    info: dict[str, Any] | None = None
    if comm.is_root:
        info = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": shlex.join([sys.executable, *sys.argv]),
            "folder": str(Path.cwd()),
            "ranks": comm.world_size,
            "hosts": {host: comm.hosts.count(host) for host in sorted(set(comm.hosts))},
            "mpi_library": comm.library,
            "transport": comm.transport,
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "cores_available": len(available_cores()),
            "python": platform.python_version(),
            "packages": _versions(),
            "commit": _commit(),
        }
    return comm.broadcast_object(info)  # collective


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of this source tree, with ``+changes`` if files differ; None outside git.

    A copy of the package that merely lies in somebody's checkout, say in a virtual environment
    there, has no commit: the files must be tracked.
    """
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(here.parent), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if commit and changes else commit


def write_system_json(run_dir: Path, info: dict[str, Any]) -> None:
    """Add this session to the run's ``system.json``, which lists them in order. On rank 0.

    Raises:
        ConfigError: the file there is not ours.
    """
    path = run_dir / SYSTEM
    sessions: list[Any] = []
    if path.exists():
        try:
            sessions = list(parse_json(read_regular_file(path, MAX_BYTES))["sessions"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ConfigError(f"{path} is damaged ({error!r}); mend or remove it") from error
    content = json.dumps({"sessions": [*sessions, info]}, indent=2)
    with explained(f"write {SYSTEM}", run_dir):
        write_atomically(path, content.encode() + b"\n")
