"""Running statistics of the whole job, for rewards and for observation vectors.

Axes: T steps; B environments on this rank; F features.
"""

from __future__ import annotations

import numpy as np

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.spaces import ObservationSpec


class RunningMoments:
    """Mean and variance of everything seen so far, in float64.

    Source:
        Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing
        sample variances"; the starting count of 1e-4 is that of OpenAI baselines' RunningMeanStd.
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.mean = np.zeros(shape)
        self.variance = np.ones(shape)
        self.count = 1e-4

    def merge(self, count: float, mean: np.ndarray, variance: np.ndarray) -> None:
        """Add a batch of ``count`` samples with that mean and population variance."""
        total = self.count + count
        delta = mean - self.mean
        squares = self.variance * self.count + variance * count
        squares = squares + delta**2 * self.count * count / total
        self.mean = self.mean + delta * count / total
        self.variance = squares / total
        self.count = total

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps, float64."""
        return {"mean": self.mean, "variance": self.variance, "count": np.array(self.count)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what ``state_dict`` gave."""
        self.mean = np.array(state["mean"], np.float64)
        self.variance = np.array(state["variance"], np.float64)
        self.count = float(state["count"])


def job_moments(columns: np.ndarray, comm: Communicator) -> tuple[float, np.ndarray, np.ndarray]:
    """Return count, mean and population variance over the job. Collective.

    Args:
        columns: [..., N] float64, this rank's samples behind each other; N may differ.
        comm: the job.

    Returns:
        the count, and [...] float64 each; the same bits however the samples are sharded.
    """
    count = float(comm.sum(np.array([columns.shape[-1]]))[0])  # collective
    mean = comm.exact_sum(columns) / count  # collective
    variance = comm.exact_sum((columns - mean[..., None]) ** 2) / count  # collective
    shape = columns.shape[:-1]  # a message has one axis at least
    return count, mean.reshape(shape), variance.reshape(shape)


class RewardRange:
    """The smallest and the largest reward that the job has learned from so far."""

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.seen = False
        """Whether there was any."""

    def see(self, rewards: np.ndarray, comm: Communicator) -> None:
        """Take in this rank's rewards [T, B] and those of all others. Collective."""
        ends = np.array([-rewards.min(initial=np.inf), rewards.max(initial=-np.inf)], np.float64)
        low, high = comm.largest(ends).tolist()  # collective
        self.low = min(self.low, -low) if self.seen else -low
        self.high = max(self.high, high) if self.seen else high
        self.seen = True

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps, float64."""
        return {name: np.array(getattr(self, name), np.float64) for name in ("low", "high", "seen")}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what ``state_dict`` gave."""
        self.low, self.high = float(state["low"]), float(state["high"])
        self.seen = bool(state["seen"])


class RewardNormalizer:
    """Divides rewards by the running standard deviation of the discounted return.

        R <- discount * R + r;  statistics of all R so far;  r / sqrt(Var[R] + 1e-8), clipped

    Step t is divided by the statistics of the whole job up to and including step t, as if all
    environments were stepped together in one process. R becomes 0 where an episode ended, and in
    ``begin_episodes``.

    Source:
        OpenAI baselines' VecNormalize; the mean is not subtracted.
    """

    def __init__(self, num_envs: int, discount: float, clip: float) -> None:
        """Start with nothing seen.

        Args:
            num_envs: environments on this rank, B.
            discount: of the running return (the published baseline has .99, not PPO's .999).
            clip: normalized rewards lie within +- clip.
        """
        self.moments = RunningMoments()
        self.returns = np.zeros(num_envs)
        self.discount = discount
        self.clip = clip

    def begin_episodes(self) -> None:
        """Let all running returns begin anew, as a rollout of fresh episodes does."""
        self.returns = np.zeros_like(self.returns)

    def __call__(self, rewards: np.ndarray, ended: np.ndarray, comm: Communicator) -> np.ndarray:
        """Normalize one rollout. Collective: messages of [T, 2] numbers at most.

        Args:
            rewards: [T, B] float32, raw.
            ended: [T, B] bool, terminated or truncated.
            comm: the job.

        Returns:
            [T, B] float32.
        """
        running = np.empty(rewards.shape)
        for t, reward in enumerate(rewards):
            self.returns = self.returns * self.discount + reward
            running[t] = self.returns
            self.returns = np.where(ended[t], 0.0, self.returns)
        num = comm.sum(np.array([rewards.shape[1]]))[0]  # collective
        sums = comm.exact_sum(np.stack([running, running**2], axis=1))  # collective
        deviations = np.empty((len(rewards), 1))
        for t, (total, squares) in enumerate(sums):
            mean = total / num
            self.moments.merge(num, mean, np.maximum(squares / num - mean**2, 0.0))
            deviations[t] = np.sqrt(self.moments.variance + 1e-8)
        return np.clip(rewards / deviations, -self.clip, self.clip).astype(np.float32)


class ObservationNormalizer:
    """Shifts and scales each feature of a vector to mean 0 and deviation 1, clipped.

    The statistics stay as they are during a rollout, and then take in the whole job's rollout.
    """

    def __init__(self, shape: tuple[int, ...], clip: float, only_clips: bool = False) -> None:
        """Begin with nothing seen.

        Args:
            shape: of an observation.
            clip: what it gives lies within +- clip.
            only_clips: whether observations are clipped as they are; statistics then stay at
                their beginning.
        """
        self.moments = RunningMoments(shape)
        self.clip = clip
        self.only_clips = only_clips
        self._seen: list[np.ndarray] = []

    def normalize(self, obs: np.ndarray) -> np.ndarray:
        """Return [B, F] float32 by the statistics as they are; [B, F] in."""
        if self.only_clips:
            return np.clip(obs, -self.clip, self.clip).astype(np.float32)
        scaled = (obs - self.moments.mean) / np.sqrt(self.moments.variance + 1e-8)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)

    def see(self, obs: np.ndarray) -> None:
        """Remember raw observations [B, F] of the running rollout for ``update``."""
        if not self.only_clips:
            self._seen.append(obs.astype(np.float64))

    def update(self, comm: Communicator) -> None:
        """Take what all ranks have seen since the last time into the statistics. Collective."""
        if self.only_clips:
            return
        seen = np.concatenate(self._seen)
        self._seen = []
        columns = np.moveaxis(seen, 0, -1)
        self.moments.merge(*job_moments(columns, comm))  # collective


class PackedNormalizer(ObservationNormalizer):
    """The same for the vectors of observations [B, bytes] uint8 that have images as well."""

    def __init__(self, spec: ObservationSpec, clip: float, only_clips: bool = False) -> None:
        super().__init__((spec.vector_size,), clip, only_clips)
        self._spec = spec

    def normalize(self, obs: np.ndarray) -> np.ndarray:
        """Return [B, bytes] with normalized vectors; the images stay."""
        packed = obs.copy()
        self._spec.vectors(packed)[:] = super().normalize(self._spec.vectors(obs))
        return packed

    def see(self, obs: np.ndarray) -> None:
        """Remember the raw vectors of [B, bytes] for ``update``."""
        super().see(self._spec.vectors(obs))
