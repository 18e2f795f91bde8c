"""--complete WORDS: what the word that is being typed may become; asked by the shells' scripts.

Imports nothing slow: it runs at each press of the Tab key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ppo_mpi.cli_fields import all_docs, choices, config_fields
from ppo_mpi.cli_modes import MODES, all_kinds, shown_class
from ppo_mpi.cli_shells import SCRIPTS
from ppo_mpi.cli_sources import preset_names, preset_text
from ppo_mpi.cli_words import OLD_NAMES, Setting, split_words
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.modes.families import FAMILIES
from ppo_mpi.modes.presets import description
from ppo_mpi.registry import EXPERIMENTS, PROCGEN_GAMES
from ppo_mpi.storage import gallery
from ppo_mpi.storage.run_folder import checkpoints_of, known_runs, read_tags, step_timesteps

Candidates = dict[str, str]
"""Word -> what it means; empty where there is nothing to say."""

FILES = ":files"
"""Stands for the names of files, which the shell completes itself."""
RUNS = ("run", "runs", "borrow_from")
LONGEST_MEANING = 70
"""Characters; more would fill the terminal."""
SCHEDULES = ("constant", "linear", "linear:", "log:", "cosine:", "one_cycle:", "piecewise:")


@dataclass(frozen=True)
class Typed:
    """What stands before the word that is being typed."""

    mode: str
    """The mode; empty if there is none yet."""
    settings: tuple[Setting, ...]
    plain: tuple[str, ...]
    """The plain words behind the mode."""
    awaits: str
    """The setting whose value comes next; empty if none."""


def print_candidates(words: Sequence[str]) -> int:
    """Print what ``complete`` returns, a line each."""
    for line in complete(words):
        print(line)
    return 0


def complete(words: Sequence[str]) -> list[str]:
    """Return a line for each candidate: the word, and behind a tab what it means.

    Args:
        words: the words behind the program's name up to the cursor; the last one, perhaps empty,
            is the one to complete.
    """
    *before, current = words or [""]
    if "--" in before:
        behind = before[before.index("--") + 1 :]
        # launch has a whole command line there, experiment settings of train.
        has_mode = "launch" in before[: before.index("--")]
        before = behind if has_mode else ["train", "coinrun", *behind]
    typed = _read(before)
    found = {} if typed is None else _candidates(typed, current)
    fitting = {word: meaning for word, meaning in found.items() if word.startswith(current)}
    if FILES in found:
        fitting[FILES] = ""
    return [f"{word}\t{meaning}" if meaning else word for word, meaning in fitting.items()]


def _read(before: Sequence[str]) -> Typed | None:
    """Return what was typed so far; None if it cannot be."""
    kinds = all_kinds()
    awaits, rest = "", list(before)
    places = [i for i, word in enumerate(before) if word.startswith("--")]
    if places and "=" not in before[places[-1]]:
        name = before[places[-1]][2:].replace("-", "_").rpartition(".")[2]
        kind, values = kinds.get(name, "flag"), len(before) - places[-1] - 1
        if kind == "texts" or (kind in ("value", "numbers") and not values):
            awaits, rest = name, rest[: places[-1]]
    try:
        settings, plain = split_words(rest, kinds)
    except ConfigError:
        return None
    modes = [setting.values[0] for setting in settings if setting.key == "mode" and setting.values]
    mode = modes[-1] if modes else plain.pop(0) if plain else ""
    if mode and mode not in MODES:
        return None
    return Typed(mode, tuple(settings), tuple(plain), OLD_NAMES.get(awaits, awaits))


def _candidates(typed: Typed, current: str) -> Candidates:
    name, equals, value = current.partition("=")
    if equals:
        key = name.removeprefix("--").replace("-", "_").rpartition(".")[2]
        values = _values(OLD_NAMES.get(key, key), typed, value)
        return {word if word == FILES else f"{name}={word}": text for word, text in values.items()}
    if typed.awaits:
        return _values(typed.awaits, typed, current)
    if current.startswith("-"):
        return _options(typed, current)
    if not typed.mode:
        return {mode: known.summary for mode, known in MODES.items()} | {"mode=": ""}
    target = MODES[typed.mode].plain_word
    given = {setting.key.rpartition(".")[2] for setting in typed.settings}
    found: Candidates = {}
    if target and (target == "runs" or (not typed.plain and target not in given)):
        found = _values(target, typed, current)
    if current:
        return found | {f"{name}=": "" for name in config_fields(shown_class(typed.mode))}
    return found or _options(typed, current)


def _options(typed: Typed, current: str) -> Candidates:
    """Return the settings of the mode that were not given yet, as options."""
    found: Candidates = {"--help": "explain each setting"}
    if not typed.mode:
        return found | {"--version": "", "--completion": "what a shell needs to complete words"}
    config_class = shown_class(typed.mode)
    given = {setting.key.rpartition(".")[2] for setting in typed.settings}
    meanings = all_docs(config_class)
    for name, field in config_fields(config_class).items():
        option = name.replace("_", "-")
        if name in given:
            continue
        found[f"--{option}"] = _short(meanings.get(name, ""))
        if field.kind == "flag" and current.startswith("--n"):
            found[f"--no-{option}"] = ""
    return found


def _short(text: str) -> str:
    """Return the first sentence, or as many of its words as fit."""
    first = text.partition(". ")[0].rstrip(".")
    if len(first) <= LONGEST_MEANING:
        return first
    return first[:LONGEST_MEANING].rpartition(" ")[0] + " ..."


def _values(name: str, typed: Typed, current: str) -> Candidates:
    """Return what a setting may be, as far as that can be listed."""
    if name == "mode":
        return {mode: known.summary for mode, known in MODES.items()}
    if name == "completion":
        return dict.fromkeys(SCRIPTS, "")
    if not typed.mode:
        return {}
    known = config_fields(shown_class(typed.mode))
    if name not in known:
        return {}
    listed = choices(known[name].annotation)
    if listed:
        return dict.fromkeys(listed, "")
    if name in RUNS:
        return _runs(_checkpoint_dir(typed), current)
    special: Mapping[tuple[str, str], Callable[[], Candidates]] = {
        ("presets", "name"): _presets,
        ("experiment", "name"): lambda: dict.fromkeys(EXPERIMENTS, ""),
        (typed.mode, "preset"): _presets,
        (typed.mode, "family"): lambda: {key: own.title for key, own in FAMILIES.items()},
        (typed.mode, "levels"): lambda: dict.fromkeys(("train", "test", "both"), ""),
    }
    if (typed.mode, name) in special:
        return special[typed.mode, name]()
    if name in ("env", "test_env"):
        return _listed_with_commas(_environments, current)
    if name == "games":
        return _listed_with_commas(lambda _: dict.fromkeys(("all", *PROCGEN_GAMES), ""), current)
    if name.endswith("_schedule"):
        return dict.fromkeys(SCHEDULES, "")
    return {FILES: ""} if known[name].annotation is str or known[name].kind != "value" else {}


def _presets() -> Candidates:
    return {name: _short(description(preset_text(name))) for name in preset_names()}


def _checkpoint_dir(typed: Typed) -> str:
    given = [s.values[0] for s in typed.settings if s.key.endswith("checkpoint_dir") and s.values]
    return given[-1] if given else "checkpoints"


def _runs(checkpoint_dir: str, current: str) -> Candidates:
    """Return the runs that are there, or behind a colon the checkpoints of one; and files."""
    try:
        runs = known_runs(checkpoint_dir) | gallery.agents()
        name = current.partition(":")[0]
        if ":" not in current or name not in runs:
            return dict.fromkeys(runs, "") | {FILES: ""}
        tags = [*read_tags(runs[name]), *(step_timesteps(p) for p in checkpoints_of(runs[name]))]
    except (OSError, CheckpointError):  # train says what is wrong; here nobody would see it
        return {FILES: ""}
    return {f"{name}:{tag}": "" for tag in tags}


def _listed_with_commas(list_of: Callable[[str], Candidates], current: str) -> Candidates:
    """Return the candidates for the last name of ``a,b,...``, each behind those before it."""
    before, comma, last = current.rpartition(",")
    return {before + comma + word: meaning for word, meaning in list_of(last).items()}


def _environments(current: str) -> Candidates:
    """Return the names of environments that may be meant by how the word begins."""
    suite, colon, _ = current.partition(":")
    found: Candidates = {}
    for key, family in FAMILIES.items():
        if family.tasks is None or any(package.version() is None for package in family.packages):
            continue
        if family.suite == "procgen":
            found |= _of_suite(family.tasks(), "procgen:" if colon else "", family.title)
        elif family.suite == "gym":
            if current[:1].isupper():  # Gymnasium's ids are; listing them imports it
                found |= dict.fromkeys(family.tasks(), family.title)
        elif colon and suite == family.suite:
            found |= dict.fromkeys(family.tasks(), "")
        elif not colon:
            found[f"{key}:"] = family.title
    return found


def _of_suite(tasks: Iterable[str], prefix: str, title: str) -> Candidates:
    return {prefix + task: title for task in tasks}
