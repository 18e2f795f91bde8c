"""What an iteration does before and beside the policy's update.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import IterationAbandonedError
from ppo_mpi.learning.batch import make_batch
from ppo_mpi.learning.rollout import Batch, Rollout
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.schedules import value_at
from ppo_mpi.learning.statistics import value_statistics
from ppo_mpi.learning.update import update
from ppo_mpi.learning.value_targets import normalized_targets
from ppo_mpi.rewards.making import intrinsic_rewards


def collect(run: Run, config: TrainConfig, continue_episodes: bool) -> Rollout | None:
    """Collect this rank's share; None if a signal to stop came too long ago.

    Args:
        run: its environments are stepped, those on held-out levels too.
        config: the settings.
        continue_episodes: soft reset, or fresh episodes.
    """
    iteration = run.progress.iteration
    try:
        rollout = run.collector.collect(iteration, continue_episodes)
        if run.test_actor is not None:
            run.test_actor.play(iteration, config.rollout_steps, continue_episodes)
    except IterationAbandonedError:
        return None
    return rollout


def learn(run: Run, batch: Batch, now: Scheduled, comm: Communicator) -> dict[str, float]:
    """Let the policy learn from a rollout, with the phases of its algorithm around. Collective.

    Args:
        run: changed in place.
        batch: this rank's share.
        now: what the schedules say.
        comm: the job.

    Returns:
        metrics, the same on every rank.
    """
    iteration, phasic = run.progress.iteration, run.phasic
    steps = 0.0
    if phasic is not None:
        steps = phasic.learn_values(batch, iteration, now, comm)  # collective
    indices = run.collector.actor.envs.indices
    metrics = update(run.learner, batch, indices, iteration, now, comm)  # collective
    metrics["optimizer_steps"] += steps
    if phasic is not None:
        metrics |= phasic.after_update(batch, iteration, now, comm)  # collective
    return metrics


def learn_beside(
    run: Run, rollout: Rollout, learning_rate: float, comm: Communicator
) -> dict[str, float]:
    """Let all but the policy learn from a rollout; return what there is to tell. Collective.

    Args:
        run: changed in place.
        rollout: this rank's.
        learning_rate: the policy's, as it is now.
        comm: the job.
    """
    metrics: dict[str, float] = {}
    if run.rewarder is not None and not run.rewarder.learns_first:
        iteration = run.progress.iteration
        metrics = run.rewarder.learn(rollout, iteration, learning_rate, comm)  # collective
    if run.observation_normalizer is not None:
        run.observation_normalizer.update(comm)  # collective
    return metrics


def prepare_batch(
    run: Run,
    rollout: Rollout,
    config: TrainConfig,
    now: Scheduled,
    continue_episodes: bool,
    comm: Communicator,
) -> tuple[Batch, dict[str, float]]:
    """Turn a rollout into what the policy learns from. Collective.

    Args:
        run: its normalizers and reward model take the rollout in.
        rollout: this rank's.
        config: the settings.
        now: what their schedules say.
        continue_episodes: whether the rollout went on with the episodes of the last one.
        comm: the job.

    Returns:
        this rank's share, and metrics of rewards and values, the same on every rank.
    """
    iteration, learned = run.progress.iteration, {}
    if run.rewarder is not None and run.rewarder.learns_first:
        learned = run.rewarder.learn(rollout, iteration, now.learning_rate, comm)  # collective
    rewards, share = config.rewards, config.share_done(iteration)
    weight = value_at(rewards.intrinsic_weight, rewards.intrinsic_weight_schedule, share)
    intrinsic, metrics = intrinsic_rewards(
        run.rewarder, rollout, weight, continue_episodes, comm
    )  # collective
    metrics |= learned
    if run.reward_normalizer is not None and not continue_episodes:
        run.reward_normalizer.begin_episodes()
    batch = make_batch(
        rollout,
        config.learning,
        run.reward_normalizer,
        comm,
        intrinsic,
        rewards.extrinsic_weight,
        rewards_seen=run.rewards_seen,
        bootstrap_factor=now.bootstrap_factor,
        bonus_coef=config.auxiliary.bonus_coef,
    )  # collective
    if run.bonus is not None:
        assert rollout.bonus is not None, "every rank has environments, and they tell it"
        collector = run.collector
        metrics["bonus_return_mean"] = run.bonus.mean_of(
            rollout.bonus, collector.ended, collector.dropped, continue_episodes, comm
        )  # collective
    if batch.bootstrap_bounds is not None:  # in every iteration of a run, or in none
        low, high = batch.bootstrap_bounds
        metrics |= {"bootstrap_low": low, "bootstrap_high": high}
    metrics |= value_statistics(batch, comm)  # collective
    return normalized_targets(run.model, batch, comm), metrics  # collective
