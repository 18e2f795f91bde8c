"""train --dry-run: every value with its origin, sizes, memory, measured speed and the ETA.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
from torch import nn

from ppo_mpi.algorithms.ppg import optimizers_beside
from ppo_mpi.build import Run, build_run
from ppo_mpi.config import TrainConfig, sections
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.machine import set_threads
from ppo_mpi.envs.base import ActionSpec, ObservationSpec
from ppo_mpi.modes.announcements import parameters_text, phase_lines
from ppo_mpi.modes.train import run_iteration

PROBE_SECONDS = 4.0
"""About how long the speed is measured."""
PROBE_TIMESTEPS = 512
"""Timesteps of each rank in one iteration of the probe."""


def dry_run_command(config: TrainConfig, origins: Mapping[str, str], comm: Communicator) -> int:
    """Show what ``train`` would do, and how fast; write nothing. Collective.

    Args:
        config: validated settings.
        origins: field name -> where its value came from.
        comm: the job.

    Returns:
        the exit status, 0.
    """
    set_threads(config.job.threads, comm.node_affinities, comm.local_rank)
    if comm.is_root:
        lines = settings_table(config, origins) + config.without_effect()
        print("\n".join(lines), flush=True)
    run = build_run(probe_config(config, comm.world_size), comm)  # collective
    if comm.is_root:
        print("\n".join(size_lines(config, run, comm)), flush=True)
    speed = measure(run, probe_config(config, comm.world_size), comm)  # collective
    run.close()
    if comm.is_root:
        total = config.num_iterations * config.learning.rollout_timesteps
        print(f"speed        about {speed:,.0f} timesteps/s (probe of some seconds, whole job)")
        if config.network.recurrent != "none" and not config.learning.sequence_steps:
            steps = probe_config(config, comm.world_size).rollout_steps
            print(
                f"             with sequences of {steps} steps, more of them side by side; those "
                f"of {config.rollout_steps} are slower to learn from"
            )
        print(f"ETA          {duration(total / speed)} for {total:,} timesteps")
    return 0


def settings_table(config: TrainConfig, origins: Mapping[str, str]) -> list[str]:
    """Return one line for each field: name, value, origin."""
    lines = []
    for section, settings in sections(config).items():
        lines.append(f"{section}:")
        for field in fields(settings):
            value = getattr(settings, field.name)
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            lines.append(f"  {field.name:24} {text:22} {origins.get(field.name, 'default')}")
    return [*lines, ""]


def size_lines(config: TrainConfig, run: Run, comm: Communicator) -> list[str]:
    """Return what the job amounts to: environments, batches, parameters, memory."""
    learning, num_envs = config.learning, config.environment.num_envs
    low, rest = divmod(num_envs, comm.world_size)
    envs = f"{low} or {low + 1}" if rest else str(low)
    envs_here = low + bool(rest)
    minibatch = learning.rollout_timesteps / learning.num_minibatches
    share = math.ceil(minibatch * envs_here / num_envs)
    microbatch = min(run.progress.microbatch_size or share, share)
    model_bytes = bytes_kept(run, len(optimizers_beside(config)))
    envs_spec = run.collector.actor.envs
    rollout_bytes = rollout_memory(
        config.rollout_steps, envs_here, envs_spec.obs_spec, envs_spec.action_spec
    )
    total = config.num_iterations * learning.rollout_timesteps
    steps = learning.num_epochs * learning.num_minibatches
    lines = [
        f"ranks        {comm.world_size} on {len(set(comm.hosts))} host(s)",
        f"environments {num_envs} = {comm.world_size} x {envs}",
        f"rollout      {learning.rollout_timesteps:,} timesteps = {num_envs} x "
        f"{config.rollout_steps} steps; at most {envs_here * config.rollout_steps:,} on a rank",
        f"minibatch    {minibatch:,.0f} samples, {share:,} on a rank, "
        f"{microbatch:,} at once through the network",
        f"iterations   {config.num_iterations:,} of {steps} optimizer steps, {total:,} timesteps",
        f"parameters   {parameters_text(run)}",
        f"memory       {mebibytes(rollout_bytes)} for the rollout and "
        f"{mebibytes(model_bytes)} for the model{'s' * len(run.reward_models)} with gradients and "
        "the state of optimizers, on each rank; the network's activations come on top",
    ]
    tested = config.environment.num_test_envs
    if tested:
        where = config.environment.test_env or "held-out levels"
        lines.insert(2, f"test         {tested} environments in {where}")
    lines += [f"phasic       {text}" for text, _ in phase_lines(run, config, comm)]
    if total != config.job.total_timesteps:
        lines.append(
            f"rounded      total_timesteps={config.job.total_timesteps:,} is no whole number of "
            f"iterations; {total:,} will be taken"
        )
    return lines


def bytes_kept(run: Run, optimizers_beside: int) -> int:
    """Return the memory of the models on a rank, with gradients and what optimizers keep.

    Args:
        run: of the job.
        optimizers_beside: further ones of the policy's model: each has gradients and two moments
            of its own.
    """
    models: list[nn.Module] = [run.model, *run.reward_models]
    numbers = sum(p.numel() * (1 + p.requires_grad) for m in models for p in m.parameters())
    numbers += 3 * optimizers_beside * sum(p.numel() for p in run.model.parameters())
    optimizers = [run.learner.optimizer] + ([run.rewarder.optimizer] if run.rewarder else [])
    states = [tensor for optimizer in optimizers for tensor in optimizer.tensors().values()]
    # Parameters may share one, as the count of Adam's steps.
    return 4 * numbers + sum({tensor.data_ptr(): tensor.nbytes for tensor in states}.values())


def rollout_memory(
    steps: int, local_num_envs: int, obs_spec: ObservationSpec, action_spec: ActionSpec
) -> int:
    """Return the bytes of a rank's rollout with advantages and returns.

    Args:
        steps: T.
        local_num_envs: B.
        obs_spec: of one environment.
        action_spec: of one environment.
    """
    observation = math.prod(obs_spec.shape) * np.dtype(obs_spec.dtype).itemsize
    action = math.prod(action_spec.action_shape) * np.dtype(action_spec.dtype).itemsize
    # log_probs, values, next_values, rewards, advantages, returns; terminated, truncated
    return steps * local_num_envs * (observation + action + 6 * 4 + 2)


def probe_config(config: TrainConfig, world_size: int) -> TrainConfig:
    """Return ``config`` with short rollouts: the same work for each timestep, in less time.

    A recurrent policy's sequences keep their length; those that last a rollout become shorter too.
    """
    num_envs, length = config.environment.num_envs, config.learning.sequence_steps
    steps = max(1, length, PROBE_TIMESTEPS * world_size // num_envs)
    steps = min(config.rollout_steps, steps)
    most = steps
    if config.network.recurrent != "none":
        most = num_envs * math.ceil(steps / (length or steps))
    share = config.learning.num_minibatches * steps / config.rollout_steps
    learning = replace(
        config.learning,
        rollout_timesteps=num_envs * steps,
        num_minibatches=min(max(1, round(share)), most),
    )
    # A phase of one iteration: as many passes over each timestep, and at each number of iterations.
    aux_minibatches = min(
        max(1, round(config.ppg.aux_minibatches * steps / config.rollout_steps)), steps
    )
    ppg = replace(config.ppg, policy_iterations=1, aux_minibatches=aux_minibatches)
    return replace(config, learning=learning, ppg=ppg)


def measure(run: Run, config: TrainConfig, comm: Communicator) -> float:
    """Return timesteps per second of the whole job. Collective."""
    run_iteration(run, config, comm)  # collective; warms caches up, not measured
    start = time.perf_counter()
    run_iteration(run, config, comm)  # collective
    once = time.perf_counter() - start
    # Rank 0's clock decides for all, or the ranks would not make the same number of iterations.
    repeats = max(1, round(comm.broadcast_object(PROBE_SECONDS / once)))  # collective
    start = time.perf_counter()
    for _ in range(repeats):
        run_iteration(run, config, comm)  # collective
    return repeats * config.learning.rollout_timesteps / (time.perf_counter() - start)


def mebibytes(num_bytes: int) -> str:
    """Return a size as text."""
    return f"{num_bytes / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """Return a time as text: ``45 s``, ``12 min``, ``3 h 20 min``, ``4 d 5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
