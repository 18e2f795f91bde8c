"""The sampled Fisher loss, and what it says of each layer: terms of its Kronecker factors.

Axes: T steps; B environments on this rank; N samples of a piece.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import ActionSpec
from ppo_mpi.learning.kronecker import Layer
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.distributions import draw_noise
from ppo_mpi.seeding import generator


def fisher_noise(
    seed: int, indices: Sequence[int], steps: int, spec: ActionSpec, iteration: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Draw what makes actions and values of the Fisher loss, from each environment's own stream.

    Args:
        seed: the job's.
        indices: whole-job indices of this rank's environments.
        steps: T.
        spec: of the actions.
        iteration: counted from 0.
        epoch: counted from 0 within the iteration.

    Returns:
        noise of actions [T * B, noise_size] float64, as ``draw_noise`` has it, and standard normal
        noise of values [T * B] float32.
    """
    of_actions, of_values = [], []
    for index in indices:
        random = generator(seed, "fisher", iteration, epoch, index)
        of_actions.append(torch.from_numpy(draw_noise(random, steps, spec)))
        of_values.append(torch.from_numpy(random.standard_normal(steps)).float())
    return torch.stack(of_actions, 1).flatten(0, 1), torch.stack(of_values, 1).flatten()


def fisher_loss(
    model: ActorCritic, obs: Tensor, noise: Tensor, value_noise: Tensor, value_deviation: float
) -> Tensor:
    """Return a loss whose gradients have the Fisher information as their second moments.

        loss = -log pi(a|s) - log N(v; V(s), deviation^2),  a ~ pi(.|s), v ~ N(V(s), deviation^2)

    Actions and values are drawn from the model itself and are constants. Values are in the unit of
    the model's head.

    Args:
        model: policy and value.
        obs: [N, ...].
        noise: [N, noise_size], behind the actions.
        value_noise: [N] standard normal.
        value_deviation: of the values.

    Returns:
        [] float32, summed over the samples.

    Source:
        Wu et al. 2017, arXiv:1708.05144, section 3.1, whose values have the deviation 1.
    """
    distribution, values = model(obs)
    with torch.no_grad():
        actions = distribution.sample(noise)
        drawn = values + value_deviation * value_noise
    errors = (drawn - values) / value_deviation
    return -distribution.log_prob(actions).sum() + 0.5 * (errors * errors).sum()


class Watch:
    """Sees what goes through layers, on the threads that ask for it and while they do."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self._local = threading.local()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Hang hooks on the layers, for a while: a model with hooks does not run directly."""
        hooks = [
            layer.module.register_forward_hook(partial(self._see, i))
            for i, layer in enumerate(self.layers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, i: int, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Any:
        seen: dict[int, tuple[Tensor, Tensor]] | None = getattr(self._local, "seen", None)
        if seen is None:
            return None
        assert i not in seen, f"{self.layers[i].name} is used twice in one pass"
        with torch.no_grad():
            # At once: what comes next may overwrite it.
            seen[i] = self.layers[i].input_term(inputs[0].float()), output
        return output.clone()  # an activation in place would take the output's place

    def terms(self, model: ActorCritic, *loss_arguments: Any) -> list[Tensor]:
        """Return the layers' factors of some samples, summed over them; needs ``on``.

        Args:
            model: the layers are of it.
            loss_arguments: of ``fisher_loss``.

        Returns:
            [K, K] and [A, A] float32 for one layer after the other.
        """
        seen: dict[int, tuple[Tensor, Tensor]] = {}
        self._local.seen = seen
        try:
            loss = fisher_loss(model, *loss_arguments)
        finally:
            self._local.seen = None
        found = [seen[i] for i in range(len(self.layers))]
        gradients = torch.autograd.grad(loss, [output for _, output in found])
        with torch.no_grad():
            return [
                term
                for layer, (inputs, _), gradient in zip(self.layers, found, gradients, strict=True)
                for term in (inputs, layer.output_term(gradient))
            ]
