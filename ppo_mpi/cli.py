"""The command line: argv -> a mode with its checked settings. Imports neither torch nor MPI."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from typing import Any

import ppo_mpi
from ppo_mpi import registry
from ppo_mpi.cli_fields import config_fields
from ppo_mpi.cli_modes import MODES, TrainOptions, all_kinds, shown_class
from ppo_mpi.cli_runs import RunSettings, refuse_changes, settings_of_run
from ppo_mpi.cli_shells import SCRIPTS
from ppo_mpi.cli_sources import COMMAND_LINE, DEFAULT, merge, resolve, unknown_setting
from ppo_mpi.cli_values import build_config, help_text
from ppo_mpi.cli_words import OLD_NAMES, OLD_PRESETS, SHORT_NAMES, Setting, Sourced, split_words
from ppo_mpi.config import TrainConfig, flatten, with_values
from ppo_mpi.env_names import renamed
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.shared_run import refuse_to_train

PROGRAM = "python -m ppo_mpi"


@dataclass(frozen=True)
class Command:
    """What the user asked for, checked as far as one process can."""

    mode: str
    """One of ``MODES``, or ``help``."""
    config: Any
    """The mode's settings; the text to print for ``help``."""
    origins: dict[str, str] = field(default_factory=dict)
    """Field name -> where its value came from: ``default``, ``preset cartpole:4``, ``my.yaml:3``
    or ``command line``."""
    given: dict[str, Any] = field(default_factory=dict)
    """Fields that the user set by name, or by a preset or file that was named, and their values."""
    notes: list[str] = field(default_factory=list)
    """What to tell the user before the work: the preset taken, old names."""
    preset: str = ""
    """The preset that was applied (train); empty if none was."""
    dry_run: bool = False
    """Whether to show instead of train."""
    clobber: bool = False
    """Whether to start over where the run exists."""
    launched: Command | None = None
    """What stands behind ``--``, for launch."""
    words: tuple[str, ...] = ()
    """What stands behind ``--``, as it was typed."""


def parse_command(argv: Sequence[str], looks_at_run: bool = False) -> Command:
    """Read the command line.

    Args:
        argv: the words behind the program's name.
        looks_at_run: whether the settings of a run that is there stand in the place of a preset
            where train names none; otherwise the words alone count.

    Raises:
        ConfigError: something in it cannot be; the message is one line with the remedy.
    """
    argv = list(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    argv, behind = argv[:end], argv[end + 1 :]
    settings, plain = split_words(argv, all_kinds())
    notes: list[str] = []
    settings = [_rename(setting, notes) for setting in settings]
    asked = {setting.key for setting in settings}
    if "version" in asked:
        return Command("help", f"ppo_mpi {ppo_mpi.__version__}\n")
    for setting in settings:
        if setting.key == "completion":
            return Command("help", _completion(setting.values[0]))
    modes = [setting.values[0] for setting in settings if setting.key == "mode"]
    name = modes[-1] if modes else plain.pop(0) if plain else ""
    settings = [setting for setting in settings if setting.key != "mode"]
    if name and name not in MODES:
        raise ConfigError(registry.unknown_name("mode", name, MODES))
    if "help" in asked:
        return Command("help", _mode_help(name) if name else summary_text())
    if not name:
        raise ConfigError("no mode given; begin with one of " + ", ".join(MODES))
    settings = _with_plain_words(name, settings, plain, notes)
    if name == "launch":
        return _launch_command(settings, behind, notes, looks_at_run)
    if behind and name != "experiment":
        raise ConfigError(
            f"unexpected words behind --: {' '.join(behind)}; only launch and experiment have them"
        )
    if name == "train":
        return _train_command(settings, notes, looks_at_run)
    return replace(_other_command(name, settings, notes), words=tuple(behind))


def summary_text() -> str:
    """Return the short help: the modes and how to begin."""
    lines = [f"usage: {PROGRAM} MODE [WORD] [--setting value ...]", ""]
    lines += [f"  {name:10} {mode.summary}" for name, mode in MODES.items()]
    return "\n".join(lines) + _EXAMPLES


_EXAMPLES = f"""

examples:
  {PROGRAM} train coinrun
  mpirun -np 8 {PROGRAM} train starpilot --preset procgen-easy-200 --seed 1
  {PROGRAM} train CartPole-v1 --total-timesteps 100k --dry-run
  {PROGRAM} record coinrun --episodes 3
  {PROGRAM} evaluate coinrun --levels both --json scores.json

`{PROGRAM} MODE --help` explains each setting of a mode;
`ppo-mpi --completion bash` (zsh, fish) prints what lets the shell complete them (source it).
"""


def _mode_help(name: str) -> str:
    mode = MODES[name]
    word = f" [{mode.plain_word.upper()}]" if mode.plain_word else ""
    return help_text(shown_class(name), f"{PROGRAM} {name}{word}", mode.summary)


def _completion(shell: str) -> str:
    if shell not in SCRIPTS:
        raise ConfigError(registry.unknown_name("shell", shell, SCRIPTS))
    return SCRIPTS[shell]


def _rename(setting: Setting, notes: list[str]) -> Setting:
    section, dot, name = setting.key.rpartition(".")
    if name in OLD_NAMES:
        new = OLD_NAMES[name]
        if name not in SHORT_NAMES:
            notes.append(f"{name} is called {new} here")
        setting = replace(setting, key=section + dot + new)
    old = setting.values[0] if setting.values else ""
    if setting.key in ("preset", "name") and old in OLD_PRESETS:
        notes.append(f"the preset {old} is called {OLD_PRESETS[old]} here")
        setting = replace(setting, values=(OLD_PRESETS[old],))
    return setting


def _with_plain_words(
    mode: str, settings: list[Setting], plain: list[str], notes: list[str]
) -> list[Setting]:
    target = MODES[mode].plain_word
    if plain and target == "runs":
        named = [word for s in settings if s.key == target for word in s.values]
        rest = [s for s in settings if s.key != target]
        return [*rest, Setting(target, (*plain, *named), plain[0])]
    allowed = 1 if target and not any(s.key.rpartition(".")[2] == target for s in settings) else 0
    if len(plain) > allowed:
        meant = f"; after {mode} stands at most one word, the {target}" if target else ""
        raise ConfigError(f"unexpected word {plain[allowed]!r}{meant}; settings are --name value")
    return settings + [_rename(Setting(target, (word,), word), notes) for word in plain]


def _train_command(settings: Sequence[Setting], notes: list[str], looks_at_run: bool) -> Command:
    known, options_known = config_fields(TrainConfig), config_fields(TrainOptions)
    typed: dict[str, Sourced] = {}
    typed_options: dict[str, Sourced] = {}
    for setting in settings:
        name = setting.key.rpartition(".")[2]
        if setting.key in options_known:
            typed_options[setting.key] = Sourced(setting.values, COMMAND_LINE)
            continue
        if name not in known:
            everything = [*known, *options_known, "help"]
            raise ConfigError(unknown_setting(_shown(setting), name, everything))
        typed[resolve(setting.key, _shown(setting), known)] = Sourced(setting.values, COMMAND_LINE)
    options = build_config(TrainOptions, typed_options)
    if looks_at_run and not (options.preset or options.config):
        own = settings_of_run(typed, options.clobber)
        if own is not None:
            return _command_of_run(own, typed, options, notes)
    default_env = TrainConfig().environment.env
    layers = merge(typed, options.config, options.preset, known, default_env)
    config = build_config(TrainConfig, layers.values)
    named = config.environment.env
    tested = config.environment.test_env
    config = with_values(
        config, {"env": canonical_env(named), "test_env": canonical_env(tested) if tested else ""}
    )
    if note := renamed(named.removeprefix("gym:"))[1]:
        notes = [*notes, note]
    config.validate(world_size=1)
    values = flatten(config)
    if layers.preset and not options.preset:
        note = f"preset {layers.preset}, as registered for {config.environment.env}"
        if "run" in layers.given and "env" not in layers.given:
            note += f", as no environment is named and the run {config.job.run} is a new one"
        notes = [*notes, note]
    return Command(
        "train",
        config,
        origins=_origins(values, layers.values),
        given={name: values[name] for name in values if name in layers.given},
        notes=notes,
        preset=layers.preset,
        dry_run=options.dry_run,
        clobber=options.clobber,
    )


def _command_of_run(
    own: RunSettings, typed: dict[str, Sourced], options: TrainOptions, notes: list[str]
) -> Command:
    """Return the command of a job with the settings of a run that is there."""
    layers = own.with_typed(typed)
    config = build_config(TrainConfig, layers)
    config.validate(world_size=1)
    values, asked = flatten(config), flatten(build_config(TrainConfig, typed))
    given = {name: asked[name] for name in typed}
    if options.dry_run:
        refuse_to_train(own.folder)
    if own.goes_on and options.dry_run:
        refuse_changes(own.folder, given, values)
    if options.dry_run or not own.goes_on:
        notes = [*notes, f"the settings are those of {own.folder}, which is there"]
    return Command(
        "train",
        config,
        origins=_origins(values, layers),
        given=given,
        notes=notes,
        dry_run=options.dry_run,
        clobber=options.clobber,
    )


def _launch_command(
    settings: Sequence[Setting], behind: Sequence[str], notes: list[str], looks_at_run: bool
) -> Command:
    example = f"{PROGRAM} launch --ranks 8 -- train coinrun"
    if not behind:
        raise ConfigError(f"launch needs the words of train behind --, for example: {example}")
    launched = parse_command(behind, looks_at_run)
    if launched.mode != "train" or launched.dry_run:
        raise ConfigError(
            f"launch starts train only, and behind -- stands {' '.join(behind)!r}; for example: "
            f"{example}; its own --dry-run stands before --"
        )
    command = _other_command("launch", settings, notes)
    return replace(command, launched=launched, words=tuple(behind))


def _other_command(mode: str, settings: Sequence[Setting], notes: list[str]) -> Command:
    config_class = MODES[mode].config_class
    known = config_fields(config_class)
    typed: dict[str, Sourced] = {}
    for setting in settings:
        typed[resolve(setting.key, _shown(setting), known)] = Sourced(setting.values, COMMAND_LINE)
    config: Any = build_config(config_class, typed)
    validate = getattr(config, "validate", None)
    if validate is not None:
        validate(1)
    values = vars(config)
    given = {name: values[name] for name in typed}
    return Command(mode, config, origins=_origins(values, typed), given=given, notes=notes)


def _origins(values: Mapping[str, Any], sources: Mapping[str, Sourced]) -> dict[str, str]:
    return {name: sources[name].origin if name in sources else DEFAULT for name in values}


def _shown(setting: Setting) -> str:
    """Return the setting's name as it was typed, without its value."""
    return setting.typed.partition("=")[0]


def canonical_env(env: str) -> str:
    """Return ``suite:task``; ``coinrun`` and ``procgen:coinrun`` then compare equal.

    Of several environments it is ``suite:task,task``.

    Raises:
        ConfigError: the suite, the module or the Procgen game is unknown, or a plain word is
            neither a Procgen game nor looks like a Gymnasium id.
    """
    suite, task = registry.split_env_name(env)
    names = registry.names_of(env)
    if len(names) > 1:
        for name in names:
            canonical_env(name)
        return f"{suite}:{task}"
    if suite == "gym" and ":" not in env and not re.search(r"[A-Z]|-v\d+$", task):
        # Gymnasium's own ids have capitals or a version; a word such as coinrn has neither.
        message = registry.unknown_name("environment", env, registry.PROCGEN_NAMES)
        raise ConfigError(f"{message}; or a Gymnasium id such as CartPole-v1")
    if suite == "user" and not _is_module(task):
        module = task.partition(":")[0].partition(".")[0]
        message = registry.unknown_name("environment suite", module, registry.SUITES)
        raise ConfigError(
            f"env={env}: there is neither a suite nor a module {module}; "
            f"{message.partition('; ')[2]}; for an environment of your own, be in the folder that "
            "holds its module, or install it"
        )
    return f"{suite}:{task}"


def _is_module(task: str) -> bool:
    """Return whether the outermost module of ``package.module:callable`` is there."""
    top = task.partition(":")[0].partition(".")[0]
    places = [os.getcwd(), *sys.path]
    return top in sys.modules or PathFinder.find_spec(top, places) is not None
