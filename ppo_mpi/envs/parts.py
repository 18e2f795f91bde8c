"""Environments in several parts, which can be stepped one beside the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.errors import CheckpointError


class EnvParts(VecEnvs):
    """Several vectors of environments as one; each may also be stepped by itself.

    Slots count through the parts, in their order.
    """

    def __init__(self, parts: Sequence[VecEnvs]) -> None:
        """Take at least one part, of the same environment each."""
        self.parts = tuple(parts)
        self.indices = tuple(index for part in parts for index in part.indices)
        self.obs_spec = parts[0].obs_spec
        self.action_spec = parts[0].action_spec
        ends = np.cumsum([len(part.indices) for part in parts]).tolist()
        self.slots = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        """Each part's slots."""

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many environments have raised and were made anew so far."""
        return sum(part.restarts for part in self.parts)

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        return np.concatenate([part.reset() for part in self.parts])

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot, one part after the other; ``actions`` is [B] or [B, A]."""
        results = [
            part.step(actions[slots]) for part, slots in zip(self.parts, self.slots, strict=True)
        ]
        return StepResult(
            **{
                field.name: joined([getattr(result, field.name) for result in results], self.slots)
                for field in fields(StepResult)
            }
        )

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        return np.concatenate([part.observe() for part in self.parts])

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Say how the slot's next episode begins, as ``VecEnvs.assign`` has it."""
        part, own = self._place(slot)
        part.assign(own, seed, level)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now; -1 where the suite has no levels."""
        return np.concatenate([part.levels for part in self.parts])

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations."""
        return np.concatenate([part.truths for part in self.parts])

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, including its random streams; None if unsavable."""
        return [state for part in self.parts for state in part.get_states()]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        check_number(states, len(self.indices))
        for part, slots in zip(self.parts, self.slots, strict=True):
            part.check_states(states[slots])

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; return the slots that began a fresh episode instead.

        Raises:
            CheckpointError: a state belongs to another environment or is damaged.
        """
        self.check_states(states)
        fresh = []
        for part, slots in zip(self.parts, self.slots, strict=True):
            fresh += [slots.start + slot for slot in part.set_states(states[slots], iteration)]
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot, in the suite's human view."""
        return [frame for part in self.parts for frame in part.render()]

    def close(self) -> None:
        """Free what the environments hold."""
        for part in self.parts:
            part.close()

    def _place(self, slot: int) -> tuple[VecEnvs, int]:
        for part, slots in zip(self.parts, self.slots, strict=True):
            if slots.start <= slot < slots.stop:
                return part, slot - slots.start
        raise IndexError(f"slot {slot} is not one of {len(self.indices)}")


def check_number(states: Sequence[bytes | None], num_envs: int) -> None:
    """Refuse more or fewer states than there are environments.

    Raises:
        CheckpointError: it is so.
    """
    if len(states) != num_envs:
        raise CheckpointError(f"{len(states)} saved environments do not fit {num_envs} slots")


def joined(values: Sequence[Any], slots: Sequence[slice]) -> Any:
    """Return a field of a ``StepResult`` for the whole from that of each part.

    Args:
        values: one a part: arrays with a row for each slot, mappings or sets of slots, or None
            from every part.
        slots: of the parts.
    """
    if values[0] is None:
        return None
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    pairs = list(zip(values, slots, strict=True))
    if isinstance(values[0], Mapping):
        return {own.start + slot: x for part, own in pairs for slot, x in part.items()}
    return frozenset(own.start + slot for part, own in pairs for slot in part)


def with_slots_from(result: StepResult, first: int) -> StepResult:
    """Return a part's result with the slots of the whole in it.

    Args:
        result: of the part; its arrays are not copied.
        first: the part's first slot.
    """
    if not first:
        return result
    return replace(
        result,
        final_obs={first + slot: obs for slot, obs in result.final_obs.items()},
        dropped=frozenset(first + slot for slot in result.dropped),
        last_obs={first + slot: obs for slot, obs in result.last_obs.items()},
        episode_facts={first + slot: facts for slot, facts in result.episode_facts.items()},
    )
