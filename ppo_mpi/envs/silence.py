"""Keeps what libraries print by themselves, in C as well, off the console of every rank."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator

PROCESS = threading.RLock()
"""Held while something that the whole process has is exchanged for an environment: its output,
its global random numbers. Environments that take turns are stepped in threads."""


@contextlib.contextmanager
def silent_output() -> Iterator[None]:
    """Let standard output and error of this process go nowhere within the block.

    What Python printed before is written out first; exceptions pass as ever.
    """
    with PROCESS, contextlib.ExitStack() as cleanup:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError):  # none, or closed
                stream.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        cleanup.callback(os.close, nowhere)
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # it is closed: nothing is shown anyway
                kept = os.dup(descriptor)
                cleanup.callback(os.close, kept)
                cleanup.callback(os.dup2, kept, descriptor)
                os.dup2(nowhere, descriptor)
        cleanup.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield


def hush_mujoco() -> None:
    """Let MuJoCo say each of its warnings once, on standard error, and write no file of them.

    By itself it appends them to MUJOCO_LOG.TXT in the current folder, from every rank. What it
    says of old words in the models of others is of no use to who trains in them.
    """
    try:
        import mujoco
    except ImportError:
        return  # who makes the environment says what is missing
    if mujoco.get_mju_user_warning() is not None:
        return  # dm_control has one of its own
    said = set()

    def say(text: str) -> None:
        if "deprecated" not in text and text not in said:
            said.add(text)
            print(f"MuJoCo: {text}", file=sys.stderr)

    mujoco.set_mju_user_warning(say)
