"""Model, optimizer and gradients: what an update changes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ppo_mpi.distributed.device_gradients import DeviceGradients
from ppo_mpi.distributed.gradients import ExactGradients, FlatGradients
from ppo_mpi.learning.algorithm import Algorithm
from ppo_mpi.learning.augmenting import Augmenter
from ppo_mpi.learning.device_terms import DeviceTerms
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.learning.tasks import Tasks
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.learning import LearningConfig

OF_VALUES = ("value_torso.", "value_recurrent.", "value_head.")
"""How the names of the parameters begin that belong to the values only."""


class Learner:
    """Model, optimizer and gradients: what an update changes."""

    def __init__(
        self,
        model: ActorCritic,
        algorithm: Algorithm,
        config: LearningConfig,
        seed: int,
        workers: Workers | None = None,
        on_device: bool = False,
        record: bool = False,
        augmenter: Augmenter | None = None,
        tasks: Tasks | None = None,
    ) -> None:
        """Put them together.

        Args:
            model: what learns.
            algorithm: its loss.
            config: the algorithm's numbers.
            seed: the job's.
            workers: threads that take a microbatch each; those that are exact take one of a
                single environment, for the same bits on any number of ranks. None computes in
                the calling thread.
            on_device: whether an epoch's numbers stay where the model is until its end, as is
                best on a GPU; without workers only.
            record: whether a microbatch's kernels are then recorded and replayed.
            augmenter: changes the images that the loss sees; None if nothing does.
            tasks: what is learned beside policy and values; None if nothing is.
        """
        self.model = model
        self.workers = workers
        self.augmenter = augmenter
        self.tasks = tasks
        self.loss = algorithm.loss
        self.loss_gradients = algorithm.gradients
        self.before_step = algorithm.before_step
        self.of_optimizer = algorithm.of_optimizer
        self.config = config
        self.seed = seed
        self.microbatch_size = config.microbatch_size
        """Samples that go through the network at once; 0 = a rank's share."""
        self.on_device = on_device
        self.gradients, named, apart = gradients_for(
            model, algorithm.metrics, config, workers, on_device
        )
        self.device_terms = None
        if on_device:
            assert workers is None, "threads share the processor's work only"
            self.device_terms = DeviceTerms(self._loss_of, self.gradients, record)
        self.optimizer = algorithm.make_optimizer(named, config, apart)

    def _loss_of(
        self, minibatch: Minibatch, clip_range: Tensor, entropy_coef: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.loss(self.model, minibatch, self.config, clip_range, entropy_coef)


def gradients_for(
    model: ActorCritic,
    statistics: tuple[str, ...],
    config: LearningConfig,
    workers: Workers | None,
    on_device: bool,
) -> tuple[FlatGradients, list[tuple[str, Any]], set[str]]:
    """Return a model's gradients, its parameters by name, and the names of the values' own.

    The arguments are those of ``Learner``; ``statistics`` ride behind the gradients.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    apart = {name for name, _ in named if name.startswith(OF_VALUES)}
    in_parts = config.clip_gradients == "parts"
    kind = kind_of_gradients(workers, on_device)
    return kind(model, statistics, apart if in_parts else ()), named, apart


def kind_of_gradients(workers: Workers | None, on_device: bool) -> type[FlatGradients]:
    """Return what adds up over the job what workers find, or a device."""
    if workers is not None and workers.exact:
        return ExactGradients
    return DeviceGradients if on_device else FlatGradients
