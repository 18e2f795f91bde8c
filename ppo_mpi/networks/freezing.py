"""Which parameters words name, and parameters that learning leaves as they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from ppo_mpi.errors import ConfigError


def layers_in(names: Iterable[str]) -> list[str]:
    """Return the layers that parameters belong to, in order: their names up to the last dot.

    A parameter that is in no layer is one by itself.
    """
    return list(dict.fromkeys(map(layer_of, names)))


def layer_of(name: str) -> str:
    """Return the layer that a parameter belongs to."""
    return name.rpartition(".")[0] or name


def named_by(words: Sequence[str], names: Sequence[str], setting: str) -> list[str]:
    """Return the parameters that words name, in their order.

    Args:
        words: each the beginning of names up to a dot, a whole name, a pattern with * or ?, or a
            number n, which stands for the first n layers.
        names: of all parameters.
        setting: where the words stand, for messages.

    Raises:
        ConfigError: a word names nothing.
    """
    chosen: set[str] = set()
    layers = layers_in(names)
    for word in words:
        if word.isdecimal():
            if not 1 <= int(word) <= len(layers):
                raise ConfigError(
                    f"{setting}={word} is not a number of layers of this model, which has "
                    f"{len(layers)}: {', '.join(layers)}"
                )
            own = {n for n in names if layer_of(n) in layers[: int(word)]}
        else:
            own = {n for n in names if n == word or n.startswith(f"{word}.")}
            own |= {n for n in names if fnmatchcase(n, word) or fnmatchcase(layer_of(n), word)}
        if not own:
            parts = dict.fromkeys(name.partition(".")[0] for name in names)
            near = difflib.get_close_matches(word, [*parts, *layers], n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(
                f"{setting}={word} names no layer; {hint}there are {', '.join(layers)}"
            )
        chosen |= own
    return [name for name in names if name in chosen]


def freeze(model: nn.Module, words: Sequence[str]) -> None:
    """Exclude parameters from learning: no gradient, no optimizer's state, the same bits for ever.

    Args:
        model: changed in place.
        words: which, as ``named_by`` has them.

    Raises:
        ConfigError: a word names nothing, or nothing is left to learn.
    """
    if not words:
        return
    parameters = dict(model.named_parameters())
    for name in named_by(words, list(parameters), "frozen_layers"):
        parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(
            f"frozen_layers={' '.join(words)} leaves nothing to learn; name fewer layers, or look "
            "at the agent with evaluate"
        )
