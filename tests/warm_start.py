"""Processes that have imported torch and are forked for each job, so that tests need not wait.

A job of a test computes for a tenth of a second, and each of its ranks would import torch for two
seconds of a processor before it: half of what all tests take. So a test's first job starts one
such process for each of up to three ranks, ``warm_rank`` asks it for a fork, and what is forked
becomes Python with the asking process's words, folder, environment and open files.
Only other people's modules are imported before, none of ppo_mpi. What Python and libraries draw by
themselves differs as it always does: ranks, and a job and the next, come from different processes,
so that their sets have other orders, and numpy's and torch's own generators are seeded anew.

A shell's limits on memory and files, its umask and its choice of cores do not come along: what is
about those starts from nothing (``job_command``), as do jobs that are killed, signalled or watched
(``start_job``), those on the other MPI library and all of tests/cluster; with
``PPO_MPI_COLD_JOBS=1``, as in ``make test-faults``, all do.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import importlib
import itertools
import marshal
import os
import runpy
import selectors
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

CLIENT = str(Path(__file__).with_name("warm_rank.py"))
IMPORTED = (
    "numpy", "torch", "torch.utils.tensorboard", "safetensors.torch", "gymnasium", "yaml", "tyro",
    "rich",
)  # fmt: skip
"""What a training imports of others, as far as it is installed; nothing that reads the environment
when it is imported, as mujoco and pygame do, or that starts threads."""
READ_AT_START = ("PYTHON", "LD_", "GLIBC_", "MALLOC_", "LANG", "LC_", "TZ", "OMP_", "GOMP_", "KMP_",
                 "MKL_", "OPENBLAS_", "NPY_", "TORCH", "PYTORCH_")  # fmt: skip
"""What names begin with that Python, numpy and torch read but once: jobs that differ there have
servers of their own."""
MOST_SERVERS = 3
"""More ranks than these share them."""
LONGEST_REQUEST = 1 << 18
_JOBS = itertools.count()


def is_warm() -> bool:
    """Return whether jobs that run to their end are forked: where Linux can tell of their end."""
    return _has_pidfd() and os.environ.get("PPO_MPI_COLD_JOBS", "0") != "1"


@functools.cache
def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


@functools.cache
def _folder(read_at_start: tuple[tuple[str, str], ...]) -> Path:
    """Return where the sockets are of servers with that environment; the last takes it along."""
    return Path(tempfile.mkdtemp(prefix="ppo_mpi_warm_"))


@functools.cache
def _start_server(
    index: int, read_at_start: tuple[tuple[str, str], ...]
) -> subprocess.Popen[bytes]:
    """Start one; it ends with this process, whose pipe it reads, and ends what it has forked.

    It has a session of its own: Ctrl-C and what else a terminal sends to all would end it before
    it could.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(_folder(read_at_start) / str(index)))
        listener.listen(64)
        return subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            env=kept | dict(read_at_start),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def warm_words(num_ranks: int, words: list[str], environ: dict[str, str]) -> list[str]:
    """Return words that let Python do the same as with ``words``; start the servers for it.

    Args:
        num_ranks: of the job; 0 = no launcher.
        words: ``-m module words``, or a script's path and words.
        environ: of the job.
    """
    chosen = {name: value for name, value in environ.items() if name.startswith(READ_AT_START)}
    read_at_start = tuple(sorted(chosen.items()))
    first = next(_JOBS)  # a job and the next are not to have the same orders of sets
    for rank in range(min(max(1, num_ranks), MOST_SERVERS)):
        _start_server((first + rank) % MOST_SERVERS, read_at_start)
    places = (
        str(_folder(read_at_start) / str((first + r) % MOST_SERVERS)) for r in range(MOST_SERVERS)
    )
    return ["-I", "-S", CLIENT, os.pathsep.join(places), *words]


class Server:
    """Forks for whoever asks, and tells them how the forked process ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(listener, selectors.EVENT_READ, None)
        self._waiting.register(0, selectors.EVENT_READ, None)  # its end is that of the tests
        self._asking: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> tuple[list[str], str, dict[str, str], dict[int, int]]:
        """Serve until the tests end; return, in a forked process only, what it has to become.

        Returns:
            words, folder, environment, and the files: number there -> number here.
        """
        while True:
            for key, _ in self._waiting.select():
                if key.fd == 0:
                    self._end_all()
                    sys.exit()
                if key.fileobj is self._listener:
                    request = self._fork()
                    if request is not None:
                        return request
                else:
                    self._tell_end(key.data)

    def _fork(self) -> tuple[list[str], str, dict[str, str], dict[int, int]] | None:
        """Answer one request; return it in the forked process."""
        client, _ = self._listener.accept()
        try:
            request, here, _, _ = socket.recv_fds(client, LONGEST_REQUEST, 16)
        except OSError:  # who asked has been killed
            request = b""
        if not request:
            client.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._close(client)
            words, folder, environ, there = marshal.loads(request)
            return words, folder, environ, dict(zip(there, here, strict=True))
        for number in here:
            os.close(number)
        self._asking[pid] = (os.pidfd_open(pid), client)
        self._waiting.register(self._asking[pid][0], selectors.EVENT_READ, pid)
        self._waiting.register(client, selectors.EVENT_READ, pid)  # its end
        with contextlib.suppress(OSError):
            client.send(str(pid).encode())
        return None

    def _tell_end(self, pid: int) -> None:
        """Tell a client that its process has ended; end the process if the client has."""
        if pid not in self._asking:
            return  # both ended, and this was the second to be seen
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, 9)
            _, status = os.waitpid(pid, 0)
        pidfd, client = self._asking.pop(pid)
        with contextlib.suppress(OSError):
            client.send(str(status).encode())
        self._waiting.unregister(pidfd)
        self._waiting.unregister(client)
        os.close(pidfd)
        client.close()

    def _end_all(self) -> None:
        for pid in list(self._asking):
            self._tell_end(pid)
        place = Path(self._listener.getsockname())
        with contextlib.suppress(OSError):
            place.unlink()
            place.parent.rmdir()  # fails while others are there

    def _close(self, client: socket.socket) -> None:
        """Close, in a forked process, what belongs to the server."""
        self._waiting.close()
        self._listener.close()
        client.close()
        for pidfd, other in self._asking.values():
            os.close(pidfd)
            other.close()


def become_rank(
    words: list[str], folder: str, environ: dict[str, str], files: dict[int, int]
) -> None:
    """Go on as ``python words`` in that folder, with that environment and those files."""
    # First aside, where no number is one that another file is to get.
    aside = {number: fcntl.fcntl(here, fcntl.F_DUPFD, 256) for number, here in files.items()}
    for here in files.values():
        os.close(here)
    for number, here in aside.items():
        os.dup2(here, number)
        os.close(here)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    draw_anew()
    if words[0] == "-m":
        sys.path[0] = folder
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.realpath(words[0]))
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def draw_anew() -> None:
    """Seed what is random from the start: forks of one process would all draw the same numbers.

    Python does it for its own generator. A draw that no seed decides would look exactly repeatable
    otherwise.
    """
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def main() -> None:
    """Import what jobs need, then serve; the listening socket's number is the only word."""
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # a fork that collects garbage would copy all of it
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    become_rank(*server.serve())


if __name__ == "__main__":
    main()
