"""No rank waits for ever: two threads on each rank that end the job when a rank hangs.

One thread looks at this rank's own heart. The other writes the heartbeat file and, while this
rank waits in a collective, reads those of the others: a rank that is stopped, or whose
interpreter is locked, cannot speak for itself. A slow rank beats, and is waited for.

All times are of *awake* seconds: a job that was suspended as a whole is not late.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ppo_mpi.distributed import hang_monitor
from ppo_mpi.distributed.heart import Heart, silence_limit
from ppo_mpi.distributed.records import FAILURE, HEARTBEAT, read_record, write_record

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator

EXIT_HUNG = 86
"""Exit status of a job in which a rank hung."""
TICK_SECONDS = 0.5
NUM_GUARDS = 3
"""The first ranks watch all others; the others watch only these."""
HEARTBEATS_PER_SECOND = 50
"""Of the whole job, at most: a shared file system has more to do."""
UNSEEN_FACTOR = 10.0
"""How much longer a rank is waited for whose heartbeats cannot be seen."""
SECONDS_FOR_STACK = 0.5
SECONDS_TO_ABORT = 1.0
DUMP_SIGNAL = int(getattr(signal, "SIGRTMIN", 0)) + 3 if hasattr(signal, "SIGRTMIN") else 0
"""Makes a rank print its stack, whatever it does; 0 where the system has no such signals."""


@dataclass
class Observation:
    """What one rank's heartbeat file last said, and since when."""

    alive: tuple[Any, ...] | None
    """Changes as long as the rank works, or its watchdog ticks while it waits."""
    alive_since: float
    beats: int
    beats_since: float


class Watchdog:
    """Ends the job when this rank, or one that it waits for, is silent for too long."""

    def __init__(self, comm: Communicator, asked_seconds: float, console: TextIO) -> None:
        """Watch nothing yet.

        Args:
            comm: the job.
            asked_seconds: longest silence; 0 for a limit that adapts.
            console: the real standard error, not the rank's log.
        """
        self.comm = comm
        self._asked = asked_seconds
        self._console = console
        self._stopping = threading.Event()
        self._parent = os.getppid()
        self._threads: list[threading.Thread] = []
        self._monitor: subprocess.Popen[bytes] | None = None
        self._awake = 0.0
        self._ticks = 0
        self._beats = -1
        self._beat_at = 0.0
        self._waiting_since: float | None = None
        self._slowest = 0.0
        self._seen: dict[int, Observation] = {}
        self._judging = threading.Lock()
        """Held while the other ranks are looked at, and while they become others."""

    @property
    def heart(self) -> Heart:
        """The rank's own."""
        return self.comm.heart

    @property
    def limit(self) -> float:
        """How long this rank may be silent now, in seconds."""
        return silence_limit(self._asked, self.heart, self._slowest)

    def start(self) -> None:
        """Begin to watch."""
        if DUMP_SIGNAL:
            faulthandler.register(DUMP_SIGNAL, file=self._console, all_threads=False)
        if self.comm.is_root:
            self._monitor = start_monitor(self.comm.rank, self._console)
        for work in (self._watch_own_heart, self._watch_others):
            thread = threading.Thread(target=work, name=work.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop watching; the rank is about to leave."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5 * TICK_SECONDS)
        if self._monitor is not None and self._monitor.stdin is not None:
            with contextlib.suppress(OSError):
                self._monitor.stdin.close()
            self._monitor.wait()

    def follow(self, comm: Communicator) -> None:
        """Watch another job from now on: the ranks that are left of the first."""
        with self._judging:
            self.comm = comm
            self._seen = {}
            self._waiting_since = None
        if comm.is_root and self._monitor is None:
            self._monitor = start_monitor(comm.rank, self._console)

    # This rank.

    def _watch_own_heart(self) -> None:
        before = time.monotonic()
        while not self._stopping.wait(TICK_SECONDS):
            now = time.monotonic()
            self._awake += min(now - before, 2 * TICK_SECONDS)
            before = now
            self._ticks += 1
            self._leave_with_launcher()
            self._notice_beats()
            self._tell_monitor()
            silent = self._awake - self._beat_at
            if silent > self.limit:
                self._end_own_hang(silent)

    def _notice_beats(self) -> None:
        heart = self.heart
        if heart.waiting_for:
            if self._waiting_since is None:
                self._waiting_since = self._awake
            self._beat_at = self._awake
            return
        if self._waiting_since is not None:
            self._waiting_since, self._beat_at = None, self._awake
        if heart.beats != self._beats:
            self._slowest = max(self._slowest, self._awake - self._beat_at)
            self._beats, self._beat_at = heart.beats, self._awake

    def _leave_with_launcher(self) -> None:
        """End this rank if what started it is gone: nobody would ever end it."""
        if self.comm.world_size > 1 and self._parent > 1 and os.getppid() != self._parent:
            os._exit(1)

    def _tell_monitor(self) -> None:
        if self._monitor is not None and self._monitor.stdin is not None:
            line = f"{self.limit:.3f}\t{self.heart.describe()}\n"
            with contextlib.suppress(OSError):
                self._monitor.stdin.write(line.encode())
                self._monitor.stdin.flush()

    def _end_own_hang(self, silent: float) -> None:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        comm = self.comm
        rank, host = comm.rank, comm.hosts[comm.rank]
        worker = self.heart.worker
        what = f"rank {rank} on {host} hangs: {self.heart.describe()}, silent for {silent:.0f} s"
        self._say(f"{what}; its stack:\n{stack}{REMEDY}")
        if worker is not None and DUMP_SIGNAL:
            self._say("the stack of that worker, on rank 0 here, elsewhere in the rank's log:\n")
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker[1], DUMP_SIGNAL)
            time.sleep(SECONDS_FOR_STACK)
        self._write_failure(rank, what)
        if self.comm.survives_losses:
            os._exit(EXIT_HUNG)
        self._abort()

    # The others.

    def _watch_others(self) -> None:
        while not self._stopping.wait(self._interval):
            with self._judging:
                self._look_at_others()

    def _look_at_others(self) -> None:
        folder, waiting_since = self.heart.folder, self._waiting_since
        if folder is not None:
            write_record(folder, HEARTBEAT, self.comm.rank, self._heartbeat())
        if waiting_since is None:
            self._seen.clear()
        elif folder is None:
            self._judge_without_records(self._awake - waiting_since)
        else:
            self._judge(folder, waiting_since)

    @property
    def _interval(self) -> float:
        """Seconds between two looks at the files."""
        return max(TICK_SECONDS, self.comm.world_size / HEARTBEATS_PER_SECOND)

    @property
    def _margin(self) -> float:
        """How much later than a rank itself the others speak, the first of them first."""
        return 2 * self._interval + 2 * TICK_SECONDS * min(self.comm.rank, NUM_GUARDS)

    def _heartbeat(self) -> dict[str, Any]:
        heart = self.heart
        return {
            "host": self.comm.hosts[self.comm.rank],
            "pid": os.getpid(),
            "phase": heart.phase,
            "waiting_for": heart.waiting_for,
            "iteration": heart.iteration,
            "beats": heart.beats,
            "ticks": self._ticks,
            "silent_seconds": round(self._awake - self._beat_at, 1),
            "limit_seconds": self.limit,
        }

    def _judge_without_records(self, waited: float) -> None:
        # One that works may be slow, and looks after itself; only one that is stopped does not.
        if waited > UNSEEN_FACTOR * self.limit + self._margin:
            what = f"rank {self.comm.rank} waits for {self.heart.waiting_for} since {waited:.0f} s"
            self._say(f"{what}: another rank hangs or is far behind\n{REMEDY}")
            self._abort()

    def _judge(self, folder: Path, waiting_since: float) -> None:
        guards = range(min(NUM_GUARDS, self.comm.world_size))
        is_guard = self.comm.rank in guards
        watched = range(self.comm.world_size) if is_guard else guards
        records = {r: read_record(folder, HEARTBEAT, r) for r in watched if r != self.comm.rank}
        for rank, record in records.items():
            self._observe(rank, record, waiting_since)
        late = {}
        for rank, record in records.items():
            limit = max(self.limit, (record or {}).get("limit_seconds", 0.0)) + self._margin
            if self._awake - self._seen[rank].alive_since > limit:
                late[rank] = record or {}
        if late:
            self._end_silent(folder, late)
        elif is_guard and self._all_wait(records, waiting_since):
            self._say(
                f"all {self.comm.world_size} ranks wait for each other; rank {self.comm.rank} for "
                f"{self.heart.waiting_for} since {self._awake - waiting_since:.0f} s\n{REMEDY}"
            )
            self._abort()

    def _observe(self, rank: int, record: dict[str, Any] | None, waiting_since: float) -> None:
        if record is None:
            alive, beats = None, -1
        else:
            beats = record.get("beats", -1)
            ticks = record.get("ticks") if record.get("waiting_for") else None
            alive = (record.get("pid"), beats, ticks)
        seen = self._seen.get(rank)
        if seen is None:
            self._seen[rank] = Observation(alive, waiting_since, beats, waiting_since)
            return
        if seen.alive != alive:
            seen.alive, seen.alive_since = alive, self._awake
        if seen.beats != beats:
            seen.beats, seen.beats_since = beats, self._awake

    def _all_wait(self, records: dict[int, dict[str, Any] | None], waiting_since: float) -> bool:
        latest = max([waiting_since, *(seen.beats_since for seen in self._seen.values())])
        all_wait = all(record and record.get("waiting_for") for record in records.values())
        return all_wait and self._awake - latest > self.limit + self._margin

    def _end_silent(self, folder: Path, late: dict[int, dict[str, Any]]) -> None:
        here = self.comm.hosts[self.comm.rank]
        lines, killable = [], True
        for rank, record in sorted(late.items()):
            host = self.comm.hosts[rank]
            phase = record.get("phase", "start-up (it has no heartbeat yet)")
            iteration = record.get("iteration") or 0
            what = f"rank {rank} on {host} hangs: last seen {phase}" + (
                f" in iteration {iteration}" if iteration else ""
            )
            silent = self._awake - self._seen[rank].alive_since
            lines.append(
                f"{what}, silent for {silent:.0f} s (noticed by rank {self.comm.rank}: it is "
                "stopped, or code keeps its interpreter's lock)\n"
            )
            self._write_failure(rank, what, record)
            killable = killable and host == here and "pid" in record
        self._say("".join(lines) + REMEDY)
        self._signal(late, here, DUMP_SIGNAL)
        time.sleep(SECONDS_FOR_STACK)
        if self.comm.survives_losses and killable:
            self._signal(late, here, signal.SIGKILL)
            self._seen.clear()
            return
        self._abort()

    def _signal(self, late: dict[int, dict[str, Any]], here: str, number: int) -> None:
        for rank, record in late.items():
            if number and self.comm.hosts[rank] == here and "pid" in record:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(record["pid"], number)

    # The end.

    def _write_failure(self, rank: int, error: str, record: dict[str, Any] | None = None) -> None:
        if self.heart.folder is not None:
            known = record if record is not None else self._heartbeat()
            kept = {
                key: known[key] for key in ("host", "pid", "phase", "iteration") if key in known
            }
            write_record(self.heart.folder, FAILURE, rank, kept | {"error": error})

    def _say(self, text: str) -> None:
        self._console.write(text)
        self._console.flush()

    def _abort(self) -> None:
        # In a thread: a library may make it wait for a call that the main thread is in.
        abort = threading.Thread(target=self.comm.abort, args=(EXIT_HUNG,), daemon=True)
        abort.start()
        abort.join(SECONDS_TO_ABORT)
        self._leave()

    def _leave(self) -> None:
        os._exit(EXIT_HUNG)


REMEDY = (
    "the job ends; start the same command again to go on from the last checkpoint, and raise "
    "hang_timeout_seconds if such a silence is expected\n"
)


def start_monitor(rank: int, console: TextIO) -> subprocess.Popen[bytes]:
    """Start the process that ends this one if its interpreter hangs."""
    words = [sys.executable, "-I", "-S", hang_monitor.__file__, str(os.getpid()), str(rank)]
    return subprocess.Popen(
        [*words, str(DUMP_SIGNAL)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=console.fileno(),
    )
