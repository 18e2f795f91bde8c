"""The terminal shows the right pixels, reads keys, and is given back as it was."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ppo_mpi.errors import MissingPackageError
from ppo_mpi.modes import viewers
from ppo_mpi.modes.drawing import half_blocks
from ppo_mpi.modes.viewers import (
    ENTER_SCREEN,
    LEAVE_SCREEN,
    TerminalViewer,
    enlarged,
    import_cv2,
    parse_keys,
    window_problem,
)


class Terminal:
    """A pseudo-terminal: ``slave`` is what a program gets, ``shown`` what a person would see."""

    def __init__(self, lines: int, columns: int) -> None:
        self.master, self.slave = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)
        self.screen = os.fdopen(os.dup(self.slave), "wb", buffering=0)
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the end of a pseudo-terminal on Linux
            while chunk := os.read(self.master, 65536):
                self._chunks.append(chunk)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def shown(self) -> str:
        """Close the program's side and return all it wrote."""
        self.screen.close()
        os.close(self.slave)
        self._reader.join(timeout=10)
        os.close(self.master)
        return b"".join(self._chunks).decode()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(lines=40, columns=100)
    yield made
    with contextlib.suppress(OSError, ValueError):
        made.shown()


IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_the_terminal_shows_a_procgen_observation_as_64_columns_and_32_lines(terminal):
    with TerminalViewer(terminal.screen, None) as viewer:
        viewer.show(IMAGE, ("return 1.0", ""), "q quit")
    shown = terminal.shown()
    for line in half_blocks(IMAGE):
        assert line in shown
    assert shown.count("\u2580") == 64 * 32
    assert "return 1.0" in shown
    assert "q quit" not in shown  # there is no keyboard


def test_a_small_terminal_gets_a_smaller_picture_and_never_scrolls():
    terminal = Terminal(lines=24, columns=30)
    with TerminalViewer(terminal.screen, None) as viewer:
        viewer.show(IMAGE, ("a status that is longer", "than a line of thirty"), "")
    lines = terminal.shown().split("\r\n")
    assert len(lines) <= 24
    assert max(line.count("\u2580") for line in lines) == 30


def test_the_terminal_is_restored_even_after_an_exception(terminal):
    before = termios.tcgetattr(terminal.slave)

    def fail() -> None:
        with TerminalViewer(terminal.screen, terminal.slave) as viewer:
            assert termios.tcgetattr(terminal.slave)[3] != before[3]
            viewer.show(IMAGE, ("", ""), "")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert termios.tcgetattr(terminal.slave) == before
    shown = terminal.shown()
    assert shown.startswith(ENTER_SCREEN)
    assert shown.endswith(LEAVE_SCREEN)
    assert "\x1b[?25h" in LEAVE_SCREEN
    assert "\x1b[?1049l" in LEAVE_SCREEN


def test_keys_are_read_without_waiting_and_without_enter(terminal):
    with TerminalViewer(terminal.screen, terminal.slave) as viewer:
        assert viewer.keys() == []
        terminal.type("n\x1b[A q")
        keys: list[str] = []
        for _ in range(1000):
            keys += viewer.keys()
            if len(keys) == 4:
                break
        assert keys == ["n", "up", " ", "q"]


def test_without_a_keyboard_there_are_no_keys(terminal):
    with TerminalViewer(terminal.screen, None) as viewer:
        assert viewer.keys() == []


def test_a_keyboard_at_its_end_quits(terminal):
    read, write = os.pipe()
    os.close(write)
    viewer = TerminalViewer(terminal.screen, read)
    assert viewer.keys() == ["q"]
    assert viewer.keys() == []
    os.close(read)


def test_arrow_keys_arrive_in_both_spellings_and_other_sequences_are_dropped():
    assert parse_keys("\x1b[A\x1b[B\x1b[C\x1b[D") == (["up", "down", "right", "left"], "")
    assert parse_keys("\x1bOA\x1bOD") == (["up", "left"], "")
    assert parse_keys("a\x1b[15~b\x1b[1;5Qc") == (["a", "b", "c"], "")
    assert parse_keys("\x1b[1;5C") == (["right"], "")
    assert parse_keys("\x1bx") == (["x"], "")


def test_half_an_escape_sequence_waits_for_its_end():
    assert parse_keys("n\x1b") == (["n"], "\x1b")
    assert parse_keys("\x1b[") == ([], "\x1b[")
    assert parse_keys("\x1b[1;") == ([], "\x1b[1;")


def test_without_a_display_the_reason_is_said(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert window_problem() == "no display (DISPLAY is not set)"


def test_a_display_that_cannot_be_reached_is_found_out_without_dying(monkeypatch):
    pytest.importorskip("cv2", reason="opencv cannot be imported", exc_type=ImportError)
    monkeypatch.setenv("DISPLAY", ":987")
    problem = window_problem()
    assert problem is not None
    assert ":987 cannot be reached" in problem or "opencv" in problem


def test_a_missing_libgl_says_what_to_install(monkeypatch, tmp_path):
    package = "raise ImportError('libGL.so.1: cannot open shared object file')\n"
    (tmp_path / "cv2.py").write_text(package)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(MissingPackageError, match="apt install libgl1"):
        import_cv2()
    (tmp_path / "cv2.py").write_text("raise ImportError('No module named cv2')\n")
    with pytest.raises(MissingPackageError, match="pip install 'opencv-python"):
        import_cv2()


def test_watching_imports_no_opencv_before_a_window_is_wanted():
    code = (
        "import sys, ppo_mpi.modes.play, ppo_mpi.modes.record;"
        "sys.exit('cv2' in sys.modules or 'imageio_ffmpeg' in sys.modules)"
    )
    root = Path(viewers.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize(
    ("size", "shown"),
    [((210, 160), (420, 320)), ((512, 512), (512, 512)), ((480, 480), (480, 480)),
     ((64, 64), (384, 384)), ((300, 500), (300, 500))],
)  # fmt: skip
def test_small_frames_are_enlarged_by_a_whole_number_in_a_window(size, shown):
    frame = np.random.default_rng(0).integers(255, size=(*size, 3), dtype=np.uint8)
    large = enlarged(frame)
    assert large.shape == (*shown, 3)
    times = shown[0] // size[0]
    np.testing.assert_array_equal(large[::times, ::times], frame)
    np.testing.assert_array_equal(large[times - 1 :: times, times - 1 :: times], frame)
