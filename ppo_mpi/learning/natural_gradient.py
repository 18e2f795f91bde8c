"""The natural gradient by Kronecker factors, within a trust region.

Axes: T steps; B environments on this rank; N samples of a piece; K inputs and A outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.learning.eigenbases import shared_eigenbases
from ppo_mpi.learning.fisher import Watch, fisher_noise
from ppo_mpi.learning.kronecker import Factors, Layer, layers_of
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Batch, microbatches
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.acktr import AcktrConfig

if TYPE_CHECKING:
    from ppo_mpi.learning.algorithm import Named, Place

OWN = "log_std"
"""The parameter that is no layer's: what the deviations of continuous actions are made from."""
STEPS = "curvature/steps"
"""In a checkpoint, how many minibatches were observed."""


class NaturalGradient:
    """Factors of the Fisher information, their eigenbases, and the steps that they give.

        v = G^-1 grad A^-1, damped:  Q_G [(Q_G^T grad Q_A) / (d_G d_A^T + damping)] Q_A^T
        nu = min(1, sqrt(kl_clip / (learning_rate^2 v . grad)))
        sum <- momentum * sum + nu v;  weight <- weight - learning_rate (1 - momentum) sum

    The damping is added to the products of eigenvalues, as the published code does: v is then the
    exact inverse of (A (x) G + damping I) applied to the gradient. Factored damping (Martens and
    Grosse, section 6.3), whose pi shares it out between the factors, is what one takes where
    factors are inverted instead of decomposed. The learning rate is the largest step.

    Deviations of continuous actions (``log_std``) are no layer's, and the same for all samples:
    their Fisher information is known exactly, and diagonal (2 for each logarithm of one).

    Source:
        Wu et al. 2017, arXiv:1708.05144, sections 3.1 and 3.2; step and damping as in
        ikostrikov/pytorch-a2c-ppo-acktr-gail, whose schedule of the learning rate does not reach
        its step as it does here. George et al. 2018, arXiv:1806.03884, on the eigenbasis.
    """

    def __init__(
        self,
        model: ActorCritic,
        settings: AcktrConfig,
        named: Named,
        apart: Collection[str],
        sums: Callable[[Factors], FlatGradients],
    ) -> None:
        """Begin without curvature: ``observe`` comes before the first step.

        Args:
            model: what learns.
            settings: of the curvature and the trust region.
            named: names and parameters; a parameter's ``.grad`` is there at every step.
            apart: names of the parameters that may have a learning rate of their own.
            sums: makes what adds up factors over the job.

        Raises:
            ConfigError: a parameter is of no layer that is known.
        """
        self.model = model
        self.settings = settings
        self.layers = layers_of(model, (OWN,))
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self._is_apart = [name in apart for name in self.names]
        self._sums_of = [torch.zeros_like(p) for p in self.parameters]
        self._watch = Watch(self.layers)
        self.factors = Factors(self.layers)
        self._newest = sums(self.factors)
        self._bases = _empty_bases(self.factors)
        self._steps = torch.zeros((), dtype=torch.int64)
        device = self.parameters[0].device
        # One trust region, or that of all others and that of the values' own parameters.
        self._clips = [settings.kl_clip]
        if settings.value_kl_clip is not None:
            self._clips.append(settings.value_kl_clip)
        self._predicted = torch.zeros(len(self._clips), dtype=torch.float64, device=device)
        self._scales = torch.ones_like(self._predicted)

    @property
    def steps(self) -> int:
        """How many minibatches were observed."""
        return int(self._steps)

    def observe(
        self,
        batch: Batch,
        pieces: Sequence[Tensor],
        place: Place,
        workers: Workers | None,
        comm: Communicator,
    ) -> None:
        """Take the curvature of one of the job's minibatches in, before the step on it. Collective.

        Args:
            batch: this rank's share.
            pieces: [N] int64 each, this rank's samples of the minibatch, as they go through the
                network at once.
            place: of the minibatch in the job.
            workers: threads that take one each; None for the calling one.
            comm: the job.

        Raises:
            NonFiniteError: a factor is not finite, or cannot be decomposed; on all ranks.
        """
        settings, steps = self.settings, self.steps
        if steps % settings.curvature_every == 0:
            comm.heart.beat("estimating curvature")
            self._add_terms(batch, pieces, place, workers)
            comm.average_gradients(self._newest)  # collective
            # Weights of the first means are those of an unbiased running mean: 1, 1/2, ...
            count, decay = steps // settings.curvature_every + 1, settings.curvature_decay
            self.factors.take_in((1 - decay) / (1 - decay**count))
        if steps % settings.eigen_every == 0:
            comm.heart.beat("decomposing curvature")
            names = [name for name, _ in self.factors.named_parameters()]
            matrices = [parameter.detach() for parameter in self.factors.parameters()]
            for name, basis in zip(
                names,
                shared_eigenbases(names, matrices, workers, comm),  # collective
                strict=True,
            ):
                self._bases[f"{name}/eigenvalues"].copy_(basis.values)
                self._bases[f"{name}/eigenvectors"].copy_(basis.vectors)
        self._steps += 1

    def _add_terms(
        self, batch: Batch, pieces: Sequence[Tensor], place: Place, workers: Workers | None
    ) -> None:
        """Add up this rank's factors."""
        steps, device = len(batch.rollout.rewards), batch.returns.device
        noise, value_noise = (
            own.to(device)
            for own in fisher_noise(
                place.seed,
                place.indices,
                steps,
                self.model.action_spec,
                place.iteration,
                place.epoch,
            )
        )

        def terms(piece: Tensor) -> tuple[list[Tensor], int]:
            (minibatch,) = microbatches(batch, piece, 0)
            at = piece.to(device)
            with torch.enable_grad():
                found = self._watch.terms(
                    self.model, minibatch.obs, noise[at], value_noise[at],
                    self.settings.value_deviation,
                )  # fmt: skip
            return found, len(minibatch)

        self._newest.zero()
        nothing = torch.zeros(0, device=device)
        run = map if workers is None else workers.map
        with self._watch.on():
            for found, num_samples in run(terms, pieces):
                self._newest.add_term(found, nothing, num_samples)

    @torch.no_grad()
    def step(self, learning_rate: float, rate_apart: float | None = None) -> None:
        """Change the parameters by their gradients.

        Args:
            learning_rate: of all of them; the largest step.
            rate_apart: of those that may have their own; None = ``learning_rate``.
        """
        settings = self.settings
        other = learning_rate if rate_apart is None else rate_apart
        rates = [other if is_apart else learning_rate for is_apart in self._is_apart]
        gradients = []
        for parameter in self.parameters:
            assert parameter.grad is not None, "every parameter has its gradient"
            gradients.append(parameter.grad + settings.weight_decay * parameter)
        directions = self.directions(gradients)
        regions = [int(own and len(self._clips) > 1) for own in self._is_apart]
        self._predicted.zero_()
        for region, rate, v, gradient in zip(regions, rates, directions, gradients, strict=True):
            self._predicted[region] += rate**2 * (v * gradient).sum(dtype=torch.float64)
        # No step at all where the gradient is 0: what it is scaled by does not matter.
        for region, clip in enumerate(self._clips):
            self._scales[region] = (clip / self._predicted[region]).sqrt().clamp(max=1.0)
        scales, kept = self._scales.float(), settings.curvature_momentum
        for region, parameter, own, v, rate in zip(
            regions, self.parameters, self._sums_of, directions, rates, strict=True
        ):
            own.mul_(kept).add_(v * scales[region])
            parameter.sub_(own * (rate * (1 - kept)))

    def directions(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the natural gradient, shaped as the parameters are.

        Args:
            gradients: in the order of the parameters.
        """
        damping = self.settings.curvature_damping
        by_parameter = {id(p): g for p, g in zip(self.parameters, gradients, strict=True)}
        found: dict[int, Tensor] = {}
        for layer in self.layers:
            parameters = layer.parameters
            gradient = layer.matrix([by_parameter[id(p)] for p in parameters])
            direction = self._inverse(layer, gradient, damping)
            found |= {id(p): d for p, d in zip(parameters, layer.parts(direction), strict=True)}
        own = self.model.log_std
        if own is not None and own.requires_grad:
            found[id(own)] = by_parameter[id(own)] / (self.model.policy.own_fisher(own) + damping)
        return [found[id(p)] for p in self.parameters]

    def _inverse(self, layer: Layer, gradient: Tensor, damping: float) -> Tensor:
        """Return (A (x) G + damping I)^-1 applied to a gradient [A, K]."""
        inputs, outputs = (f"{layer.name}/{side}" for side in ("inputs", "outputs"))
        q_a, q_g = self._bases[f"{inputs}/eigenvectors"], self._bases[f"{outputs}/eigenvectors"]
        d_a, d_g = self._bases[f"{inputs}/eigenvalues"], self._bases[f"{outputs}/eigenvalues"]
        rotated = q_g.t() @ gradient @ q_a
        return q_g @ (rotated / (d_g[:, None] * d_a + damping)) @ q_a.t()

    def metrics(self) -> dict[str, float]:
        """Return what there is to tell of the last step.

        ``trust_region_scale`` is nu, ``predicted_kl`` the quadratic approximation of the KL
        divergence by the step, in nats, momentum apart; ``value_...`` is of the values' own trust
        region, if they have one.
        """
        names = ("", "value_")
        found = {}
        for name, nu, predicted in zip(
            names, self._scales.tolist(), self._predicted.tolist(), strict=False
        ):
            found[f"{name}trust_region_scale"] = nu
            found[f"{name}predicted_kl"] = 0.5 * nu**2 * predicted
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return name -> tensor, for a checkpoint; they change with every step."""
        momenta = zip(self.names, self._sums_of, strict=True)
        return {
            **{f"{name}/momentum": own for name, own in momenta},
            **{f"{name}/factor": p.detach() for name, p in self.factors.named_parameters()},
            **self._bases,
            STEPS: self._steps,
        }

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``tensors`` gave; nothing stands for the time before the first step."""
        own = self.tensors()
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def _empty_bases(factors: Factors) -> dict[str, Tensor]:
    """Return what is kept of the eigenbases: values [K], vectors [K, K] float32 of each factor."""
    found = {}
    for name, parameter in factors.named_parameters():
        found[f"{name}/eigenvalues"] = torch.zeros_like(parameter[0])
        found[f"{name}/eigenvectors"] = torch.zeros_like(parameter)
    return {name: tensor.detach() for name, tensor in found.items()}


def expected_tensors(model: ActorCritic) -> dict[str, Tensor]:
    """Return what ``NaturalGradient.tensors`` has for a model, in names, shapes and types."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    factors = Factors(layers_of(model, (OWN,)))
    return {
        **{f"{name}/momentum": p for name, p in named},
        **{f"{name}/factor": p for name, p in factors.named_parameters()},
        **_empty_bases(factors),
        STEPS: torch.zeros((), dtype=torch.int64),
    }
