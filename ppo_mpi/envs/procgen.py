"""Procgen: the 16 games, with a stream of levels for every environment of the job.

The engine steps a vector of environments whose levels all come from one seed, so that an
environment would meet other levels in a vector of another size. Each environment is therefore
given a generator of levels of its own, by an edit of its state. Everything within a level is
drawn from the level's seed, so nothing else needs care.

Axes: B environments on this rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs import procgen_state
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.procgen_engine import (
    ACTION_SPEC,
    FORCED_RESET,
    OBS_SPEC,
    check_level,
    engine_levels,
    make_engine,
    parse_options,
)
from ppo_mpi.envs.procgen_generated import GeneratedProcgenEnvs
from ppo_mpi.envs.procgen_trial import survives
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.seeding import generator, stream_seed
from ppo_mpi.settings.procgen import ProcgenConfig

MAX_STATE_BYTES = 2**20
"""Size of the buffer that the library itself gives a state; they are 20 to 60 kB."""
TRIAL_ACTIONS = (4, 7, 1, 9)
"""What a child process does in saved environments before they are taken: nothing, right, ..."""


def make_envs(
    task: str,
    indices: Sequence[int],
    seed: int,
    *,
    stream: str = "train",
    render: bool = False,
    options: Mapping[str, Any],
) -> VecEnvs:
    """Make the environments of one game that have these whole-job indices.

    Args:
        task: the game.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has levels of its own.
        render: whether ``render`` will be called.
        options: the fields of ``config.ProcgenConfig``, ``env_kwargs`` (see ``arguments.PROCGEN``)
            as "key=value" strings, and ``num_threads`` (0).

    Raises:
        ConfigError: the game does not have what the options ask for.
        MissingPackageError: procgen is not installed.
    """
    config, num_threads = parse_options(task, options)
    if config.use_generated_assets:
        return GeneratedProcgenEnvs(task, indices, seed, stream, render, config, num_threads)
    return ProcgenEnvs(task, indices, seed, stream, render, config, num_threads)


class ProcgenEnvs(VecEnvs):
    """Environments of one game that the engine steps together.

    The engine does not tell an episode that ran out of time from one that ended: every end is
    ``terminated``, as in the published baseline, and ``final_obs`` is always empty.

    With ``use_sequential_levels`` a completed level leads to the next within the episode: no end
    is reported and ``levels`` changes in its midst. An assigned level is then the first one of
    its episode; those that follow are numbered as the engine does it.

    An environment's state is the engine's bytes with a checksum behind them. The engine would end
    the process over a bad one, so all of them are checked before the first is handed over, and
    a child process goes on from them first.
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
        self._game = game
        self._render = render
        self._config = config
        self._num_threads = num_threads
        self._engine: Any = None
        self._begun = False
        self._assigned: set[int] = set()
        self._obs = np.zeros((0, *OBS_SPEC.shape), np.uint8)
        self._levels = np.zeros(0, np.int64)
        if not self.indices:
            return  # the engine cannot make zero environments
        # The engine's own seed does not matter, as every environment gets a generator below.
        self._engine = make_engine(game, len(self.indices), config, num_threads, 0, render)
        from cffi import FFI

        self._ffi = FFI()
        self._buffer = self._ffi.new("char[]", MAX_STATE_BYTES)
        self._layout = self._check_layout()
        self._level_range = self._layout.level_range
        for slot, index in enumerate(self.indices):
            levels_seed = stream_seed(seed, f"{stream}:levels", index)
            self._put(slot, procgen_state.with_level_generator(self._get(slot), levels_seed))

    def reset(self) -> np.ndarray:
        """Begin the next episode of every environment's stream; return [B, 64, 64, 3] uint8."""
        self._begin_episodes(range(len(self.indices)))
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` is [B] int64 in [0, 15)."""
        assert self._begun or not self.indices, "reset() or set_states() comes before step()"
        levels = self._levels
        ended = np.zeros(len(self.indices), bool)
        rewards = np.zeros(len(self.indices), np.float32)
        if self._engine is not None:
            self._engine.act(np.asarray(actions, np.int32))
            rewards, ended = self._observe_engine()
            self._release(np.flatnonzero(ended).tolist())
        # The engine's observe() has made new arrays for this step: no second copy here.
        return StepResult(self._obs, rewards, ended, np.zeros_like(ended), {}, levels)

    def observe(self) -> np.ndarray:
        """Return the current observations, [B, 64, 64, 3] uint8."""
        return self._obs.copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Let the slot's next episode play ``level``, or one drawn from ``seed`` if it is None.

        A level is drawn from those of the options. The episodes after it come from the
        environment's own stream again, which has then moved on by one level.

        Raises:
            ConfigError: the engine has no such level.
        """
        if level is None:
            level = int(generator(seed, "level").integers(*self._level_range))
        check_level(level)
        self._put(slot, procgen_state.with_level_range(self._get(slot), level, level + 1))
        self._assigned.add(slot)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now."""
        return self._levels.copy()

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, its stream of levels included."""
        return [procgen_state.seal(self._get(slot)) for slot in range(len(self.indices))]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        self._checked_states(states)

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave, from whatever slot of whatever vector.

        A slot whose state is None begins its next episode.

        Raises:
            CheckpointError: a state is damaged, or belongs to another game or other options.
        """
        checked = self._checked_states(states)
        fresh = [slot for slot, state in enumerate(checked) if state is None]
        if fresh:
            self._begin_episodes(fresh)
        for slot, state in enumerate(checked):
            if state is not None:
                self._put(slot, state)
                assigned = procgen_state.level_range(state) != self._level_range
                (self._assigned.add if assigned else self._assigned.discard)(slot)
        if self._engine is not None:
            self._observe_engine()
        self._begun = True
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return the human view of every slot, [512, 512, 3] uint8 each."""
        assert self._render, "render() needs environments made with render=True"
        return [info["rgb"] for info in self._engine.get_info()] if self._engine else []

    def close(self) -> None:
        """Free the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _observe_engine(self) -> tuple[np.ndarray, np.ndarray]:
        """Take over observations and levels; return rewards and whether an episode began."""
        rewards, observations, first = self._engine.observe()
        self._obs = observations["rgb"]
        self._levels = engine_levels(self._engine)
        return rewards, first

    def _begin_episodes(self, slots: Sequence[int]) -> None:
        """End the episodes of some slots and begin the next ones; leave the others alone."""
        waiting = set(slots)
        while waiting:
            # The engine steps all slots, so the others are put back behind it. A completed
            # sequential level swallows a forced reset, hence the loop.
            kept = {
                slot: self._get(slot) for slot in range(len(self.indices)) if slot not in waiting
            }
            self._engine.act(np.full(len(self.indices), FORCED_RESET, np.int32))
            _, first = self._observe_engine()
            waiting = {slot for slot in waiting if not first[slot]}
            for slot, state in kept.items():
                self._put(slot, state)
        self._release(slots)
        if self._engine is not None:
            self._observe_engine()
        self._begun = True

    def _release(self, slots: Sequence[int]) -> None:
        """Give slots whose assigned episode has just begun their own levels back."""
        for slot in self._assigned.intersection(slots):
            self._put(slot, procgen_state.with_level_range(self._get(slot), *self._level_range))
            self._assigned.discard(slot)

    def _get(self, slot: int) -> bytes:
        length = self._engine.call_c_func("get_state", slot, self._buffer, MAX_STATE_BYTES)
        return bytes(self._ffi.buffer(self._buffer, length))

    def _put(self, slot: int, state: bytes) -> None:
        self._engine.call_c_func("set_state", slot, state, len(state))

    def _checked_states(self, states: Sequence[bytes | None]) -> list[bytes | None]:
        """Return the states as the engine takes them, tried in a child process."""
        if len(states) != len(self.indices):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self.indices)} slots"
            )
        checked = [
            None if state is None else self._checked(slot, state)
            for slot, state in enumerate(states)
        ]
        self._try({slot: state for slot, state in enumerate(checked) if state is not None})
        return checked

    def _checked(self, slot: int, sealed: bytes) -> bytes:
        """Return the state as the engine takes it in this slot."""
        whose = f"the saved state of environment {self.indices[slot]}"
        try:
            state = procgen_state.unseal(sealed)
            layout = procgen_state.parse(state)
        except ValueError as error:
            raise CheckpointError(f"{whose} is damaged: {error}") from error
        if layout.game != self._game:
            raise CheckpointError(f"{whose} is one of {layout.game}, not of {self._game}")
        for name, saved, own in zip(
            procgen_state.OPTION_NAMES, layout.options, self._layout.options, strict=True
        ):
            if saved != own:
                raise CheckpointError(f"{whose} has {name}={saved}, these environments {own}")
        if len(state) > MAX_STATE_BYTES:
            raise CheckpointError(f"{whose} has {len(state)} bytes")
        low, high = layout.level_range
        if (low, high) != self._level_range and high != low + 1:
            raise CheckpointError(
                f"{whose} has levels [{low}, {high}), these environments "
                f"[{self._level_range[0]}, {self._level_range[1]})"
            )
        return procgen_state.with_slot(state, slot)

    def _try(self, states: Mapping[int, bytes]) -> None:
        """Let a child process go on from the states first: the engine may end it over them.

        Raises:
            CheckpointError: it did.
        """
        if not states:
            return
        try:
            alive = survives(lambda: self._go_on_from(states))
        except OSError as error:
            raise CheckpointError(
                f"the saved environments cannot be tried in another process ({error.strerror}); "
                "allow more processes or memory, and start again"
            ) from error
        if not alive:
            raise CheckpointError(
                f"the engine of {self._game} does not survive the saved states of the environments "
                f"{self.indices[0]} to {self.indices[-1]}; use an older checkpoint"
            )

    def _go_on_from(self, states: Mapping[int, bytes]) -> None:
        if self._num_threads:  # the engine would wait for threads that a child does not have
            num, game = len(self.indices), self._game
            self._engine = make_engine(game, num, self._config, 0, 0, self._render)
        for slot, state in states.items():
            self._put(slot, state)
        for action in TRIAL_ACTIONS:
            self._engine.observe()
            self._engine.act(np.full(len(self.indices), action, np.int32))
        self._engine.observe()

    def _check_layout(self) -> procgen_state.StateLayout:
        """Read and write back one state, so that a library of another layout is found out."""
        state = self._get(0)
        try:
            layout = procgen_state.parse(state)
            if layout.game != self._game:
                raise ValueError(f"it names the game {layout.game}")
            edited = procgen_state.with_level_generator(state, 1)
            self._put(0, edited)
            if self._get(0) != edited:
                raise ValueError("it comes back changed")
        except ValueError as error:
            raise ConfigError(
                f"the installed procgen keeps its states in another way ({error}); "
                "install procgen 0.10.7, or procgen-mirror 0.10.7 on Python 3.11 and later"
            ) from error
        return layout
