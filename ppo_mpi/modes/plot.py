"""The mode plot: learning curves of one or many runs, as pictures and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.registry import unknown_name
from ppo_mpi.reports.curves_figure import COLORS, draw_panels
from ppo_mpi.reports.figures import STYLE, plotting
from ppo_mpi.reports.finding import find_runs
from ppo_mpi.reports.grouping import Group, group_runs, same_seeds
from ppo_mpi.reports.panels import Panel, make_panels, panel_rows
from ppo_mpi.reports.run_files import RunFiles, read_run_files
from ppo_mpi.settings.plot import PlotConfig
from ppo_mpi.storage.durable import write_atomically
from ppo_mpi.storage.gallery import assets_of

NAME = "learning-curves.png"


def plot_command(config: PlotConfig) -> int:
    """Draw the curves of the runs and say what was drawn and where it is.

    Returns:
        the exit status, 0.

    Raises:
        ConfigError: a run or a column is unknown, or a file cannot be written.
        MissingPackageError: a picture is asked for and matplotlib is not installed.
    """
    folders, notes = find_runs(config.runs, config.checkpoint_dir)
    runs = [read_run_files(folder) for folder in folders]
    columns = columns_to_draw(runs, config.y)
    groups = group_runs(runs)
    panels = make_panels(groups, config.x, columns, config.smooth, config.reference)
    if not any(panel.lines for panel in panels):
        raise ConfigError(
            f"{', '.join(run.name for run in runs)}: no value of {', '.join(columns)} yet; train "
            "on, or choose another column with --y"
        )
    for line in [*notes, *remarks(groups, panels)]:
        print(line)
    outputs = config.outputs or (default_output(runs, config.asset_dir),)
    for path in outputs:
        write(path, panels, config)
        print(f"wrote {path}")
    return 0


def columns_to_draw(runs: Sequence[RunFiles], asked: Sequence[str]) -> list[str]:
    """Return the columns of progress.csv to draw.

    Raises:
        ConfigError: none of the runs has such a column; the message has the nearest names.
    """
    known = dict.fromkeys(name for run in runs for name in run.columns)
    for name in asked:
        if name not in known:
            raise ConfigError(unknown_name("column", name, list(known)))
    if asked:
        return list(dict.fromkeys(asked))
    has_held_out = any(len(run.curve("test_mean_return", "timesteps")[0]) for run in runs)
    return ["mean_return"] + ["test_mean_return"] * has_held_out


def remarks(groups: Sequence[Group], panels: Sequence[Panel]) -> list[str]:
    """Return what has to be said of the runs that are drawn."""
    lines = []
    for group in groups:
        names = ", ".join(run.name for run in group.runs)
        seeds = "1 seed" if len(group.runs) == 1 else f"{len(group.runs)} seeds"
        what = f"{group.env}, {group.label}" if group.label else group.env
        lines.append(f"{what}: {seeds} ({names})")
        if again := same_seeds(group):
            lines.append(
                f"warning: {', '.join(again)} repeat a seed of their group, and the interval "
                "counts them as runs of their own; leave them out"
            )
        empty = [r.name for r in group.runs if not len(r.columns.get("timesteps", ()))]
        if empty:
            lines.append(f"{', '.join(empty)}: no row yet, left out")
    if any(line.curve.runs > 1 for panel in panels for line in panel.lines):
        lines.append("bands: Student's 95 % interval of the mean over seeds")
    if any(line.ends for panel in panels for line in panel.lines):
        lines.append(
            "runs of one group end at different places: the mean ends with the first of them, "
            "thin lines show how single runs went on"
        )
    labels = {line.label for panel in panels for line in panel.lines}
    if len(labels) > len(COLORS):
        lines.append(f"{len(labels)} groups share {len(COLORS)} colors; plot fewer at once")
    return lines


def default_output(runs: Sequence[RunFiles], asset_dir: str) -> Path:
    """Return where the picture goes if nothing else is said."""
    alone = len(runs) == 1
    return (assets_of(runs[0].folder, asset_dir) if alone else Path(asset_dir).expanduser()) / NAME


def write(path: Path, panels: Sequence[Panel], config: PlotConfig) -> None:
    """Write one file, a picture or a table by its name.

    Raises:
        ConfigError: it cannot be written.
        MissingPackageError: it is a picture and matplotlib is not installed.
    """
    content = (
        table(panels, config.x)
        if path.suffix.lower() == ".csv"
        else picture(panels, config, path.suffix.lower().removeprefix("."))
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ConfigError(
            f"output={path}: cannot be written ({error.strerror}); choose another file"
        ) from error


def table(panels: Sequence[Panel], x: str) -> bytes:
    """Return the points of all curves as CSV."""
    rows = panel_rows(panels, x)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def picture(panels: Sequence[Panel], config: PlotConfig, kind: str) -> bytes:
    """Return the figure as a file of that kind.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        plt = plotting()
    except MissingPackageError as error:
        raise MissingPackageError(
            'pictures need matplotlib: pip install "ppo_mpi[plot]"; --output NAME.csv does not'
        ) from error
    figure = draw_panels(plt, panels, config.x, config.title)
    content = io.BytesIO()
    # Without the time of day, so that the same curves give the same file.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    with plt.rc_context(STYLE | {"svg.hashsalt": NAME}):
        figure.savefig(content, format=kind, metadata=metadata)
    plt.close(figure)
    return content.getvalue()
