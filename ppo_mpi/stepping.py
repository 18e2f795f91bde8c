"""What a rank steps its environments with: threads, worker processes, turns, a GPU.

Axes: B environments on this rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.filmed import FilmedEnvs
from ppo_mpi.envs.parts import EnvParts
from ppo_mpi.envs.workers import WorkerEnvs
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.normalizers import (
    ObservationNormalizer,
)
from ppo_mpi.learning.turns import TurnActor
from ppo_mpi.registry import split_env_name
from ppo_mpi.suites import make_envs, tested_config

TURNS_ON_GPU = 2
"""Groups of environments: one is stepped while the GPU acts for the other."""


@dataclass(frozen=True)
class Resources:
    """What one rank of a training job works with."""

    device: torch.device
    threads: int
    """Of the processor."""
    turns: int
    """Groups of environments that take turns; 1 = all act together."""
    on_gpu: bool
    """Whether rollouts, updates and their numbers stay on the device as long as they can."""
    record: bool
    """Whether what it does is recorded and replayed."""

    @classmethod
    def of(cls, config: TrainConfig, device: torch.device, threads: int) -> Resources:
        """Return what the config asks for on this device."""
        job = config.job
        is_gpu = device.type == "cuda"
        # Bits that must not depend on the ranks come from few samples at a time, added up in the
        # processor's memory.
        on_gpu = is_gpu and not job.deterministic
        turns = job.turns or (TURNS_ON_GPU if is_gpu else 1)
        return cls(device, threads, turns, on_gpu, on_gpu and job.cuda_graphs)


def make_parts(
    config: TrainConfig,
    indices: Sequence[int],
    held_out: bool,
    resources: Resources,
    heart: Heart | None = None,
) -> VecEnvs:
    """Make a training job's environments with these whole-job indices, in turns if it has some.

    Args:
        config: names the environment and its options.
        indices: may be empty.
        held_out: whether on all levels instead of the training levels.
        resources: of this rank.
        heart: of this rank, where its environments may live in worker processes.

    Raises:
        ConfigError: videos were asked for of environments that cannot be drawn; and see
            ``make_envs``.
    """
    if held_out:
        config = tested_config(config)
    suite, _ = split_env_name(config.environment.env)
    films = config.job.capture_video and not held_out
    if films and suite == "atari" and config.atari.atari_engine == "envpool":
        raise ConfigError(
            f"capture_video={config.job.capture_video}, but EnvPool draws nothing, and in its "
            "place another engine would play other games; use atari_engine=python, or film "
            "the agent with `python -m ppo_mpi record`"
        )
    construct = partial(
        make_envs,
        config,
        seed=config.job.seed,
        stream="test" if held_out else "train",
        held_out=held_out,
        restart_failed=config.environment.restart_failed_envs,
    )
    engine_threads = resources.threads if resources.on_gpu and resources.threads > 1 else 0
    num = min(resources.turns, len(indices))
    workers = config.environment.env_workers

    def make(part: Sequence[int]) -> VecEnvs:
        if films and 0 in part:
            rest = make(part[1:]) if len(part) > 1 else None
            return FilmedEnvs(suite, partial(construct, part[:1]), rest)
        if workers and part:
            return WorkerEnvs(construct, part, max(1, workers // num), heart)
        return construct(part, engine_threads=engine_threads)

    if not num or (num == 1 and not resources.on_gpu):
        return make(indices)
    ends = [len(indices) * i // num for i in range(num + 1)]
    return EnvParts([make(indices[a:b]) for a, b in zip(ends, ends[1:], strict=False)])


def make_actor(
    envs: VecEnvs,
    learner: Learner,
    split: Literal["train", "test"],
    heart: Heart,
    normalizer: ObservationNormalizer | None,
    resources: Resources,
) -> Actor:
    """Make what acts in a training job's environments with its policy."""
    arguments = (learner.model, learner.seed, split, heart, normalizer, learner.workers)
    if type(envs) is EnvParts:  # those that are filmed are parts too, but take no turns
        record = resources.record and not learner.model.memory_size
        return TurnActor(envs, *arguments, record=record)
    return Actor(envs, *arguments)
