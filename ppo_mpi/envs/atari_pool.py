"""Atari stepped by EnvPool: the same games in C++, on threads; they cannot be saved.

Axes: B environments on this rank; H, W, C image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs.atari import make_discrete
from ppo_mpi.envs.atari_options import AtariOptions
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.errors import CheckpointError, ConfigError, MissingPackageError
from ppo_mpi.seeding import stream_seed
from ppo_mpi.settings.atari_names import title

ENDLESS = 10**9
"""Steps of an episode without a limit."""


def check_pool_options(options: AtariOptions) -> None:
    """Refuse what EnvPool cannot do, before any work.

    Raises:
        ConfigError: an option is one that only atari_engine=python knows.
        MissingPackageError: EnvPool is not installed.
    """
    config = options.config
    unknown = {
        "atari_obs=ram": options.shows_ram,
        "a frame_skip that is drawn for each step": len(set(options.frame_skip)) > 1,
        "max_over_frames=false": not config.max_over_frames,
        "stack_skipped_frames=true": config.stack_skipped_frames,
        "noop_max=0": not config.noop_max,  # it would end the process
    }
    unknown |= {f"env_kwargs {name}={value}": True for name, value in options.arguments.items()}
    for what, is_asked in unknown.items():
        if is_asked:
            raise ConfigError(f"atari_engine=envpool does not know {what}; use atari_engine=python")
    if "env_seed" not in _import().make_spec(f"{title(options.rom)}-v5").config._fields:
        raise ConfigError(
            "this envpool cannot seed each environment by itself, so that the number of ranks "
            "would change the result; install envpool 1.0.1, or use atari_engine=python"
        )


def _import() -> Any:
    try:
        import envpool
    except ImportError as error:
        raise MissingPackageError(
            f'atari_engine=envpool needs EnvPool ({error}): pip install "ppo_mpi[envpool]"'
        ) from error
    return envpool


class PoolEnvs(VecEnvs):
    """Atari games that EnvPool steps.

    Each environment has a seed of its own, by its index; what it does depends neither on its
    place nor on the threads. Games differ from those of ``AtariEnvs`` in what is random (other
    generators) and at the beginning of lives, where EnvPool presses FIRE for one frame. Time
    limits count steps instead of frames. Nothing can be saved or assigned.
    """

    def __init__(
        self,
        options: AtariOptions,
        indices: Sequence[int],
        seed: int,
        stream: str,
        num_threads: int = 0,
    ) -> None:
        self.indices = tuple(indices)
        self._options, self._seed, self._stream = options, seed, stream
        self._num_threads = max(1, min(num_threads, len(self.indices)))
        self.obs_spec = options.obs_spec
        self.action_spec = make_discrete(options)
        self._pool = self._make(f"{stream}:reset")
        self._slots = np.arange(len(self.indices), dtype=np.int32)
        self._obs = np.zeros((len(self.indices), *self.obs_spec.shape), np.uint8)

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, H, W, C] uint8."""
        self._obs = _channels_last(self._pool.reset()[0])
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` is [B] int64."""
        obs, rewards, ended, cut, info = self._pool.step(np.asarray(actions, np.int64), self._slots)
        self._obs = _channels_last(obs)
        terminated = np.asarray(info["terminated"], bool)
        truncated = cut & ~terminated
        lost = ended & ~terminated
        final, last = (
            {slot: self._obs[slot].copy() for slot in np.flatnonzero(which).tolist()}
            for which in (truncated, ended & ~truncated)
        )
        # The step after an end is the beginning of the next episode, or of the next life.
        slots = self._slots[ended | cut]
        if len(slots):
            begun = self._pool.step(np.zeros(len(slots), np.int64), slots)[0]
            self._obs[slots] = _channels_last(begun)
        return StepResult(
            self.observe(), np.asarray(rewards, np.float32), terminated, truncated, final,
            self.levels, last_obs=last, life_lost=lost,
        )  # fmt: skip

    def observe(self) -> np.ndarray:
        """Return the current observations, [B, H, W, C] uint8."""
        return self._obs.copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Refuse: EnvPool seeds environments only where it makes them."""
        raise ConfigError("envpool's episodes cannot be chosen; use atari_engine=python")

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, -1: the suite has no levels."""
        return np.full(len(self.indices), -1, np.int64)

    def get_states(self) -> list[bytes | None]:
        """Return None for every slot: EnvPool cannot save a game."""
        return [None] * len(self.indices)

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        if len(states) != len(self.indices) or any(state is not None for state in states):
            raise CheckpointError(
                f"the {len(states)} saved environments are not {len(self.indices)} of EnvPool's, "
                "which cannot be saved"
            )

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Begin a fresh episode in every slot; return all slots.

        Args:
            states: None for every slot.
            iteration: of the run; part of the seeds.

        Raises:
            CheckpointError: there is a state.
        """
        self.check_states(states)
        if iteration:
            self._pool.close()
            self._pool = self._make(f"{self._stream}:reset:{iteration}")
        self.reset()
        return list(range(len(self.indices)))

    def render(self) -> list[np.ndarray]:
        """Refuse: environments that draw are made by atari_engine=python."""
        raise AssertionError("render() needs environments made with render=True")

    def close(self) -> None:
        """Free the games."""
        self._pool.close()

    def _make(self, what: str) -> Any:
        options, config = self._options, self._options.config
        skip = options.frame_skip[0]
        return _import().make(
            f"{title(options.rom)}-v5",
            env_type="gymnasium",
            num_envs=len(self.indices),
            num_threads=self._num_threads,
            seed=[stream_seed(self._seed, what, index) for index in self.indices],
            max_episode_steps=-(-config.max_episode_frames // skip) or ENDLESS,
            stack_num=config.frame_stack,
            frame_skip=skip,
            noop_max=config.noop_max,
            episodic_life=config.life_loss_ends,
            reward_clip=False,
            use_fire_reset=config.fire_on_reset,
            img_height=config.screen_size,
            img_width=config.screen_size,
            full_action_space=config.full_action_space,
            repeat_action_probability=options.sticky_actions,
            use_inter_area_resize=True,
            gray_scale=config.grayscale,
        )


def _channels_last(obs: np.ndarray) -> np.ndarray:
    """Return [B, C, H, W] as a new array [B, H, W, C]."""
    return np.ascontiguousarray(obs.transpose(0, 2, 3, 1))
