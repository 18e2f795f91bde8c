"""How many samples go through the network at once: measured, as it depends on the caches.

Axes: N samples.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.rollout import Minibatch

SIZES = (32, 64, 128)
"""Larger ones take more memory, and were no faster."""
USUAL = SIZES[-1]
"""Taken unless another is clearly faster: timings differ from run to run."""
CLEARLY = 0.95
FIXED = 256
"""Where the bits must not depend on the machine; one environment has hardly more of a minibatch."""
ON_DEVICE = 4_096 * 64 * 64 * 3
"""Numbers of the images that go through a GPU at once: some GiB of activations."""
NUMBERS = USUAL * 64 * 64 * 3
"""Of the images that go through at once on a thread: there are fewer of large ones."""
MEASURED = 256
"""Samples that are measured with each size on each thread."""


def choose_microbatch_size(
    config: TrainConfig, learner: Learner, comm: Communicator, before: int | None = None
) -> int:
    """Return the size that a run takes. Collective.

    Args:
        config: of the run; a size in it is taken.
        learner: its model and threads are used, and left as they were.
        comm: all ranks measure at the same time, as they share caches; rank 0's choice counts.
        before: what the run has chosen when it began; taken again, but not on another device.

    Returns:
        samples; 0 = all at once.
    """
    asked = config.learning.microbatch_size
    if asked:
        return asked
    is_image = learner.model.obs_spec.has_images
    on_processor = next(learner.model.parameters()).device.type == "cpu"
    is_for_images = before is not None and 0 < before <= FIXED
    if before is not None and (not is_image or is_for_images == on_processor):
        return before
    workers = learner.workers
    if workers is not None and workers.exact:
        return FIXED
    if not on_processor:
        return max(1, ON_DEVICE // math.prod(learner.model.obs_spec.shape)) if is_image else 0
    share = config.learning.rollout_timesteps / config.learning.num_minibatches / comm.world_size
    # Every thread has something to do.
    most = max(1, math.ceil(share / (workers.threads if workers is not None else 1)))
    if not is_image:
        return 0 if workers is None else most
    if learner.model.memory_size:  # whole sequences, whatever the caches
        return FIXED
    return int(comm.broadcast_object(_fastest(learner, most)))  # collective


def _fastest(learner: Learner, most: int) -> int:
    """Return the size, up to ``most``, with which a sample takes the least time."""
    numbers = math.prod(learner.model.obs_spec.shape)
    most = min(most, max(1, NUMBERS // numbers))
    if most < USUAL:
        return most
    seconds = {size: _seconds_per_sample(learner, size) for size in SIZES}
    chosen = USUAL
    for size in SIZES:
        if seconds[size] < CLEARLY * seconds[chosen]:
            chosen = size
    return chosen


def _seconds_per_sample(learner: Learner, size: int) -> float:
    """Return how long forward and backward take of one sample, ``size`` at a time."""
    minibatch = _random_minibatch(learner, size)

    def work(_: int) -> tuple[Tensor | None, ...]:
        clip_range = learner.config.clip_range
        loss, _sums = learner.loss(learner.model, minibatch, learner.config, clip_range)
        return torch.autograd.grad(loss, learner.gradients.parameters, allow_unused=True)

    threads = learner.workers.threads if learner.workers is not None else 1
    pieces = range(threads * MEASURED // size)
    run = learner.workers.map if learner.workers is not None else map
    work(0)  # the first one of a shape prepares the kernels
    begin = time.perf_counter()
    for _ in run(work, pieces):
        pass
    return (time.perf_counter() - begin) / (len(pieces) * size)


def _random_minibatch(learner: Learner, size: int) -> Minibatch:
    """Return N = ``size`` samples of noise."""
    model = learner.model
    random = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (size, *model.obs_spec.shape), dtype=torch.uint8, generator=random)
    if model.obs_spec.parts:
        obs[:, : 4 * model.obs_spec.vector_size] = 0  # bytes of noise are no numbers
    spec = model.action_spec
    actions = torch.zeros(size, *spec.action_shape, dtype=getattr(torch, spec.dtype))
    numbers = torch.zeros(size)
    return Minibatch(obs, actions, numbers, numbers, numbers + 1, numbers)
