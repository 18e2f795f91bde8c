"""Several hosts on one machine: namespaces with a network, a name and shared memory of their own.

Needs root and iproute2. Names and addresses carry the process id, so that two test runs do not
meet.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

AGENT = """#!/bin/sh
# A remote shell for launchers: agent [options] HOST WORDS... runs the words on that host.
while :; do
  case "$1" in
    -x | -n | -q | -t | -T) shift ;;
    -l | -o | -p) shift 2 ;;
    *) break ;;
  esac
done
host=$1
shift
exec {enter} "$*"
"""


def need_namespaces() -> None:
    """Skip the test where there is no root, or no tools or rights for namespaces."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for namespaces")
    if shutil.which("ip") is None:
        pytest.skip("needs ip: apt-get install iproute2")
    probe = f"ppo{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no namespaces can be made here: {made.stderr.strip()}")
    subprocess.run(["ip", "netns", "del", probe], check=True)
    if subprocess.run(["unshare", "--uts", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("unshare --uts --mount is not allowed here")


def free_prefix(subnet: int) -> str:
    """Return the first three numbers of addresses that no card of this machine has.

    A test run that was killed may have left its bridge behind.
    """
    used = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True).stdout
    prefixes = [f"10.{64 + (os.getpid() + i) % 64}.{subnet}" for i in range(64)]
    return next(prefix for prefix in prefixes if f" {prefix}." not in used)


class Hosts:
    """Hosts ``h0``, ``h1``, ... on a bridge; this machine has the first address."""

    def __init__(self, number: int, folder: Path, subnet: int) -> None:
        """Name them; ``up`` makes them.

        Args:
            number: how many.
            folder: for their files.
            subnet: addresses are 10.x.``subnet``.y.
        """
        self.names = [f"h{i}" for i in range(number)]
        self.folder = folder
        self._bridge = f"ppo{os.getpid()}b{subnet}"
        self._prefix = free_prefix(subnet)
        self.gateway = f"{self._prefix}.1"

    def namespace(self, name: str) -> str:
        """Return the network namespace of a host."""
        return f"{self._bridge}{name}"

    def _cable(self, index: int) -> str:
        return f"v{index}{self._bridge}"

    def address(self, name: str) -> str:
        """Return the host's address."""
        return f"{self._prefix}.{10 + self.names.index(name)}"

    @property
    def agent(self) -> Path:
        """The remote shell's program."""
        return self.folder / "agent"

    def up(self) -> None:
        """Make bridge, namespaces and addresses."""
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self.gateway}/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        lines = ["127.0.0.1 localhost", f"{self.gateway} {os.uname().nodename}"]
        lines += [f"{self.address(name)} {name}" for name in self.names]
        for index, name in enumerate(self.names):
            namespace, cable = self.namespace(name), self._cable(index)
            _run("ip", "netns", "add", namespace)
            _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0",
                 "netns", namespace)  # fmt: skip
            _run("ip", "link", "set", cable, "master", self._bridge, "up")
            _run("ip", "-n", namespace, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", namespace, "link", "set", device, "up")
            # `ip netns exec` shows these instead of the machine's own.
            folder = Path("/etc/netns") / namespace
            folder.mkdir(parents=True)
            (folder / "hosts").write_text("\n".join(lines) + "\n")
        self.agent.write_text(AGENT.format(enter=" ".join(self.enter('"$host"', quoted=True))))
        self.agent.chmod(0o755)

    def enter(self, name: str, mounts: str = "", quoted: bool = False) -> list[str]:
        """Return the words behind which a shell's line runs on a host.

        Args:
            name: of the host.
            mounts: shell commands that mount more, each ended by ``;``.
            quoted: whether the words go into a shell script.
        """
        script = f'hostname $0; mount -t tmpfs tmpfs /dev/shm; {mounts} exec sh -c "$1"'
        namespace = f'"{self._bridge}$host"' if quoted else self.namespace(name)
        inner = f"'{script}'" if quoted else script
        return ["ip", "netns", "exec", namespace, "unshare", "--uts", "--mount", "sh", "-c", inner,
                name]  # fmt: skip

    def pids(self, name: str) -> list[int]:
        """Return the processes on a host."""
        words = ["ip", "netns", "pids", self.namespace(name)]
        listed = subprocess.run(words, capture_output=True, text=True)
        return [int(pid) for pid in listed.stdout.split()]

    def kill(self, name: str) -> None:
        """Let a host die: all its processes at once."""
        for pid in self.pids(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def down(self) -> None:
        """End all processes on the hosts and remove what ``up`` made."""
        for name in self.names:
            self.kill(name)
        deadline = time.monotonic() + 5
        while any(self.pids(name) for name in self.names) and time.monotonic() < deadline:
            time.sleep(0.05)
        for index, name in enumerate(self.names):
            # A namespace's own cards go some time after it, and the next hosts want their names.
            subprocess.run(["ip", "link", "del", self._cable(index)], capture_output=True)
            subprocess.run(["ip", "netns", "del", self.namespace(name)], capture_output=True)
            shutil.rmtree(Path("/etc/netns") / self.namespace(name), ignore_errors=True)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
