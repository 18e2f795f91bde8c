"""Values as text -> a checked config, through tyro: one way for files and the command line.

tyro reads the config dataclasses; what it lacks and is added here: counts such as ``25e6`` and
``64k``, several words for true and false, and errors of one line that say where a value came from.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import typing
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import tyro

from ppo_mpi.cli_fields import Field, config_fields, describe
from ppo_mpi.cli_words import BOOLEANS, Sourced
from ppo_mpi.errors import ConfigError

Config = TypeVar("Config")

_MULTIPLES = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def parse_count(text: str) -> int:
    """Read a whole number: ``64``, ``25_000_000``, ``25e6``, ``25M``, ``64k`` (64,000).

    Raises:
        ValueError: it is not one.
    """
    factor = _MULTIPLES.get(text[-1:], 1)
    try:
        number = Decimal(text[:-1] if factor > 1 else text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    # The bound keeps 1e999999999 from being written out in full.
    if not number.is_finite() or abs(number.adjusted()) >= 18 or number * factor % 1:
        raise ValueError(f"{text!r} is not a whole number")
    return int(number * factor)


def parse_boolean(text: str) -> bool:
    """Read true, yes, on, 1 or false, no, off, 0.

    Raises:
        ValueError: it is none of these.
    """
    if text.lower() not in BOOLEANS:
        raise ValueError(f"{text!r} is neither true nor false")
    return BOOLEANS[text.lower()]


def _registry() -> tyro.constructors.ConstructorRegistry:
    """Return how tyro shall read whole numbers and booleans."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def rule(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
        readers = {int: (parse_count, "INT"), bool: (parse_boolean, "{true,false}")}
        if info.type not in readers:
            return None
        read, metavar = readers[typing.cast(type, info.type)]
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=lambda words: read(words[0]),
            is_instance=lambda value: isinstance(value, typing.cast(type, info.type)),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def build_config(config_class: type[Config], given: dict[str, Sourced]) -> Config:
    """Return the config with the given fields set and all others at their defaults.

    Args:
        config_class: a config dataclass, with or without sections.
        given: field name (without its section) -> value; every name must exist.

    Raises:
        ConfigError: a value has the wrong type; names field, value, type and origin.
    """
    known = config_fields(config_class)
    given = {
        name: replace(value, values=_with_files(name, value.values))
        if known[name].kind == "numbers"
        else value
        for name, value in given.items()
    }
    config = _parse(config_class, known, given)
    if config is not None:
        return config
    for name, value in reversed(given.items()):  # what was typed comes last, and is likeliest
        if _parse(config_class, known, {name: value}) is None:
            raise ConfigError(_wrong_type(name, value, known[name]))
    raise AssertionError(f"tyro refused {given} together, but each of them alone is right")


def _with_files(name: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list's words with those of a file in the place of ``@FILE``.

    There numbers have white space or commas between them, and # begins a comment.

    Raises:
        ConfigError: a file cannot be read, or holds nothing.
    """
    words: list[str] = []
    for value in values:
        if not value.startswith("@"):
            words.append(value)
            continue
        try:
            lines = Path(value[1:]).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise ConfigError(f"{name}={value}: cannot read {value[1:]}: {reason}") from None
        found = " ".join(line.partition("#")[0] for line in lines).replace(",", " ").split()
        if not found:
            raise ConfigError(f"{name}={value}: {value[1:]} holds no numbers; leave it out")
        words += found
    return tuple(words)


def _parse(
    config_class: type[Config], known: Mapping[str, Field], given: Mapping[str, Sourced]
) -> Config | None:
    """Return the config, or None if a value is not of its field's type.

    tyro is asked for what is given alone: all fields would take it a third of a second.
    """
    if not given:
        return config_class()
    words: list[str] = []
    for name, sourced in given.items():
        option = "--" + name.replace("_", "-")
        values = sourced.values
        if known[name].is_optional and [v.lower() for v in values] in (
            ["none"],
            ["null"],
            ["~"],
        ):
            values = ("None",)
        if known[name].kind in ("numbers", "texts"):
            words += [option, *values]
        elif len(values) == 1:
            words.append(f"{option}={values[0]}")
        else:
            return None
    silence = io.StringIO()
    try:
        with (
            _registry(),
            contextlib.redirect_stderr(silence),
            contextlib.redirect_stdout(silence),
        ):
            parsed: Any = tyro.cli(
                make_dataclass("Given", [(name, known[name].annotation) for name in given]),
                args=words,
                config=(tyro.conf.FlagConversionOff,),
                console_outputs=False,
            )
    except SystemExit:
        return None
    return _with_fields(config_class(), known, vars(parsed))


def _with_fields(config: Config, known: Mapping[str, Field], values: Mapping[str, Any]) -> Config:
    """Return a config with some fields, named without their section, set to new values."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        sections.setdefault(known[name].section, {})[name] = value
    changed = sections.pop("", {})
    for section, own in sections.items():
        changed[section] = replace(getattr(config, section), **own)
    return typing.cast(Config, replace(typing.cast(Any, config), **changed))


def _wrong_type(name: str, sourced: Sourced, field: Field) -> str:
    value = " ".join(sourced.values)
    near = ""
    if get_origin(field.annotation) is Literal:
        close = difflib.get_close_matches(value, get_args(field.annotation), n=1)
        near = f"; did you mean {close[0]}?" if close else ""
    return f"{name}={value!r} ({sourced.origin}) is not {describe(field.annotation)}{near}"


def help_text(options_class: type, program: str, description: str) -> str:
    """Return tyro's help for a dataclass: every field with meaning, default and choices."""
    text = io.StringIO()
    flat: Sequence[Any] = (tyro.conf.OmitArgPrefixes,)
    with _registry(), contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(
            options_class,
            prog=program,
            description=description,
            args=["--help"],
            config=flat,
        )
    return text.getvalue()
