"""The YAML file of a search -> what it asks for, every mistake in it named with its line.

The file is read as plain text, like all settings: no value runs code, and none is converted twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal, get_args

import yaml

from ppo_mpi.cli_fields import Field, config_fields
from ppo_mpi.cli_sources import compose, read_mapping, resolve
from ppo_mpi.cli_values import parse_boolean, parse_count
from ppo_mpi.cli_words import OLD_NAMES, Sourced
from ppo_mpi.config import TrainConfig
from ppo_mpi.errors import ConfigError
from ppo_mpi.sweeps.metrics import Metric, Over
from ppo_mpi.sweeps.parameters import Choices, Parameter, Range, Words, checked_range
from ppo_mpi.sweeps.sections import Section
from ppo_mpi.sweeps.stopping import Rule, Stopping

Method = Literal["grid", "random", "optuna"]
Goal = Literal["maximize", "minimize"]

ALWAYS_OWN = {
    "run": "it follows from the search's name and what differs",
    "seed": "use seeds: of the file",
    "checkpoint_dir": "use --checkpoint-dir of sweep",
    "asset_dir": "use --asset-dir of sweep",
    "max_seconds": "runs that end by the clock are not comparable; use total_timesteps",
}
"""Settings of train that a search decides itself, and why or where."""


@dataclass(frozen=True)
class Search:
    """What a search's file asks for."""

    fixed: Mapping[str, Words]
    """Settings of train that all runs have."""
    parameters: tuple[Parameter, ...]
    """What is tried."""
    method: Method = "grid"
    trials: int = 0
    """Of random and optuna; a grid has as many as it has."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of every trial's runs."""
    metric: Metric = Metric()
    goal: Goal = "maximize"
    ranks: int = 1
    """Of each run."""
    parallel: int = 1
    """Runs at a time."""
    stop: Stopping | None = None
    sweep_seed: int = 0
    """Of what is drawn."""

    @property
    def maximizes(self) -> bool:
        """Whether higher is better."""
        return self.goal == "maximize"


def read_search(path: str) -> Search:
    """Read a search's file.

    Raises:
        ConfigError: it cannot be read, or something in it cannot be.
    """
    try:
        text = Path(path).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    return parse_search(text, path)


def parse_search(text: str, source: str) -> Search:
    """Return what a file's text asks for.

    Args:
        text: YAML.
        source: how errors name the file.

    Raises:
        ConfigError: as ``read_search``.
    """
    top = Section(compose(text, source), source, "the file")
    known = {**config_fields(TrainConfig), "preset": Field("", str)}
    fixed = read_fixed(top, known)
    parameters = read_parameters(top, known)
    for name in fixed.keys() & {p.name for p in parameters}:
        raise ConfigError(f"{source}: {name} is fixed and tried at once; leave one out")
    method = top.word("method", "grid", get_args(Method))
    search = Search(
        fixed,
        parameters,
        method=method,
        trials=top.count("trials", 0),
        seeds=read_seeds(top),
        metric=read_metric(top),
        goal=top.word("goal", "maximize", get_args(Goal)),
        ranks=top.count("ranks", 1, least=1),
        parallel=top.count("parallel", 1, least=1),
        sweep_seed=top.count("sweep_seed", 0),
    )
    search = replace(search, stop=read_stop(top, search.metric))
    top.refuse_rest()
    check_method(search, source)
    return search


def check_method(search: Search, source: str) -> None:
    """Refuse what does not go together."""
    if search.method == "grid":
        if search.trials:
            raise ConfigError(
                f"{source}: trials={search.trials} has no meaning with method: grid, which tries "
                "every combination; leave it out, or use method: random"
            )
        for parameter in search.parameters:
            parameter.listed()
    elif not search.trials:
        raise ConfigError(f"{source}: method: {search.method} needs trials: how many")


def read_fixed(top: Section, known: Mapping[str, Field]) -> dict[str, Words]:
    """Return the settings that all runs have, from ``settings`` and from the top."""
    found: dict[str, Sourced] = {}
    for name in ("env", "preset", "total_timesteps"):
        if (taken := top.take(name)) is not None:
            node, origin = taken
            if not isinstance(node, yaml.ScalarNode):
                raise ConfigError(f"{name} ({origin}) must be one value; try several under "
                                  "parameters:")  # fmt: skip
            found[name] = Sourced((str(node.value),), origin)
    settings = top.take("settings")
    if settings is not None:
        node = renamed(settings[0])
        read_mapping(node, top.source, "", known, found)
    for name, value in found.items():
        refuse_own(name, value.origin)
    return {name: value.values for name, value in found.items()}


def renamed(node: yaml.Node) -> yaml.Node:
    """Return a mapping's node with the names of other systems turned into ours."""
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            name = str(key.value).replace("-", "_")
            key.value = OLD_NAMES.get(name, key.value)
    return node


def refuse_own(name: str, origin: str) -> None:
    """Refuse a setting that the search decides itself."""
    if name in ALWAYS_OWN:
        raise ConfigError(f"{name} ({origin}) is not for the file of a search: {ALWAYS_OWN[name]}")


def read_parameters(top: Section, known: Mapping[str, Field]) -> tuple[Parameter, ...]:
    """Return what is tried, in the order of the file."""
    taken = top.take("parameters")
    if taken is None:
        raise ConfigError(f"{top.source}: parameters: is missing: which settings are tried?")
    section = Section(renamed(taken[0]), top.source, "parameters")
    found: list[Parameter] = []
    for key, (node, origin) in section.nodes.items():
        name = resolve(key, key, known, f" ({origin})")
        refuse_own(name, origin)
        if name in {parameter.name for parameter in found}:
            raise ConfigError(f"{name} ({origin}) is tried twice; leave one out")
        if isinstance(node, yaml.MappingNode):
            found.append(read_range(name, Section(node, top.source, name), known[name]))
        else:
            found.append(Choices(name, read_choices(name, node, origin)))
    if not found:
        raise ConfigError(f"{taken[1]}: parameters: is empty; name a setting and its values")
    return tuple(found)


def read_choices(name: str, node: yaml.Node, origin: str) -> tuple[Words, ...]:
    """Return the values of a list, each of which may be a list again."""
    values: list[Words] = []
    for element in node.value if isinstance(node, yaml.SequenceNode) else ():
        inner = element.value if isinstance(element, yaml.SequenceNode) else [element]
        if not all(isinstance(one, yaml.ScalarNode) for one in inner):
            raise ConfigError(f"{name} ({origin}): a value is a word, a number or a list of them")
        values.append(tuple(str(one.value) for one in inner))
    if not values:
        raise ConfigError(
            f"{name} ({origin}) must be a list of values, [0.1, 0.2], or a range, "
            "{min: 1e-5, max: 1e-3, scale: log}"
        )
    if len(set(values)) < len(values):
        raise ConfigError(f"{name} ({origin}) has a value twice; leave one out")
    return tuple(values)


def read_range(name: str, section: Section, field: Field) -> Range:
    """Return a range of a setting that is a number."""
    kinds = {int, float} & {field.annotation, *get_args(field.annotation)}
    if not kinds or field.kind != "value":
        raise ConfigError(f"{name} ({section.source}:{section.line}) is not a number, so it has no "
                          "range; list its values")  # fmt: skip
    low, high, step = (
        section.read(key, None, number, "a number") for key in ("min", "max", "step")
    )
    scale = section.word("scale", "linear", ("linear", "log"))
    section.refuse_rest()
    if low is None or high is None:
        raise ConfigError(f"{name} ({section.source}:{section.line}) needs min and max")
    return checked_range(Range(name, low, high, scale == "log", kinds == {int}, step))


def number(text: str) -> Decimal:
    """Read a finite number, 64k and 1M as well."""
    try:
        return Decimal(parse_count(text))
    except ValueError:
        value = Decimal(text)
        if not value.is_finite():
            raise ValueError(text) from None
        return value


def read_seeds(top: Section) -> tuple[int, ...]:
    """Return the seeds: a list of them, or how many from 0 on."""
    taken = top.nodes.get("seeds")
    if taken is None or not isinstance(taken[0], yaml.SequenceNode):
        return tuple(range(top.count("seeds", 3, least=1)))
    node, origin = top.take("seeds") or taken
    words = [str(one.value) for one in node.value if isinstance(one, yaml.ScalarNode)]
    if not words or len(set(words)) < len(node.value) or not all(w.isdecimal() for w in words):
        raise ConfigError(f"seeds ({origin}) must be different whole numbers, or how many: 3")
    return tuple(int(word) for word in words)


def read_metric(top: Section) -> Metric:
    """Return what is good: ``evaluation``, a column, or one of the two with its options."""
    taken = top.nodes.get("metric")
    if taken is None or not isinstance(taken[0], yaml.MappingNode):
        column = top.read("metric", "evaluation", str, "evaluation or a column of progress.csv")
        return Metric() if column == "evaluation" else Metric(column=column)
    top.take("metric")
    section = Section(taken[0], top.source, "metric")
    if "column" in section.nodes:
        metric = Metric(
            column=section.read("column", "", str, "a column of progress.csv"),
            over=section.word("over", "last", get_args(Over)),
            last=section.count("last", 10, least=1),
        )
    else:
        metric = Metric(
            levels=section.read("levels", "train", str, "levels"),
            episodes=section.count("episodes", 200, least=1),
            greedy=section.read("greedy", False, parse_boolean, "true or false"),
        )
    section.refuse_rest()
    return metric


def read_stop(top: Section, metric: Metric) -> Stopping | None:
    """Return when trials are stopped early."""
    taken = top.take("stop")
    if taken is None:
        return None
    section = Section(taken[0], top.source, "stop")
    rule = section.word("rule", "halving", get_args(Rule))
    column = section.read("column", metric.column or "mean_return", str, "a column")
    shares = section.take("at")
    at = read_shares(*shares) if shares else (0.25, 0.5)
    factor = section.count("factor", 2, least=2)
    first = section.count("first", 4, least=1)
    section.refuse_rest()
    return Stopping(rule, column, at, factor, first)


def read_shares(node: yaml.Node, origin: str) -> tuple[float, ...]:
    """Return rising shares of a run in (0, 1)."""
    words = node.value if isinstance(node, yaml.SequenceNode) else [node]
    try:
        shares = tuple(float(one.value) for one in words)
    except (TypeError, ValueError):
        shares = ()
    if not shares or any(not a < b for a, b in zip((0.0, *shares), (*shares, 1.0), strict=True)):
        raise ConfigError(f"at ({origin}) must be shares of a run that rise, such as [0.25, 0.5]")
    return shares
