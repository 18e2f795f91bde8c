"""Where settings come from, and which wins: defaults < preset < --config FILE < command line.

YAML is read as plain text, without YAML's own types, so that a value means the same in a file and
on the command line (YAML 1.1 would read ``5e-4`` as a text and ``off`` as a boolean).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from ppo_mpi import registry
from ppo_mpi.cli_fields import Field
from ppo_mpi.cli_words import Sourced
from ppo_mpi.errors import ConfigError

COMMAND_LINE = "command line"
DEFAULT = "default"
BASE = "base"
"""The key of a preset's file that names the preset it builds on."""


@dataclass(frozen=True)
class Layers:
    """The values of all sources, the strongest already chosen."""

    values: dict[str, Sourced]
    """Field name -> the value that counts, with its origin; fields at their default are absent."""
    given: frozenset[str]
    """Fields that the user set: on the command line, or by a preset or file that was named."""
    preset: str
    """Name of the preset that was applied; empty if none was."""


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    files = resources.files("ppo_mpi.presets").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """Return a preset's file.

    Raises:
        ConfigError: there is no preset of that name; the message lists the known ones.
    """
    if name not in preset_names():
        raise ConfigError(registry.unknown_name("preset", name, preset_names()))
    return (resources.files("ppo_mpi.presets") / f"{name}.yaml").read_text("utf-8")


def read_config_file(path: str) -> str:
    """Return the text of a YAML file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise ConfigError(f"cannot read --config {path}: {reason}") from None


def read_yaml(text: str, source: str, known: Mapping[str, Field]) -> dict[str, Sourced]:
    """Return field name -> value with ``source:line``; nested by sections or flat.

    Raises:
        ConfigError: it is no YAML, no mapping, or sets a field that does not exist, or sets one
            twice.
    """
    root = compose(text, source)
    found: dict[str, Sourced] = {}
    if root is not None:
        read_mapping(root, source, "", known, found)
    return found


def compose(text: str, source: str) -> yaml.Node | None:
    """Return a YAML text's outermost node, every value still a text; None of an empty one.

    Raises:
        ConfigError: it is no YAML; the message begins with ``source`` and the line.
    """
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{source}:{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: not YAML of settings: too many brackets deep") from None
    return root


def read_mapping(
    node: yaml.Node,
    source: str,
    section: str,
    known: Mapping[str, Field],
    found: dict[str, Sourced],
) -> None:
    """Add the fields that a mapping sets to ``found``.

    Args:
        node: a mapping of fields, or of sections with fields.
        source: how errors name the file.
        section: the fields' own; empty outside of sections.
        known: field name -> field.
        found: field name -> value with ``source:line``.

    Raises:
        ConfigError: it is no mapping, sets a field that does not exist, or sets one twice.
    """
    sections = {field.section for field in known.values()} - {""}
    if not isinstance(node, yaml.MappingNode):
        what = f"section {section}" if section else "the file"
        where = f"{source}:{node.start_mark.line + 1}"
        raise ConfigError(f"{where}: {what} must hold lines of the form `field: value`")
    for key_node, value_node in node.value:
        origin = f"{source}:{key_node.start_mark.line + 1}"
        key = str(key_node.value).replace("-", "_")
        # A word such as `network` is a section and a field; a mapping tells the section.
        if not section and key in sections and isinstance(value_node, yaml.MappingNode):
            read_mapping(value_node, source, key, known, found)
            continue
        name = resolve(f"{section}.{key}" if section else key, key, known, f" ({origin})")
        if name in found:
            raise ConfigError(f"{name} is set twice, in {found[name].origin} and in {origin}")
        found[name] = Sourced(_texts(value_node, name, origin), origin)


def _texts(node: yaml.Node, name: str, origin: str) -> tuple[str, ...]:
    if isinstance(node, yaml.ScalarNode):
        return (str(node.value),)
    if isinstance(node, yaml.SequenceNode) and all(
        isinstance(element, yaml.ScalarNode) for element in node.value
    ):
        return tuple(str(element.value) for element in node.value)
    raise ConfigError(f"{name} ({origin}) must be one value or a list of values")


def resolve(key: str, typed: str, known: Mapping[str, Field], where: str = "") -> str:
    """Return the field that ``key`` names, with or without its section.

    Args:
        key: as typed, with underscores.
        typed: how the message shall show it.
        known: field name -> field.
        where: what the message adds, for example `` (my.yaml:3)``.

    Raises:
        ConfigError: there is no such field; the message has the nearest names.
    """
    section, _, name = key.rpartition(".")
    if name in known and section in ("", known[name].section):
        return name
    raise ConfigError(unknown_setting(typed, name, known, where))


def unknown_setting(typed: str, name: str, known: Iterable[str], where: str = "") -> str:
    """Return the message for a setting that does not exist, with the nearest names."""
    is_option = typed.startswith("--")
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    names = ["--" + n.replace("_", "-") if is_option else n for n in near]
    hint = f"did you mean {' or '.join(names)}?" if near else "--help lists all"
    return f"unknown setting {typed!r}{where}; {hint}"


def merge(
    typed: Mapping[str, Sourced],
    config_path: str,
    preset: str,
    known: Mapping[str, Field],
    default_env: str,
) -> Layers:
    """Put the sources of a training job on top of each other.

    Without a named preset the one registered for the environment is taken, unless the file sets
    most of the fields, as a run's own config.yaml does: then it is the whole truth.

    Args:
        typed: the fields set on the command line.
        config_path: file given by ``--config``; empty if none.
        preset: given by ``--preset``; empty if none.
        known: all fields of the config.
        default_env: the environment where no source names one.

    Raises:
        ConfigError: a preset or file is unknown, cannot be read, or has an unknown field.
    """
    from_file: dict[str, Sourced] = {}
    if config_path:
        from_file = read_yaml(read_config_file(config_path), config_path, known)
    given = set(typed) | set(from_file)
    if preset:
        from_preset = _read_preset(preset, known)
        given |= {*from_preset, "algorithm"}  # a preset is for one, which those of ppo do not name
    elif 2 * len(from_file) > len(known):
        from_preset = {}
    else:
        env = typed.get("env") or from_file.get("env")
        algorithm = typed.get("algorithm") or from_file.get("algorithm")
        preset = registry.default_preset(
            " ".join(env.values) if env else default_env,
            " ".join(algorithm.values) if algorithm else "ppo",
        )
        from_preset = _read_preset(preset, known)
        # The registry knows the preset by the environment; the environment stays as it was typed.
        from_preset.pop("env", None)
    return Layers({**from_preset, **from_file, **typed}, frozenset(given), preset)


def preset_base(text: str, source: str) -> str:
    """Return the name of the preset that one builds on, the value of ``base``; "" if of none.

    Args:
        text: the preset's file.
        source: how errors name it.
    """
    root = compose(text, source)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((str(value.value) for key, value in pairs if key.value == BASE), "")


def _read_preset(name: str, known: Mapping[str, Field]) -> dict[str, Sourced]:
    source, text = f"preset {name}", preset_text(name)
    base = preset_base(text, source)
    found = _read_preset(base, known) if base else {}
    own = compose(text, source)
    if isinstance(own, yaml.MappingNode):
        own.value = [(key, value) for key, value in own.value if key.value != BASE]
    if own is not None:
        values: dict[str, Sourced] = {}
        read_mapping(own, source, "", known, values)
        found |= values
    return found
