"""Writes settings.md, the page of all settings, from the dataclasses that hold them.

python docs/make_settings.py

A test fails where the page is not what this writes.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from dataclasses import MISSING, Field, fields
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

from ppo_mpi.cli_fields import choices, config_fields, field_docs
from ppo_mpi.cli_modes import MODES, TrainOptions, shown_class
from ppo_mpi.cli_words import OLD_NAMES, OLD_PRESETS
from ppo_mpi.config import TrainConfig, sections

PAGE = Path(__file__).with_name("settings.md")
RESUMABLE = "↻"

HEAD = f"""# All settings

Written by `python docs/make_settings.py` from the sources, like `python -m ppo_mpi MODE --help`.

- **On the command line**, `--num-envs 64`, `--num-envs=64`, `num_envs=64` and
  `--environment.num-envs 64` are the same; so are `-` and `_`. A switch is `--greedy`,
  `--greedy=false` or `--no-greedy`.
- **In a YAML file** (`--config FILE`), settings stand flat or under their section: `num_envs: 64`.
- **From Python**: `api.train("coinrun", num_envs=64)` ([python-api.md](python-api.md)).
- **Which value wins**: default, preset, `--config`, command line; the later the stronger. Without
  `--preset`, `train` takes the preset registered for the environment, so a run's values may be
  others than the defaults below: `train ENV --dry-run` shows each with its origin, and the run's
  `config.yaml` has them all.
- **Whole numbers** may be `25_000_000`, `25e6`, `25M` or `64k` (64,000). **Lists** have white space
  between their elements, lists of numbers also commas, and `@FILE` stands for the numbers in a
  file. Where a value may be none, write `none`.
- **Counts** are for the whole job, however many ranks share it, unless it says "of each rank".
- **{RESUMABLE}** marks what may change when a run goes on; all else is as it was when the run
  began, and another value is refused.
"""

BEHIND = {
    "launch": "Behind `--` stand `train` and its settings.",
    "experiment": "Behind `--` stand settings of `train` for all runs.",
    "sweep": "The settings of `train` stand in the search's file ([sweep.md](sweep.md)).",
}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, contents(), "## train\n", about("train")]
    parts += ["### what to do\n\nThese are not kept with the run.\n", table(TrainOptions, "train")]
    parts += [section(name, own) for name, own in sections(TrainConfig()).items()]
    parts += [other_mode(mode) for mode in MODES if mode != "train"]
    return "\n".join([*parts, old_names(), index()])


def contents() -> str:
    """Return the table of contents."""
    training = ", ".join(f"[{name}](#{name})" for name in sections(TrainConfig()))
    others = ", ".join(f"[{mode}](#{mode})" for mode in MODES if mode != "train")
    return (
        f"**[train](#train)**: [what to do](#what-to-do), {training}\n\n"
        f"**other modes**: {others}\n\n"
        "**looking up**: [names in other systems](#names-in-other-systems), [index](#index)\n"
    )


def about(mode: str) -> str:
    """Return what a mode does, and what its plain word is."""
    word = MODES[mode].plain_word
    line = f"`python -m ppo_mpi {mode}{f' {word.upper()}' if word else ''}`: {MODES[mode].summary}."
    if word:
        line += f" The word behind the mode is `{word}`."
    if mode in BEHIND:
        line += f" {BEHIND[mode]}"
    return line + "\n"


def section(name: str, own: Any) -> str:
    """Return one section of train."""
    meaning = inspect.cleandoc(type(own).__doc__ or "").splitlines()[0]
    return f"### {name}\n\n{meaning}\n\n" + table(type(own), "train")


def other_mode(mode: str) -> str:
    """Return the settings of a mode beside train."""
    return f"## {mode}\n\n{about(mode)}\n" + table(MODES[mode].config_class, mode)


def table(config_class: type, mode: str) -> str:
    """Return a table of the settings of one dataclass without sections."""
    docs, known = field_docs(config_class), config_fields(config_class)
    lines = ["| setting | value | default | meaning |", "| --- | --- | --- | --- |"]
    for own in fields(config_class):
        mark = f" {RESUMABLE}" if own.metadata.get("resumable") else ""
        meaning = linked(escaped(docs[own.name]), own.name, mode)
        former = [f"`{old}`" for old, new in OLD_NAMES.items() if new == own.name]
        if former:
            meaning += f" Also {', '.join(former)}."
        lines.append(
            f'| <a id="{mode}-{own.name}"></a>`{own.name}`{mark} '
            f"| {kind_of(known[own.name].annotation)} | {shown(own)} | {meaning} |"
        )
    return "\n".join(lines) + "\n"


def kind_of(annotation: Any) -> str:
    """Return what a value may be, in a word or by its choices."""
    if annotation is bool:
        return "true, false"
    listed = choices(annotation)
    if listed:
        return ", ".join(listed)
    names = {int: "whole number", float: "number", str: "text"}
    if get_origin(annotation) is tuple:
        element = get_args(annotation)[0]
        return {str: "words"}.get(element, f"{names.get(element, 'word')}s")
    if annotation in names:
        return names[annotation]
    inner = [kind_of(part) for part in get_args(annotation) if part is not type(None)]
    return ", or ".join([*inner, "none"])


def shown(own: Field[Any]) -> str:
    """Return a field's default."""
    value = own.default
    assert value is not MISSING, f"{own.name} has a default"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:_}"
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    return escaped(str(value)) if value != "" else "empty"


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, in a table."""
    for character in "|*<~":
        text = text.replace(character, f"\\{character}")
    return text


def linked(text: str, own: str, mode: str) -> str:
    """Return a meaning in which the names of other settings lead to them."""
    places = [(mode, settings_of(mode)), ("train", settings_of("train"))]

    def link(match: re.Match[str]) -> str:
        name = match[0]
        place = next((place for place, known in places if name in known), None)
        return name if place is None or name == own else f"[{name}](#{place}-{name})"

    return re.sub(r"(?<![\w<-])[a-z]+(?:_[a-z]+)+(?![\w=])", link, text)


@cache
def settings_of(mode: str) -> list[str]:
    """Return the names of all that can be set in a mode."""
    return list(config_fields(shown_class(mode)))


def old_names() -> str:
    """Return what settings are called elsewhere."""
    presets = ", ".join(f"`{old}` is `{new}`" for old, new in OLD_PRESETS.items())
    lines = [
        "## names in other systems\n",
        "These are taken as well, in every mode that has the setting; a note then says what it is",
        f"called here. Of presets, {presets}.\n",
        "| there | here |",
        "| --- | --- |",
    ]
    lines += [f"| `{old}` | [`{new}`](#train-{new}) |" for old, new in sorted(OLD_NAMES.items())]
    return "\n".join(lines) + "\n"


def index() -> str:
    """Return all names in their alphabetical order, each with the modes that have it."""
    modes: dict[str, list[str]] = defaultdict(list)
    for mode in MODES:
        for name in settings_of(mode):
            modes[name].append(f"[{mode}](#{mode}-{name})")
    lines = ["## index\n", "| setting | modes |", "| --- | --- |"]
    lines += [f"| `{name}` | {', '.join(where)} |" for name, where in sorted(modes.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
