"""The dashboard: what stands on the screen, in which order, and what it leaves behind."""

from __future__ import annotations

import sys

import pytest
from screen import Screen

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.storage import dashboard, displays
from ppo_mpi.storage.curves import EpisodeRecord
from ppo_mpi.storage.dashboard import Dashboard
from ppo_mpi.storage.live_region import LiveRegion
from ppo_mpi.storage.logger import Logger

ROW = {
    "mean_return": 5.0, "num_episodes": 9.0, "policy_loss": -0.1, "collect_seconds": 2.0,
    "engine_seconds": 1.0, "update_seconds": 2.0, "communication_seconds": 0.0,
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def size(monkeypatch) -> list[int]:
    """A terminal, which the test may resize; standard error is shown there as well."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(dashboard, "errors_share_terminal", lambda: True)
    return [80, 30]


def opened(comm: Communicator, size: list[int], total: int = 1000) -> Dashboard:
    return Dashboard("a title", total, comm.heart, comm.hosts, lambda: 7.0, lambda: tuple(size))


def frames(text: str) -> list[str]:
    """Return what the panel's top edge begins."""
    return [row for row in text.splitlines() if "a title" in row]


def test_one_panel_stands_at_the_end_with_the_newest_numbers(capsys, clock, size):
    comm = Communicator()
    shown = opened(comm, size)
    shown.message("before")
    for iteration in range(1, 11):
        clock[0] += 1
        shown.update(iteration, 100 * iteration, 50.0, ROW)
    shown.close()
    print("after")
    screen = Screen(80)
    screen.feed(capsys.readouterr().out)
    assert screen.rows[0] == "before"
    assert len(frames("\n".join(screen.rows))) == 1
    assert "100%" in screen.rows[2]
    assert screen.rows[-3].startswith("╰")
    assert screen.rows[-2:] == ["after", ""]


def test_it_is_drawn_by_beats_within_an_iteration_and_not_too_often(capsys, clock, size):
    comm = Communicator()
    opened(comm, size)
    comm.heart.beat("building")
    assert capsys.readouterr().out == ""  # nothing has begun
    comm.heart.begin_iteration(1)
    for _ in range(100):
        clock[0] += 0.01
        comm.heart.beat("collecting")
    out = capsys.readouterr().out
    assert len(frames(out)) == 2
    assert "first iteration" in out
    assert "collecting" in out


def test_the_curves_of_a_run_that_goes_on_begin_with_its_earlier_sessions(
    capsys, monkeypatch, clock, size, tmp_path
):
    monkeypatch.setattr(displays, "terminal_size", lambda under_slurm: tuple(size))
    for resumed, returns in ((0, (0.0, 10.0, 999.0)), (2, (20.0,))):
        logger = Logger(tmp_path, Communicator(), "live", 900, resumed, title="a title")
        for number, mean in enumerate(returns, start=resumed + 1):
            clock[0] += 1
            episodes = [EpisodeRecord(number, "train", 0, 0, mean, 1)]
            logger.load_state_dict({
                "windows": {"train": [], "test": []}, "wall_seconds": 0.0,
                "num_episodes": {"train": 0, "test": 0},
            })  # fmt: skip
            logger.log(number, 300 * number, {}, episodes)
        logger.close()
    # The row of 999 lay behind the checkpoint: it is none of the run's any more.
    assert "  ▁▅█" in capsys.readouterr().out.split("a title")[-1]


def test_messages_stand_below_the_panel_until_newer_ones_push_them_above(capsys, clock, size):
    shown = opened(Communicator(), size)
    shown.update(1, 100, 50.0, ROW)
    print("a warning of a library", file=sys.stderr)
    for number in range(8):
        shown.message(f"message {number}", is_warning=number % 2 == 1)
    shown.close()
    out, err = capsys.readouterr()
    screen = Screen(80)
    screen.feed(out)
    assert err == ""
    top = next(i for i, row in enumerate(screen.rows) if "a title" in row)
    assert screen.rows[:top] == ["a warning of a library", "message 0", "message 1"]
    below = [row for row in screen.rows[top:] if "message" in row]
    assert below == [f"message {number}" for number in range(2, 8)]


def test_warnings_reach_a_standard_error_that_goes_elsewhere(capsys, monkeypatch, clock, size):
    monkeypatch.setattr(dashboard, "errors_share_terminal", lambda: False)
    shown = opened(Communicator(), size)
    shown.update(1, 100, 50.0, ROW)
    shown.message("news")
    shown.message("beware", is_warning=True)
    shown.close()
    out, err = capsys.readouterr()
    assert err == "beware\n"
    assert "news" in out
    assert "beware" in out


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 140])
@pytest.mark.parametrize("rows", [5, 10, 15, 24, 50])
@pytest.mark.parametrize("hosts", [1, 12])
def test_it_fits_every_terminal(capsys, clock, size, columns, rows, hosts):
    size[:] = columns, rows
    comm = Communicator()
    comm.hosts = [f"a-host-with-a-long-name-{i}" for i in range(hosts)]
    shown = opened(comm, size, 25_000_000)
    loads = {"busy_min": 0.1, "busy_median": 0.5, "busy_max": 1.0, "slowest_rank": hosts - 1}
    memory = {"memory_mebibytes": 1e5, "largest_rank_mebibytes": 1e4, "waiting_seconds": 0.0}
    shown.update(1, 123_456, 1234.5, {**ROW, **loads, **memory, "test_mean_return": -1.5})
    shown.message("some words that are many " * 5)
    shown.close()
    screen = Screen(columns)  # which refuses rows that are too long
    screen.feed(capsys.readouterr().out)
    drawn = next((i for i, row in enumerate(screen.rows) if "╭" in row or " 0%" in row), 0)
    assert len(screen.rows) - drawn <= rows


def test_a_window_that_becomes_narrower_has_wrapped_the_lines(capsys):
    region = LiveRegion()
    region.draw([], [("x" * 79, 79), ("y" * 10, 10)], 80)
    region.draw([], [("z", 1)], 40)
    assert capsys.readouterr().out.split("\r")[-1].startswith("\x1b[3A")  # 2 rows of x, 1 of y


def test_after_ctrl_c_it_is_drawn_once_more_below(capsys, monkeypatch, clock, size):
    shown = opened(Communicator(), size)
    shown.update(1, 100, 50.0, ROW)
    monkeypatch.setattr(STOP, "signal_name", "SIGINT")
    print("^C and what else stands there")
    clock[0] += 9
    shown.update(2, 200, 50.0, ROW)
    shown.close()
    screen = Screen(80)
    screen.feed(capsys.readouterr().out)
    text = "\n".join(screen.rows)
    assert len(frames(text)) == 2
    assert "^C and what else stands there" in text
    assert "iteration 2" in text.split("stands there")[1]


def test_a_terminal_that_is_gone_does_not_end_the_training(monkeypatch, clock, size):
    comm = Communicator()
    shown = opened(comm, size)

    def fail(text: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys.stdout, "write", fail)
    shown.update(1, 100, 50.0, ROW)
    shown.close()
    assert comm.heart.pulse is None


def test_nothing_is_left_behind(capsys, clock, size):
    before = sys.stderr
    comm = Communicator()
    shown = opened(comm, size)
    assert sys.stderr is not before
    shown.update(1, 100, 50.0, ROW)
    shown.close()
    assert sys.stderr is before
    assert comm.heart.pulse is None
    assert "\x1b[?" not in capsys.readouterr().out  # the cursor was never hidden


def test_letters_that_an_encoding_lacks_are_replaced(capsys, monkeypatch, clock, size):
    monkeypatch.setattr(dashboard, "_can_encode", lambda text, encoding: False)
    shown = opened(Communicator(), size)
    shown.update(1, 100, 50.0, ROW)
    shown.close()
    assert capsys.readouterr().out.isascii()


def test_live_without_a_terminal_says_so_and_prints_lines(capsys):
    logger = Logger(None, Communicator(), "live", 10, 0)
    logger.log(1, 10, {}, [])
    logger.close()
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    assert "100%" in out
    assert "display=live: the output is no terminal" in err


def test_auto_is_live_at_a_terminal_only(monkeypatch, size):
    monkeypatch.setattr(
        displays, "terminal_size", lambda under_slurm: None if under_slurm else size
    )
    shown = displays.open_display("auto", "t", 10, Communicator(), lambda: 0.0)
    assert isinstance(shown, Dashboard)
    shown.close()
    for display in ("plain", "off", "live"):
        assert not isinstance(
            displays.open_display(display, "t", 10, Communicator(), lambda: 0.0), Dashboard
        )
