"""A mapping of a YAML file, read key by key: none is overlooked, and none stands there twice.

Values are texts until they are asked for as something else.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import InvalidOperation
from typing import Any, TypeVar

import yaml

from ppo_mpi import registry
from ppo_mpi.cli_values import parse_count
from ppo_mpi.errors import ConfigError

T = TypeVar("T")


class Section:
    """A mapping of the file, of which every key has to be read."""

    def __init__(self, node: yaml.Node | None, source: str, what: str) -> None:
        """Take the keys; refuse one that comes twice."""
        if not isinstance(node, yaml.MappingNode):
            line = f":{node.start_mark.line + 1}" if node else ""
            raise ConfigError(f"{source}{line}: {what} must hold lines of the form `name: value`")
        self.source, self.what = source, what
        self.line = node.start_mark.line + 1
        self.nodes: dict[str, tuple[yaml.Node, str]] = {}
        self.asked: list[str] = []
        for key, value in node.value:
            name = str(key.value).replace("-", "_")
            origin = f"{source}:{key.start_mark.line + 1}"
            if name in self.nodes:
                raise ConfigError(
                    f"{name} is set twice, in {self.nodes[name][1]} and in {origin}; leave one out"
                )
            self.nodes[name] = value, origin

    def take(self, name: str) -> tuple[yaml.Node, str] | None:
        """Return a key's node and where it stands; None without it."""
        self.asked.append(name)
        return self.nodes.pop(name, None)

    def read(self, name: str, default: T, convert: Callable[[str], T], wanted: str) -> T:
        """Return a key's single value, converted; ``wanted`` is for the message."""
        found = self.take(name)
        if found is None:
            return default
        node, origin = found
        try:
            if not isinstance(node, yaml.ScalarNode):
                raise ValueError
            return convert(str(node.value))
        except (ValueError, InvalidOperation):
            shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list"
            raise ConfigError(f"{name}={shown} ({origin}) is not {wanted}") from None

    def count(self, name: str, default: int, least: int = 0) -> int:
        """Return a whole number."""

        def convert(text: str) -> int:
            if (number := parse_count(text)) < least:
                raise ValueError
            return number

        return self.read(name, default, convert, f"a whole number, {least} or more")

    def word(self, name: str, default: Any, allowed: tuple[str, ...]) -> Any:
        """Return one of some words."""

        def convert(text: str) -> str:
            if text not in allowed:
                raise ValueError
            return text

        return self.read(name, default, convert, "one of " + ", ".join(allowed))

    def refuse_rest(self) -> None:
        """Refuse the keys that nobody has asked for."""
        for name, (_, origin) in self.nodes.items():
            message = registry.unknown_name(f"key of {self.what}", name, self.asked)
            raise ConfigError(f"{origin}: {message}")
