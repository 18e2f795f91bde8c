"""The settings of a run that is there already, for a job that names neither a preset nor a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_mpi.cli_fields import config_fields
from ppo_mpi.cli_sources import read_yaml
from ppo_mpi.cli_values import build_config
from ppo_mpi.cli_words import Sourced
from ppo_mpi.config import PLACES, TrainConfig, flatten, resumable_fields
from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import default_run_name, split_env_name
from ppo_mpi.storage.run_folder import CONFIG, checkpoints_of, run_dir
from ppo_mpi.storage.untrusted_files import read_regular_file

MAX_CONFIG_BYTES = 2**20


@dataclass(frozen=True)
class RunSettings:
    """What a run was begun with."""

    folder: Path
    values: dict[str, Sourced]
    """Field name -> value, with the line of the run's config.yaml."""
    goes_on: bool
    """Whether it goes on from a checkpoint; otherwise it begins with these settings once more."""

    def with_typed(self, typed: Mapping[str, Sourced]) -> dict[str, Sourced]:
        """Return the values with those that were typed; where a run goes on, what may change."""
        allowed = resumable_fields() if self.goes_on else set(typed)
        return self.values | {name: value for name, value in typed.items() if name in allowed}


def settings_of_run(typed: Mapping[str, Sourced], clobber: bool) -> RunSettings | None:
    """Return the settings of the run that a job is about; None if it begins with a preset.

    A run with a checkpoint goes on with its own. One that is named alone, without an environment,
    begins with its own again, where it has saved nothing or is to start over.

    Args:
        typed: the fields set on the command line.
        clobber: whether the run is to start over.
    """
    known, defaults = config_fields(TrainConfig), flatten(TrainConfig())

    def text(name: str) -> str:
        return " ".join(typed[name].values) if name in typed else str(defaults[name])

    try:
        folder = run_dir(text("checkpoint_dir"), text("run"), default_run_name(text("env")))
        goes_on = not clobber and bool(checkpoints_of(folder))
        if not goes_on and ("env" in typed or "run" not in typed):
            return None
        path = folder / CONFIG
        text_of_run = read_regular_file(path, MAX_CONFIG_BYTES).decode("utf-8")
        values = read_yaml(text_of_run, str(path), known)
        values = {name: value for name, value in values.items() if name not in PLACES}
        build_config(TrainConfig, values).validate(world_size=1)
    except (ConfigError, OSError, ValueError):
        return None  # a checkpoint has the settings, too; what was typed is checked elsewhere
    return RunSettings(folder, values, goes_on)


def refuse_changes(folder: Path, asked: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Refuse other values for what a run was begun with.

    Args:
        folder: of the run.
        asked: the fields that the user set, by name.
        old: all fields, as the run has them.

    Raises:
        ConfigError: a field that shapes what was learned is to change; all of them are named.
    """
    allowed = resumable_fields()
    refused = [
        f"{name}={value} (the run has {old[name]})"
        for name, value in sorted(asked.items())
        if name not in allowed and not _same(name, value, old[name])
    ]
    if "algorithm" in asked and asked["algorithm"] != old["algorithm"]:
        # Its preset's settings are others, too: what is wrong is the algorithm.
        refused = [text for text in refused if text.startswith("algorithm=")]
    if refused:
        raise ConfigError(
            f"the run {folder} goes on with the settings it began with (train --run {folder.name} "
            f"is enough), but {', '.join(refused)} was given; leave it out, use another --run, or "
            "--clobber to start over"
        )


def _same(name: str, value: Any, old: Any) -> bool:
    if name in ("env", "test_env") and value and old:
        return split_env_name(value) == split_env_name(old)
    return bool(value == old)
