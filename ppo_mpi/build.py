"""Config + communicator -> Run: the only place that looks names up and puts the parts together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ppo_mpi.algorithms.acktr import with_curvature
from ppo_mpi.algorithms.augmented import augmented
from ppo_mpi.algorithms.ppg import PhasicLearner, make_phasic_learner, policy_learning
from ppo_mpi.algorithms.with_tasks import with_tasks
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.iteration_clock import IterationClock
from ppo_mpi.distributed.machine import choose_device, choose_precision, use_device
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.several import check_same_spaces
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.augmenting import make_augmenter
from ppo_mpi.learning.bonus import BonusReturns
from ppo_mpi.learning.collector import Collector
from ppo_mpi.learning.experts import Expert, load_expert
from ppo_mpi.learning.learner import Learner, kind_of_gradients
from ppo_mpi.learning.microbatch import choose_microbatch_size
from ppo_mpi.learning.normalizers import (
    ObservationNormalizer,
    PackedNormalizer,
    RewardNormalizer,
    RewardRange,
)
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.tasks import Tasks
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.freezing import freeze
from ppo_mpi.registry import ALGORITHMS, lookup
from ppo_mpi.rewards.base import RewardModel
from ppo_mpi.rewards.learner import RewardLearner
from ppo_mpi.rewards.making import make_reward_learner
from ppo_mpi.seeding import stream_seed
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.stepping import Resources, make_actor, make_parts
from ppo_mpi.storage.logger import EpisodeRecord
from ppo_mpi.suites import make_envs


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
    phase_rollouts: int = 0
    """Rollouts that the next auxiliary phase already has, in a snapshot."""
    expert: str = ""
    """Identity of the expert's data that the run learns from; empty if there are none."""


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
    rewards_seen: RewardRange | None = None
    """Of all rewards that were learned from; None if no clip is made of it."""
    rewarder: RewardLearner | None = None
    """Curiosity; None if the environment's rewards are all."""
    phasic: PhasicLearner | None = None
    """Phasic policy gradient's phases; None for other algorithms."""
    expert: Expert | None = None
    """Whom the run imitates; None if nobody, or no more."""
    bonus: BonusReturns | None = None
    """Sums of bonus rewards by episode; None if nobody asked for them."""
    clock: IterationClock = field(default_factory=IterationClock)

    @property
    def model(self) -> ActorCritic:
        """Policy and value."""
        return self.learner.model

    @property
    def actors(self) -> list[Actor]:
        """The training actor, then the test actor if there is one."""
        return [self.collector.actor] + ([self.test_actor] if self.test_actor else [])

    @property
    def episodes(self) -> list[EpisodeRecord]:
        """Those of this rank that ended in the last rollout."""
        return [record for actor in self.actors for record in actor.episodes]

    @property
    def reward_models(self) -> list[RewardModel]:
        """The reward model; none if the environment's rewards are all."""
        return [self.rewarder.model] if self.rewarder else []

    def close(self) -> None:
        """Free the environments."""
        for actor in self.actors:
            actor.close()


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
    if config.is_natural:  # curvature is made of small differences
        asked = "float32"
    precision = choose_precision(asked, envs.obs_spec.has_images, device)
    torch.manual_seed(stream_seed(config.job.seed, "parameters"))
    model = ActorCritic(
        envs.obs_spec,
        envs.action_spec,
        config.network,
        precision,
        config.learning.normalize_values,
        aux_head=config.has_aux_head,
        detach_values=config.detaches_values,
        heads=config.auxiliary.heads,
    )
    freeze(model, config.transfer.frozen_layers)
    return model.to(device)


def make_observation_normalizer(config: TrainConfig, envs: VecEnvs) -> ObservationNormalizer | None:
    """Make the normalizer of observation vectors; None if the run has none."""
    spec, learning = envs.obs_spec, config.learning
    changes = learning.normalize_observations or learning.clip_observations
    if not changes or not spec.vector_size:
        return None
    clip, only_clips = learning.observation_clip, not learning.normalize_observations
    if spec.parts:
        return PackedNormalizer(spec, clip, only_clips)
    return ObservationNormalizer(spec.shape, clip, only_clips)


def make_reward_normalizer(learning: LearningConfig, num_envs: int) -> RewardNormalizer | None:
    """Make the normalizer of this rank's rewards; None if the run has none."""
    if not learning.normalize_rewards:
        return None
    return RewardNormalizer(num_envs, learning.reward_discount, learning.reward_clip)


SMALL_NETWORK = 100_000
"""Parameters below which a vector's network is so fast that threads only wait for each other,
and that a GPU is slower."""


def make_workers(
    config: TrainConfig, model: ActorCritic, device: torch.device, threads: int
) -> Workers | None:
    """Return the threads that share this rank's work; None where one alone is as fast.

    They take whole batches each, and are exact in a job whose bits must not depend on its ranks.
    """
    exact = config.job.deterministic or (config.job.precision == "float32" and device.type == "cpu")
    if exact:
        return Workers(threads if device.type == "cpu" else 1)
    if device.type == "cpu" and threads > 1 and not is_small(model):
        return Workers(threads, exact=False)
    return None


def device_of(config: TrainConfig, local_rank: int) -> torch.device:
    """Return where a training job's rank computes; small networks are no work for a GPU.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    device = choose_device(config.job.device, local_rank)
    if device.type == "cpu" or config.job.device != "auto":
        return device
    processor = torch.device("cpu")
    envs = make_envs(config, (), config.job.seed, "shape")
    small = is_small(make_model(config, envs, processor))
    envs.close()
    return processor if small else device


def is_small(model: ActorCritic) -> bool:
    """Return whether the network is so fast that handing it on takes longer than its work."""
    size = sum(parameter.numel() for parameter in model.parameters())
    return size < SMALL_NETWORK and not model.obs_spec.has_images


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
    job = config.job
    threads = torch.get_num_threads()
    device = device_of(config, comm.local_rank)
    use_device(device, job.precision == "float32", job.deterministic)
    resources = Resources.of(config, device, threads)
    comm.choose_transport(job.transport, device)  # collective
    indices = comm.shard(config.environment.num_envs)
    envs = make_parts(config, indices, False, resources, comm.heart)
    normalizer = make_observation_normalizer(config, envs)
    expert = find_expert(config, envs, comm, chosen or {})  # collective
    learner = make_learner(config, envs, comm, chosen or {}, resources)  # collective
    actor = make_actor(envs, learner, "train", comm.heart, normalizer, resources)
    test_actor = None
    if config.environment.num_test_envs:
        indices = comm.shard(config.environment.num_test_envs)
        test_envs = make_parts(config, indices, True, resources, comm.heart)
        tested = config.environment.test_env
        check_same_spaces(f"test_env={tested}", test_envs, config.environment.env, envs)
        test_actor = make_actor(test_envs, learner, "test", comm.heart, normalizer, resources)
    learning = config.learning
    rewarder = make_reward_learner(
        config, envs, learner, comm, resources.on_gpu, expert, normalizer
    )  # collective
    return Run(
        learner=learner,
        collector=Collector(
            actor, config.rollout_steps, rewarder is not None, learning.sequence_steps
        ),
        test_actor=test_actor,
        reward_normalizer=make_reward_normalizer(learning, len(envs.indices)),
        observation_normalizer=normalizer,
        progress=Progress(
            arithmetic=str(learner.model.precision).removeprefix("torch."),
            microbatch_size=learner.microbatch_size,
            expert=expert.identity if expert else str((chosen or {}).get("expert", "")),
        ),
        rewarder=rewarder,
        rewards_seen=RewardRange() if learning.bootstrap_clip_dynamic else None,
        phasic=make_phasic_learner(config, learner, envs.indices),
        expert=expert,
        bonus=BonusReturns(envs.indices) if config.auxiliary.bonus_rewards else None,
    )


def find_expert(
    config: TrainConfig, envs: VecEnvs, comm: Communicator, chosen: Mapping[str, Any]
) -> Expert | None:
    """Read the data of whom the run imitates; None if it does not, or no more. Collective.

    Arguments are those of ``build_run``.

    Raises:
        ConfigError: they cannot be read or do not fit, or have changed since the run began.
    """
    imitation = config.imitation
    begins = not chosen.get("iteration")  # cloning comes before the first one
    clones = bool(imitation.cloning_epochs and begins)
    if config.rewards.reward_model != "gail" and not clones:
        return None
    imitation.check_given("cloning_epochs" if clones else "reward_model=gail")
    expected = str(chosen.get("expert", ""))
    seed, spec = config.job.seed, envs.obs_spec
    return load_expert(imitation, seed, spec, envs.action_spec, comm, expected)  # collective


def make_learner(
    config: TrainConfig,
    envs: VecEnvs,
    comm: Communicator,
    chosen: Mapping[str, Any],
    resources: Resources,
) -> Learner:
    """Make model and optimizer, the same on all ranks. Collective.

    Args:
        config: describes them.
        envs: have the model's spaces.
        comm: the job.
        chosen: what an earlier start of the run has chosen by its machine.
        resources: of this rank.
    """
    device = resources.device
    model = make_model(config, envs, device, str(chosen.get("arithmetic", "")))
    workers = make_workers(config, model, device, resources.threads)
    comm.broadcast_module(model)  # collective
    augmenter = make_augmenter(config.augmentation, model.obs_spec, config.job.seed, device)
    algorithm = lookup("algorithm", ALGORITHMS, config.learning.algorithm)
    if config.is_natural:
        sums = kind_of_gradients(workers, resources.on_gpu)
        algorithm = with_curvature(algorithm, model, config.acktr, sums)
    tasks, auxiliary = None, config.auxiliary
    if auxiliary.heads:
        tasks = Tasks(auxiliary.heads, auxiliary.weights, config.environment.env)
    algorithm = with_tasks(algorithm, auxiliary, tasks)
    learner = Learner(
        model,
        augmented(algorithm, augmenter, config.augmentation),
        policy_learning(config),
        config.job.seed,
        workers,
        on_device=resources.on_gpu,
        # Sequences differ in their lengths, and draws lie in another memory each time.
        record=resources.record and not model.memory_size and augmenter is None,
        augmenter=augmenter,
        tasks=tasks,
    )
    before = chosen.get("microbatch_size")
    learner.microbatch_size = choose_microbatch_size(config, learner, comm, before)  # collective
    return learner
