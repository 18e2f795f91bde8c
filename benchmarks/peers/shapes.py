"""The shapes in which peers are compared: environment, rollout and minibatches, and their words.

Axes: T steps; B environments.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

FRAMES = "benchmarks.peers.frames:Frames-v0"
"""An engine of Atari's shapes, made up: none of the two programs needs Atari for it."""


@dataclass(frozen=True)
class Shape:
    """One task; every contestant learns it in these sizes, with Adam and advantages normalized by
    minibatch. Vectors have separate networks for policy and value of 64-64 tanh, images the
    Nature network for both."""

    env: str
    """Gymnasium id."""
    num_envs: int
    """B, of the whole job."""
    rollout_steps: int
    """T, steps of each environment in one iteration."""
    num_epochs: int
    num_minibatches: int
    discount: float
    normalize: bool
    """Whether observations and rewards are normalized by running statistics."""
    images: bool = False
    """Whether observations are images."""

    @property
    def timesteps(self) -> int:
        """Timesteps of one iteration."""
        return self.num_envs * self.rollout_steps

    @property
    def minibatch_size(self) -> int:
        """Samples behind one optimizer step."""
        return self.timesteps // self.num_minibatches

    def train_words(self) -> list[str]:
        """Return the settings of our ``train`` that give this shape."""
        settings = {
            "num-envs": self.num_envs,
            "rollout-timesteps": self.timesteps,
            "num-epochs": self.num_epochs,
            "num-minibatches": self.num_minibatches,
            "discount": self.discount,
            "reward-discount": self.discount,
            "normalize-observations": str(self.normalize).lower(),
            "normalize-rewards": str(self.normalize).lower(),
        }
        if self.images:
            settings |= {"network": "nature", "feature-size": 512, "shared-torso": "true"}
        return [word for name, value in settings.items() for word in (f"--{name}", str(value))]

    def to_json(self) -> str:
        """Return all fields, for a worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shape:
        """Return what ``to_json`` wrote."""
        return cls(**json.loads(text))


SHAPES = {
    "cartpole": Shape("CartPole-v1", 64, 128, 4, 4, 0.98, normalize=False),
    "halfcheetah": Shape("HalfCheetah-v5", 8, 256, 10, 32, 0.99, normalize=True),
    "frames": Shape(FRAMES, 8, 128, 4, 4, 0.99, normalize=False, images=True),
}
