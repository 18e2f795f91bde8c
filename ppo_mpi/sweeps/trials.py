"""A search's trials: their names, their runs, and what is known of each on the disk."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ppo_mpi.config import TrainConfig, flatten, resumable_fields, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.experiments.base import PlannedRun, plan_run
from ppo_mpi.storage.durable import explained, write_atomically
from ppo_mpi.sweeps.metrics import check_metric
from ppo_mpi.sweeps.parameters import Words, grid, random_values
from ppo_mpi.sweeps.search_file import Search

BOOKS = "sweep"
"""Folder, beside the runs, of what the search writes down of them."""
SHOWING = frozenset(("total_timesteps", "log_every", "eval_every", "eval_episodes"))
"""Settings that may change when a run goes on, and yet shape its columns of progress.csv."""
LONGEST_NAME = 120
Status = Literal["finished", "stopped", "failed", "begun", "new"]


@dataclass(frozen=True)
class Trial:
    """One set of values, and its runs, one for each seed."""

    number: int
    """From 0."""
    values: Mapping[str, Words]
    """What is tried -> its value."""
    runs: tuple[PlannedRun, ...]
    """Empty if the values cannot be, which only values that Optuna suggests may turn out to."""
    refusal: str = ""
    """Why they cannot be."""

    @property
    def config(self) -> TrainConfig:
        """Return the settings of its first run."""
        return self.runs[0].config

    def shown(self) -> str:
        """Return the values as one would type them."""
        return " ".join(f"{name}={','.join(words)}" for name, words in self.values.items())


def trial_name(values: Mapping[str, Words], prefix: str = "") -> str:
    """Return the name of a trial's folders, from its values alone.

    A name that would be too long, or in which a character had to be replaced, ends with a part of
    the values' hash, so that different values never have one name.
    """
    exact = "-".join(f"{name}{','.join(words)}" for name, words in values.items())
    name = re.sub(r"[^\w.,+-]", "_", exact)
    if name != exact or len(name) > LONGEST_NAME:
        digest = hashlib.sha256(exact.encode()).hexdigest()[:8]
        name = f"{name[:LONGEST_NAME]}-{digest}"
    return prefix + name


def make_trial(
    search: Search, folder: Path, number: int, values: Mapping[str, Words]
) -> Trial:  # fmt: skip
    """Check a trial's settings and plan its runs.

    Args:
        search: as the file says.
        folder: of the search's runs.
        number: of the trial.
        values: of what is tried.

    Raises:
        ConfigError: they cannot be; the message begins with the values.
    """
    # A grid's trial is known by its values, so that a grid may grow; what is drawn also by its
    # number, as two draws may bring the same.
    prefix = "" if search.method == "grid" else f"t{number:04d}-"
    name = trial_name(values, prefix)
    words: list[str] = []
    for setting, value in {**search.fixed, **values}.items():
        words += ["--" + setting.replace("_", "-"), *value]
    words += ["--checkpoint-dir", str(folder)]
    if not {"report", "report_every"} & {*search.fixed, *values}:
        words += ["--report", "false"]  # of hundreds of runs, and anew at every pause
    first = search.seeds[0]
    try:
        run = plan_run(
            name,
            first,
            [*words, "--run", f"{name}-seed{first}", "--seed", str(first)],
            search.metric.evaluations(),
        )
        run.config.validate(search.ranks)
        check_metric(search.metric.column, run.config)
        if search.stop:
            check_metric(search.stop.column, run.config)
    except ConfigError as error:
        shown = Trial(number, values, ()).shown()
        raise ConfigError(f"trial {number} ({shown}): {error}") from None
    runs = [of_seed(run, words, name, seed) for seed in search.seeds]
    return Trial(number, values, tuple(runs))


def of_seed(run: PlannedRun, words: Sequence[str], name: str, seed: int) -> PlannedRun:
    """Return a planned run with another seed, without reading all of its words again."""
    own = f"{name}-seed{seed}"
    return replace(
        run,
        seed=seed,
        words=("train", *words, "--run", own, "--seed", str(seed)),
        config=with_values(run.config, {"seed": seed, "run": own}),
    )


def plan_trials(search: Search, folder: Path) -> list[Trial]:
    """Return the trials of a grid or of a random search, all of them checked.

    Raises:
        ConfigError: the settings of one cannot be.
    """
    if search.method == "grid":
        values = list(grid(search.parameters))
    else:
        numbers = range(search.trials)
        values = [random_values(search.parameters, search.sweep_seed, n) for n in numbers]
    return [make_trial(search, folder, number, one) for number, one in enumerate(values)]


def shaping_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that what a trial shows depends on; of files they name, the content."""
    ignored = resumable_fields() - SHOWING
    return {k: _content(v) for k, v in flatten(config).items() if k not in ignored}


def _content(value: Any) -> Any:
    """Return a setting for comparison: a file, whole or behind ``key=``, by its hash."""
    if isinstance(value, tuple):
        return [_content(one) for one in value]
    if not isinstance(value, str) or not value:
        return value
    path = Path(value.partition("=")[2] or value).expanduser()
    try:
        is_file = path.is_file()
    except OSError:  # too long for a name
        return value
    if not is_file:
        return value
    return f"{value} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def key_of(config: TrainConfig) -> str:
    """Return a hash of all settings that what a trial shows depends on."""
    text = json.dumps(shaping_settings(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Books:
    """What a search has written down of its runs: their settings, failures and early stops."""

    def __init__(self, folder: Path) -> None:
        """Look into the folder of a search's runs; nothing is made."""
        self.folder = folder / BOOKS

    def read(self, run: PlannedRun) -> dict[str, Any]:
        """Return what is known of a run; {} of a new one."""
        try:
            known = json.loads(self._path(run).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def write(self, run: PlannedRun, **facts: Any) -> None:
        """Write down a run's settings, and how it is; what was known is forgotten."""
        settings = shaping_settings(run.config)
        content = {"key": key_of(run.config), **facts, "settings": settings}
        with explained("write down what becomes of the runs", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(content, indent=1, sort_keys=True)
            write_atomically(self._path(run), text.encode() + b"\n")

    def log(self, run: PlannedRun) -> Path:
        """Return the file for what a run prints."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{run.folder.name}.log"

    def _path(self, run: PlannedRun) -> Path:
        return self.folder / f"{run.folder.name}.json"

    def changes(self, run: PlannedRun) -> list[str]:
        """Return how a run's settings differ from those it was begun with; [] if they do not."""
        known = self.read(run)
        if not run.folder.is_dir() or known.get("key") in (None, key_of(run.config)):
            return []
        then, now = known["settings"], shaping_settings(run.config)
        defaults = shaping_settings(TrainConfig())
        # A setting that is newer than the run had its default.
        pairs = [(name, then.get(name, defaults.get(name)), now[name]) for name in now]
        return [f"{name}={new} (it has {old})" for name, old, new in pairs if old != new]

    def status(self, run: PlannedRun) -> Status:
        """Return how a run is."""
        status = run.status()
        if status == "finished":
            return status
        known = self.read(run)
        if "failure" in known:
            return "failed"
        return "stopped" if "stopped_at" in known else status


def refuse_changed(runs: Sequence[PlannedRun], books: Books) -> None:
    """Refuse runs that were begun with other settings.

    Raises:
        ConfigError: names the first of them, what changed, and what to do.
    """
    changed = [(run, changes) for run in runs if (changes := books.changes(run))]
    if not changed:
        return
    run, changes = changed[0]
    others = len(changed) - 1
    more = f" (and {others} other{'s' * (others > 1)})" if others else ""
    raise ConfigError(
        f"{run.folder}{more} was begun with other settings: {', '.join(changes[:3])}; use another "
        "--label, or --clobber to delete it and begin it anew"
    )
