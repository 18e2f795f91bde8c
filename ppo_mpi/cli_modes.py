"""The verbs that a user types, each with the settings it has."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from typing import Any

from ppo_mpi.cli_fields import config_fields
from ppo_mpi.cli_words import OLD_NAMES, Kind
from ppo_mpi.config import TrainConfig
from ppo_mpi.mode_config import (
    DoctorConfig,
    EnvsConfig,
    LaunchConfig,
    PlayConfig,
    PresetsConfig,
)
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.settings.experiment import ExperimentConfig
from ppo_mpi.settings.export import ExportConfig
from ppo_mpi.settings.plot import PlotConfig
from ppo_mpi.settings.record import RecordConfig
from ppo_mpi.settings.report import ReportConfig
from ppo_mpi.settings.sweep import SweepConfig


@dataclass(frozen=True)
class TrainOptions:
    """What to do with the settings; these are not kept with the run."""

    preset: str = ""
    """Published settings by name (`presets` lists them); empty takes the environment's own."""
    config: str = ""
    """YAML file with settings, flat or by sections; a run's config.yaml repeats that run."""
    dry_run: bool = False
    """Whether to show every value with its origin, sizes, speed and ETA instead of training."""
    clobber: bool = False
    """Whether to delete a run of the same name and start over, instead of going on with it."""


@dataclass(frozen=True)
class Mode:
    """One verb that a user types."""

    config_class: type
    """The dataclass of its settings."""
    summary: str
    """What it does, in one line."""
    plain_word: str = ""
    """The field that a plain word after the mode sets; empty if none."""


MODES = {
    "train": Mode(TrainConfig, "train an agent, or go on with a run", "env"),
    "play": Mode(PlayConfig, "watch a trained agent, or play yourself", "run"),
    "record": Mode(RecordConfig, "write a video of a trained agent, or its trajectories", "run"),
    "evaluate": Mode(EvaluateConfig, "measure it on training and on held-out levels", "run"),
    "export": Mode(ExportConfig, "write its policy for programs without ppo_mpi", "run"),
    "plot": Mode(PlotConfig, "draw learning curves of one or many runs", "runs"),
    "report": Mode(ReportConfig, "write a page about one or many runs", "runs"),
    "launch": Mode(LaunchConfig, "train on several ranks, again after failures: launch -- train"),
    "experiment": Mode(ExperimentConfig, "train, evaluate and draw many runs", "name"),
    "sweep": Mode(SweepConfig, "search for settings: a grid, at random, or by Optuna", "file"),
    "presets": Mode(PresetsConfig, "list the published settings, or print one", "name"),
    "envs": Mode(EnvsConfig, "list the environments, and how to get what is missing", "family"),
    "doctor": Mode(DoctorConfig, "check the installation and say what to do"),
}


def shown_class(mode: str) -> type:
    """Return the dataclass of all that can be set in a mode."""
    if mode != "train":
        return MODES[mode].config_class
    parts: list[tuple[str, Any, Any]] = [("command", TrainOptions, TrainOptions())]
    parts += [(f.name, type(f.default), f.default) for f in fields(TrainConfig)]
    return make_dataclass("TrainHelp", parts, frozen=True)


def all_kinds() -> dict[str, Kind]:
    """Return how many words each setting of any mode takes, under its old names as well."""
    kinds: dict[str, Kind] = {"mode": "value", "completion": "value"}
    kinds |= {"help": "flag", "version": "flag"}
    for config_class in (TrainOptions, *(mode.config_class for mode in MODES.values())):
        kinds |= {name: known.kind for name, known in config_fields(config_class).items()}
    return kinds | {old: kinds[new] for old, new in OLD_NAMES.items()}
