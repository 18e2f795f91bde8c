"""The reward model that a config describes, and its part in a training job."""

from __future__ import annotations

import numpy as np
import torch

from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.learning.experts import Expert
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.rollout import Rollout
from ppo_mpi.registry import REWARD_MODELS, lookup
from ppo_mpi.rewards.base import RewardModel
from ppo_mpi.rewards.gail_learner import GailLearner
from ppo_mpi.rewards.learner import RewardLearner
from ppo_mpi.seeding import stream_seed


def make_reward_model(config: TrainConfig, envs: VecEnvs) -> RewardModel | None:
    """Make the reward model with the seed's first weights; None if the run has none.

    Raises:
        ConfigError: it cannot be made for these observations.
    """
    name = config.rewards.reward_model
    if name == "none":
        return None
    torch.manual_seed(stream_seed(config.job.seed, "reward model"))
    make = lookup("reward model", REWARD_MODELS, name)
    more = (config.imitation,) if make.imitates else ()
    model: RewardModel = make(envs.obs_spec, envs.action_spec, config.rewards, *more)
    return model


def make_reward_learner(
    config: TrainConfig,
    envs: VecEnvs,
    learner: Learner,
    comm: Communicator,
    on_device: bool,
    expert: Expert | None = None,
    normalizer: ObservationNormalizer | None = None,
) -> RewardLearner | None:
    """Make reward model and optimizer, the same on all ranks; None if the run has none. Collective.

    Args:
        config: describes them.
        envs: this rank's.
        learner: of the policy; its device, threads and size of microbatches are used.
        comm: the job.
        on_device: whether an epoch's numbers stay where the model is until its end.
        expert: whom the model imitates, if it does.
        normalizer: of observation vectors, through which the expert's are seen.
    """
    model = make_reward_model(config, envs)
    if model is None:
        return None
    model.to(next(learner.model.parameters()).device)
    comm.broadcast_module(model)  # collective
    kind = GailLearner if model.imitates else RewardLearner
    rewarder = kind(
        model,
        envs.indices,
        config.rewards,
        config.learning,
        config.job.seed,
        learner.workers,
        learner.microbatch_size,
        on_device,
        learner.model.policy.for_suite,
    )
    if isinstance(rewarder, GailLearner):
        assert expert is not None, "its data have been read"
        rewarder.attach(expert, config.imitation, normalizer)
    return rewarder


def intrinsic_rewards(
    learner: RewardLearner | None,
    rollout: Rollout,
    weight: float,
    continue_episodes: bool,
    comm: Communicator,
) -> tuple[np.ndarray | None, dict[str, float]]:
    """Return a rollout's intrinsic rewards [T, B] float32, weighted, and metrics. Collective.

    Args:
        learner: gives them; without one there are none.
        rollout: this rank's.
        weight: of the intrinsic rewards, as it is now; one of the metrics.
        continue_episodes: whether the rollout went on with the last one's episodes.
        comm: the job.
    """
    if learner is None:
        return None, {}
    given, metrics = learner.rewards(rollout, continue_episodes, comm)  # collective
    return weight * given, metrics | {"intrinsic_weight": weight}
