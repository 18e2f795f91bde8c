"""A worker process: makes a part of a rank's environments and steps them on request.

Run as ``python -m ppo_mpi.envs.worker_process``. It never imports torch or MPI by itself.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.shared_arrays import STATE_FIELDS, STEP_FIELDS, SharedArrays
from ppo_mpi.errors import FailedEnvironmentError

PR_SET_PDEATHSIG = 1
IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Signals that reach every process of a job; the rank decides what they mean."""

Answer = tuple[bool, Any, str]
"""Whether it was done; the answer, or the exception; the exception's traceback."""


def main(words: Sequence[str]) -> int:
    """Serve one rank until it asks to end, or is gone.

    Args:
        words: the descriptors of the connection and of the memory, the rank's process, whether
            it was its main thread that started this one, and the signal that shows the stack.
    """
    connection_file, memory_file, parent, by_main_thread, dump_signal = map(int, words)
    for name in IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the rank held them back until here
    if dump_signal:
        faulthandler.register(dump_signal, all_threads=False)
    for file in (connection_file, memory_file):
        os.set_inheritable(file, False)
    end_with(parent, connection_file, bool(by_main_thread))
    connection = Connection(connection_file)
    try:
        make, indices = pickle.loads(connection.recv_bytes())
        envs: VecEnvs = make(indices)
        obs = envs.observe()
        shapes = obs.shape[1:], obs.dtype.str, envs.truths.shape[1]
        specs = (envs.obs_spec, envs.action_spec, shapes)
    except EOFError:
        return 1
    except Exception as error:  # foreign code: it may raise anything
        connection.send(failure(error))
        return 0
    connection.send((True, specs, ""))
    try:
        layout, slots, number = connection.recv()
        share = Share(SharedArrays(memory_file, layout), slots, number)
        os.close(memory_file)
        serve(envs, share, connection)
    except (EOFError, ConnectionError):
        return 1
    envs.close()
    return 0


class Share:
    """Where one worker writes in the rank's memory."""

    def __init__(self, arrays: SharedArrays, slots: slice, number: int) -> None:
        """Take the worker's rows.

        Args:
            arrays: of all workers of the rank.
            slots: of this one.
            number: of this worker, from 0.
        """
        self._rows = {name: arrays[name][slots] for name in (*STEP_FIELDS, *STATE_FIELDS)}
        self._restarts = arrays["restarts"][number : number + 1]

    def put_state(self, envs: VecEnvs) -> None:
        """Write what can be asked for between two steps."""
        self._put("levels_now", envs.levels)
        self._put("truths", envs.truths)
        self._restarts[0] = envs.restarts

    def put_obs(self, envs: VecEnvs) -> None:
        """Write the present observations."""
        self._put("obs", envs.observe())

    def put_step(self, result: StepResult) -> dict[str, Any]:
        """Write what a step brought; return what has no place here."""
        for name in STEP_FIELDS:
            self._rows[name][...] = getattr(result, name)
        names = [field.name for field in fields(result) if field.name not in STEP_FIELDS]
        return {name: getattr(result, name) for name in names}

    def _put(self, name: str, values: np.ndarray) -> None:
        if len(values):  # an engine shows nothing before its first episode
            self._rows[name][...] = values


def serve(envs: VecEnvs, share: Share, connection: Connection) -> None:
    """Do what the rank asks for, until it asks to end.

    Raises:
        EOFError: the rank is gone.
    """
    request = ("start", ())
    while request[0] != "close":
        try:
            done: Answer = (True, do(envs, share, *request), "")
        except Exception as error:  # foreign code: it may raise anything
            done = failure(error)
        connection.send(done)
        request = connection.recv()


def do(envs: VecEnvs, share: Share, verb: str, arguments: Sequence[Any]) -> Any:
    """Do one thing, write down what changed by it, and return what has no place in the memory.

    Args:
        envs: of this worker.
        share: of the memory.
        verb: a method of ``VecEnvs``, or ``start``, which only writes.
        arguments: of that method.
    """
    answer: Any = None
    if verb != "start":
        answer = getattr(envs, verb)(*arguments)
    share.put_state(envs)
    if verb == "step":
        return share.put_step(answer)
    if verb in ("start", "reset", "set_states"):
        share.put_obs(envs)
    return None if verb == "reset" else answer


def failure(error: Exception) -> Answer:
    """Return the answer that lets the rank raise the same exception."""
    text = "".join(traceback.format_exception(error))
    try:
        arrived = pickle.loads(pickle.dumps(error))
    except Exception:  # foreign classes may be unable to travel, in any way
        arrived = None
    if type(arrived) is not type(error):
        error = FailedEnvironmentError(f"{type(error).__name__}: {error}")
    return (False, error, text)


def end_with(parent: int, connection: int, by_main_thread: bool) -> None:
    """Let this process end when the rank does, however that ends.

    Args:
        parent: the rank's process.
        connection: closed by the system when the rank is gone.
        by_main_thread: whether the rank's main thread started this process. The system's own
            signal comes when the thread has ended that started a process.
    """
    library = ctypes.CDLL(None)
    if by_main_thread and hasattr(library, "prctl"):
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    def watch() -> None:
        poller = select.poll()
        poller.register(connection, 0)  # hang-ups only
        poller.poll()
        os._exit(1)

    threading.Thread(target=watch, name="watch the rank", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
