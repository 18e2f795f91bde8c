"""A trained agent, loaded from a run's checkpoint: all that play, record and evaluate need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppo_mpi.build import make_model, make_observation_normalizer
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.machine import choose_device, keep_big_blocks
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_values import Spaces
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.reproducible import outputs_and_memory
from ppo_mpi.levels import level_of_episode
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.distributions import Categorical, draw_noise
from ppo_mpi.predicting import ActResult, Sampler, make_env, predict
from ppo_mpi.registry import split_env_name, task_names
from ppo_mpi.seeding import generator, stream_seed
from ppo_mpi.snapshot import load_moments
from ppo_mpi.snapshot_checks import check_fits
from ppo_mpi.storage import gallery
from ppo_mpi.storage.checkpoint import Checkpoint, load_checkpoint, load_newest
from ppo_mpi.storage.run_folder import find_run
from ppo_mpi.storage.stored_config import check_environment, check_named, stored_config
from ppo_mpi.storage.stored_state import check_state
from ppo_mpi.suites import TELLING_NOTHING, make_envs


@dataclass(frozen=True)
class Agent:
    """A policy with the environment it was trained in."""

    config: TrainConfig
    run_dir: Path
    timesteps: int
    """Timesteps it was trained for."""
    model: ActorCritic
    normalizer: ObservationNormalizer | None
    checkpoint: Path
    trained_in: str = ""
    """The run's environment, where ``config`` names another one to show the agent in."""
    sampler: Sampler = field(default_factory=Sampler, compare=False, repr=False)
    """Draws the actions of ``predict``."""

    @property
    def run_name(self) -> str:
        """The name of the run's folder."""
        return self.run_dir.name

    def assets_in(self, asset_dir: str | Path) -> Path:
        """Return the folder of what is made of the agent, under the folder of all assets."""
        return gallery.assets_of(self.run_dir, asset_dir)

    @property
    def has_levels(self) -> bool:
        """Whether its environment has levels."""
        return split_env_name(self.config.environment.env)[0] == "procgen"

    @property
    def games(self) -> tuple[str, ...]:
        """The environments, each once: several where the run learned several together."""
        suite, _ = split_env_name(self.config.environment.env)
        return tuple(f"{suite}:{task}" for task in task_names(self.config.environment.env))

    def shown_in(self, env: str) -> Agent:
        """Return the agent in another environment, or in one of those that it was trained in.

        Raises:
            ConfigError: its observations or actions are not those that the agent knows.
        """
        trained_in = self.trained_in or self.config.environment.env
        suite, task = split_env_name(env)
        config = with_values(self.config, {"env": f"{suite}:{task}", **TELLING_NOTHING})
        if suite != split_env_name(trained_in)[0]:
            config = with_values(config, {"env_kwargs": ()})
        # A corruption changes no shape, and would be the first to complain of what is no picture.
        plain = with_values(config, {"corruption": "none"})
        envs, model = make_envs(plain, (), 0, "shape"), self.model
        try:
            if (envs.obs_spec, envs.action_spec) != (model.obs_spec, model.action_spec):
                raise ConfigError(
                    f"env={env} shows {envs.obs_spec} and takes {envs.action_spec}, but the agent "
                    f"of {self.run_name} was trained in {trained_in}, with {model.obs_spec} and "
                    f"{model.action_spec}; use an environment with the same ones"
                )
        finally:
            envs.close()
        return replace(self, config=config, trained_in=trained_in)

    def seeing(self, corruption: str, severity: int) -> Agent:
        """Return the agent with corrupted pictures before its eyes; "" changes nothing.

        Raises:
            ConfigError: it sees no pictures.
        """
        if not corruption:
            return self
        changed = {"corruption": corruption, "corruption_severity": severity}
        config = with_values(self.config, changed)
        make_envs(config, (), 0, "shape").close()
        return replace(self, config=config)

    @property
    def note(self) -> str:
        """What has to be said of an agent in an environment it was not trained in; else empty."""
        known = task_names(self.trained_in) if self.trained_in else self.games
        env = self.config.environment.env
        if not self.trained_in or set(task_names(env)) <= set(known):
            return ""
        return f"{self.run_name} was trained in {self.trained_in}; here it is in {env}"

    @cached_property
    def spaces(self) -> Spaces:
        """Its observations and actions as Gymnasium has them."""
        envs = make_envs(self.config, (), 0, "shape")
        envs.close()
        return Spaces(envs)

    def seed(self, seed: int) -> None:
        """Let the actions that ``predict`` draws from now on be those of a seed >= 0."""
        self.sampler.seed(seed)

    def predict(
        self, observation: Any, state: np.ndarray | None = None, episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, np.ndarray | None]:  # fmt: skip
        """Return the action and the next state; as in Stable-Baselines3, see predicting.py."""
        return predict(self, observation, state, episode_start, deterministic)

    def make_env(
        self, seed: int = 1_000_003, levels: str = "train", render_mode: str | None = None
    ) -> Any:
        """Return its environment as one ``gymnasium.Env``; see predicting.py."""
        return make_env(self, seed, levels, render_mode)

    def make_envs(
        self, num: int | Sequence[int], seed: int, *, stream: str, levels: str = "train",
        render: bool = False,
    ) -> VecEnvs:  # fmt: skip
        """Make environments as the agent was trained in.

        Args:
            num: how many, or their indices.
            seed: of their streams.
            stream: what they are for, part of the key of their streams.
            levels: ``"train"`` restricts them to the training levels; with anything else they
                have all levels, and ``assign`` says which are played.
            render: whether frames will be asked for.
        """
        indices = range(num) if isinstance(num, int) else num
        restart = self.config.environment.restart_failed_envs
        return make_envs(self.config, indices, seed, stream, levels != "train", render, restart)

    def assign(self, envs: VecEnvs, slot: int, episode: int, levels: str, seed: int) -> None:
        """Let the slot's next episode be number ``episode`` of an evaluation with this seed."""
        level = None
        if self.has_levels:
            level = level_of_episode(levels, episode, self.config.procgen, seed)
        envs.assign(slot, stream_seed(seed, "episode", episode), level)

    def noise_block(self, seed: int, index: int, steps: int) -> np.ndarray:
        """Return [steps, K] float64: the noise of an episode's actions, row t for step t."""
        random = generator(seed, "evaluate:actions", index)
        return draw_noise(random, steps, self.model.action_spec)

    def no_memory(self, num: int) -> np.ndarray:
        """Return [num, S] float32 zeros: what is remembered where an episode begins."""
        return np.zeros((num, self.model.memory_size), np.float32)

    @torch.no_grad()
    def act(
        self, obs: np.ndarray, noise: np.ndarray | None, memory: np.ndarray | None = None
    ) -> ActResult:
        """Choose actions for raw observations.

        Args:
            obs: [B, ...] as the environments give them.
            noise: [B, K] to sample from the policy; None takes the most likely action.
            memory: [B, S] float32 of the step before, ``no_memory`` at first; may be left out
                where the policy remembers nothing.

        Raises:
            ValueError: the policy remembers, but was not told what.
        """
        if memory is None and self.model.memory_size:
            raise ValueError(
                f"the policy of {self.run_name} is recurrent; give act() the memory of the step "
                f"before, and agent.no_memory({len(obs)}) at first"
            )
        known = torch.from_numpy(self.no_memory(len(obs)) if memory is None else memory)
        if self.normalizer is not None:
            obs = self.normalizer.normalize(obs)
        device = next(self.model.parameters()).device
        outputs, values, after = outputs_and_memory(
            self.model, torch.from_numpy(obs).to(device), known.to(device), None
        )
        distribution = self.model.distribution(outputs)
        values = self.model.in_returns(values)
        if noise is None:
            actions = distribution.mode()
        else:
            actions = distribution.sample(torch.from_numpy(noise).to(device))
        actions = self.model.policy.for_suite(actions)
        probabilities = None
        if isinstance(distribution, Categorical):
            probabilities = distribution.log_probs.exp().cpu().numpy()
        return ActResult(
            actions.cpu().numpy(), values.cpu().numpy(), probabilities, after.cpu().numpy()
        )

    def check_sees_pictures(self) -> None:
        """Refuse an agent whose observations are no pictures.

        Raises:
            ConfigError: they are not.
        """
        if not self.model.obs_spec.is_image:
            raise ConfigError(
                f"saliency=True, but what the agent of {self.run_name} sees is no picture "
                f"({self.model.obs_spec}); leave out --saliency"
            )

    def value_gradient(
        self, obs: np.ndarray, memory: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return values [B] float32, and how they change with each number of the pictures.

        Args:
            obs: [B, H, W, C] uint8 as the environments give them.
            memory: [B, S] float32, as in ``act``.

        Returns:
            the values, and [B, H, W, C] float32: the value's derivative, per gray level of 255.
        """
        device = next(self.model.parameters()).device
        known = torch.from_numpy(self.no_memory(len(obs)) if memory is None else memory)
        pixels = torch.from_numpy(obs).to(device, torch.float32).requires_grad_()
        with torch.enable_grad():
            # The model scales its input in place, which a leaf does not allow.
            _, scaled, _ = outputs_and_memory(self.model, pixels * 1.0, known.to(device), None)
            values = self.model.in_returns(scaled)
            (gradient,) = torch.autograd.grad(values.sum(), pixels)
        return values.detach().cpu().numpy(), gradient.cpu().numpy()


def agent_from_checkpoint(
    checkpoint: Checkpoint,
    device: torch.device,
    precision: str = "auto",
    named: Mapping[str, Any] | None = None,
) -> Agent:
    """Make the agent that a verified checkpoint holds.

    Nothing in the checkpoint is trusted: it is compared with what its config describes before
    anything is made of it.

    Args:
        checkpoint: verified.
        device: where it acts.
        precision: auto, float32 or bfloat16.
        named: ``env`` and ``env_kwargs`` as the user named them; empty or absent if not.

    Raises:
        CheckpointError: the checkpoint does not fit the config it carries, or the config names
            an environment that would import a module and that the user did not name.
        ConfigError: the user named an environment in which the agent cannot be shown.
    """
    keep_big_blocks()
    config = stored_config(checkpoint)
    check_named(config, named or {}, checkpoint.path.parent)
    check_environment(config, named or {}, f"the checkpoint {checkpoint.path}")
    check_state(checkpoint, config)
    check_fits(config, checkpoint)
    config = with_values(config, {"precision": precision})
    envs = make_envs(config, (), 0, "shape")
    try:
        model = make_model(config, envs, device)
        normalizer = make_observation_normalizer(config, envs)
    finally:
        envs.close()
    model.load_state_dict(checkpoint.tensors["model"])
    if normalizer is not None:
        load_moments({"observation": normalizer.moments}, checkpoint.tensors["normalizers"])
    timesteps, path = checkpoint.state["timesteps"], checkpoint.path
    agent = Agent(config, path.parent, timesteps, model.eval(), normalizer, path)
    env = str((named or {}).get("env", ""))
    is_other = bool(env) and split_env_name(env) != split_env_name(config.environment.env)
    return agent.shown_in(env) if is_other else agent


def read_run(run: str, checkpoint_dir: str) -> tuple[Checkpoint, list[str]]:
    """Read the checkpoint that ``--run`` means, and warnings about damaged newer ones.

    Raises:
        CheckpointError: there is no such run, or no whole checkpoint.
    """
    run_dir, path = find_run(run, checkpoint_dir)
    if path is not None:
        return load_checkpoint(path), []
    return load_newest(run_dir)


def load_agent(
    run: str = "",
    checkpoint_dir: str = "checkpoints",
    device: str = "auto",
    precision: str = "auto",
    env: str = "",
    env_kwargs: Sequence[str] = (),
) -> Agent:
    """Load an agent on one process.

    Args:
        run: a run's name, a path, ``name:best``; empty takes the newest run.
        checkpoint_dir: the folder of the runs.
        device: auto, cpu or cuda.
        precision: auto, float32 or bfloat16.
        env: the run's environment, where that is code of the user's own; or another one, with the
            same observations and actions, to show the agent in.
        env_kwargs: its arguments, where they are more than numbers and plain words.

    Raises:
        CheckpointError: there is no such run, or no whole checkpoint.
        ConfigError: the run has another environment.
    """
    checkpoint, warnings = read_run(run, checkpoint_dir)
    for warning in warnings:
        print(warning)
    named = {"env": env, "env_kwargs": tuple(env_kwargs)}
    return agent_from_checkpoint(checkpoint, choose_device(device, 0), precision, named)
