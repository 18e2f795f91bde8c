"""What one rank's memory should be: the parts whose sizes are known before anything is measured.

Axes: N samples of a microbatch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.learning.microbatch import SIZES
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.modes.dry_run import rollout_memory
from ppo_mpi.snapshot_checks import BYTES_PER_ENVIRONMENT

BYTES_PER_PARAMETER = 16
"""A float32 each for the parameter, its gradient and Adam's two moments."""


def parts_on_paper(run: Run, config: TrainConfig) -> dict[str, int]:
    """Return the bytes of each part, without those of Python and its libraries.

    Args:
        run: built; its network is used once, and left as it was.
        config: of a job of one rank.
    """
    envs = run.collector.actor.envs
    num_envs = len(envs.indices) + config.environment.num_test_envs
    rollout = rollout_memory(
        config.rollout_steps, len(envs.indices), envs.obs_spec, envs.action_spec
    )
    workers = run.learner.workers
    threads = workers.threads if workers is not None else 1
    return {
        "environments": num_envs * BYTES_PER_ENVIRONMENT,
        "model": BYTES_PER_PARAMETER * sum(p.numel() for p in run.model.parameters()),
        "rollout": rollout,
        "activations": threads * activations(run, largest_microbatch(run, config)),
    }


def largest_microbatch(run: Run, config: TrainConfig) -> int:
    """Return N, how many samples go through the network at once on a thread, at most.

    Args:
        run: built.
        config: of a job of one rank.
    """
    learning, workers = config.learning, run.learner.workers
    samples = math.ceil(learning.rollout_timesteps / learning.num_minibatches)
    is_exact = workers is not None and workers.exact
    if is_exact:  # one environment's at a time
        samples = math.ceil(samples / config.environment.num_envs)
    chosen = min(run.learner.microbatch_size or samples, samples)
    if run.learner.microbatch_size and not learning.microbatch_size and not is_exact:
        return max([chosen, *(size for size in SIZES if size <= samples)])  # all were tried
    return chosen


def activations(run: Run, samples: int) -> int:
    """Return the bytes that the loss of a microbatch keeps for its gradient.

    Counted in one forward pass: every storage that torch saves, once, without the parameters.
    """
    learner = run.learner
    known = {p.untyped_storage().data_ptr() for p in run.model.parameters()}
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor  # the graph keeps it: no address is used twice meanwhile

    minibatch = blank_minibatch(run, samples)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss, _ = learner.loss(run.model, minibatch, learner.config, learner.config.clip_range)
    del loss
    return sum(sizes.values())


def blank_minibatch(run: Run, samples: int) -> Minibatch:
    """Return N = ``samples`` samples of zeros, where the model lies."""
    obs_spec, action_spec = run.model.obs_spec, run.model.action_spec
    device = run.collector.actor.device
    obs = torch.zeros(samples, *obs_spec.shape, dtype=getattr(torch, obs_spec.dtype), device=device)
    kind = getattr(torch, action_spec.dtype)
    actions = torch.zeros(samples, *action_spec.action_shape, dtype=kind, device=device)
    numbers = torch.zeros(samples, device=device)
    return Minibatch(obs, actions, numbers, numbers, numbers + 1, numbers)
