"""Who is silent for too long, as one rank's watchdog judges it by the heartbeats of the others.

Time is set by hand here; real hangs of real jobs are in tests/faults.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.records import FAILURE, HEARTBEAT, read_record, write_record
from ppo_mpi.distributed.watchdog import EXIT_HUNG, Watchdog

LIMIT = 10.0


class Aborted(BaseException):
    """Stands for the end of the process."""


class OneOfMany(Communicator):
    """A rank of a job whose other ranks are only heartbeat files."""

    def __init__(self, rank: int, world_size: int, folder: Path) -> None:
        super().__init__()
        self.rank, self.world_size = rank, world_size
        self.hosts = [f"host{r}" for r in range(world_size)]
        self.heart.folder = folder
        self.heart.begin_iteration(4)
        self.status: int | None = None

    def abort(self, status: int) -> None:
        self.status = status


class Scene:
    """One rank that waits since second 0, and what it reads."""

    def __init__(self, folder: Path, rank: int = 0, world_size: int = 3) -> None:
        self.folder = folder
        self.comm = OneOfMany(rank, world_size, folder)
        self.comm.heart.waiting_for = "a sum"
        self.console = io.StringIO()
        self.watchdog = Watchdog(self.comm, LIMIT, self.console)
        self.watchdog._waiting_since = 0.0
        self.watchdog._leave = self._leave  # type: ignore[method-assign]

    def _leave(self) -> None:
        raise Aborted

    def beat(self, rank: int, beats: int, waiting_for: str = "", **more: Any) -> None:
        record = {"beats": beats, "ticks": 0, "waiting_for": waiting_for, "phase": "collecting"}
        write_record(self.folder, HEARTBEAT, rank, record | {"iteration": 4, "pid": 1} | more)

    def play(self, seconds: int, beats: Callable[[int], None]) -> int | None:
        """Let time pass; return the second in which the job is ended, None if it is not."""
        for second in range(seconds):
            beats(second)
            self.watchdog._awake = second
            try:
                self.watchdog._judge(self.folder, 0.0)
            except Aborted:
                assert self.comm.status == EXIT_HUNG
                return second
        return None


def test_a_slow_rank_that_beats_is_waited_for(tmp_path: Path):
    scene = Scene(tmp_path)

    def beats(second: int) -> None:
        scene.beat(1, second)
        scene.beat(2, 5, waiting_for="a sum", ticks=second)

    assert scene.play(100, beats) is None


def test_a_rank_without_a_beat_is_named_with_host_phase_and_iteration(tmp_path: Path):
    scene = Scene(tmp_path)
    scene.beat(1, 7)
    second = scene.play(100, lambda s: scene.beat(2, 5, waiting_for="a sum", ticks=s))
    assert second is not None
    assert LIMIT < second <= LIMIT + 3
    told = scene.console.getvalue()
    assert "rank 1 on host1 hangs: last seen collecting in iteration 4" in told
    assert "rank 2" not in told
    failure = read_record(tmp_path, FAILURE, 1)
    assert failure is not None
    assert "hangs" in failure["error"]


def test_a_rank_that_was_stopped_while_it_waited_is_named(tmp_path: Path):
    scene = Scene(tmp_path)
    scene.beat(1, 7, waiting_for="a sum", ticks=3)
    assert scene.play(100, lambda second: scene.beat(2, second)) is not None
    assert "rank 1 on host1" in scene.console.getvalue()


def test_a_rank_without_any_heartbeat_is_named(tmp_path: Path):
    scene = Scene(tmp_path, world_size=2)
    assert scene.play(100, lambda second: None) is not None
    assert "rank 1 on host1 hangs: last seen start-up" in scene.console.getvalue()


def test_a_rank_that_takes_longer_by_its_own_limit_is_given_that_time(tmp_path: Path):
    scene = Scene(tmp_path, world_size=2)
    scene.beat(1, 7, phase="saving", limit_seconds=50.0)
    second = scene.play(100, lambda second: None)
    assert second is not None
    assert second > 50


def test_ranks_that_all_wait_for_each_other_are_ended(tmp_path: Path):
    scene = Scene(tmp_path)

    def beats(second: int) -> None:
        for rank in (1, 2):
            scene.beat(rank, 5, waiting_for="a barrier", ticks=second)

    assert scene.play(100, beats) is not None
    assert "all 3 ranks wait for each other" in scene.console.getvalue()


@pytest.mark.parametrize(("rank", "is_noticed"), [(0, True), (2, True), (3, False)])
def test_the_first_ranks_watch_all_and_the_others_only_the_first(
    rank: int, is_noticed: bool, tmp_path: Path
):
    scene = Scene(tmp_path, rank=rank, world_size=6)
    scene.beat(5, 1)  # never again

    def beats(second: int) -> None:
        for other in {0, 1, 2, 3, 4} - {rank}:
            scene.beat(other, second)

    assert (scene.play(40, beats) is not None) is is_noticed


def test_a_wait_shows_in_no_silence_of_ones_own(tmp_path: Path):
    scene = Scene(tmp_path)
    watchdog, heart = scene.watchdog, scene.comm.heart
    for second in range(60):
        watchdog._awake = second
        watchdog._notice_beats()
    assert watchdog._awake - watchdog._beat_at == 0
    heart.waiting_for = ""
    for second in range(60, 64):
        watchdog._awake = second
        watchdog._notice_beats()
    assert watchdog._awake - watchdog._beat_at == 3
    heart.beat("learning")
    watchdog._notice_beats()
    assert watchdog._slowest == 3


def test_where_no_heartbeats_can_be_seen_a_rank_is_waited_for_much_longer(tmp_path: Path):
    scene = Scene(tmp_path)
    scene.watchdog._judge_without_records(9 * LIMIT)
    with pytest.raises(Aborted):
        scene.watchdog._judge_without_records(11 * LIMIT)
    assert "rank 0 waits for a sum since 110 s" in scene.console.getvalue()
