"""What a run reports: progress.csv, episodes.csv, TensorBoard files and the progress line.

Rank 0 alone writes; on the other ranks a Logger does nothing. All that arrives here has already
been reduced over the job, so nothing in this file communicates.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppo_mpi.storage.curves import Curves, past_values
from ppo_mpi.storage.curves import EpisodeRecord as EpisodeRecord  # logger.log's argument
from ppo_mpi.storage.displays import Display, open_display
from ppo_mpi.storage.interval import Interval
from ppo_mpi.storage.per_game import GameCurves
from ppo_mpi.storage.run_folder import PROGRESS
from ppo_mpi.storage.trackers import Trackers, Tracking

if TYPE_CHECKING:
    from torch import nn

    from ppo_mpi.distributed.communicator import Communicator

EPISODE_WINDOW = 100
"""Episodes behind the reported mean return (the usual number in the field)."""

SPARK_COLUMNS = ("mean_return", "test_mean_return")
"""What the panel shows of a run from its beginning on."""

_NEWEST_RATE_WEIGHT = 0.2  # smooths the speed that is shown, so that the ETA does not jump


class Logger:
    """Writes a run's curves and shows its progress, on rank 0."""

    def __init__(
        self,
        run_dir: Path | None,
        comm: Communicator,
        display: Display,
        total_timesteps: int,
        resumed_iteration: int,
        games: GameCurves | None = None,
        log_every: int = 1,
        logged_iteration: int | None = None,
        title: str = "",
        tracking: Tracking | None = None,
        eval_every: int = 0,
    ) -> None:
        """Open the files, cut at the iteration from which the run goes on.

        Args:
            run_dir: the run's folder, which exists; None writes no files.
            comm: rank 0 alone writes and prints.
            display: how progress is shown.
            total_timesteps: of the whole job.
            resumed_iteration: the iteration of the checkpoint; 0 starts the curves afresh.
            games: curves of each game, where there are several.
            log_every: iterations of a row.
            logged_iteration: the last one of the last row, but for a run's end; None for
                ``resumed_iteration``. The metrics of those in between are in ``state_dict``.
            title: of the panel.
            tracking: whom else the curves are told; None for TensorBoard.
            eval_every: iterations from one evaluation to the next; 0 = none.
        """
        if logged_iteration is None:
            logged_iteration = resumed_iteration
        self._row_ends = [every for every in (log_every, eval_every) if every]
        self._total, self._is_first_row = total_timesteps, True
        self._interval, self._logged_iteration = Interval(), logged_iteration
        self._games = games
        self._resumed_iteration = resumed_iteration
        self._windows: dict[str, deque[tuple[float, int]]] = {
            split: deque(maxlen=EPISODE_WINDOW) for split in ("train", "test")
        }
        self._num_episodes = {"train": 0, "test": 0}
        self._earlier_seconds = 0.0
        self._started = self._logged_at = time.monotonic()
        self._logged_timesteps: int | None = None
        self._shown_rate: float | None = None
        self._curves, self._line = None, None
        self._trackers: Trackers | None = None
        self._videos: list[Path] = []
        self._histograms_every = 0
        if comm.is_root:
            self._line = open_display(display, title, total_timesteps, comm, self._wall_seconds)
            if run_dir is not None:
                game_of = games.game_of if games else None
                self._curves = Curves(run_dir, resumed_iteration, game_of, logged_iteration)
                if self._curves.warning:
                    self.message(self._curves.warning, is_warning=True)
                self._line.recall(past_values(run_dir / PROGRESS, SPARK_COLUMNS))
                tracking = tracking or Tracking()
                self._histograms_every = tracking.histograms_every
                self._trackers = Trackers(tracking, run_dir, partial(self.message, is_warning=True))

    def log(
        self,
        iteration: int,
        timesteps: int,
        metrics: Mapping[str, float],
        episodes: Sequence[EpisodeRecord],
    ) -> None:
        """Take one iteration in; write and show a row if it ends one.

        A row ends with every iteration that ``log_every`` divides, and with each evaluation, so
        that its numbers stand at its timesteps. The run's last iteration has a row of its own,
        with what is left; a run that is extended does without it.

        Args:
            iteration: from 1.
            timesteps: of the whole job, so far.
            metrics: reduced over the job. The first call's keys become columns; later ones may
                lack some, which leaves their cells empty (as NaN does), but not bring new ones.
            episodes: the job's episodes that ended in this iteration, sorted the same way
                whatever the number of ranks.
        """
        if self._line is None:
            return
        for episode in episodes:
            self._windows[episode.split].append((float(episode.episode_return), episode.length))
            self._num_episodes[episode.split] += 1
            if self._games is not None:
                self._games.add(episode)
        if self._curves is not None:
            self._curves.write_episodes(episodes)
        while self._videos and self._trackers is not None:
            self._trackers.video(timesteps, self._videos.pop(0))
        self._interval.add(metrics)
        ends_row = any(iteration % every == 0 for every in self._row_ends)
        if not ends_row and timesteps < self._total:
            return
        now = time.monotonic()
        before = self._logged_timesteps
        if before is None:  # each iteration takes as many timesteps as the others
            before = timesteps * self._resumed_iteration // iteration
        rate = (timesteps - before) / max(now - self._logged_at, 1e-9)
        self._logged_at, self._logged_timesteps = now, timesteps
        row = self._row(iteration, timesteps, rate, self._interval.metrics())
        if self._curves is not None:
            self._curves.write(row)
        if self._trackers is not None:
            if self._is_first_row:  # all iterations have as many timesteps
                self._trackers.purge(timesteps * self._logged_iteration // iteration + 1)
            self._trackers.row(timesteps, row)
        self._is_first_row = False
        if ends_row:
            self._interval.clear()
            self._logged_iteration = iteration
        old_rate = rate if self._shown_rate is None else self._shown_rate
        self._shown_rate = old_rate + _NEWEST_RATE_WEIGHT * (rate - old_rate)
        self._line.update(iteration, timesteps, self._shown_rate, row)

    def _row(
        self, iteration: int, timesteps: int, rate: float, metrics: Mapping[str, float]
    ) -> dict[str, float | None]:
        returns = [episode_return for episode_return, _ in self._windows["train"]]
        lengths = [length for _, length in self._windows["train"]]
        row: dict[str, float | None] = {
            "iteration": iteration,
            "timesteps": timesteps,
            "wall_seconds": round(self._wall_seconds(), 3),
            "timesteps_per_second": round(rate, 3),
            "mean_return": _mean(returns),
            "median_return": statistics.median(returns) if returns else None,
            "min_return": min(returns, default=None),
            "max_return": max(returns, default=None),
            "mean_length": _mean(lengths),
            "num_episodes": self._num_episodes["train"],
            "test_mean_return": _mean([r for r, _ in self._windows["test"]]),
            "test_mean_length": _mean([length for _, length in self._windows["test"]]),
            "test_num_episodes": self._num_episodes["test"],
        }
        if self._games is not None:
            row |= self._games.columns()
        clash = row.keys() & metrics.keys()
        assert not clash, f"metrics {sorted(clash)} have the names of the logger's own columns"
        return row | {k: None if math.isnan(v) else float(v) for k, v in metrics.items()}

    def mean_return(self, split: Literal["train", "test"] = "train") -> float | None:
        """Return the mean over the last 100 episodes; None before the first, and off rank 0."""
        return _mean([episode_return for episode_return, _ in self._windows[split]])

    def message(self, text: str, *, is_warning: bool = False) -> None:
        """Print a line where it does not break the panel; warnings go to standard error."""
        if self._line is not None:
            self._line.message(text, is_warning=is_warning)

    def saved(self, name: str) -> None:
        """Hear of a checkpoint that was written."""
        if self._line is not None:
            self._line.saved(name)

    def parameters(self, iteration: int, timesteps: int, model: nn.Module) -> None:
        """Tell the trackers how a model's parameters are spread, if it is time."""
        every = self._histograms_every
        if self._trackers is not None and every and iteration % every == 0:
            self._trackers.parameters(timesteps, model)

    def video(self, path: Path) -> None:
        """Tell the trackers of a video of the training, with the next iteration."""
        self._videos.append(path)

    def flush(self) -> None:
        """Wait until the curves are on the disk; before a checkpoint that refers to them."""
        if self._curves is not None:
            self._curves.flush()

    def close(self) -> None:
        """Show the last iteration if it was not shown, and close the files."""
        if self._line is not None:
            self._line.close()
        if self._trackers is not None:
            self._trackers.close()
        if self._curves is not None:
            self._curves.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, for JSON; rank 0's is the one that counts."""
        return {
            "windows": {
                split: [list(e) for e in window] for split, window in self._windows.items()
            },
            "num_episodes": dict(self._num_episodes),
            "wall_seconds": self._wall_seconds(),
            "interval": self._interval.state_dict(),
            "logged_iteration": self._logged_iteration,
        } | ({"games": self._games.state_dict()} if self._games else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``: the same episode window, counts and wall clock."""
        for split, window in self._windows.items():
            window.clear()
            window.extend((float(r), int(length)) for r, length in state["windows"][split])
            self._num_episodes[split] = int(state["num_episodes"][split])
        if self._games is not None:
            self._games.load_state_dict(state["games"])
        self._interval.load_state_dict(state.get("interval", {}))  # older ones have a row for each
        self._earlier_seconds = float(state["wall_seconds"])
        self._started = time.monotonic()

    def _wall_seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
