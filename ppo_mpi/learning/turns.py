"""Groups of environments in turn: the network acts for one while threads step the others.

Axes: T steps; B environments on this rank; N of one group; K noise numbers of an action; S numbers
that are remembered of an episode.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.parts import EnvParts, with_slots_from
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.recording import Recording, recording_stream
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.transition import Place, Transition
from ppo_mpi.networks.actor_critic import ActorCritic


@dataclass
class Group:
    """N environments that are stepped together, and the memory of their transitions."""

    envs: VecEnvs
    slots: slice
    obs: Tensor
    """[N, ...] on the device, what the network reads."""
    noise: Tensor
    """[N, K] float64 on the device, likewise."""
    memory: Tensor
    """[N, S] float32 on the device, likewise: what the policy remembers."""
    arriving: Tensor
    """[N, ...] in the processor's memory (pinned for a GPU): the observation to act on next."""
    leaving: Tensor
    """The actions, in the processor's memory (pinned for a GPU)."""
    acted: Any
    """The event behind them on a GPU; None on a processor."""
    act: Recording | None = None
    step: int = 0
    """Of the rollout, counted from 0: that of the transition under way."""
    seen: np.ndarray | None = None
    """Its raw observation, if the run normalizes."""
    truths: np.ndarray | None = None
    """What is true of it, if there are auxiliary heads."""
    outputs: tuple[Tensor, ...] = ()
    """Actions, log-probabilities, values and memories after them."""
    pending: Future[StepResult] | None = field(default=None, repr=False)
    """The step of the environments under way."""
    stepping_since: float = 0.0
    """When its environments began it, by ``time.monotonic()``: the actions were there."""


class TurnActor(Actor):
    """An actor for environments in parts. What it does is what ``Actor`` does, part by part.

    On a GPU the network's pass is one recorded graph, frames and actions go through pinned
    memory, and only the threads that step environments ever wait for it.
    """

    def __init__(
        self,
        envs: EnvParts,
        model: ActorCritic,
        seed: int,
        split: Literal["train", "test"],
        heart: Heart,
        normalizer: ObservationNormalizer | None,
        workers: Workers | None = None,
        record: bool = True,
    ) -> None:
        """Take the environments, and what ``Actor`` takes.

        Args:
            envs: in as many parts as there are turns.
            model: as ``Actor``.
            seed: as ``Actor``.
            split: as ``Actor``.
            heart: as ``Actor``.
            normalizer: as ``Actor``.
            workers: as ``Actor``.
            record: whether the network's pass is recorded and replayed.
        """
        super().__init__(envs, model, seed, split, heart, normalizer, workers)
        self._record = record
        self._stream = recording_stream(self.device)
        # A thread begins with the first GPU, whichever is this rank's.
        settings: dict[str, Any] = {}
        if self.device.type == "cuda":
            settings = {"initializer": torch.cuda.set_device, "initargs": (self.device,)}
        self._threads = ThreadPoolExecutor(len(envs.parts), "environments", **settings)
        self._groups = [
            self._make_group(part, slots)
            for part, slots in zip(envs.parts, envs.slots, strict=True)
        ]

    def _make_group(self, envs: VecEnvs, slots: slice) -> Group:
        spec, action_spec, num = envs.obs_spec, envs.action_spec, len(envs.indices)
        dtype = torch.uint8 if spec.dtype == "uint8" else torch.float32
        on_gpu = self.device.type == "cuda"
        arriving = torch.zeros(num, *spec.shape, dtype=dtype, pin_memory=on_gpu)
        leaving = torch.zeros(
            num, *action_spec.action_shape,
            dtype=getattr(torch, action_spec.dtype), pin_memory=on_gpu,
        )  # fmt: skip
        noise_shape = (num, action_spec.noise_size)
        return Group(
            envs, slots,
            obs=torch.zeros(arriving.shape, dtype=dtype, device=self.device),
            noise=torch.full(noise_shape, 0.5, dtype=torch.float64, device=self.device),
            memory=torch.zeros_like(self.memory[slots]),
            arriving=arriving,
            leaving=leaving,
            acted=torch.cuda.Event() if on_gpu else None,
        )  # fmt: skip

    def begin(self, iteration: int, steps: int, continue_episodes: bool) -> None:
        """Prepare a rollout, as ``Actor.begin``."""
        super().begin(iteration, steps, continue_episodes)
        for group in self._groups:
            if group.act is None and self._record:
                group.act = Recording(
                    lambda own=group: self.act(own.obs, own.noise, own.memory),  # type: ignore[misc]
                    self._stream,
                )

    def arrive(self, obs: np.ndarray) -> None:
        """Take the observations [B, ...] to act on next."""
        for group in self._groups:
            slots = range(group.slots.start, group.slots.stop)
            group.arriving.copy_(torch.from_numpy(self.normalized(obs[group.slots], slots)))

    @property
    def obs(self) -> Tensor:
        """[B, ...] the observation to act on next."""
        return torch.cat([group.arriving for group in self._groups]).to(self.device)

    def transitions(self, steps: int) -> Generator[tuple[Place, Transition]]:
        """Take ``steps`` steps in every environment, group by group.

        Yields:
            where in [T, B] they belong, and transitions; their tensors are good until the next.

        Raises:
            IterationAbandonedError: a signal to stop came too long ago.
        """
        try:
            for t in range(steps):
                for group in self._groups:
                    if group.pending is not None:
                        yield self._finished(group)
                    self._act(group, t)
            for group in self._groups:
                if group.pending is not None:
                    yield self._finished(group)
        finally:
            # Nobody may touch environments that a thread still steps.
            wait([group.pending for group in self._groups if group.pending is not None])
            for group in self._groups:
                group.pending = None

    def close(self) -> None:
        """Free the environments, and the threads that step them."""
        self._threads.shutdown()
        super().close()

    def _act(self, group: Group, t: int) -> None:
        """Choose actions for a group, and let a thread step it with them."""
        self._heart.beat("collecting")
        STOP.check_grace()
        self._step = group.step = t
        if self.normalizer is not None:
            group.seen = group.envs.observe()
        if self.model.heads:
            group.truths = group.envs.truths
        group.obs.copy_(group.arriving, non_blocking=True)
        group.noise.copy_(self._noise[t, group.slots])
        group.memory.copy_(self.memory[group.slots])
        group.outputs = group.act() if group.act else self.act(group.obs, group.noise, group.memory)
        taken = self.model.policy.for_suite(group.outputs[0])
        group.leaving.copy_(taken, non_blocking=True)
        if group.acted is not None:
            group.acted.record()
        group.pending = self._threads.submit(self._step_group, group)

    def _step_group(self, group: Group) -> StepResult:
        """Step a group's environments once its actions are there; runs in a thread."""
        if group.acted is not None:
            group.acted.synchronize()  # and what has arrived before was read, too
        group.stepping_since = time.monotonic()
        result = group.envs.step(group.leaving.numpy().copy())
        slots = range(group.slots.start, group.slots.stop)
        group.arriving.copy_(torch.from_numpy(self.normalized(result.obs, slots, group.step)))
        return result

    def _finished(self, group: Group) -> tuple[Place, Transition]:
        """Wait for a group's step; return its transition."""
        assert group.pending is not None, "it was begun"
        pending, group.pending = group.pending, None
        place = (group.step, group.slots)
        began = time.monotonic()
        result = with_slots_from(pending.result(), group.slots.start)
        # Before the environments began, this was a wait for the network.
        waited = time.monotonic() - max(began, group.stepping_since)
        self.engine_seconds += max(0.0, waited)
        self.note(result, group.slots)
        actions, log_probs, values, after = group.outputs
        self.memory[group.slots] = self.carried(after, result)
        return place, Transition(
            group.obs, actions, log_probs, values, result, group.seen, group.memory, after,
            group.truths,
        )  # fmt: skip
