"""Where a run's settings come from: its preset, what differs from it, how to repeat the run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_mpi.cli_fields import config_fields
from ppo_mpi.cli_sources import merge
from ppo_mpi.cli_values import build_config
from ppo_mpi.cli_words import Sourced
from ppo_mpi.config import PLACES, TrainConfig, flatten
from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import default_preset
from ppo_mpi.reports.run_files import RunFiles, default_settings, plain_text
from ppo_mpi.storage import gallery
from ppo_mpi.storage.shared_run import is_shared

PROGRAM = "python -m ppo_mpi"


@dataclass(frozen=True)
class Origin:
    """What a run's settings build on."""

    preset: str
    """Name of the preset; empty where the defaults alone are compared with."""
    base: dict[str, str]
    """Field -> value of the preset over the defaults, as ``plain_text``."""

    def differences(self, run: RunFiles) -> list[tuple[str, str, str]]:
        """Return (field, the run's value, the base's value) for what the run has changed."""
        return [
            (name, value, self.base.get(name, "unknown to this version"))
            for name, value in run.settings.items()
            if value != self.base.get(name) and name not in PLACES
        ]


def origin_of(run: RunFiles) -> Origin:
    """Return what a run builds on: the preset that was named, or its environment's own."""
    named = named_preset(run.sessions[0] if run.sessions else {})
    known = config_fields(TrainConfig)
    env = {"env": Sourced((run.env,), "run")}
    for preset in filter(None, (named, own_preset(run))):
        try:
            layers = merge(env, "", preset, known, run.env)
            values = flatten(build_config(TrainConfig, layers.values))
        except ConfigError:  # of another version, or somebody's own
            continue
        return Origin(layers.preset, {name: plain_text(value) for name, value in values.items()})
    return Origin("", default_settings() | {"env": run.env})


def own_preset(run: RunFiles) -> str:
    """Return the preset that ``train`` takes for a run's environment and algorithm; "" if none."""
    try:
        return default_preset(run.env, run.settings["algorithm"])
    except ConfigError:  # of another version
        return ""


def named_preset(session: Mapping[str, Any]) -> str:
    """Return the preset that a session's command names; empty if none."""
    words = split_command(str(session.get("command", "")))
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.removeprefix("--").partition("=")
        if name in ("preset", "param-name", "param_name") and (equals or word.startswith("--")):
            return value if equals else following
    return ""


def split_command(command: str) -> list[str]:
    """Return a command's words; none where its quotes do not fit."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def shown_folder(folder: Path) -> Path:
    """Return the run's folder as commands name it, to whom the page may be sent."""
    if gallery.holds(folder):
        return gallery.FOLDER / folder.resolve().name
    # Where an exported run lies is for who receives it to say.
    return Path(folder.resolve().name) if is_shared(folder) else folder


def commands(run: RunFiles, origin: Origin) -> list[tuple[str, str]]:
    """Return (what it does, command) to repeat the run and to look at it."""
    words = ["train", run.env, *(["--preset", origin.preset] if origin.preset else [])]
    for name, value, _ in origin.differences(run):
        if name in default_settings() and name != "env":
            is_list = isinstance(flatten(TrainConfig())[name], tuple)
            words += [f"--{name.replace('_', '-')}", *(value.split(",") if is_list else [value])]
    words += ["--run", f"{run.name}-again"]
    ranks = run.sessions[-1].get("ranks", 1) if run.sessions else 1
    launcher = f"mpirun -np {ranks} " if isinstance(ranks, int) and ranks > 1 else ""
    folder = str(shown_folder(run.folder))
    where = folder if "/" in folder else f"./{folder}"
    return [
        ("train it again", f"{launcher}{PROGRAM} {shlex.join(words)}"),
        (
            "the same from its own file",
            f"{launcher}{PROGRAM} train --config {shlex.quote(f'{folder}/config.yaml')} "
            f"--run {shlex.quote(f'{run.name}-again')}",
        ),
        *((what, f"{PROGRAM} {mode} {shlex.quote(where)}") for what, mode in (
            ("watch it", "play"), ("measure it", "evaluate"), ("draw its curves", "plot"),
        )),
    ]  # fmt: skip
