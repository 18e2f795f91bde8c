"""The mode report: one page about a run, or about several beside each other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.reports.evaluations import EVALUATION, Gap, find_evaluations, read_evaluation
from ppo_mpi.reports.finding import find_runs
from ppo_mpi.reports.page import Content, write_page
from ppo_mpi.reports.run_files import RunFiles, read_run_files
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.settings.record import RecordConfig
from ppo_mpi.settings.report import ReportConfig
from ppo_mpi.storage.gallery import assets_of
from ppo_mpi.storage.logger import Logger
from ppo_mpi.storage.run_folder import REPORT
from ppo_mpi.storage.shared_run import is_shared
from ppo_mpi.storage.untrusted_files import read_regular_file

MAX_VIDEO_BYTES = 1_100_000
"""Of all videos of a page together: a run's page then stays under 2 MB, as base64 takes a third."""
CLIP_SECONDS, CLIP_SIZE = 10.0, 256
CLIP = "clip.mp4"


def report_command(config: ReportConfig) -> int:
    """Write the report and say where it is.

    Returns:
        the exit status, 0.

    Raises:
        ConfigError: a run is unknown, or a file cannot be read or written.
    """
    folders, notes = find_runs(config.runs, config.checkpoint_dir)
    for note in notes:
        print(note)
    runs = [read_run_files(folder) for folder in folders]
    for run in runs:
        if config.evaluate:
            evaluate_run(run, config, Communicator())  # collective, of this process alone
        if config.clip:
            record_clip(run, config)
    path = output_path(config, runs)
    asset_dir = Path(config.asset_dir).expanduser()
    # What an exported run was evaluated to here is not in its folder.
    own = find_evaluations([place_of(run, config) for run in runs if is_shared(run.folder)], ())
    named = [*map(str, own), *config.evaluations]
    content = gather(runs, named, asset_dir if config.videos else None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = write_page(path, content)
    except OSError as error:
        raise ConfigError(
            f"output={path}: cannot be written ({error.strerror}); choose another file"
        ) from error
    for words in content.left_out:
        print(words)
    print(f"wrote {path} ({size / 1e3:,.0f} kB, opens without a network)")
    return 0


def output_path(config: ReportConfig, runs: Sequence[RunFiles]) -> Path:
    """Return where the page goes."""
    if config.output:
        return Path(config.output).expanduser()
    alone = len(runs) == 1
    return (place_of(runs[0], config) if alone else Path(config.asset_dir).expanduser()) / REPORT


def place_of(run: RunFiles, config: ReportConfig) -> Path:
    """Return where a run's report and evaluation go: an exported run stays as it was received."""
    return assets_of(run.folder, config.asset_dir) if is_shared(run.folder) else run.folder


def gather(runs: Sequence[RunFiles], named: Sequence[str], asset_dir: Path | None) -> Content:
    """Return what the report is made of.

    Args:
        runs: at least one.
        named: files of evaluations beside those in the runs' folders.
        asset_dir: where videos are; None leaves them out.

    Raises:
        ConfigError: an evaluation cannot be read.
    """
    found = [read_evaluation(p) for p in find_evaluations([run.folder for run in runs], named)]
    scores = [score for own, _ in found for score in own]
    gaps: list[Gap] = [gap for _, own in found for gap in own]
    videos, left_out = find_videos(runs, asset_dir) if asset_dir else ([], [])
    return Content(list(runs), scores, gaps, videos, left_out)


def find_videos(
    runs: Sequence[RunFiles], asset_dir: Path
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Return the newest video of each run that is small enough, and what to say of others."""
    room, videos, left_out = MAX_VIDEO_BYTES, [], []
    for number, run in enumerate(runs):
        files = [p for p in assets_of(run.folder, asset_dir).rglob("*.mp4") if not p.is_symlink()]
        share = room // (len(runs) - number)
        fitting = [path for path in files if path.stat().st_size <= share]
        if fitting:
            path = max(fitting, key=lambda p: p.stat().st_mtime)
            content = read_regular_file(path, share)
            room -= len(content)
            videos.append((f"{run.name}: {path.name}", content))
        elif files:
            left_out.append(
                f"{run.name}: no video is smaller than {share / 1e6:.1f} MB, none is in the "
                "report; --clip records a short one"
            )
    return videos, left_out


def evaluate_run(run: RunFiles, config: ReportConfig, comm: Communicator) -> None:
    """Measure a run's agent on training and held-out levels, into a file. Collective."""
    from ppo_mpi.modes.evaluate import evaluate_command

    place = place_of(run, config)
    make_folder(place)
    asked = EvaluateConfig(
        run=str(run.folder.resolve()),  # with a slash in it, and so no name under checkpoint_dir
        json=str(place / EVALUATION),
        episodes=config.episodes,
        device=config.device,
    )
    evaluate_command(asked, comm)  # collective


def record_clip(run: RunFiles, config: ReportConfig) -> None:
    """Record a short video of a run's agent; say why if its environment shows no picture."""
    from ppo_mpi.modes.record import record_command

    folder = assets_of(run.folder, config.asset_dir)
    try:
        make_folder(folder)
        (folder / CLIP).unlink(missing_ok=True)
        record_command(
            RecordConfig(
                run=str(run.folder.resolve()), seconds=CLIP_SECONDS, size=CLIP_SIZE,
                output=str(folder / CLIP), device=config.device,
            )
        )  # fmt: skip
    except ConfigError as error:
        print(f"warning: no clip of {run.name}: {error}", file=sys.stderr)


def make_folder(folder: Path) -> None:
    """Make a folder of assets.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {folder} ({error.strerror}); choose another --asset-dir"
        ) from error


def report_at_end(config: TrainConfig, run_dir: Path) -> None:
    """Write the report of a run whose training has ended, if it is wanted; on rank 0."""
    if config.reporting.report and (warning := report_training(config, run_dir)):
        print(warning, file=sys.stderr)


def report_on_the_way(config: TrainConfig, iteration: int, run_dir: Path, logger: Logger) -> None:
    """Write the report of a run that trains, if it is time; on rank 0."""
    every = config.reporting.report_every
    if every and iteration % every == 0 and (warning := report_training(config, run_dir)):
        logger.message(warning, is_warning=True)


def report_training(config: TrainConfig, run_dir: Path) -> str:
    """Write the report of a run that trains, or has; on rank 0, no communication.

    Returns:
        a warning if it could not be written; else empty. A report never fails the training.
    """
    try:
        run = read_run_files(run_dir)
        write_page(run_dir / REPORT, gather([run], (), Path(config.job.asset_dir).expanduser()))
    except (ConfigError, OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        return (
            f"warning: no report was written ({error!r}); try again with: python -m ppo_mpi report "
            f"{run_dir}"
        )
    return ""
