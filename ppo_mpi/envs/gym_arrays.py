"""Classic control as arrays: all environments of a rank take a step in one go.

What an environment does is the same to the bit as what Gymnasium's own object does; the objects
still begin the episodes, from their own generators, and carry the states to checkpoints. On one
core 64 CartPoles step several times faster so.

Axes: B environments on this rank; K numbers of a state; F features; A action size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs import gym_state
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.gym_control import GymEnvs
from ppo_mpi.envs.truths import Told

Step = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
"""(states [B, K] float64, actions) -> next states, observations [B, F] float32, rewards [B], and
whether each episode has ended [B]."""


SCALAR = np.asarray(1.0 * np.float32(1)).dtype
"""What a product of a Python float and a float32 is: float64 up to numpy 1."""


def cart_pole(env: Any) -> Step | None:
    """Return the step of CartPole with the numbers of ``env``; None for its unusual variants.

    Source:
        Barto, Sutton and Anderson 1983, as Gymnasium computes it.
    """
    if env._sutton_barto_reward or env.kinematics_integrator != "euler":
        return None

    def step(
        states: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        x, x_dot, theta, theta_dot = states.T
        force = np.where(actions == 1, env.force_mag, -env.force_mag)
        cos, sin = np.cos(theta), np.sin(theta)
        temp = (force + env.polemass_length * np.square(theta_dot) * sin) / env.total_mass
        theta_acc = (env.gravity * sin - cos * temp) / (
            env.length * (4.0 / 3.0 - env.masspole * np.square(cos) / env.total_mass)
        )
        x_acc = temp - env.polemass_length * theta_acc * cos / env.total_mass
        new = np.empty_like(states)
        new[:, 0] = x + env.tau * x_dot
        new[:, 1] = x_dot + env.tau * x_acc
        new[:, 2] = theta + env.tau * theta_dot
        new[:, 3] = theta_dot + env.tau * theta_acc
        fallen = np.abs(new[:, 2]) > env.theta_threshold_radians
        ended = (np.abs(new[:, 0]) > env.x_threshold) | fallen
        return new, new.astype(np.float32), np.ones(len(new), np.float32), ended

    return step


def mountain_car(env: Any) -> Step | None:
    """Return the step of MountainCar with the numbers of ``env``.

    Source:
        Moore 1990, as Gymnasium computes it.
    """

    def step(
        states: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        position, velocity = states.T
        # The C library's cosine, as there: numpy's may differ in the last bit.
        slope = np.array([math.cos(3 * x) for x in position.tolist()])
        velocity = velocity + ((actions - 1) * env.force + slope * (-env.gravity))
        velocity = np.clip(velocity, -env.max_speed, env.max_speed)
        position = np.clip(position + velocity, env.min_position, env.max_position)
        velocity = np.where((position == env.min_position) & (velocity < 0), 0.0, velocity)
        ended = (position >= env.goal_position) & (velocity >= env.goal_velocity)
        new = np.stack([position, velocity], axis=1)
        return new, new.astype(np.float32), np.full(len(new), -1, np.float32), ended

    return step


def squares(x: np.ndarray) -> np.ndarray:
    """Return x**2 as numpy has it for single numbers: by the C library's power."""
    return np.array([math.pow(number, 2) for number in x.tolist()], x.dtype)


def pendulum(env: Any) -> Step | None:
    """Return the step of Pendulum with the numbers of ``env``."""

    def step(
        states: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        angle, speed = states.T
        torque = np.clip(actions[:, 0], -env.max_torque, env.max_torque).astype(SCALAR)
        upright = ((angle + np.pi) % (2 * np.pi)) - np.pi
        costs = squares(upright) + 0.1 * squares(speed) + 0.001 * squares(torque)
        pull = 3 * env.g / (2 * env.l) * np.sin(angle)
        speed = speed + (pull + 3.0 / (env.m * env.l**2) * torque) * env.dt
        speed = np.clip(speed, -env.max_speed, env.max_speed)
        angle = angle + speed * env.dt
        obs = np.stack([np.cos(angle), np.sin(angle), speed], axis=1).astype(np.float32)
        new = np.stack([angle, speed], axis=1)
        return new, obs, -costs, np.zeros(len(new), bool)

    return step


PACKAGE = "gymnasium.envs.classic_control"
STEPS: Mapping[str, Callable[[Any], Step | None]] = {
    f"{PACKAGE}.{name}": make
    for name, make in {
        "cartpole:CartPoleEnv": cart_pole,
        "mountain_car:MountainCarEnv": mountain_car,
        "pendulum:PendulumEnv": pendulum,
    }.items()
}


def step_of(env: Any) -> Step | None:
    """Return how such environments step as arrays; None if they do not.

    Args:
        env: a Gymnasium environment with its wrappers.
    """
    make = STEPS.get(gym_state.class_name(env))
    if make is None or not gym_state.wrappers_are_known(env):
        return None
    return make(env.unwrapped)


class ArrayEnvs(GymEnvs):
    """Environments of a class that is known here, behind the contract."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        """As ``GymEnvs``; there must be environments, of a class that ``step_of`` knows."""
        super().__init__(*arguments, **keywords)
        step = step_of(self._envs[0])
        assert step is not None, "a class that is known here"
        self._take_step = step
        size = gym_state.SAVABLE[gym_state.class_name(self._envs[0])]["state"]
        self._states = np.zeros((len(self._envs), size))
        self._lengths = np.zeros(len(self._envs), np.int64)
        """Steps of each slot's episode."""
        limits = [gym_state.time_limit(env) for env in self._envs]
        self._limits = np.array(
            [math.inf if limit is None else limit._max_episode_steps for limit in limits]
        )

    def tell(self, told: Told) -> None:
        """Tell nothing more: these environments know no more.

        Raises:
            ConfigError: they are to tell something.
        """
        if told != Told():
            VecEnvs.tell(self, told)
        super().tell(told)

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` is [B] int64 or [B, A] float32."""
        self._states, obs, rewards, terminated = self._take_step(self._states, actions)
        self._lengths += 1
        truncated = (self._lengths >= self._limits) & ~terminated
        self._obs = obs
        final_obs = {int(slot): obs[slot].copy() for slot in np.flatnonzero(truncated)}
        last_obs = {int(slot): obs[slot].copy() for slot in np.flatnonzero(terminated)}
        for slot in np.flatnonzero(terminated | truncated).tolist():
            self._begin_episode(slot)
        return StepResult(
            self.observe(), rewards.astype(np.float32), terminated, truncated, final_obs,
            self.levels, last_obs=last_obs,
        )  # fmt: skip

    def get_states(self) -> list[bytes | None]:
        """Return each slot's state as JSON, as ``GymEnvs`` does."""
        for slot, env in enumerate(self._envs):
            limit = gym_state.time_limit(env)
            if limit is not None:
                limit._elapsed_steps = int(self._lengths[slot])
            env.unwrapped.state = self._states[slot].copy()
        return super().get_states()

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; see ``GymEnvs``."""
        fresh = super().set_states(states, iteration)
        for slot, env in enumerate(self._envs):
            self._states[slot] = env.unwrapped.state
            limit = gym_state.time_limit(env)
            self._lengths[slot] = 0 if limit is None else limit._elapsed_steps
        return fresh

    def _begin_episode(self, slot: int) -> None:
        super()._begin_episode(slot)
        self._states[slot] = self._envs[slot].unwrapped.state
        self._lengths[slot] = 0
