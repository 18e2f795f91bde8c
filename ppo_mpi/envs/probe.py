"""Probe environments: so small that the best policy and its value are known.

Each shows a hidden number, the *goal*, which is drawn anew after every step, and pays for an
action that fits it. Adding one is a line in ``TASKS``, or in ``SPACE_TASKS`` of probe_tasks.py.

Axes: B environments on this rank; H, W, C image; F features; A action size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_mpi.envs import probe_corridor, probe_memory
from ppo_mpi.envs.arguments import PROBE, own_arguments
from ppo_mpi.envs.base import Box, Discrete, ObservationSpec, StepResult, VecEnvs
from ppo_mpi.envs.probe_tasks import COLORS, SPACE_TASKS, ProbeTask
from ppo_mpi.envs.spaces import clipped
from ppo_mpi.envs.truths import AUXILIARY, Told
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.registry import unknown_name
from ppo_mpi.seeding import generator

FAILING_INDEX = 1
FAILING_STEP = 5
FRAME_SIZE = 64


def _match(goal: float, action: np.ndarray) -> float:
    return float(int(action) == int(goal))


_MATCH = ProbeTask(
    ObservationSpec((3,), "float32"),
    Discrete(3),
    draw=lambda rng: int(rng.integers(3)),
    show=lambda goal: np.eye(3, dtype=np.float32)[int(goal)],
    reward=_match,
)

TASKS: Mapping[str, ProbeTask] = {
    # The goal is shown one-hot: always met, V = 1 / (1 - discount) although episodes are cut.
    "match": _MATCH,
    # Nothing to choose and nothing to see: V = 1 / (1 - discount).
    "constant": ProbeTask(
        ObservationSpec((1,), "float32"),
        Discrete(1),
        draw=lambda rng: 0,
        show=lambda goal: np.ones(1, np.float32),
        reward=lambda goal, action: 1.0,
    ),
    # One step: V = 1.
    "terminal": ProbeTask(
        ObservationSpec((1,), "float32"),
        Discrete(1),
        draw=lambda rng: 0,
        show=lambda goal: np.ones(1, np.float32),
        reward=lambda goal, action: 1.0,
        terminates=True,
    ),
    # The goal in [-1, 1] is shown as it is: the best action equals it, V = 0.
    "box": ProbeTask(
        ObservationSpec((1,), "float32"),
        Box((-1.0,), (1.0,)),
        draw=lambda rng: float(rng.uniform(-1, 1)),
        show=lambda goal: np.array([goal], np.float32),
        reward=lambda goal, action: -((float(action[0]) - goal) ** 2),
    ),
    # The color of an image tells the goal.
    "image": ProbeTask(
        ObservationSpec((8, 8, 3), "uint8"),
        Discrete(3),
        draw=lambda rng: int(rng.integers(3)),
        show=lambda goal: np.full((8, 8, 3), COLORS[int(goal)], np.uint8),
        reward=_match,
    ),
    # Not to be solved: shows how the job ends when one environment fails.
    "failing": ProbeTask(
        _MATCH.obs_spec, _MATCH.action_spec, _MATCH.draw, _MATCH.show, _MATCH.reward, fails=True
    ),
    **SPACE_TASKS,
}


@dataclass
class _Slot:
    """One environment."""

    generator: np.random.Generator
    goal: float = 0
    steps: int = 0
    """Steps of the episode."""
    steps_ever: int = 0
    next_seed: int | None = None
    """Seed of the next episode, if one was assigned."""


def make_envs(
    task: str,
    indices: Sequence[int],
    seed: int,
    *,
    stream: str = "train",
    render: bool = False,
    options: Mapping[str, Any],
) -> VecEnvs:
    """Make the probe environments that have these whole-job indices.

    Args:
        task: one of ``TASKS``, or of the ``SPECS`` of probe_corridor.py and probe_memory.py.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for.
        render: probes can always render.
        options: ``env_kwargs`` as "key=value" strings: ``max_steps``, after which episodes are cut.
            ``restart_failed`` is let pass: what fails on purpose shall be seen.

    Raises:
        ConfigError: there is no such task or argument, or its episodes are never cut.
    """
    known = [*TASKS, *probe_corridor.SPECS, *probe_memory.SPECS]
    if task not in known:
        raise ConfigError(unknown_name("probe", task, known))
    given = {k: value for k, value in options.items() if k not in ("restart_failed", "env_kwargs")}
    if given:
        raise ConfigError(f"probe:{task} has no options, got {given}; leave them out")
    max_steps = own_arguments(PROBE, options).get("max_steps")
    if task in probe_corridor.SPECS:
        return probe_corridor.CorridorEnvs(task, indices, max_steps or probe_corridor.MAX_STEPS)
    is_fixed = task in probe_memory.SPECS
    if max_steps and (is_fixed or TASKS[task].terminates):
        why = "the length of its episodes is its task" if is_fixed else "every step ends an episode"
        raise ConfigError(
            f"env_kwargs='max_steps={max_steps}' has no effect on probe:{task}: {why}; leave it out"
        )
    if is_fixed:
        return probe_memory.MemoryEnvs(task, indices, seed, stream)
    return ProbeEnvs(task, indices, seed, stream, max_steps or TASKS[task].max_steps)


class ProbeEnvs(VecEnvs):
    """Environments of one probe. All of them can be saved, as JSON."""

    def __init__(
        self, name: str, indices: Sequence[int], seed: int, stream: str, max_steps: int
    ) -> None:
        self.indices = tuple(indices)
        self._name, self._task, self._max_steps = name, TASKS[name], max_steps
        self.obs_spec, self.action_spec = self._task.obs_spec, self._task.action_spec
        self._told = Told()
        self._slots = [_Slot(generator(seed, f"{stream}:probe", i)) for i in self.indices]

    def tell(self, told: Told) -> None:
        """Tell truths and a bonus, in the task that knows them.

        Raises:
            ConfigError: this one does not.
        """
        if self._task.truths is None:
            super().tell(told)
        self._told = told

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations; NaN where it is not known."""
        found = np.zeros((len(self._slots), self._told.width), np.float32)
        if self._task.truths is not None:
            for position, slot in enumerate(self._slots):
                info = {AUXILIARY: self._task.truths(slot.goal)}
                found[position] = self._told.truths(info, f"probe:{self._name}")
        return found

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        for slot in self._slots:
            self._begin_episode(slot)
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` as in ``VecEnvs.step``.

        Raises:
            RuntimeError: the task is ``failing`` and the time has come.
        """
        rewards = np.zeros(len(self._slots), np.float32)
        truncated = np.zeros(len(self._slots), bool)
        terminated = np.full(len(self._slots), self._task.terminates)
        final_obs = {}
        for position, slot in enumerate(self._slots):
            slot.steps += 1
            slot.steps_ever += 1
            if self._task.fails and self.indices[position] == FAILING_INDEX:
                self._fail(slot)
            (action,) = clipped(self.action_spec, actions[position : position + 1])
            rewards[position] = self._task.reward(slot.goal, action)
            truncated[position] = slot.steps >= self._max_steps and not self._task.terminates
            slot.goal = self._task.draw(slot.generator)
            if truncated[position]:
                final_obs[position] = self._task.show(slot.goal)
            if truncated[position] or terminated[position]:
                self._begin_episode(slot)
        bonus = None
        if self._told.bonus:
            bonus = np.where(rewards > 0, self._task.bonus, 0).astype(np.float32)
        return StepResult(
            self.observe(), rewards, terminated, truncated, final_obs, self.levels, bonus=bonus
        )

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        observations = np.zeros((len(self._slots), *self.obs_spec.shape), self.obs_spec.dtype)
        for position, slot in enumerate(self._slots):
            observations[position] = self._task.show(slot.goal)
        return observations

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Draw the slot's next episode, and what follows it, from ``seed``; no levels here."""
        self._slots[slot].next_seed = int(seed)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, -1: the suite has no levels."""
        return np.full(len(self._slots), -1, np.int64)

    def get_states(self) -> list[bytes | None]:
        """Return each slot's state as JSON."""
        return [self._state(slot) for slot in self._slots]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        self._all_parsed(states)

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; a slot whose state is None begins a fresh episode.

        Raises:
            CheckpointError: a state is damaged, or belongs to another environment.
        """
        fresh = []
        for position, slot in enumerate(self._all_parsed(states)):
            if slot is not None:
                self._slots[position] = slot
            else:
                self._begin_episode(self._slots[position])
                fresh.append(position)
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return one frame [64, 64, 3] uint8 per slot: the image, or gray bars for a vector."""
        frames = []
        for obs in map(self.obs_spec.picture, self.observe()):
            if not self.obs_spec.has_images:
                gray = np.clip(127.5 * (1 + obs), 0, 255).astype(np.uint8)
                obs = np.repeat(gray[None, :, None], 3, axis=2)
            rows = np.arange(FRAME_SIZE) * obs.shape[0] // FRAME_SIZE
            columns = np.arange(FRAME_SIZE) * obs.shape[1] // FRAME_SIZE
            frames.append(obs[rows][:, columns])
        return frames

    def close(self) -> None:
        """Hold nothing, free nothing."""

    def _begin_episode(self, slot: _Slot) -> None:
        if slot.next_seed is not None:
            slot.generator = generator(slot.next_seed, "probe")
            slot.next_seed = None
        slot.steps = 0
        slot.goal = self._task.draw(slot.generator)

    @staticmethod
    def _fail(slot: _Slot) -> None:
        if slot.steps_ever == FAILING_STEP:
            raise RuntimeError("the probe environment fails on purpose")

    def _state(self, slot: _Slot) -> bytes:
        state = {
            "probe": self._name,
            "generator": _plain(slot.generator.bit_generator.state),
            "goal": slot.goal,
            "steps": slot.steps,
            "steps_ever": slot.steps_ever,
            "next_seed": slot.next_seed,
        }
        return json.dumps(state).encode("ascii")

    def _all_parsed(self, states: Sequence[bytes | None]) -> list[_Slot | None]:
        if len(states) != len(self._slots):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self._slots)} slots"
            )
        return [
            None if state is None else self._parsed(state, index)
            for state, index in zip(states, self.indices, strict=True)
        ]

    def _parsed(self, state: bytes, index: int) -> _Slot:
        whose = f"the saved state of environment {index}"
        try:
            saved = json.loads(state)
            name = saved.pop("probe")
            bit_generator = np.random.Philox()
            bit_generator.state = saved.pop("generator")
            slot = _Slot(np.random.Generator(bit_generator), **saved)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{whose} is damaged: {type(error).__name__} {error}") from error
        if name != self._name:
            raise CheckpointError(f"{whose} is one of probe:{name}, not of probe:{self._name}")
        return slot


def _plain(state: Any) -> Any:
    """Return a bit generator's state with lists for arrays, which it takes as well."""
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state
