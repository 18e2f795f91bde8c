"""The transforms of a run's images: which one, its draws, and what a minibatch looks like then.

Axes: T steps; B environments on this rank; N samples of a minibatch; K draws of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.augmentation_choice import AugmentationChoice
from ppo_mpi.learning.augmentations import AUGMENTATIONS
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.seeding import generator
from ppo_mpi.settings.augmentation import AugmentationConfig


class Augmenter:
    """Gives the images of minibatches, changed at random.

    A sample's draws come of (seed, iteration, epoch, the environment's index in the job, step): it
    looks the same on any number of ranks, in whichever minibatch it is and wherever that is split.
    """

    def __init__(
        self, spec: ObservationSpec, config: AugmentationConfig, seed: int, device: torch.device
    ) -> None:
        """Begin with the first transform.

        Args:
            spec: of the observations, with images in them.
            config: which transforms.
            seed: the job's.
            device: where the observations lie.

        Raises:
            ConfigError: the transforms do not fit the images.
        """
        self.names = transforms_for(spec, config)
        self.name = self.names[0]
        """The transform of the current update."""
        self.choice: AugmentationChoice | None = None
        """None if there is but one."""
        if config.augmentation == "ucb":
            self.choice = AugmentationChoice(len(self.names), config.ucb_coef, config.ucb_window)
        self._spec = spec
        self._seed = seed
        self._draws = torch.empty(0, 0, device=device)

    def begin(
        self,
        returns: Tensor,
        indices: Sequence[int],
        iteration: int,
        epoch: int,
        comm: Communicator,
    ) -> None:
        """Begin an epoch: choose the transform if it is the first, and draw. Collective.

        Args:
            returns: [T, B] float32, the value targets of the update's rollout, in the unit of
                returns: targets in the unit of a normalizing head are about 0 whatever came.
            indices: whole-job indices of this rank's environments, by slot.
            iteration: counted from 0.
            epoch: likewise, within the iteration.
            comm: the job; the same transform comes out on every rank.
        """
        if self.choice is not None and epoch == 0:
            mean, _ = comm.moments(returns.reshape(-1, 1))  # collective
            self.name = self.names[self.choice.choose(mean.item())]
        self._draw(indices, len(returns), iteration, epoch)

    def _draw(self, indices: Sequence[int], steps: int, iteration: int, epoch: int) -> None:
        shape = steps, AUGMENTATIONS[self.name].num_draws
        draws = np.empty((steps, len(indices), shape[1]), np.float32)
        for slot, index in enumerate(indices):
            random = generator(self._seed, "augmentation", iteration, epoch, index)
            draws[:, slot] = random.random(shape, np.float32)
        self._draws = torch.from_numpy(draws).flatten(0, 1).to(self._draws.device)

    @torch.no_grad()
    def __call__(self, minibatch: Minibatch) -> Tensor:
        """Return the observations [N, ...] with their images changed; what else there is stays.

        Draws of a minibatch that is of no rollout, as one whose time is taken, are all 0.
        """
        augmentation, obs = AUGMENTATIONS[self.name], minibatch.obs
        if minibatch.samples is None:
            draws = torch.zeros(len(obs), augmentation.num_draws, device=obs.device)
        else:
            draws = self._draws[minibatch.samples.to(self._draws.device)]
        if self._spec.is_image:
            return augmentation.transform(obs, draws)
        changed = obs.clone()
        for part, place in zip(self._spec.parts, self._spec.places, strict=True):
            if part.is_image:
                own = slice(place, place + part.num_bytes)
                images = obs[:, own].reshape(-1, *part.shape)
                changed[:, own] = augmentation.transform(images, draws).flatten(1)
        return changed

    def description(self) -> str:
        """Return what a user is told of it when a run begins."""
        if self.choice is None:
            return f"learning sees images changed by {self.name}"
        numbers = {name: number for number, name in enumerate(AUGMENTATIONS, 1)}
        known = ", ".join(f"{numbers[name]} {name}" for name in self.names)
        return f"learning sees changed images; the column augmentation says how: {known}"

    def metrics(self) -> dict[str, float]:
        """Return the number of the transform, from 1 in the order of ``AUGMENTATIONS``."""
        if self.choice is None:
            return {}
        return {"augmentation": 1.0 + list(AUGMENTATIONS).index(self.name)}


def make_augmenter(
    config: AugmentationConfig, spec: ObservationSpec, seed: int, device: torch.device
) -> Augmenter | None:
    """Make what changes the images; None if nothing does. Arguments as of ``Augmenter``."""
    return Augmenter(spec, config, seed, device) if config.is_on else None


def transforms_for(spec: ObservationSpec, config: AugmentationConfig) -> tuple[str, ...]:
    """Return the names of the transforms that a run uses, at least one.

    Raises:
        ConfigError: there are no images, or one of the transforms is not for them.
    """
    shapes = [part.shape for part in spec.parts if part.is_image]
    if spec.is_image:
        shapes = [spec.shape]
    if not shapes:
        raise ConfigError(
            f"augmentation={config.augmentation} changes images, but the environment shows none; "
            "use augmentation=none"
        )
    fitting = tuple(
        name for name, own in AUGMENTATIONS.items() if all(own.fits(shape) for shape in shapes)
    )
    asked: tuple[str, ...] = (config.augmentation,)
    setting = "augmentation"
    if config.augmentation == "ucb":
        asked, setting = config.ucb_choices or fitting, "ucb_choices"
    for name in asked:
        if name not in fitting:
            images = ", ".join(" x ".join(map(str, shape)) for shape in shapes)
            need = "square images" if AUGMENTATIONS[name].needs_square else "red, green and blue"
            raise ConfigError(
                f"{setting}={name} needs {need}, but the environment's images are {images}; use "
                f"one of {', '.join(fitting)}"
            )
    return asked
