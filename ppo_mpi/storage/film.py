"""A film of a training environment: one of its episodes now and then, each a video of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.video import VideoWriter

FPS = 15
"""Steps shown per second, as record shows them."""
MOST_FRAMES = 200 * FPS
"""An episode that does not end is shown so far."""


class Film:
    """Takes part in every step and writes the episodes that are due.

    Nothing that fails here fails the training: it is told once, and there are no more videos.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        num_episodes: int,
        warn: Callable[[str], None],
        made: Callable[[Path], None] = lambda path: None,
    ) -> None:
        """Wait for the beginning of an episode.

        Args:
            folder: of the videos.
            every: episodes from one that is shown to the next, >= 1; the first one is shown.
            num_episodes: that the environment has ended so far.
            warn: tells the user something.
            made: is told of each video that is there as a whole.
        """
        self._made = made
        self._folder, self._every, self._warn = folder, every, warn
        self._number = num_episodes + 1
        """Of the episode under way, from 1: its row of the environment in episodes.csv."""
        self._overdue = False
        """Whether an episode that should have been shown was not, or not as a whole."""
        self._failed = False
        self._writer: VideoWriter | None = None
        self._num_frames = 0

    def begin(self, take: Callable[[], np.ndarray]) -> None:
        """See an episode begin.

        Args:
            take: draws the present frame, [H, W, 3] uint8.
        """
        self._drop()
        self._note_due()
        if not self._overdue or self._failed:
            return
        path = self._folder / f"episode-{self._number:06d}.mp4"
        self._try(lambda: self._open(path))
        self.frame(take)

    def frame(self, take: Callable[[], np.ndarray]) -> None:
        """See a step within an episode; arguments as of ``begin``."""
        if self._writer is None:
            return
        writer = self._writer
        self._try(lambda: writer.write(take()))
        self._num_frames += 1
        if self._num_frames == MOST_FRAMES:
            self._finish()

    def end(self, take: Callable[[], np.ndarray], counts: bool) -> None:
        """See an episode end and the next one begin; what is drawn now belongs to that.

        Args:
            take: as of ``begin``.
            counts: False if the environment raised: such an episode is not told of.
        """
        if counts:
            self._note_due()
            self._finish()
            self._number += 1
        self.begin(take)

    @property
    def is_running(self) -> bool:
        """Whether the present episode is being shown."""
        return self._writer is not None

    def close(self) -> None:
        """Leave no unfinished video behind."""
        self._drop()

    def _note_due(self) -> None:
        self._overdue = self._overdue or (self._number - 1) % self._every == 0

    def _open(self, path: Path) -> None:
        self._writer, self._num_frames = VideoWriter(path, FPS), 0

    def _finish(self) -> None:
        if self._writer is not None:
            writer = self._writer
            self._try(lambda: self._made(writer.finish().path))
            self._overdue = self._failed
        self._writer = None

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.abort()
        self._writer = None

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (ConfigError, ValueError, OSError) as error:  # VideoError is a ConfigError
            self._drop()
            self._failed = True
            self._warn(f"no more videos of the training (capture_video): {error}")
