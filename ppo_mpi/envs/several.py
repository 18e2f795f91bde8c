"""Environments of several games side by side, for one policy that learns them all.

Environment i of the job plays the game i modulo the number of games, whichever rank it lives on.
Axes: B environments on this rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.parts import check_number
from ppo_mpi.errors import ConfigError


def game_of(index: int, games: Sequence[str]) -> str:
    """Return the game that the environment with this whole-job index plays."""
    return games[index % len(games)]


def check_same_spaces(name: str, envs: VecEnvs, other_name: str, other: VecEnvs) -> None:
    """Refuse environments that one policy cannot play both.

    Args:
        name: of the first ones, for the message.
        envs: these.
        other_name: likewise.
        other: what they are compared with.

    Raises:
        ConfigError: their observations or their actions differ.
    """
    for what, own, theirs in (
        ("observations", envs.obs_spec, other.obs_spec),
        ("actions", envs.action_spec, other.action_spec),
    ):
        if own != theirs:
            raise ConfigError(
                f"{name} has other {what} than {other_name}: {own} and {theirs}; one policy "
                "needs the same in both, so use environments that agree (of Atari games, all do "
                "with full_action_space=true)"
            )


class SeveralEnvs(VecEnvs):
    """Vectors of environments, one for each game, as one; slots are in the order of the indices."""

    def __init__(
        self,
        games: Sequence[str],
        indices: Sequence[int],
        make: Callable[[str, Sequence[int]], VecEnvs],
    ) -> None:
        """Make the environments of every game, of some perhaps none.

        Args:
            games: their names; one that stands there twice has twice the environments.
            indices: whole-job numbers of this rank's environments.
            make: makes those of one game, with the indices it is given.

        Raises:
            ConfigError: two games differ in their observations or actions.
        """
        self.indices = tuple(indices)
        self.games = tuple(dict.fromkeys(games))
        self._slots = [
            np.array([s for s, i in enumerate(indices) if game_of(i, games) == game], np.int64)
            for game in self.games
        ]
        """Each game's slots."""
        self.parts: list[VecEnvs] = []
        try:
            for game, slots in zip(self.games, self._slots, strict=True):
                self.parts.append(make(game, [self.indices[s] for s in slots]))
                check_same_spaces(game, self.parts[-1], self.games[0], self.parts[0])
        except BaseException:
            self.close()
            raise
        self.obs_spec = self.parts[0].obs_spec
        self.action_spec = self.parts[0].action_spec
        self.gym_spaces = self.parts[0].gym_spaces

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many environments have raised and were made anew so far."""
        return sum(part.restarts for part in self.parts)

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        return self._scattered([part.reset() for part in self.parts])

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot, one game after the other; ``actions`` is [B] or [B, A]."""
        # A game without environments here has nothing to say, not even whether it knows lives.
        playing = [p for p, slots in enumerate(self._slots) if len(slots)] or [0]
        results = {p: self.parts[p].step(actions[self._slots[p]]) for p in playing}
        return StepResult(
            **{
                field.name: self._joined({p: getattr(r, field.name) for p, r in results.items()})
                for field in fields(StepResult)
            }
        )

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        return self._scattered([part.observe() for part in self.parts])

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Say how the slot's next episode begins, as ``VecEnvs.assign`` has it."""
        part, own = self._place(slot)
        self.parts[part].assign(own, seed, level)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now; -1 where the suite has no levels."""
        return self._scattered([part.levels for part in self.parts])

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations."""
        return self._scattered([part.truths for part in self.parts])

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, including its random streams; None if unsavable."""
        states: list[bytes | None] = [None] * len(self.indices)
        for part, slots in zip(self.parts, self._slots, strict=True):
            for slot, state in zip(slots, part.get_states(), strict=True):
                states[slot] = state
        return states

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        check_number(states, len(self.indices))
        for part, slots in zip(self.parts, self._slots, strict=True):
            part.check_states([states[slot] for slot in slots])

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; return the slots that began a fresh episode instead.

        Raises:
            CheckpointError: a state belongs to another environment or is damaged.
        """
        self.check_states(states)
        fresh: list[int] = []
        for part, slots in zip(self.parts, self._slots, strict=True):
            own = part.set_states([states[slot] for slot in slots], iteration)
            fresh += slots[own].tolist()
        return sorted(fresh)

    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot, in the suite's human view."""
        frames = [part.render() for part in self.parts]
        places = map(self._place, range(len(self.indices)))
        return [frames[part][own] for part, own in places]

    def close(self) -> None:
        """Free what the environments hold."""
        for part in self.parts:
            part.close()

    def _place(self, slot: int) -> tuple[int, int]:
        for part, slots in enumerate(self._slots):
            own = np.flatnonzero(slots == slot)
            if len(own):
                return part, int(own[0])
        raise IndexError(f"slot {slot} is not one of {len(self.indices)}")

    def _scattered(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return [B, ...] from an array for each game, of its slots."""
        together = np.zeros((len(self.indices), *arrays[0].shape[1:]), arrays[0].dtype)
        for slots, array in zip(self._slots, arrays, strict=True):
            if len(array):  # an engine shows nothing before its first episode
                together[slots] = array
        return together

    def _joined(self, values: dict[int, Any]) -> Any:
        """Return a field of a ``StepResult`` for all slots from that of the games that played."""
        first = next(iter(values.values()))
        if first is None:
            return None
        if isinstance(first, np.ndarray):
            together = np.zeros((len(self.indices), *first.shape[1:]), first.dtype)
            for part, array in values.items():
                together[self._slots[part]] = array
            return together
        if isinstance(first, frozenset):
            return frozenset(int(self._slots[p][s]) for p, own in values.items() for s in own)
        return {int(self._slots[p][s]): x for p, own in values.items() for s, x in own.items()}
