"""Config + communicator -> Run: the only place that looks names up and puts the parts together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.machine import choose_device, choose_precision
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.learning.collector import Actor, Collector
from ppo_mpi.learning.microbatch import choose_microbatch_size
from ppo_mpi.learning.normalizers import ObservationNormalizer, RewardNormalizer
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.update import Learner
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.registry import ALGORITHMS, SUITES, lookup, split_env_name
from ppo_mpi.seeding import stream_seed


@dataclass
class Progress:
    """How far the whole job is."""

    iteration: int = 0
    """Iterations done."""
    timesteps: int = 0
    """Timesteps taken by all environments together."""
    best_return: float | None = None
    """Mean return of the checkpoint that is tagged best."""
    losses: list[dict[str, int]] = field(default_factory=list)
    """Losses of ranks that the run survived: ``iteration``, ``ranks`` lost, and ``fresh``
    environments whose state was lost with them (0: the run equals an undisturbed one)."""
    arithmetic: str = ""
    """What precision=auto chose, float32 or bfloat16; it stays as the run goes on elsewhere."""
    microbatch_size: int = 0
    """What was measured to be fastest, or asked for; likewise. 0 = a rank's share at once."""


@dataclass(frozen=True)
class Run:
    """The parts of one training job on this rank, and how far it is."""

    learner: Learner
    collector: Collector
    test_actor: Actor | None
    """Steps the environments on held-out levels; None if the job has none."""
    reward_normalizer: RewardNormalizer | None
    observation_normalizer: ObservationNormalizer | None
    progress: Progress = field(default_factory=Progress)

    @property
    def model(self) -> ActorCritic:
        """Policy and value."""
        return self.learner.model

    @property
    def actors(self) -> list[Actor]:
        """The training actor, then the test actor if there is one."""
        return [self.collector.actor] + ([self.test_actor] if self.test_actor else [])

    def close(self) -> None:
        """Free the environments."""
        for actor in self.actors:
            actor.envs.close()


def make_envs(
    config: TrainConfig,
    indices: Sequence[int],
    seed: int,
    stream: str,
    held_out: bool = False,
    render: bool = False,
    restart_failed: bool = False,
) -> VecEnvs:
    """Make the environments with these whole-job indices.

    Args:
        config: names the environment and its options.
        indices: may be empty.
        seed: of all their streams.
        stream: what they are for; part of the key of their streams.
        held_out: whether on all levels instead of the training levels.
        render: whether ``render`` will be called.
        restart_failed: whether one that raises is made anew; suites that cannot raise ignore it.
    """
    suite, task = split_env_name(config.environment.env)
    options: dict[str, Any] = {}
    if suite == "procgen":
        procgen = config.procgen
        if held_out:
            procgen = replace(procgen, num_levels=0, start_level=0)
        options = dict(vars(procgen))
    if suite == "gym":
        options = {"env_kwargs": config.environment.env_kwargs}
    if suite != "procgen":
        options["restart_failed"] = restart_failed
    make = lookup("environment suite", SUITES, suite)
    envs: VecEnvs = make(task, indices, seed, stream=stream, render=render, options=options)
    return envs


def make_model(
    config: TrainConfig, envs: VecEnvs, device: torch.device, arithmetic: str = ""
) -> ActorCritic:
    """Make the model that the config describes, with the seed's first weights.

    Args:
        config: describes it.
        envs: have its spaces.
        device: where it lies.
        arithmetic: what precision=auto once chose for this run; "" chooses now.
    """
    asked: str = config.job.precision
    if asked == "auto" and arithmetic:
        asked = arithmetic
    precision = choose_precision(asked, envs.obs_spec.is_image, device)
    torch.manual_seed(stream_seed(config.job.seed, "parameters"))
    model = ActorCritic(envs.obs_spec, envs.action_spec, config.network, precision)
    return model.to(device)


def make_observation_normalizer(config: TrainConfig, envs: VecEnvs) -> ObservationNormalizer | None:
    """Make the normalizer of observation vectors; None if the run has none."""
    if not config.learning.normalize_observations or envs.obs_spec.is_image:
        return None
    return ObservationNormalizer(envs.obs_spec.shape, config.learning.observation_clip)


SMALL_NETWORK = 100_000
"""Parameters below which a vector's network is so fast that threads only wait for each other."""


def make_workers(
    config: TrainConfig, model: ActorCritic, device: torch.device, threads: int
) -> Workers | None:
    """Return the threads that share this rank's work; None where one alone is as fast.

    They take whole batches each, and are exact in a job whose bits must not depend on its ranks.
    """
    exact = config.job.deterministic or (config.job.precision == "float32" and device.type == "cpu")
    if exact:
        return Workers(threads)
    size = sum(parameter.numel() for parameter in model.parameters())
    is_small = size < SMALL_NETWORK and not model.obs_spec.is_image
    if device.type == "cpu" and threads > 1 and not is_small:
        return Workers(threads, exact=False)
    return None


def build_run(
    config: TrainConfig, comm: Communicator, chosen: Mapping[str, Any] | None = None
) -> Run:
    """Put a training job's parts together. Collective.

    Torch's number of threads has been set before.

    Args:
        config: describes them.
        comm: the job.
        chosen: ``arithmetic`` and ``microbatch_size`` of a run that goes on; what a machine has
            chosen once must not change when another one takes over.

    Raises:
        ConfigError: a name is unknown, or two settings do not fit each other.
    """
    config.validate(comm.world_size)
    if config.job.deterministic:
        torch.use_deterministic_algorithms(True)
    seed, learning = config.job.seed, config.learning
    device = choose_device(config.job.device, comm.local_rank)
    restart = config.environment.restart_failed_envs
    indices = comm.shard(config.environment.num_envs)
    envs = make_envs(config, indices, seed, "train", restart_failed=restart)
    normalizer = make_observation_normalizer(config, envs)
    chosen, threads = chosen or {}, torch.get_num_threads()
    if device.type == "cpu":
        # Before anything is computed, the first weights too: several would change the last bits.
        torch.set_num_threads(1)
    model = make_model(config, envs, device, str(chosen.get("arithmetic", "")))
    workers = make_workers(config, model, device, threads)
    comm.broadcast_module(model)  # collective
    algorithm = lookup("algorithm", ALGORITHMS, learning.algorithm)
    learner = Learner(model, algorithm, learning, seed, workers)
    before = chosen.get("microbatch_size")
    learner.microbatch_size = choose_microbatch_size(config, learner, comm, before)  # collective
    progress = Progress(
        arithmetic=str(model.precision).removeprefix("torch."),
        microbatch_size=learner.microbatch_size,
    )
    heart = comm.heart
    actor = Actor(envs, model, seed, "train", heart, normalizer, workers)
    test_actor = None
    if config.environment.num_test_envs:
        indices = comm.shard(config.environment.num_test_envs)
        test_envs = make_envs(config, indices, seed, "test", held_out=True, restart_failed=restart)
        test_actor = Actor(test_envs, model, seed, "test", heart, normalizer, workers)
    return Run(
        learner=learner,
        collector=Collector(actor, config.rollout_steps),
        test_actor=test_actor,
        reward_normalizer=RewardNormalizer(
            len(envs.indices), learning.reward_discount, learning.reward_clip
        )
        if learning.normalize_rewards
        else None,
        observation_normalizer=normalizer,
        progress=progress,
    )
