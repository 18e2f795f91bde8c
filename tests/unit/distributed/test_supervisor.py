"""What the supervisor makes of the end of a job; real jobs are in tests/faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from jobs import allowed

from ppo_mpi.distributed.records import FAILURE, HEARTBEAT, write_record
from ppo_mpi.distributed.supervisor import (
    TOKEN,
    Failure,
    Life,
    Supervisor,
    end_processes,
    processes_of,
    what_failed,
)


def test_the_first_rank_that_failed_is_the_one_that_is_told(tmp_path: Path):
    write_record(tmp_path, HEARTBEAT, 0, {"iteration": 9})
    write_record(tmp_path, FAILURE, 2, {"host": "b", "iteration": 7, "phase": "collecting",
                                        "error": "ValueError: first"})  # fmt: skip
    time.sleep(0.01)
    write_record(tmp_path, FAILURE, 0, {"host": "a", "iteration": 7, "error": "OSError: later"})
    failure = what_failed(tmp_path, 3, 1)
    assert failure.text == "rank 2 on b failed (collecting in iteration 7): ValueError: first"
    assert (failure.iteration, failure.error) == (7, "ValueError: first")


def test_a_rank_that_left_no_word_is_told_by_the_heartbeats(tmp_path: Path):
    for rank in range(2):
        write_record(tmp_path, HEARTBEAT, rank, {"iteration": 7 + rank})
    assert what_failed(tmp_path, 2, 137) == Failure(
        "a rank was lost in iteration 8 (the launcher left with 137, SIGKILL)", 8, ""
    )
    assert "before the first iteration" in what_failed(tmp_path / "none", 2, 9).text


@pytest.mark.parametrize(
    ("one", "two", "alike"),
    [
        ((7, "KeyError: 'x'"), (7, "KeyError: 'x'"), True),
        ((7, "object at 0x7f12 of 311"), (7, "object at 0x8a of 42"), True),
        ((7, "KeyError: 'x'"), (8, "KeyError: 'x'"), False),
        ((7, "KeyError: 'x'"), (7, "KeyError: 'y'"), False),
        ((7, ""), (7, ""), False),
    ],
)
def test_failures_are_alike_if_the_same_comes_at_the_same_place(one, two, alike: bool):
    assert Failure("", *one).is_like(Failure("", *two)) is alike
    assert not Failure("", *one).is_like(None)


CHILD = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
sys.exit(3)
"""


def test_nothing_of_a_job_outlives_it_not_even_in_a_session_of_its_own():
    supervisor = Supervisor(5.0)
    life = supervisor.run([sys.executable, "-c", CHILD], {})
    assert (life.status, life.stopped) == (3, False)
    deadline = time.monotonic() + allowed(5)
    while processes_of(supervisor.token) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes_of(supervisor.token) == []


def test_a_job_that_stays_when_its_work_is_done_is_ended():
    began = time.monotonic()
    supervisor = Supervisor(grace_seconds=60, leave_seconds=0.5)
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    life = supervisor.run(sleeper, {}, is_finished=lambda: time.monotonic() - began > 1)
    assert (life.status, life.stopped) == (-signal.SIGTERM, False)
    assert time.monotonic() - began < 30


def test_work_that_was_done_and_has_begun_again_is_not_cut_short():
    looks = iter([True] + 100 * [False])
    supervisor = Supervisor(grace_seconds=60, leave_seconds=1.5)
    sleeper = [sys.executable, "-c", "import time; time.sleep(3)"]
    assert supervisor.run(sleeper, {}, is_finished=lambda: next(looks)).status == 0


def test_processes_are_known_by_the_jobs_token():
    job = subprocess.Popen(["sleep", "60"], env=os.environ | {TOKEN: "of this test"})
    deadline = time.monotonic() + allowed(5)
    while processes_of("of this test") != [job.pid] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert end_processes("of this test") == [job.pid]
    assert job.wait(5) == -signal.SIGKILL


TAKES_ITS_TIME = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *a: sys.exit(75))
if {deaf}:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *a: 0)
open({ready!r}, "w").close()
while True: time.sleep(0.05)
"""


def stopped_life(tmp_path: Path, deaf: bool, *signals: int, grace: float) -> tuple[int, float]:
    """Return status and seconds of a job that is told to stop."""
    ready = tmp_path / "ready"
    program = TAKES_ITS_TIME.format(deaf=deaf, ready=str(ready))
    supervisor = Supervisor(grace)

    def tell() -> None:
        while not ready.exists():
            time.sleep(0.01)
        for number in signals:
            supervisor._remember(number, None)
            time.sleep(0.2)

    teller = threading.Thread(target=tell)
    teller.start()
    began = time.monotonic()
    life = supervisor.run([sys.executable, "-c", program], {})
    teller.join()
    assert life.stopped
    return life.status, time.monotonic() - began


def test_a_signal_is_handed_on_and_the_job_may_leave_by_itself(tmp_path: Path):
    assert stopped_life(tmp_path, False, signal.SIGTERM, grace=60)[0] == 75


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGHUP]])
def test_a_job_that_does_not_leave_in_its_time_is_killed(signals: list[int], tmp_path: Path):
    status, seconds = stopped_life(tmp_path, True, *signals, grace=1.0)
    assert status == -signal.SIGKILL
    assert 5 < seconds < 30


def test_ctrl_c_after_another_signal_ends_the_job_at_once(tmp_path: Path):
    status, seconds = stopped_life(tmp_path, True, signal.SIGTERM, signal.SIGINT, grace=60)
    assert status == -signal.SIGKILL
    assert seconds < 20


def test_jobs_beside_each_other_are_ended_by_one_signal_and_end_alone(tmp_path):
    ready = [tmp_path / "one", tmp_path / "two"]
    first = Supervisor(grace_seconds=60)
    jobs = [first, first.beside()]
    lives: list[Life] = []

    def run(job: Supervisor, path: Path) -> None:
        program = TAKES_ITS_TIME.format(deaf=False, ready=str(path))
        lives.append(job.run([sys.executable, "-c", program], {}))

    threads = [
        threading.Thread(target=run, args=pair, daemon=True)
        for pair in zip(jobs, ready, strict=True)
    ]
    for thread in threads:
        thread.start()
    while not all(path.exists() for path in ready):
        time.sleep(0.01)
    # A third job, which ends, takes none of the others along.
    assert first.beside().run([sys.executable, "-c", ""], {}) == Life(0, False)
    assert lives == []
    first.stop()
    for thread in threads:
        thread.join(timeout=60)
    assert lives == [Life(75, True), Life(75, True)]
    assert len({first.token, jobs[1].token}) == 2


def test_a_job_that_has_come_far_enough_saves_and_its_words_go_to_a_file(tmp_path):
    ready, log = tmp_path / "ready", tmp_path / "log"
    log.write_text("before\n")
    program = 'print("hello", flush=True)\n' + TAKES_ITS_TIME.format(deaf=False, ready=str(ready))
    supervisor = Supervisor(grace_seconds=60)
    command = [sys.executable, "-c", program]
    assert supervisor.run(command, {}, is_enough=ready.exists, output=log) == Life(75, False)
    assert log.read_text() == "before\nhello\n"
    assert not supervisor.told_to_stop
