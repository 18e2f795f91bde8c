"""Stands for one rank: lets a process that has imported torch already become it, and waits.

``python -I -S tests/warm_rank.py PLACES words`` is ``python words``, without the two seconds of a
processor that importing torch takes; see ``warm_start``. What comes to this process, signals and
the end, goes on to the real one, and its exit status is that of this one.

It imports next to nothing, for it is started as often as ranks are.
"""

import marshal
import os
import signal
import socket
import sys

FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")


def rank() -> int:
    """Return this process's rank; 0 without a launcher."""
    names = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
    return int(next((os.environ[name] for name in names if name in os.environ), "0"))


def forward(pid: int, number: int) -> None:
    """Send a signal to the real process, which may have ended just now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def gone() -> int:
    """Say that there is no process to wait for; return the exit status."""
    print("the process that jobs are forked from is gone", file=sys.stderr)
    return 1


def main() -> int:
    """Hand words, folder, environment and open files over; return the exit status."""
    places, words = sys.argv[1].split(os.pathsep), sys.argv[2:]
    files = [0, 1, 2]
    if "PMI_FD" in os.environ:  # how MPICH's launcher talks to a rank
        files.append(int(os.environ["PMI_FD"]))
    signals = [getattr(signal, name) for name in FORWARDED]
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # until it is known whom they are for
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(places[rank() % len(places)])
    request = marshal.dumps((words, os.getcwd(), dict(os.environ), files))
    socket.send_fds(server, [request], files)
    for number in files[3:]:
        os.close(number)  # the launcher is to see when the real one closes it
    answer = server.recv(64)
    if not answer:
        return gone()
    pid = int(answer)
    for number in signals:
        signal.signal(number, lambda number, frame: forward(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    status = server.recv(64)
    if not status:
        return gone()
    code = os.waitstatus_to_exitcode(int(status))
    if code < 0:  # it was ended by this signal
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
