"""A tracker in a process of its own: what it imports, waits for or fails at stays there.

Its libraries have threads, exit handlers and network connections that may wait for ever. The
training only writes lines into a pipe, and never waits for it: what does not fit is kept for the
next row, up to a limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo_mpi.storage.run_folder import TRACKERS

if TYPE_CHECKING:
    from ppo_mpi.storage.trackers import Histogram

MOST_WAITING_BYTES = 16 * 2**20
"""What a tracker may be behind before it is left."""
CLOSE_SECONDS = 30.0
"""Longest wait at the end for what was not sent yet."""


class TrackerError(Exception):
    """A tracker cannot go on."""


class OutsideTracker:
    """Hands all that it is told to a process."""

    def __init__(
        self, name: str, facts: Mapping[str, Any], run_dir: Path, say: Callable[[str], None]
    ) -> None:
        """Start the process.

        Args:
            name: wandb or mlflow.
            facts: of the run, for JSON.
            run_dir: the run's folder.
            say: tells the user something.

        Raises:
            ImportError: the package is not installed.
        """
        if find_spec(name) is None:
            raise ImportError(f"No module named {name!r}")
        self._name, self._say = name, say
        self._waiting = b""
        folder = run_dir / TRACKERS
        folder.mkdir(exist_ok=True)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, name, str(folder.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the training, which closes it
        )
        assert self._process.stdin is not None, "it was started with a pipe"
        os.set_blocking(self._process.stdin.fileno(), False)
        self._send("begin", {**facts, "run_dir": str(run_dir)})

    def purge(self, timesteps: int) -> None:
        """Nothing: rows that are sent again lie upon those that were."""

    def row(self, timesteps: int, row: Mapping[str, float | None]) -> None:
        """Send the row's numbers."""
        self._send("row", {name: value for name, value in row.items() if value is not None})

    def histograms(self, timesteps: int, histograms: Mapping[str, Histogram]) -> None:
        """Send the spread of each tensor."""
        found = {name: asdict(spread) for name, spread in histograms.items()}
        self._send("histograms", {"timesteps": timesteps, "histograms": found})

    def video(self, timesteps: int, path: Path) -> None:
        """Send where a video is."""
        self._send("video", {"timesteps": timesteps, "path": str(path.absolute())})

    def close(self) -> None:
        """Let the process send what is left, and end it if that takes long.

        Raises:
            TrackerError: it took too long, or failed.
        """
        deadline = time.monotonic() + CLOSE_SECONDS
        assert self._process.stdin is not None, "it was started with a pipe"
        while self._waiting and self._process.poll() is None and time.monotonic() < deadline:
            self._flush()
            time.sleep(0.05)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            status = self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._kill()
            raise TrackerError(
                f"what was not sent within {CLOSE_SECONDS:.0f} s of the end is lost"
            ) from None
        if status:
            raise TrackerError(self._last_words())

    def _send(self, kind: str, content: Mapping[str, Any]) -> None:
        self._waiting += json.dumps({"kind": kind, **content}).encode() + b"\n"
        if self._process.poll() is not None:
            raise TrackerError(self._last_words())
        self._flush()
        if len(self._waiting) > MOST_WAITING_BYTES:
            self._kill()
            raise TrackerError("it is too slow: too much is waiting for it")

    def _flush(self) -> None:
        assert self._process.stdin is not None, "it was started with a pipe"
        try:
            while self._waiting:
                written = os.write(self._process.stdin.fileno(), self._waiting)
                self._waiting = self._waiting[written:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._process.wait()
            raise TrackerError(self._last_words()) from None

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def main() -> None:
    """Read lines from standard input and hand them to the tracker; the process's own program."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    begin = json.loads(sys.stdin.readline())
    if name == "wandb":
        from ppo_mpi.storage.wandb_client import WandbClient

        client: Any = WandbClient(folder, begin)
    else:
        from ppo_mpi.storage.mlflow_client import MlflowClient

        client = MlflowClient(folder, begin)
    for line in sys.stdin:
        content = json.loads(line)
        getattr(client, content.pop("kind"))(content)
    client.close()


if __name__ == "__main__":
    main()
