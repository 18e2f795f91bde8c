"""The mode record: a video of a trained agent.

Axes: H, W height and width in pixels.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from ppo_mpi.agent import Agent
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.drawing import below, beside, caption, grid, resize
from ppo_mpi.modes.insight import Insight, Observer
from ppo_mpi.modes.playback import (
    HOLD_SECONDS,
    Player,
    View,
    advance,
    agent_picture,
    load_watched_agent,
    signals_unwind,
)
from ppo_mpi.modes.saliency import saliency_picture, value_curve
from ppo_mpi.settings.record import RecordConfig, grid_shape
from ppo_mpi.storage.video import Video, VideoFormat, VideoWriter, free_path

_SUFFIXES = {".mp4": "mp4", ".gif": "gif"}


def record_command(config: RecordConfig) -> int:
    """Record the agent of a run and say where the video is.

    Returns:
        the exit status, 0.

    Raises:
        ConfigError: the run has no checkpoint, or the video cannot be written.
    """
    agent = load_watched_agent(config)
    with signals_unwind():
        for video in record(agent, config):
            print(f"wrote {video.describe()}")
    return 0


def record(agent: Agent, config: RecordConfig) -> list[Video]:
    """Write the videos that ``config`` asks for.

    The place p of n plays the episodes p, p + n, p + 2n, ...; each episode has its level and its
    random numbers by its own number.

    Args:
        agent: who plays.
        config: ``run``, ``checkpoint_dir``, ``device`` and ``threads`` are not looked at.

    Returns:
        one video for each format.

    Raises:
        ConfigError: the agent sees no picture but its view was asked for, or a file cannot be
            written.
        VideoError: ffmpeg failed.
    """
    rows, columns = grid_shape(config.grid)
    with contextlib.ExitStack() as cleanup:
        # Before the environments: what cannot be written is said at once.
        writers = [
            cleanup.enter_context(VideoWriter(path, config.fps, video_format))
            for path, video_format in output_paths(agent, config)
        ]
        players = []
        for place in range(rows * columns):
            numbers = itertools.count(place, rows * columns)
            episodes = numbers if config.seconds else itertools.islice(numbers, config.episodes)
            player = Player(
                agent, iter(episodes), seed=config.seed, levels=config.levels,
                hold_steps=max(1, round(HOLD_SECONDS * config.fps)),
            )  # fmt: skip
            players.append(player)
            cleanup.callback(player.close)
        observer = None
        if config.values or config.saliency:
            observer = Observer(agent, len(players), config.saliency)
        num_frames = round(config.seconds * config.fps)
        for number, shown in enumerate(_views(agent, players, config.greedy, observer)):
            frame = grid([picture(view, config, thought) for view, thought in shown], rows, columns)
            for writer in writers:
                writer.write(frame)
            _show_progress(number + 1, num_frames)
            if number + 1 == num_frames:
                break
        _show_progress(0, 0)
        videos = [writer.finish() for writer in writers]
    if observer is not None and config.values:
        path = free_path(videos[0].path.with_suffix(".npz"))
        print(f"wrote {path}: {observer.save(path)} steps")
    return videos


def picture(view: View, config: RecordConfig, insight: Insight | None = None) -> np.ndarray:
    """Return [H, W, 3] uint8: the human view, and what is asked for beside and below it.

    Args:
        view: what there is to see.
        config: says what is shown.
        insight: what the agent thinks of it; None if nobody asks.
    """
    frame = view.frame
    if config.size:
        width = round(frame.shape[1] * config.size / frame.shape[0])
        frame = resize(frame, config.size, width)
    height = frame.shape[0]
    seen = [agent_picture(view)] if config.agent_view else []
    if insight is not None and insight.gradient is not None:
        seen.append(saliency_picture(view.obs, insight.gradient))
    for own in seen:
        frame = beside(frame, resize(own, height, round(own.shape[1] * height / own.shape[0])))
    if insight is not None and config.values:
        own_range = (insight.low, insight.high)
        frame = below(frame, value_curve(frame.shape[1], insight.values, *own_range))
    if config.caption:
        fields: tuple[str, ...] = view.fields()
        if insight is not None:
            fields = (*fields, f"value {insight.values[-1]:.2f}")
        frame = below(frame, caption(frame.shape[1], fields))
    return frame


def output_paths(agent: Agent, config: RecordConfig) -> list[tuple[Path, VideoFormat]]:
    """Return where the videos go, and their formats; no existing file is touched.

    Without ``output`` that is ``<asset_dir>/<run>/<run>-<timesteps>.mp4``. If ``output`` ends in
    .mp4 or .gif it is the file (which is then replaced if it exists), else a folder.

    Raises:
        ConfigError: the file's suffix and the format contradict each other.
    """
    formats = ["mp4", "gif"] if config.format == "both" else [config.format]
    output = Path(config.output)
    if suffix := _SUFFIXES.get(output.suffix.lower()):
        if suffix not in formats:
            raise ConfigError(
                f"output={config.output} and format={config.format} contradict each other; use "
                f"--format {suffix}"
            )
        paths = [output.with_suffix(f".{name}") for name in formats]
    else:
        folder = output if config.output else agent.assets_in(config.asset_dir)
        stem = f"{agent.run_name}-{agent.timesteps}"
        paths = [free_path(folder / f"{stem}.{name}") for name in formats]
    return [(path, cast(VideoFormat, name)) for path, name in zip(paths, formats, strict=True)]


def _views(
    agent: Agent, players: list[Player], greedy: bool, observer: Observer | None
) -> Iterator[list[tuple[View, Insight | None]]]:
    """Yield what to show, step by step, until every player has finished."""
    while not all(player.finished for player in players):
        views = [player.view for player in players]
        thoughts = [None] * len(players) if observer is None else observer.look(players)
        yield list(zip(views, thoughts, strict=True))
        advance(agent, players, greedy=greedy)
        if observer is not None:
            observer.note(views, players)


def _show_progress(frames: int, of: int) -> None:
    """Say on a terminal how far it is; 0 frames clear the line."""
    if not sys.stderr.isatty() or frames % 25:
        return
    text = f"recording: {frames}{f' of {of}' if of else ''} frames" if frames else ""
    print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
