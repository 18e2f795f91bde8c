"""Where an agent is watched: a window, or the terminal itself.

Axes: H, W height and width in pixels.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import FrameType, ModuleType, TracebackType
from typing import Any, BinaryIO

import numpy as np

from ppo_mpi.errors import MissingPackageError
from ppo_mpi.modes.drawing import below, caption, fit, half_blocks, resize

ENTER_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[2J"
"""Switch to the alternate screen, hide the cursor, clear."""
LEAVE_SCREEN = "\x1b[0m\x1b[?25h\x1b[?1049l"
"""Plain colors, cursor visible, back to the screen as it was."""

_BEGIN_FRAME = "\x1b[?2026h\x1b[H"
_END_FRAME = "\x1b[?2026l"
"""Terminals that know mode 2026 show a frame at once; the others ignore it."""

_ESCAPES = {"A": "up", "B": "down", "C": "right", "D": "left"}
_WINDOW_KEYS = {65361: "left", 65362: "up", 65363: "right", 65364: "down"}
_MODIFIERS = range(65505, 65519)

WINDOW_HEIGHT = 400
"""Pixels; frames of less than about this height (Atari's have 210) are enlarged."""

_PROBE_SECONDS = 20
_PROBE = "import cv2; cv2.namedWindow('ppo_mpi', cv2.WINDOW_AUTOSIZE); cv2.destroyAllWindows()"


class Viewer(ABC):
    """Shows frames and reads keys; a context manager."""

    prefers_obs: bool
    """Whether few pixels can be shown, so that the agent's small picture is best."""

    @abstractmethod
    def show(self, frame: np.ndarray, status: Sequence[str], keys_help: str) -> None:
        """Show a frame [H, W, 3] uint8, some short lines of text, and which keys there are."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys pressed since the last call, never waiting for one.

        A key is a character, or one of up, down, left, right; ``q`` also stands for a closed
        window.
        """

    @abstractmethod
    def __enter__(self) -> Viewer: ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class TerminalViewer(Viewer):
    """Draws with half-block characters in 24-bit color, on the terminal's alternate screen.

    However the block is left - by ``q``, Ctrl-C, a signal that unwinds or an error - the screen,
    the cursor and the keyboard's mode are as before.
    """

    prefers_obs = True

    def __init__(self, screen: BinaryIO, keyboard: int | None) -> None:
        """Remember where to draw.

        Args:
            screen: the terminal, open for bytes.
            keyboard: file descriptor of the terminal's input; None reads no keys.
        """
        self._screen, self._keyboard = screen, keyboard
        self._mode: list[Any] | None = None
        self._stop_handler: Any = None
        self._size = (0, 0)
        self._unread = ""

    def __enter__(self) -> TerminalViewer:
        # After Ctrl-Z the shell needs its screen back, and `fg` needs ours.
        if hasattr(signal, "SIGTSTP"):
            self._stop_handler = signal.signal(signal.SIGTSTP, self._suspend)
        self._take_terminal()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._give_terminal_back()
        if self._stop_handler is not None:
            signal.signal(signal.SIGTSTP, self._stop_handler)

    def show(self, frame: np.ndarray, status: Sequence[str], keys_help: str) -> None:
        """Draw the frame, shrunk if the terminal is small, and the texts below it."""
        columns, lines = self._terminal_size()
        clear = "\x1b[2J" if (columns, lines) != self._size else ""
        self._size = columns, lines
        parts = [part for part in status if part]
        if self._keyboard is not None:
            parts.append(keys_help)
        text = textwrap.wrap("  |  ".join(parts), columns)[: max(1, lines - 1)]
        room = max(1, lines - len(text))
        drawn = half_blocks(fit(frame, 2 * room, columns))
        # No newline after the last line: it would scroll a full screen.
        rows = [line + "\x1b[K" for line in (*drawn, *text)]
        self._write(_BEGIN_FRAME + clear + "\r\n".join(rows) + "\x1b[J" + _END_FRAME)

    def keys(self) -> list[str]:
        """Read what was typed; an arrow key arrives as several characters."""
        if self._keyboard is None:
            return []
        while select.select([self._keyboard], [], [], 0)[0]:
            typed = os.read(self._keyboard, 1024)
            if not typed:  # the terminal is gone
                self._keyboard = None
                return ["q"]
            self._unread += typed.decode(errors="ignore")
        keys, self._unread = parse_keys(self._unread)
        return keys

    def _terminal_size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._screen.fileno())
        except OSError:
            size = shutil.get_terminal_size()
        # A terminal that does not know its size says 0 x 0.
        return size.columns or 80, size.lines or 24

    def _take_terminal(self) -> None:
        if self._keyboard is not None:
            import termios
            import tty

            self._mode = termios.tcgetattr(self._keyboard)
            tty.setcbreak(self._keyboard)
        self._size = (0, 0)
        self._write(ENTER_SCREEN)

    def _give_terminal_back(self) -> None:
        try:
            self._write(LEAVE_SCREEN)
        finally:
            if self._mode is not None and self._keyboard is not None:
                import termios

                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._mode)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        self._give_terminal_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take_terminal()

    def _write(self, text: str) -> None:
        self._screen.write(text.encode())
        self._screen.flush()


class WindowViewer(Viewer):
    """Shows frames in a window of opencv's."""

    prefers_obs = False

    def __init__(self, title: str) -> None:
        """Open nothing yet.

        Raises:
            MissingPackageError: opencv cannot be imported.
        """
        self._cv2, self._title, self._open = import_cv2(), title, False

    def __enter__(self) -> WindowViewer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open:
            self._cv2.destroyAllWindows()

    def show(self, frame: np.ndarray, status: Sequence[str], keys_help: str) -> None:
        """Show the frame, the status in strips below it and the keys in the title bar."""
        frame = enlarged(frame)
        if not self._open:
            flags = self._cv2.WINDOW_AUTOSIZE | self._cv2.WINDOW_GUI_NORMAL
            self._cv2.namedWindow(self._title, flags)
            self._open = True
        for line in status:
            # Two fields keep the letters' size, whatever the line says.
            frame = below(frame, caption(frame.shape[1], (line, "")))
        # opencv's order is blue, green, red.
        self._cv2.imshow(self._title, np.ascontiguousarray(frame[:, :, ::-1]))
        self._cv2.setWindowTitle(self._title, f"{self._title} - {keys_help}")

    def keys(self) -> list[str]:
        """Read the keys typed into the window; closing it counts as ``q``."""
        if not self._open:
            return []
        keys = []
        while (code := self._cv2.waitKeyEx(1)) != -1:
            if code in _WINDOW_KEYS:
                keys.append(_WINDOW_KEYS[code])
            elif code not in _MODIFIERS and 0 < code & 0xFFFF < 0x110000:
                keys.append("q" if code == 27 else chr(code & 0xFFFF))
        if self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) < 1:
            keys.append("q")
        return keys


def enlarged(frame: np.ndarray) -> np.ndarray:
    """Return a frame [H, W, 3] whose every pixel is as many as a window needs, a whole number."""
    times = max(1, round(WINDOW_HEIGHT / frame.shape[0]))
    return resize(frame, times * frame.shape[0], times * frame.shape[1])


def parse_keys(typed: str) -> tuple[list[str], str]:
    """Split what a terminal sent into keys.

    Args:
        typed: characters and escape sequences (``ESC [ A`` or ``ESC O A`` is the up arrow);
            sequences of other keys are dropped.

    Returns:
        the keys, and the beginning of a sequence whose end has not arrived yet.
    """
    keys, place = [], 0
    while place < len(typed):
        if typed[place] != "\x1b":
            keys.append(typed[place])
            place += 1
            continue
        end = place + 2
        if typed[place + 1 : end] not in ("[", "O"):
            if end > len(typed):
                return keys, typed[place:]
            place += 1  # Escape itself, or Alt with another key: only the other key counts
            continue
        while end < len(typed) and not "@" <= typed[end] <= "~":
            end += 1
        if end == len(typed):
            return keys, typed[place:]
        if typed[end] in _ESCAPES:
            keys.append(_ESCAPES[typed[end]])
        place = end + 1
    return keys, ""


def import_cv2() -> ModuleType:
    """Import opencv.

    Raises:
        MissingPackageError: it is not installed, or it lacks a system library.
    """
    try:
        import cv2
    except ImportError as error:
        if "libGL" in str(error):
            raise MissingPackageError(
                "the window needs opencv, and opencv needs libGL: apt install libgl1 (or watch in "
                "the terminal: --terminal)"
            ) from error
        raise MissingPackageError(
            f"the window needs opencv ({error}): pip install 'opencv-python<4.12' (or watch in "
            "the terminal: --terminal)"
        ) from error
    return cv2


def window_problem() -> str | None:
    """Return why no window can be opened, in a few words, or None if one can.

    It is tried in a process of its own: without a reachable display, or with a broken one, Qt does
    not raise an error but aborts.
    """
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return "no display (DISPLAY is not set)"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True, timeout=_PROBE_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no window came up within {_PROBE_SECONDS} seconds"
    if probe.returncode == 0:
        return None
    said = [line for line in probe.stderr.decode(errors="replace").splitlines() if line.strip()]
    if any("libGL" in line for line in said):
        return "opencv needs libGL (apt install libgl1)"
    display = os.environ.get("DISPLAY", "")
    if any("could not connect to display" in line for line in said):
        return f"the display {display} cannot be reached"
    return f"opencv cannot open a window: {said[-1] if said else 'it said nothing'}"
