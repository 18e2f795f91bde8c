"""What can be set: the fields of the config dataclasses, with their types and meanings.

Read from the dataclasses and their sources alone; nothing slow is imported.
"""

from __future__ import annotations

import ast
import functools
import inspect
import types
import typing
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin

from ppo_mpi.cli_words import Kind


@dataclass(frozen=True)
class Field:
    """One field of a config dataclass."""

    section: str
    """Name of the section that holds it; empty where there are no sections."""
    annotation: Any
    """Its type."""

    @property
    def kind(self) -> Kind:
        """How many words its value takes on the command line."""
        if self.annotation is bool:
            return "flag"
        if get_origin(self.annotation) is tuple:
            return "texts" if get_args(self.annotation)[0] is str else "numbers"
        return "value"

    @property
    def is_optional(self) -> bool:
        """Whether the value may be None."""
        is_union = get_origin(self.annotation) in (Union, types.UnionType)
        return is_union and types.NoneType in get_args(self.annotation)


def config_fields(config_class: type, section: str = "") -> dict[str, Field]:
    """Return name -> field over all sections of a config dataclass, in their order."""
    return dict(_cached_fields(config_class, section))


@functools.cache
def _cached_fields(config_class: type, section: str) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, annotation in typing.get_type_hints(config_class).items():
        if is_dataclass(annotation):
            found |= config_fields(typing.cast(type, annotation), section=name)
        elif name in {f.name for f in fields(config_class)}:
            found[name] = Field(section, annotation)
    return found


def describe(annotation: Any) -> str:
    """Return what a value of that type looks like, in words."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if get_origin(annotation) is tuple:
        elements = {
            str: "key=value words",
            int: "whole numbers such as 64 64",
            float: "numbers such as -10 10",
        }
        return f"a list of {elements[arguments[0]]}"
    if get_origin(annotation) in (Union, types.UnionType):
        behind = "none" if types.NoneType in arguments else "empty"  # else of words alone
        return f"{describe(arguments[0])}, or {behind}"
    return {
        bool: "true or false",
        int: "a whole number (64, 64k, 25e6, 25M)",
        float: "a number (0.5, 5e-4)",
        str: "a text",
    }[annotation]


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the words that a value may be, where there is a fixed choice; empty elsewhere."""
    if annotation is bool:
        return ("true", "false")
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation) if value != "")
    parts = () if get_origin(annotation) is tuple else get_args(annotation)
    return tuple(word for part in parts for word in choices(part))


def field_docs(config_class: type) -> dict[str, str]:
    """Return field name -> its docstring on one line, of one dataclass without its sections."""
    tree = ast.parse(inspect.getsource(config_class).strip())
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    found: dict[str, str] = {}
    for statement, following in zip(body, body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(following, ast.Expr):
            continue
        text = getattr(following.value, "value", None)
        if isinstance(statement.target, ast.Name) and isinstance(text, str):
            found[statement.target.id] = " ".join(text.split())
    return found


def all_docs(config_class: type) -> dict[str, str]:
    """Return field name -> its docstring on one line, over all sections."""
    annotations = list(typing.get_type_hints(config_class).values())
    parts = [typing.cast(type, own) for own in annotations if is_dataclass(own)]
    found = field_docs(config_class) if len(parts) < len(annotations) else {}
    for part in parts:
        found |= all_docs(part)
    return found
