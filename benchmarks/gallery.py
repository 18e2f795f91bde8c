"""Puts trained runs into the gallery: measured, filmed, without what only training needs.

    python benchmarks/gallery.py checkpoints/coinrun checkpoints/cartpole
    python benchmarks/gallery.py checkpoints/coinrun-7=coinrun      # under another name
    python benchmarks/gallery.py                                    # the table of the README alone

An agent is measured in 200 episodes on training and on held-out levels, with actions drawn from
the policy as in published Procgen numbers; where there are no levels, in 100 episodes with the
most likely actions. The gallery is in git: put an agent there once, when it is finished.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppo_mpi.agent import load_agent
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.evaluate import evaluate_command
from ppo_mpi.modes.export_run import export_run
from ppo_mpi.modes.record import record_command
from ppo_mpi.modes.report import CLIP, CLIP_SECONDS, CLIP_SIZE
from ppo_mpi.reports.evaluations import EVALUATION, LevelScore, read_evaluation
from ppo_mpi.reports.provenance import origin_of
from ppo_mpi.reports.run_files import read_run_files
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.settings.export import ExportConfig
from ppo_mpi.settings.record import RecordConfig
from ppo_mpi.storage.gallery import FOLDER
from ppo_mpi.storage.run_folder import is_done

ROOT = Path(__file__).resolve().parents[1]
GALLERY = ROOT / FOLDER
README = "README.md"
BEGIN, END = "<!-- table: written by benchmarks/gallery.py -->", "<!-- end of the table -->"
MAX_FILE_BYTES, MAX_BYTES = 5_000_000, 20_000_000
"""Of one file, and of the whole gallery."""
EPISODES_ON_LEVELS, EPISODES = 200, 100


def main() -> int:
    """Put the runs into the gallery and write its table; return 2 if one cannot be put there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", help="paths of finished runs, or PATH=NAME")
    parser.add_argument("--replace", action="store_true", help="take the place of an older one")
    options = parser.parse_args()
    try:
        for word in options.runs:
            path, _, name = word.partition("=")
            put(Path(path), name or Path(path).resolve().name, options.replace)
    except ConfigError as error:
        print(f"gallery.py: error: {error}", file=sys.stderr)
        return 2
    write_table(GALLERY)
    print(f"{GALLERY / README}: {len(agents(GALLERY))} agents, {megabytes(GALLERY):.1f} MB in all")
    return 0


def put(run: Path, name: str, replace: bool, gallery: Path = GALLERY) -> Path:
    """Measure, film and export a run; return its folder in the gallery.

    Raises:
        ConfigError: the run is not finished, there is such an agent, or it is too large.
    """
    if not is_done(run):
        raise ConfigError(f"{run} is not finished; train it to its end")
    target = gallery / name
    if target.exists() and not replace:
        raise ConfigError(f"{target} exists; give the agent another name, or say --replace")
    where = str(run.resolve())
    agent = load_agent(where, device="cpu")
    greedy = not agent.has_levels
    episodes = EPISODES_ON_LEVELS if agent.has_levels else EPISODES
    evaluate_command(
        EvaluateConfig(
            run=where, episodes=episodes, greedy=greedy, device="cpu", json=str(run / EVALUATION)
        ),
        Communicator(),
    )  # collective, of this process alone
    with tempfile.TemporaryDirectory(dir=gallery) as scratch:
        film = RecordConfig(
            run=where, seconds=CLIP_SECONDS, size=CLIP_SIZE, greedy=greedy, device="cpu",
            levels="test" if agent.has_levels else "train",
            output=str(Path(scratch) / "assets" / run.resolve().name / CLIP),
        )  # fmt: skip
        record_command(film)
        new = Path(scratch) / name
        wanted = ExportConfig(
            run=where, format="run", output=str(new), asset_dir=f"{scratch}/assets"
        )
        if export_run(wanted):
            raise ConfigError(f"what was exported of {run} does not act as the run does")
        check_sizes(new, gallery, target)
        if target.exists():
            shutil.rmtree(target)
        new.rename(target)
    return target


def check_sizes(new: Path, gallery: Path, replaced: Path) -> None:
    """Refuse an agent for which there is no room.

    Raises:
        ConfigError: a file is too large for the repository, or the gallery would be.
    """
    for path in new.rglob("*"):
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            size = path.stat().st_size / 1e6
            raise ConfigError(
                f"{path.name} of {new.name} has {size:.1f} MB, more than "
                f"{MAX_FILE_BYTES / 1e6:.0f}; train a smaller network"
            )
    old = sum(megabytes(folder) for folder in agents(gallery) if folder != replaced)
    if old + megabytes(new) > MAX_BYTES / 1e6:
        raise ConfigError(
            f"with {new.name} the gallery has {old + megabytes(new):.1f} MB, more than "
            f"{MAX_BYTES / 1e6:.0f}; leave another agent out"
        )


def agents(gallery: Path) -> list[Path]:
    """Return the folders of the agents, by name."""
    return sorted(path.parent for path in gallery.glob("[!.]*/config.yaml"))


def megabytes(folder: Path) -> float:
    """Return the size of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def table(gallery: Path) -> str:
    """Return the table of the README, from the agents' own files."""
    head = ["agent", "environment", "preset", "timesteps", "score", "on held-out levels", "MB"]
    rows = [head, ["---"] * len(head)]
    lines = []
    for folder in agents(gallery):
        run = read_run_files(folder)
        scores, _ = read_evaluation(folder / EVALUATION)
        shown = [score_text(score) for score in scores]
        rows.append([
            f"[{folder.name}]({folder.name}/)", run.env, f"`{origin_of(run).preset}`",
            f"{scores[0].timesteps:,.0f}", shown[0], (shown[1:] or ["-"])[0],
            f"{megabytes(folder):.1f}",
        ])  # fmt: skip
        lines.append(str(run.sessions[0].get("command", "")))
    parts = ["\n".join(f"| {' | '.join(row)} |" for row in rows), "Trained with", "```"]
    return "\n\n".join(parts[:2]) + "\n\n" + "\n".join([parts[2], *lines, "```"])


def score_text(score: LevelScore) -> str:
    """Return a mean return with its 95 % interval."""
    low, high = score.pair("interval_95")
    return f"{score.number('mean_return'):,.2f} ({low:,.2f} to {high:,.2f})"


def write_table(gallery: Path) -> None:
    """Put the table into the README, in the place of the older one.

    Raises:
        ConfigError: the README has no place for it.
    """
    path = gallery / README
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"{path} has no lines {BEGIN!r} and {END!r}; restore them")
    text = f"{before}{BEGIN}\n\n{table(gallery)}\n\n{END}{after}"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
