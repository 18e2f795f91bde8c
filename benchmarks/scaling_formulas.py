"""How long an iteration takes on more ranks, by what a timestep and a message cost.

    busy(P) = timesteps / P * seconds per timestep * (1 + spread * sqrt(2 ln P))
    sum(P, n) = 2 log2(P) * latency + 2 (P - 1) / P * n / bandwidth
    hidden(P) = 0.6 * forward and backward of the last microbatch
    step(P) = sum(P, late bytes) + max(0, sum(P, early bytes) - hidden(P))
    iteration(P) = busy(P) + optimizer steps * step(P) + other messages * sum(P, few bytes)

The second line is the cost of a reduction that halves and doubles (Thakur, Rabenseifner and Gropp
2005, "Optimization of collective communication operations in MPICH"); the root is the expected
maximum of P normal deviates to first order: the slowest rank is waited for. A large network's last
layers send their gradients early, while those of the others are computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HIDING = 0.6
"""Share of a microbatch's forward and backward pass that is left when early gradients are sent."""


@dataclass(frozen=True)
class Network:
    """What a sum over the ranks costs."""

    latency: float
    """Seconds of one step of the sum, whatever its size."""
    bandwidth: float
    """Bytes a second that one rank sends while it receives."""

    def seconds(self, ranks: int, num_bytes: float) -> float:
        """Return the time of a sum over ``ranks`` ranks."""
        if ranks == 1:
            return 0.0
        share = 2 * (ranks - 1) / ranks * num_bytes / self.bandwidth
        return 2 * math.log2(ranks) * self.latency + share


@dataclass(frozen=True)
class Job:
    """What one iteration consists of."""

    timesteps: int
    """Of the whole job."""
    num_envs: int
    """Of the whole job: the most ranks it can have."""
    optimizer_steps: int
    gradient_bytes: int
    """Of all gradients, in the messages of an optimizer step."""
    other_messages: float
    """Sums and gatherings of a few bytes in one iteration."""
    timestep_seconds: float
    """What one rank needs for a timestep of its own, collecting and learning."""
    spread: float = 0.0
    """Standard deviation of the ranks' work between two messages, relative to its mean."""
    early_bytes: int = 0
    """Of the gradients, those that are sent while the others are computed."""
    microbatch_seconds: float = 0.0
    """Of a forward and backward pass of a full microbatch."""
    step_seconds: float = 0.0
    """Of all forward and backward passes of an optimizer step, if one rank took them."""

    def step_gradients(self, network: Network, ranks: int) -> float:
        """Return the seconds of an optimizer step in which nothing but gradients is done."""
        hidden = HIDING * min(self.microbatch_seconds, self.step_seconds / ranks)
        early = network.seconds(ranks, self.early_bytes) if self.early_bytes else 0.0
        late = network.seconds(ranks, self.gradient_bytes - self.early_bytes)
        return late + max(0.0, early - hidden)


@dataclass(frozen=True)
class Prediction:
    """One iteration on so many ranks."""

    ranks: int
    timesteps: int
    busy: float
    """Seconds of work, of the mean rank."""
    waiting: float
    """Seconds that the mean rank waits for the slowest."""
    gradients: float
    """Seconds in the sums of gradients."""
    messages: float
    """Seconds in all other messages."""

    @property
    def seconds(self) -> float:
        """Of the iteration."""
        return self.busy + self.waiting + self.gradients + self.messages

    @property
    def efficiency(self) -> float:
        """Share of the time that is work."""
        return self.busy / self.seconds


def fit_network(ranks: int, sizes: Sequence[int], seconds: Sequence[float]) -> Network:
    """Return the network that explains measured sums best, each error relative to its time.

    Args:
        ranks: that took part, at least 2.
        sizes: bytes of the messages.
        seconds: that each took.
    """
    terms = np.array([[2 * math.log2(ranks), 2 * (ranks - 1) / ranks * size] for size in sizes])
    times = np.asarray(seconds)
    weighted = terms / times[:, None]
    scale = weighted.max(0)  # seconds and seconds a byte differ by many orders of magnitude
    latency, byte_seconds = np.linalg.lstsq(weighted / scale, np.ones(len(times)), rcond=None)[0]
    latency, byte_seconds = max(latency / scale[0], 0.0), max(byte_seconds / scale[1], 1e-15)
    return Network(float(latency), float(1 / byte_seconds))


def spread_of(job: Job, network: Network, ranks: int, waited: float) -> float:
    """Return the spread that explains why ranks were in collectives for longer than those take.

    Args:
        job: its other numbers.
        network: the cost of the messages alone.
        ranks: that were measured.
        waited: seconds that the mean rank was in collectives, in an iteration.
    """
    alone = predict(job, network, ranks)
    waiting = max(0.0, waited - alone.gradients - alone.messages)
    return waiting / alone.busy / math.sqrt(2 * math.log(ranks))


def predict(job: Job, network: Network, ranks: int, weak_from: int = 0) -> Prediction:
    """Predict one iteration.

    Args:
        job: as it was measured.
        network: likewise.
        ranks: how many.
        weak_from: the number of ranks whose share each keeps as the job grows; 0 = the job stays.
    """
    timesteps = job.timesteps * ranks // weak_from if weak_from else job.timesteps
    busy = timesteps / ranks * job.timestep_seconds
    return Prediction(
        ranks,
        timesteps,
        busy,
        busy * job.spread * math.sqrt(2 * math.log(ranks)),
        job.optimizer_steps * job.step_gradients(network, ranks),
        job.other_messages * network.seconds(ranks, 64),
    )
