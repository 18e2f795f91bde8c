"""Procgen with generated assets: one engine for each environment.

The engine refuses to give out a state when it generates its pictures, so neither can levels be
dealt by an edit of states nor can environments be saved. Here every environment has an engine of
its own, seeded by its index, and an assigned episode is played in an engine of that one level.

Axes: B environments on this rank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.procgen_engine import (
    ACTION_SPEC,
    FORCED_RESET,
    OBS_SPEC,
    check_level,
    engine_levels,
    make_engine,
)
from ppo_mpi.envs.procgen_state import LAST_LEVEL_SEED
from ppo_mpi.errors import CheckpointError
from ppo_mpi.seeding import generator, stream_seed
from ppo_mpi.settings.procgen import ProcgenConfig


class GeneratedProcgenEnvs(VecEnvs):
    """Environments of one game with generated assets, stepped one after the other.

    As in ``procgen.ProcgenEnvs`` every end of an episode is ``terminated``.
    """

    obs_spec = OBS_SPEC
    action_spec = ACTION_SPEC

    def __init__(
        self,
        game: str,
        indices: Sequence[int],
        seed: int,
        stream: str,
        render: bool,
        config: ProcgenConfig,
        num_threads: int,
    ) -> None:
        self.indices = tuple(indices)
        self._game, self._config = game, config
        self._seed, self._stream = seed, stream
        self._render, self._num_threads = render, num_threads
        self._own = [
            make_engine(
                game, 1, config, num_threads, stream_seed(seed, f"{stream}:levels", index), render
            )
            for index in self.indices
        ]
        self._current: list[Any] = list(self._own)
        self._unplayed = set(range(len(self.indices)))
        """Slots whose own engine stands at the beginning of an episode nobody has played."""
        self._assigned: dict[int, int] = {}
        self._obs = np.zeros((len(self.indices), *OBS_SPEC.shape), np.uint8)
        self._levels = np.zeros(len(self.indices), np.int64)

    def reset(self) -> np.ndarray:
        """Begin the next episode of every environment's stream; return [B, 64, 64, 3] uint8."""
        for slot in range(len(self.indices)):
            self._begin_episode(slot)
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` is [B] int64 in [0, 15)."""
        levels = self._levels.copy()
        rewards = np.zeros(len(self.indices), np.float32)
        ended = np.zeros(len(self.indices), bool)
        for slot, engine in enumerate(self._current):
            engine.act(np.asarray(actions[slot : slot + 1], np.int32))
            rewards[slot], ended[slot] = self._observe_engine(slot)
            is_own = engine is self._own[slot]
            if is_own:
                (self._unplayed.add if ended[slot] else self._unplayed.discard)(slot)
            if ended[slot] and (slot in self._assigned or not is_own):
                self._begin_episode(slot)
        return StepResult(self.observe(), rewards, ended, np.zeros_like(ended), {}, levels)

    def observe(self) -> np.ndarray:
        """Return the current observations, [B, 64, 64, 3] uint8."""
        return self._obs.copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Let the slot's next episode play ``level``, or one drawn from ``seed`` if it is None.

        Raises:
            ConfigError: the engine has no such level.
        """
        if level is None and self._config.distribution_mode == "exploration":
            level = int(engine_levels(self._own[slot])[0])
        if level is None:
            low, count = self._config.start_level, self._config.num_levels
            drawn = generator(seed, "level").integers(count or LAST_LEVEL_SEED + 1)
            level = (low if count else 0) + int(drawn)
        check_level(level)
        self._assigned[slot] = level

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now."""
        return self._levels.copy()

    def get_states(self) -> list[bytes | None]:
        """Return None for every slot: the engine does not save generated assets."""
        return [None] * len(self.indices)

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        if len(states) != len(self.indices) or any(state is not None for state in states):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self.indices)} slots with "
                "use_generated_assets, whose states are never saved"
            )

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Begin a fresh episode in every slot, as there is nothing to restore.

        Args:
            states: None, one a slot.
            iteration: of the run; where it is not 0, it is part of the key of the first levels.

        Raises:
            CheckpointError: a state is not None, or their number is wrong.
        """
        self.check_states(states)
        for slot, index in enumerate(self.indices):
            if iteration:
                seed = stream_seed(self._seed, f"{self._stream}:reset:{iteration}", index)
                self.assign(slot, seed, None)
        self.reset()
        return list(range(len(self.indices)))

    def render(self) -> list[np.ndarray]:
        """Return the human view of every slot, [512, 512, 3] uint8 each."""
        assert self._render, "render() needs environments made with render=True"
        return [engine.get_info()[0]["rgb"] for engine in self._current]

    def close(self) -> None:
        """Free the engines."""
        for engine in {id(engine): engine for engine in (*self._own, *self._current)}.values():
            engine.close()
        self._own, self._current = [], []

    def _begin_episode(self, slot: int) -> None:
        """End what the slot plays; begin its assigned episode, else the next of its stream."""
        if self._current[slot] is not self._own[slot]:
            self._current[slot].close()
        if slot in self._assigned:
            mode = self._config.distribution_mode
            only = dataclasses.replace(
                self._config,
                # exploration is the hard mode with a level that cannot be chosen
                distribution_mode="hard" if mode == "exploration" else mode,
                num_levels=1,
                start_level=self._assigned.pop(slot),
            )
            # Whatever the seed, an engine with one level can only play that.
            self._current[slot] = make_engine(
                self._game, 1, only, self._num_threads, 0, self._render
            )
        else:
            self._current[slot] = self._own[slot]
            while slot not in self._unplayed:
                self._own[slot].act(np.full(1, FORCED_RESET, np.int32))
                if self._observe_engine(slot)[1]:
                    self._unplayed.add(slot)
            self._unplayed.discard(slot)
        self._observe_engine(slot)

    def _observe_engine(self, slot: int) -> tuple[float, bool]:
        """Take over the slot's observation and level; return its reward and whether it began."""
        rewards, observations, first = self._current[slot].observe()
        self._obs[slot] = observations["rgb"][0]
        self._levels[slot] = engine_levels(self._current[slot])[0]
        return float(rewards[0]), bool(first[0])
