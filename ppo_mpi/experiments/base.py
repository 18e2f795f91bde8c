"""What an experiment is: a plan of runs and evaluations, and what is made of their results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ppo_mpi import registry
from ppo_mpi.cli import parse_command
from ppo_mpi.config import TrainConfig
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.opening import run_dir_of
from ppo_mpi.settings.experiment import ExperimentConfig
from ppo_mpi.storage.run_folder import checkpoints_of, done_timesteps, step_timesteps

Status = Literal["finished", "begun", "new"]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a finished run."""

    file: str
    """Name of its JSON file in the run's folder; a table of its episodes lies beside it."""
    words: tuple[str, ...]
    """Settings of ``evaluate``, without the run and the files."""


@dataclass(frozen=True)
class Recording:
    """One video of a finished run."""

    path: Path
    """The file; it is replaced when the run has gone on."""
    words: tuple[str, ...]
    """Settings of ``record``, without the run and the file."""


@dataclass(frozen=True)
class PlannedRun:
    """One training run of an experiment."""

    group: str
    """What runs with different seeds have in common: the game, say."""
    seed: int
    words: tuple[str, ...]
    """Behind ``python -m ppo_mpi``: train and its words."""
    config: TrainConfig
    """What they mean."""
    evaluations: tuple[Evaluation, ...] = ()
    recordings: tuple[Recording, ...] = ()

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return run_dir_of(self.config)

    @property
    def timesteps(self) -> int:
        """Timesteps with which it is finished: whole iterations."""
        return self.config.num_iterations * self.config.learning.rollout_timesteps

    def status(self) -> Status:
        """Return whether the run is finished, was begun, or is new."""
        done = done_timesteps(self.folder)
        if done is not None and done >= self.timesteps:
            return "finished"
        return "begun" if self.timesteps_done() else "new"

    def timesteps_done(self) -> int:
        """Return the timesteps of the newest checkpoint; 0 without one."""
        for checkpoint in checkpoints_of(self.folder):
            return step_timesteps(checkpoint) or 0
        return 0

    def open_evaluations(self) -> list[Evaluation]:
        """Return the evaluations that are still to be made of the run as it is now."""
        return [one for one in self.evaluations if not self._is_evaluated(one)]

    def _is_evaluated(self, evaluation: Evaluation) -> bool:
        try:
            document = json.loads((self.folder / evaluation.file).read_text(encoding="utf-8"))
            words = json.loads(self.words_path(evaluation).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        is_newest = document.get("timesteps") == self.timesteps_done()
        return bool(is_newest and words == list(evaluation.words))

    def words_path(self, evaluation: Evaluation) -> Path:
        """Return the file that says how the evaluation beside it was made."""
        return self.folder / f"{Path(evaluation.file).stem}.words.json"

    def open_recordings(self) -> list[Recording]:
        """Return the videos that are still to be made of the run as it is now."""
        return [one for one in self.recordings if not self._is_recorded(one)]

    def _is_recorded(self, recording: Recording) -> bool:
        try:
            known = json.loads(self.recorded_path(recording).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(recording.path.is_file() and known == self.recorded_as(recording))

    def recorded_as(self, recording: Recording) -> dict[str, Any]:
        """Return what a video's file beside the run has to say for the video to be of today."""
        return {"timesteps": self.timesteps_done(), "words": list(recording.words)}

    def recorded_path(self, recording: Recording) -> Path:
        """Return the file that says of which checkpoint and how a video was made."""
        return self.folder / f"{recording.path.stem}.video.json"


@dataclass(frozen=True)
class Experiment:
    """An experiment by name: what ``registry.EXPERIMENTS`` leads to."""

    summary: str
    """What it shows, in one line."""
    plan: Callable[[ExperimentConfig, Sequence[str]], list[PlannedRun]]
    """Settings, and more words for each run's train -> the runs."""
    conclude: Callable[[ExperimentConfig, Sequence[PlannedRun], Path], list[Path]]
    """Makes tables and figures, in a folder, of what is there; returns the files."""
    label: Callable[[ExperimentConfig], str]
    """Name of the folders of runs and figures, where the user gives none."""


def plan_run(
    group: str,
    seed: int,
    words: Sequence[str],
    evaluations: Sequence[Evaluation] = (),
    recordings: Sequence[Recording] = (),
) -> PlannedRun:
    """Check a run's words, and plan it.

    Args:
        group: what runs with different seeds have in common.
        seed: of the run.
        words: behind ``train``.
        evaluations: of the finished run.
        recordings: likewise.

    Raises:
        ConfigError: the words cannot be.
    """
    words = ("train", *words)
    config = parse_command(words).config
    return PlannedRun(group, seed, words, config, tuple(evaluations), tuple(recordings))


def label_of(config: ExperimentConfig) -> str:
    """Return the name of the experiment's folders."""
    return config.label or find_experiment(config.name).label(config)


def find_experiment(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        ConfigError: there is none.
    """
    experiment: Experiment = registry.lookup("experiment", registry.EXPERIMENTS, name)
    return experiment


def refuse_others(config: ExperimentConfig, **theirs: str) -> None:
    """Refuse settings that this experiment does not have.

    Args:
        config: as the user gave it.
        theirs: setting of another experiment -> what to use instead.

    Raises:
        ConfigError: one is not at its default.
    """
    defaults = ExperimentConfig()
    for name, remedy in theirs.items():
        value = getattr(config, name)
        if value != getattr(defaults, name):
            raise ConfigError(f"{name}={value} has no meaning in {config.name}; {remedy}")


def chosen(kind: str, names: str, known: Sequence[str]) -> list[str]:
    """Return the names that a list with commas means, in the order of ``known``.

    Args:
        kind: what they are, for the message.
        names: the list; ``all`` means every one.
        known: the names that there are.

    Raises:
        ConfigError: a name is not known.
    """
    if names == "all":
        return list(known)
    asked = {name.strip() for name in names.split(",")}
    for name in sorted(asked - set(known)):
        raise ConfigError(registry.unknown_name(kind, name, known))
    return [name for name in known if name in asked]
