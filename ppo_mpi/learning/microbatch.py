"""How many samples go through the network at once: measured, as it depends on the caches.

Axes: N samples.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.learning.update import Learner

SIZES = (32, 64, 128, 256)
USUAL = 128
"""Taken unless another is clearly faster: timings differ from run to run."""
CLEARLY = 0.95
FIXED = 256
"""Where the bits must not depend on the machine; one environment has hardly more of a minibatch."""
SAMPLES = 256
"""Measured for each size and thread."""


def choose_microbatch_size(config: TrainConfig, learner: Learner, comm: Communicator) -> int:
    """Return the size that a run begins with. Collective.

    Args:
        config: of the run; a size in it is taken.
        learner: its model and threads are used, and left as they were.
        comm: all ranks measure at the same time, as they share caches; rank 0's choice counts.

    Returns:
        samples; 0 = all at once, for vectors and on devices, where more is always faster.
    """
    asked = config.learning.microbatch_size
    if asked:
        return asked
    model, workers = learner.model, learner.workers
    if workers is not None and workers.exact:
        return FIXED
    if not model.obs_spec.is_image or next(model.parameters()).device.type != "cpu":
        return 0
    share = config.learning.rollout_timesteps // config.learning.num_minibatches
    most = max(1, share // comm.world_size)
    sizes = [size for size in SIZES if size <= most]
    seconds = {size: _seconds_per_sample(learner, size) for size in sizes}
    chosen = USUAL if USUAL in sizes else most
    for size in sizes:
        if chosen in seconds and seconds[size] < CLEARLY * seconds[chosen]:
            chosen = size
    return int(comm.broadcast_object(chosen))  # collective


def _seconds_per_sample(learner: Learner, size: int) -> float:
    """Return how long forward and backward take of one sample, ``size`` at a time."""
    minibatch = _random_minibatch(learner, size)

    def work(_: int) -> tuple[Tensor | None, ...]:
        clip_range = learner.config.clip_range
        loss, _sums = learner.loss(learner.model, minibatch, learner.config, clip_range)
        return torch.autograd.grad(loss, learner.gradients.parameters, allow_unused=True)

    threads = learner.workers.threads if learner.workers is not None else 1
    pieces = range(threads * max(1, SAMPLES // size))
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
    if isinstance(model.action_spec, Discrete):
        actions = torch.zeros(size, dtype=torch.int64)
    else:
        actions = torch.zeros(size, len(model.action_spec.low))
    numbers = torch.zeros(size)
    return Minibatch(obs, actions, numbers, numbers, numbers + 1, numbers)
