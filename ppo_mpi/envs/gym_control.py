"""Gymnasium: any environment of its registry, one object for each slot, stepped in a loop.

Axes: B environments on this rank; H, W, C image; F features; A action size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs import gym_state
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.gym_drawing import close, frame
from ppo_mpi.envs.gym_making import Make, make_env, parse_env_kwargs, quiet
from ppo_mpi.envs.gym_spaces import (
    MisfitError,
    action_spec,
    flat_observation,
    gym_actions,
    observation_spec,
)
from ppo_mpi.envs.truths import Told
from ppo_mpi.errors import CheckpointError, FailedEnvironmentError
from ppo_mpi.seeding import stream_seed

FAILED: Any = object()
"""In place of what an environment answers, if it raised."""
MOST_FAILURES_IN_A_ROW = 5
"""How often an environment is made anew without having taken a step."""


def make_envs(
    task: str,
    indices: Sequence[int],
    seed: int,
    *,
    stream: str = "train",
    render: bool = False,
    options: Mapping[str, Any],
) -> VecEnvs:
    """Make the Gymnasium environments that have these whole-job indices.

    Args:
        task: a Gymnasium id, for example ``CartPole-v1``.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has resets of its own.
        render: whether ``render`` will be called.
        options: ``env_kwargs``, arguments of the environment as "key=value" strings, and
            ``restart_failed``, whether one that raises is made anew.

    Raises:
        ConfigError: the id or an argument is unknown, or a space is of a kind that PPO here
            cannot use.
        MissingPackageError: the environment needs a package that is not installed.
    """
    env_kwargs = parse_env_kwargs(options)
    restart_failed = bool(options.get("restart_failed"))
    kind = GymEnvs
    if indices and not render and _step_as_arrays(task, env_kwargs):
        from ppo_mpi.envs.gym_arrays import ArrayEnvs

        kind = ArrayEnvs
    return kind(task, indices, seed, stream, render, env_kwargs, restart_failed)


def _step_as_arrays(task: str, env_kwargs: Mapping[str, Any]) -> bool:
    from ppo_mpi.envs.gym_arrays import PACKAGE, step_of

    try:
        from gymnasium import registry
    except ImportError:
        return False  # who makes the environments says what is missing
    spec = registry.get(task)
    if spec is None or not str(spec.entry_point).startswith(PACKAGE):
        return False  # without making one: others may take their time
    env = make_env(task, env_kwargs, render=False)
    try:
        return step_of(env) is not None
    finally:
        env.close()


class GymEnvs(VecEnvs):
    """Gymnasium environments behind the contract.

    Vectors, and all that Gymnasium can flatten into one, are shown as [F] float32; images
    [H, W, C] uint8 as they are, and [H, W] with one channel; both together packed into a row of
    bytes. Numbers of a ``Box`` action are clipped to its bounds. A step that both ends an episode
    and reaches its time limit is an end.

    The first reset of an environment is seeded by its index; later ones go on drawing from the
    environment's own generator. An assigned episode is one that begins with a seeded reset.

    An environment that raises can be made anew: its step counts as a truncation with reward 0
    behind the observation seen last, and its next episode begins with a reset seeded by its index
    and the number of times that this has happened to it.
    """

    def __init__(
        self,
        env_id: str,
        indices: Sequence[int],
        seed: int,
        stream: str,
        render: bool,
        env_kwargs: Mapping[str, Any],
        restart_failed: bool = False,
        make: Make = make_env,
    ) -> None:
        """Make the environments.

        Args:
            env_id: what they are called.
            indices: whole-job numbers, may be empty.
            seed: the job's seed.
            stream: what they are for; part of the key of their streams.
            render: whether ``render`` will be called.
            env_kwargs: arguments of the environment.
            restart_failed: whether one that raises is made anew.
            make: makes one, from another package for example.
        """
        self._make = make
        self.indices = tuple(indices)
        self._seed, self._stream, self._env_kwargs = seed, stream, env_kwargs
        self._restart_failed = restart_failed
        self._failures = [0] * len(self.indices)
        """How often each slot's environment has raised; part of its state."""
        self._in_a_row = [0] * len(self.indices)
        """How often it has raised since its last step."""
        self._id = env_id
        self._render = render
        # A rank without environments still has to know the spaces.
        made = [make(env_id, env_kwargs, render) for _ in self.indices or (0,)]
        self._obs_space, self._action_space = made[0].observation_space, made[0].action_space
        self.obs_spec = observation_spec(env_id, self._obs_space)
        self._is_vector = self._is_box() and not self.obs_spec.is_image
        self.action_spec = action_spec(env_id, self._action_space)
        self.gym_spaces = self._obs_space, self._action_space
        if not self.indices:
            made.pop().close()
        self._envs = made
        self._next_seeds: list[int | None] = [
            stream_seed(seed, f"{stream}:reset", index) for index in self.indices
        ]
        """The seed of each slot's next reset; None goes on with the environment's generator."""
        self._obs = np.zeros((len(self.indices), *self.obs_spec.shape), self.obs_spec.dtype)
        self.tell(Told())

    def tell(self, told: Told) -> None:
        """Read truths and bonus rewards from the info of every reset and step from now on."""
        self._told = told
        self._truths = np.full((len(self.indices), told.width), np.nan, np.float32)

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        for slot in range(len(self._envs)):
            self._begin_episode(slot)
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` as in ``VecEnvs.step``."""
        rewards = np.zeros(len(self._envs), np.float32)
        bonus = np.zeros(len(self._envs), np.float32) if self._told.bonus else None
        terminated = np.zeros(len(self._envs), bool)
        truncated = np.zeros(len(self._envs), bool)
        dropped = set()
        final_obs: dict[int, np.ndarray] = {}
        last_obs: dict[int, np.ndarray] = {}
        for slot, action in enumerate(gym_actions(self._action_space, actions)):
            taken = self._try(slot, "step", action)
            if taken is FAILED:
                truncated[slot], final_obs[slot] = True, self._obs[slot].copy()
                dropped.add(slot)
                self._begin_episode(slot)
                continue
            obs, reward, ended, cut, info = taken
            if bonus is not None:
                bonus[slot] = self._told.bonus_of(info, self._id)
            self._in_a_row[slot] = 0
            rewards[slot], terminated[slot] = reward, ended
            truncated[slot] = cut and not ended
            if ended or cut:
                (last_obs if ended else final_obs)[slot] = self._flat(obs).copy()
            if ended or cut:
                self._begin_episode(slot)
            else:
                self._arrive(slot, obs, info)
        return StepResult(
            self.observe(), rewards, terminated, truncated, final_obs, self.levels,
            frozenset(dropped), last_obs, bonus=bonus,
        )  # fmt: skip

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        return self._obs.copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Let the slot's next episode begin with ``reset(seed=seed)``; there are no levels."""
        self._next_seeds[slot] = int(seed)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, -1: the suite has no levels."""
        return np.full(len(self._envs), -1, np.int64)

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations; NaN where it is not known."""
        return self._truths.copy()

    def get_states(self) -> list[bytes | None]:
        """Return each slot's state as JSON, or None where the environment cannot be saved."""
        return [
            gym_state.get_state(env, self._id, obs, next_seed, failures, truths)
            for env, obs, next_seed, failures, truths in zip(
                self._envs, self._obs, self._next_seeds, self._failures, self._truths, strict=True
            )
        ]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        self._parsed(states)

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; a slot whose state is None begins a fresh episode.

        Args:
            states: one a slot.
            iteration: of the run; part of the seeds of fresh episodes, so that a run that is
                often interrupted does not play the same ones each time.

        Raises:
            CheckpointError: a state is damaged, or belongs to another environment.
        """
        fresh = []
        for slot, saved in enumerate(self._parsed(states)):
            if saved is None and iteration:
                stream = f"{self._stream}:reset:{iteration}"
                self._next_seeds[slot] = stream_seed(self._seed, stream, self.indices[slot])
            self._begin_episode(slot)
            if saved is None:
                fresh.append(slot)
            else:
                gym_state.apply_state(self._envs[slot], saved)
                self._obs[slot] = saved.obs
                self._next_seeds[slot] = saved.next_seed
                self._failures[slot] = saved.failures
                self._truths[slot] = saved.truths
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot."""
        assert self._render, "render() needs environments made with render=True"
        with quiet():
            return [np.asarray(frame(env), np.uint8) for env in self._envs]

    def close(self) -> None:
        """Free the environments."""
        for env in self._envs:
            close(env)

    def _parsed(self, states: Sequence[bytes | None]) -> list[gym_state.SavedEnv | None]:
        if len(states) != len(self._envs):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self._envs)} slots"
            )
        return [
            None
            if state is None
            else gym_state.parse_state(
                state, env, self._id, self._obs[slot], self.indices[slot], self._told.width
            )
            for slot, (state, env) in enumerate(zip(states, self._envs, strict=True))
        ]

    def _begin_episode(self, slot: int) -> None:
        begun = FAILED
        while begun is FAILED:  # _try counts the failures
            begun = self._try(slot, "reset", seed=self._next_seeds[slot])
        self._next_seeds[slot] = None
        self._arrive(slot, *begun)

    def _arrive(self, slot: int, obs: Any, info: Any) -> None:
        """Take an observation to act on, and what is true of it."""
        self._obs[slot] = self._flat(obs)
        if self._told.heads:
            self._truths[slot] = self._told.truths(info, self._id)

    def _try(self, slot: int, verb: str, *arguments: Any, **keywords: Any) -> Any:
        """Return what the slot's environment answers; FAILED if it raised and was made anew.

        Raises:
            FailedEnvironmentError: it raised, and is not to be made anew, or was too often.
        """
        try:
            return getattr(self._envs[slot], verb)(*arguments, **keywords)
        except Exception as error:  # foreign code: it may raise anything
            whose = f"{self._id}, environment {self.indices[slot]} of the job, raised in {verb}()"
            self._in_a_row[slot] += 1
            if not self._restart_failed:
                raise FailedEnvironmentError(
                    f"{whose}: {error!r}; mend it and start the same command again (the run goes "
                    "on from its last checkpoint), or add --restart-failed-envs true to go on "
                    "without its episode"
                ) from error
            if self._in_a_row[slot] > MOST_FAILURES_IN_A_ROW:
                raise FailedEnvironmentError(
                    f"{whose}, {self._in_a_row[slot]} times without a step in between although it "
                    f"was made anew each time: {error!r}; mend it"
                ) from error
            self._make_anew(slot)
            if verb == "reset" or self._next_seeds[slot] is None:  # what was assigned stays
                stream = f"{self._stream}:restart:{self._failures[slot]}"
                self._next_seeds[slot] = stream_seed(self._seed, stream, self.indices[slot])
            return FAILED

    def _make_anew(self, slot: int) -> None:
        with contextlib.suppress(Exception):  # it is broken already
            close(self._envs[slot])
        self._envs[slot] = self._make(self._id, self._env_kwargs, self._render)
        self.restarts += 1
        self._failures[slot] += 1

    def _flat(self, obs: Any) -> np.ndarray:
        try:
            if not self._is_vector:
                return flat_observation(self._obs_space, self.obs_spec, obs)
            flat = np.asarray(obs, np.float32).ravel()  # the same, in a fifth of the time
            if flat.shape == self.obs_spec.shape:
                return flat
            raise MisfitError(f"of {flat.size} numbers")
        except MisfitError as error:
            raise FailedEnvironmentError(
                f"{self._id} gave an observation {error}, where its observation_space is "
                f"{self._obs_space}: mend the one or the other, then start the same command again"
            ) from None

    def _is_box(self) -> bool:
        from gymnasium.spaces import Box as GymBox

        return isinstance(self._obs_space, GymBox)
