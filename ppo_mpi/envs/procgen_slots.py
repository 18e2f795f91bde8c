"""The engine's environments one by one: their states, and the end of an episode from outside.

Axes: B environments of the engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ppo_mpi.envs import procgen_state
from ppo_mpi.envs.procgen_engine import FORCED_RESET, make_engine
from ppo_mpi.envs.procgen_saved import MAX_STATE_BYTES
from ppo_mpi.envs.procgen_variants import Variant
from ppo_mpi.settings.procgen import ProcgenConfig


class EngineSlots:
    """An engine, whose environments can be read and written between its steps."""

    def __init__(
        self, variant: Variant, num: int, config: ProcgenConfig, num_threads: int, render: bool
    ) -> None:
        """Make the engine.

        Args:
            variant: names the game and its pictures.
            num: B, at least 1.
            config: checked settings.
            num_threads: threads of the engine's own; 0 = none.
            render: whether it also draws the human view.
        """
        from cffi import FFI

        self._variant, self._config, self._render = variant, config, render
        self._num = num
        self.engine = self._make(num, num_threads)
        self._spare: Any = None
        """An engine of one environment, in which an episode is ended from outside."""
        self._ffi = FFI()
        self._buffer = self._ffi.new("char[]", MAX_STATE_BYTES)
        self.redrawn: set[int] = set()
        """Slots that were written since it was last emptied."""

    def get(self, slot: int) -> bytes:
        """Return a slot's state."""
        return self._state_of(self.engine, slot)

    def put(self, slot: int, state: bytes) -> None:
        """Put a state into a slot and draw it; the engine would end the process over a bad one."""
        self.engine.call_c_func("set_state", slot, state, len(state))
        self.redrawn.add(slot)

    def next_episode(self, state: bytes) -> bytes:
        """Return the state in which the environment of a state begins its next episode."""
        if self._spare is None:
            self._spare = self._make(1, 0)
        alone = procgen_state.with_slot(state, 0)
        self._spare.call_c_func("set_state", 0, alone, len(alone))
        self._spare.act(np.full(1, FORCED_RESET, np.int32))
        self._spare.observe()
        begun = self._state_of(self._spare, 0)
        return procgen_state.with_slot(begun, procgen_state.slot_of(state))

    def leave_threads(self) -> None:
        """Make the engine anew without threads, for a child process, which has none of them."""
        self.engine = self._make(self._num, 0)

    def completed(self) -> np.ndarray:
        """Return [B] int32, whether each slot's last step completed a level."""
        done: np.ndarray = self.engine._info["prev_level_complete"]
        return done

    def take_pictures(self, obs: np.ndarray) -> bool:
        """Take over what was drawn since ``redrawn`` was last emptied; return whether it was any.

        Args:
            obs: [B, 64, 64, 3] uint8, changed in place.
        """
        for slot in self.redrawn:
            obs[slot] = self.engine._ob["rgb"][slot]
        was_any = bool(self.redrawn)
        self.redrawn.clear()
        return was_any

    def close(self) -> None:
        """Free the engines."""
        for engine in (self.engine, self._spare):
            if engine is not None:
                engine.close()

    def _state_of(self, engine: Any, slot: int) -> bytes:
        length = engine.call_c_func("get_state", slot, self._buffer, MAX_STATE_BYTES)
        return bytes(self._ffi.buffer(self._buffer, length))

    def _make(self, num: int, num_threads: int) -> Any:
        # An engine's own seed does not matter: its environments get generators of their own.
        variant = self._variant
        return make_engine(
            variant.game, num, self._config, num_threads, 0, self._render, variant.sprites
        )
