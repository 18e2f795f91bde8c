"""The episode of an environment of the package gym that can save it, with all that is around it.

These are environments with ``save_episode()`` and ``load_episode(state)``, as in ``gym_state``.
Saved beside what they give: the count of a time limit, their generator if it is one of numpy's old
kind, and the global random numbers that are theirs.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

TWISTER_WORDS = 624
"""Words of a Mersenne twister's state; Python's and numpy's are the same."""
KNOWN_WRAPPERS = ("OrderEnforcing", "PassiveEnvChecker", "TimeLimit")
"""Of gym's own, those with no state of their own but the time limit's count."""


def inside_of(env: Any) -> Any:
    """Return what is inside an environment's wrappers; itself where it knows none."""
    return getattr(env, "unwrapped", env)


def keeper_of(env: Any, randomness: Any) -> OldEpisode | None:
    """Return what saves an environment's episode; None if it cannot be saved.

    Args:
        env: of the package gym, or built like those, with its wrappers.
        randomness: the global random numbers that belong to it, an ``old_gym.Randomness``.
    """
    inside = inside_of(env)
    if not (hasattr(inside, "save_episode") and hasattr(inside, "load_episode")):
        return None
    limits = []
    while env is not inside:
        kind = type(env)
        if kind.__name__ not in KNOWN_WRAPPERS or not kind.__module__.startswith("gym.wrappers"):
            return None
        limits += [env] if kind.__name__ == "TimeLimit" else []
        env = env.env
    return OldEpisode(inside, limits, randomness) if len(limits) <= 1 else None


class OldEpisode:
    """Saves and restores one environment's episode."""

    def __init__(self, inside: Any, limits: list[Any], randomness: Any) -> None:
        """Look at the environment inside its wrappers, and at its time limit if there is one."""
        self._inside, self._limits, self._randomness = inside, limits, randomness

    def save_episode(self) -> Any:
        """Return the episode as JSON can hold it; None if the environment says so."""
        own = self._inside.save_episode()
        if own is None:
            return None
        old = self._old_generator()
        return {
            "own": own,
            "limit": [limit._elapsed_steps for limit in self._limits],
            "generator": None if old is None else _plain(old.get_state(legacy=False)),
            "python": self._randomness.python_state,
            "numpy": _plain(self._randomness.numpy_state),
        }

    def check_episode(self, state: Any) -> None:
        """Raise ValueError unless the state can be loaded, but for what only a load can tell."""
        counts = state["limit"]
        if len(counts) != len(self._limits) or not all(
            type(count) is int and 0 <= count < 2**62 for count in counts
        ):
            raise ValueError(f"its time limits stand at {str(counts)[:80]}")
        if (state["generator"] is None) != (self._old_generator() is None):
            raise ValueError("its generator is of another kind")
        if state["generator"] is not None:
            _twister(state["generator"], with_gauss=True)
        _python_state(state["python"])
        _twister(state["numpy"], with_gauss=False)
        if hasattr(self._inside, "check_episode"):
            self._inside.check_episode(state["own"])

    def load_episode(self, state: Any) -> None:
        """Go on with a checked episode; a ValueError is the environment's own."""
        with self._randomness:
            self._inside.load_episode(state["own"])
        for limit, count in zip(self._limits, state["limit"], strict=True):
            limit._elapsed_steps = count
        old = self._old_generator()
        if old is not None:
            old.set_state(_twister(state["generator"], with_gauss=True))
        numbers = _twister(state["numpy"], with_gauss=False)
        self._randomness.go_on_from(_python_state(state["python"]), numbers)

    def _old_generator(self) -> np.random.RandomState | None:
        generator = getattr(self._inside, "np_random", None)
        return generator if isinstance(generator, np.random.RandomState) else None


def _plain(state: Any) -> dict[str, Any]:
    """Return the state of a Mersenne twister of numpy's with a list in place of its array."""
    inner = state["state"]
    return {**state, "state": {"key": inner["key"].tolist(), "pos": inner["pos"]}}


def _words(words: Any, position: Any) -> None:
    """Check a twister's words, and its position, which is an index into them.

    Raises:
        ValueError: they are none.
    """
    if not (
        isinstance(words, list)
        and len(words) == TWISTER_WORDS
        and all(type(word) is int and 0 <= word < 2**32 for word in words)
        and type(position) is int
        and 0 <= position <= TWISTER_WORDS
    ):
        raise ValueError("its random numbers are not the state of a Mersenne twister")


def _twister(state: Any, with_gauss: bool) -> dict[str, Any]:
    """Return a state that numpy's MT19937 takes; with what a RandomState keeps beside it."""
    key, position = state["state"]["key"], state["state"]["pos"]
    _words(key, position)
    twister: dict[str, Any] = {
        "bit_generator": "MT19937",
        "state": {"key": np.array(key, np.uint32), "pos": position},
    }
    if with_gauss:
        if state["has_gauss"] not in (0, 1) or type(state["gauss"]) not in (int, float):
            raise ValueError("its random numbers are none of numpy's RandomState")
        twister |= {"has_gauss": int(state["has_gauss"]), "gauss": float(state["gauss"])}
    return twister


def _python_state(state: Any) -> tuple[Any, ...]:
    """Return a state that Python's random takes."""
    version, words, gauss = state
    _words(list(words[:-1]), words[-1])
    if gauss is not None and type(gauss) not in (int, float):
        raise ValueError("its random numbers are none of Python's")
    found = (version, tuple(words), gauss)
    random.Random().setstate(found)  # it says what else is wrong
    return found
