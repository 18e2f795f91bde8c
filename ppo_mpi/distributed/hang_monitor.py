"""Ends a rank whose interpreter hangs: a process of its own, run as a script.

A thread cannot notice that C code keeps the interpreter's lock, since it needs the lock itself.
The rank's watchdog writes a line here twice a second, ``LIMIT SECONDS<tab>PHASE``. When no line
comes for that long, the rank's stack is shown and the rank is killed. The end of the rank closes
the pipe and ends this process too. Imports nothing of the package, so that it stays small.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

TICK_SECONDS = 0.5
MARGIN_SECONDS = 1.0
"""The rank's own watchdog, and the other ranks, speak first if they can."""
SECONDS_FOR_STACK = 1.0


def main(pid: int, rank: int, dump_signal: int) -> int:
    """Watch one process until it ends or hangs.

    Args:
        pid: of the rank.
        rank: its number, for the message.
        dump_signal: makes the rank print its stack, whatever it does; 0 = there is none.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTSTP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    limit, phase, silent, unread = 3600.0, "starting up", 0.0, b""
    before = time.monotonic()
    while silent <= limit + MARGIN_SECONDS:
        ready, _, _ = select.select([0], [], [], TICK_SECONDS)
        now = time.monotonic()
        # Time during which this process was stopped too, with the whole job, does not count.
        if not is_stopped(pid):
            silent += min(now - before, 2 * TICK_SECONDS)
        before = now
        if not ready:
            continue
        received = os.read(0, 65536)
        if not received:
            return 0
        *lines, unread = (unread + received).split(b"\n")
        if lines:
            number, _, text = lines[-1].partition(b"\t")
            limit, phase, silent = float(number), text.decode(errors="replace"), 0.0
    message = (
        f"rank {rank} hangs: {phase}, and its interpreter has not answered for {silent:.0f} s "
        "(code that holds the interpreter's lock); its stack:\n"
    )
    os.write(2, message.encode())
    with contextlib.suppress(ProcessLookupError):
        if dump_signal:
            os.kill(pid, dump_signal)
            time.sleep(SECONDS_FOR_STACK)
        os.kill(pid, signal.SIGKILL)
    return 0


def is_stopped(pid: int) -> bool:
    """Return whether a process is suspended, as by Ctrl-Z; False where that cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] == [b"T"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
