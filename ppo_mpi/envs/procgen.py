"""Procgen: the 16 games, with a stream of levels for every environment of the job.

The engine steps a vector of environments whose levels all come from one seed, so that an
environment would meet other levels in a vector of another size. Each environment is therefore
given a generator of levels of its own, by an edit of its state. Everything within a level is
drawn from the level's seed, so nothing else needs care.

Axes: B environments on this rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    parse_options,
)
from ppo_mpi.envs.procgen_generated import GeneratedProcgenEnvs
from ppo_mpi.envs.procgen_rules import Facts
from ppo_mpi.envs.procgen_saved import Saved, check_layout, checked_state
from ppo_mpi.envs.procgen_scene import TIME, TIME_LIMIT, Scene
from ppo_mpi.envs.procgen_slots import EngineSlots
from ppo_mpi.envs.procgen_trial import survives
from ppo_mpi.envs.procgen_variants import Variant, make_variant, split_options
from ppo_mpi.errors import CheckpointError
from ppo_mpi.seeding import generator, stream_seed
from ppo_mpi.settings.procgen import ProcgenConfig
from ppo_mpi.settings.variant_names import base_game

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
        task: the game, or a variant of one.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has levels of its own.
        render: whether ``render`` will be called.
        options: the fields of ``ProcgenConfig`` and of ``VariantsConfig``, ``env_kwargs`` (see
            ``arguments.PROCGEN``) as "key=value" strings, and ``num_threads`` (0).

    Raises:
        ConfigError: the game does not have what the options ask for.
        MissingPackageError: procgen is not installed.
    """
    changes, options = split_options(options)
    config, num_threads = parse_options(base_game(task), options)
    variant = make_variant(task, config, changes, stream)
    if config.use_generated_assets:
        return GeneratedProcgenEnvs(task, indices, seed, stream, render, config, num_threads)
    return ProcgenEnvs(variant, indices, seed, stream, render, config, num_threads)


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
        variant: Variant,
        indices: Sequence[int],
        seed: int,
        stream: str,
        render: bool,
        config: ProcgenConfig,
        num_threads: int,
    ) -> None:
        self.indices = tuple(indices)
        self._game, self._rules = variant.game, variant.rules
        self._render = render
        self._config = config
        self._num_threads = num_threads
        self._slots: Any = None
        self._begun = False
        self._assigned: set[int] = set()
        self._obs = np.zeros((0, *OBS_SPEC.shape), np.uint8)
        self._levels = np.zeros(0, np.int64)
        self._times = np.zeros(len(self.indices), np.int64)
        """[B], steps of the present episodes."""
        if not self.indices:
            return  # the engine cannot make zero environments
        self._slots = EngineSlots(variant, len(self.indices), config, num_threads, render)
        self._get, self._put = self._slots.get, self._slots.put
        self._layout = check_layout(self._game, self._get, self._put)
        self._level_range = self._layout.level_range
        self._time_limit = int(Scene(self._get(0)).step[TIME_LIMIT])
        if self._rules is not None:
            self._rules.attach(self._slots, len(self.indices))
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
        facts: Facts = {}
        if self._slots is not None:
            self._slots.engine.act(np.asarray(actions, np.int32))
            rewards, ended = self._observe_engine()
            facts = self._facts(ended)
            if self._rules is not None:
                self._rules.after_step(actions, rewards, ended, facts)
            self._enter(np.flatnonzero(ended).tolist())
            if self._slots.take_pictures(self._obs):
                self._levels = engine_levels(self._slots.engine)
        # The engine's observe() has made new arrays for this step: no second copy here.
        none = np.zeros_like(ended)
        return StepResult(self._obs, rewards, ended, none, {}, levels, episode_facts=facts)

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
        states = [self._get(slot) for slot in range(len(self.indices))]
        if self._rules is not None:
            states = [self._rules.saved(slot, state) for slot, state in enumerate(states)]
        return [procgen_state.seal(state) for state in states]

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
        for slot, saved in enumerate(checked):
            if saved is not None:
                state, record = saved
                self._put(slot, state)
                self._times[slot] = Scene(state).step[TIME]
                if self._rules is not None:
                    self._rules.restore(slot, state, record)
                assigned = procgen_state.level_range(state) != self._level_range
                (self._assigned.add if assigned else self._assigned.discard)(slot)
        if self._slots is not None:
            self._observe_engine()
        self._begun = True
        return fresh

    def edit(self, slot: int, change: Callable[[bytes], bytes]) -> None:
        """Change the level that a slot is in, and draw it.

        Args:
            slot: 0..B-1.
            change: returns another state from the slot's; those of ``coinrun_scenes``, for
                example.

        Raises:
            ValueError: what it returns does not follow the layout.
        """
        state = change(self._get(slot))
        procgen_state.parse(state)
        self._put(slot, state)
        if self._rules is not None:
            self._rules.restore(slot, state, self._rules.record(slot))
        self._observe_engine()

    def render(self) -> list[np.ndarray]:
        """Return the human view of every slot, [512, 512, 3] uint8 each."""
        assert self._render, "render() needs environments made with render=True"
        return [info["rgb"] for info in self._slots.engine.get_info()] if self._slots else []

    def close(self) -> None:
        """Free the engine."""
        if self._slots is not None:
            self._slots.close()
            self._slots = None

    def _observe_engine(self) -> tuple[np.ndarray, np.ndarray]:
        """Take over observations and levels; return rewards and whether an episode began."""
        rewards, observations, first = self._slots.engine.observe()
        self._slots.redrawn.clear()
        self._obs = observations["rgb"]
        self._levels = engine_levels(self._slots.engine)
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
            self._slots.engine.act(np.full(len(self.indices), FORCED_RESET, np.int32))
            _, first = self._observe_engine()
            waiting = {slot for slot in waiting if not first[slot]}
            for slot, state in kept.items():
                self._put(slot, state)
        self._enter(slots)
        if self._slots is not None:
            self._observe_engine()
        self._begun = True

    def _enter(self, slots: Sequence[int]) -> None:
        """Let episodes begin: change their levels; give back the own levels of assigned slots."""
        rules = self._rules if self._rules is not None and self._rules.sees_levels else None
        for slot in slots:
            self._times[slot] = 0
            if slot not in self._assigned and rules is None:
                continue
            state = self._get(slot)
            if slot in self._assigned:
                state = procgen_state.with_level_range(state, *self._level_range)
                self._assigned.discard(slot)
            if rules is not None:
                state = rules.begin(slot, state)
            self._put(slot, state)

    def _facts(self, ended: np.ndarray) -> Facts:
        """Return what the engine tells of the episodes that ended in this step."""
        self._times += 1
        slots = np.flatnonzero(ended).tolist()
        if self._config.use_sequential_levels:
            return {slot: {} for slot in slots}  # a completed level is no end of theirs
        facts, completed = {}, self._slots.completed()
        for slot in slots:
            complete = bool(completed[slot])
            late = not complete and self._times[slot] >= self._time_limit
            told = (complete, late, not (complete or late))
            names = ("level_complete", "timed_out", "died")
            facts[slot] = dict(zip(names, map(float, told), strict=True))
        return facts

    def _checked_states(self, states: Sequence[bytes | None]) -> list[Saved | None]:
        """Return the states as the engine takes them, tried in a child process."""
        if len(states) != len(self.indices):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self.indices)} slots"
            )
        checked = [
            None if state is None else self._checked(slot, state)
            for slot, state in enumerate(states)
        ]
        self._try({slot: saved[0] for slot, saved in enumerate(checked) if saved is not None})
        return checked

    def _checked(self, slot: int, sealed: bytes) -> Saved:
        whose = f"the saved state of environment {self.indices[slot]}"
        return checked_state(sealed, whose, self._layout, slot, self._rules)

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
            self._slots.leave_threads()
        for slot, state in states.items():
            self._put(slot, state)
        for action in TRIAL_ACTIONS:
            self._slots.engine.observe()
            self._slots.engine.act(np.full(len(self.indices), action, np.int32))
        self._slots.engine.observe()
