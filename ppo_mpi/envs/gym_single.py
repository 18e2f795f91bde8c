"""One environment of any suite as Gymnasium has it: reset, and a step of five answers.

Axes: B environments; F features; K columns of an action; H, W, C image.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.gym_values import Spaces
from ppo_mpi.errors import ConfigError

FRAMES_PER_SECOND = 15
"""At which ``play`` and ``record`` show the steps."""


class SingleEnv:
    """The one environment of a ``VecEnvs``, which begins an episode only when it is reset.

    Its episodes are numbered: the n-th since ``reset(seed=s)`` is the n-th of an evaluation with
    the seed s, on the same level and with the same randomness.
    """

    def __init__(
        self,
        envs: VecEnvs,
        spaces: Spaces,
        assign: Callable[[VecEnvs, int, int], None],
        seed: int,
        render_mode: str | None,
    ) -> None:
        """Take the environment.

        Args:
            envs: of one slot.
            spaces: as observations are shown and actions are taken here.
            assign: (envs, episode, seed): lets the next episode be that one.
            seed: of the episodes, until ``reset`` names another.
            render_mode: rgb_array, for ``render``, or None.
        """
        self.observation_space, self.action_space = spaces.observations, spaces.actions
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}
        self.render_mode = render_mode
        self._envs, self._spaces, self._assign = envs, spaces, assign
        self._seed, self._next_episode = seed, 0
        self._begins_by_itself = False
        """Whether the next episode has begun already, as ``VecEnvs`` do where one ends."""
        self._running = False
        self._obs = np.zeros((1, *envs.obs_spec.shape), envs.obs_spec.dtype)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode.

        Args:
            seed: begins with the first episode of this seed; None goes on with the next one.
            options: ``level``, the level to play instead of the episode's own (Procgen).

        Returns:
            the observation, and what else is known: ``level``, where there are levels.

        Raises:
            ConfigError: an option is unknown, or no level, or there are no levels.
        """
        level = self._level_in(options or {})
        if seed is not None:
            self._seed, self._next_episode = int(seed), 0
        episode = self._next_episode
        if seed is not None or level is not None or not self._begins_by_itself:
            self._assign(self._envs, episode, self._seed)
            if level is not None:
                self._envs.assign(0, self._seed, level)
            self._obs = self._envs.reset()
        self._next_episode, self._begins_by_itself = episode + 1, False
        self._assign(self._envs, episode + 1, self._seed)
        self._running = True
        return self._spaces.shown(self._obs[0]), self._info(self._envs.levels)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; the answers are observation, reward, terminated, truncated and info.

        Where the episode ends, the observation is its own last one as far as the suite tells it,
        else the one that was acted on, and info has what the suite tells of the whole episode.

        Raises:
            RuntimeError: no episode is running.
            ValueError: the action is none of the space; numbers may be beyond its bounds.
        """
        if not self._running:
            raise RuntimeError("no episode is running; call reset() before step()")
        result = self._envs.step(self._spaces.checked(action, may_exceed=True)[None])
        terminated, truncated = bool(result.terminated[0]), bool(result.truncated[0])
        info = self._info(result.levels)
        obs = result.obs[0]
        if terminated or truncated:
            obs = last_observation(result, 0, self._obs[0])
            info |= result.episode_facts.get(0, {})
            self._running, self._begins_by_itself = False, True
        self._obs = result.obs
        return self._spaces.shown(obs), float(result.rewards[0]), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Return the picture [H, W, 3] uint8 in the suite's human view; None without a mode.

        Behind an episode's last step it shows the beginning of the next one.
        """
        return None if self.render_mode is None else self._envs.render()[0]

    def close(self) -> None:
        """Free the environment."""
        self._envs.close()

    def _info(self, levels: np.ndarray) -> dict[str, Any]:
        level = int(levels[0])
        return {"level": level} if level >= 0 else {}

    def _level_in(self, options: Mapping[str, Any]) -> int | None:
        unknown = [name for name in options if name != "level"]
        if unknown or (options and int(self._envs.levels[0]) < 0):
            raise ConfigError(
                f"reset(options={dict(options)}): there is one option, level, for environments "
                "that have levels (Procgen); leave the others out"
            )
        if not options:
            return None
        try:
            return operator.index(options["level"])
        except TypeError as error:
            raise ConfigError(
                f"reset(options={dict(options)}): a level is a whole number, such as 7"
            ) from error


def last_observation(result: StepResult, slot: int, before: np.ndarray) -> np.ndarray:
    """Return the observation in which a slot's episode ended with this step.

    Args:
        result: of the step.
        slot: whose episode ended.
        before: what was acted on; it takes the place of what the suite does not tell.
    """
    known = result.final_obs.get(slot)
    return result.last_obs.get(slot, before) if known is None else known


def as_gymnasium(env: SingleEnv) -> Any:
    """Return the environment as an instance of ``gymnasium.Env``, for what insists on one."""
    import gymnasium

    class Env(gymnasium.Env):
        """A trained agent's environment; see ``SingleEnv``."""

        metadata = env.metadata
        render_mode = env.render_mode
        observation_space, action_space = env.observation_space, env.action_space

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return env.reset(seed=seed, options=options)

        def step(self, action: Any) -> Any:
            return env.step(action)

        def render(self) -> Any:
            return env.render()

        def close(self) -> None:
            env.close()

    return Env()
