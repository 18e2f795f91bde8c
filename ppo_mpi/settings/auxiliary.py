"""What is learned beside policy and values, and what of it reaches the layers that both share."""

from __future__ import annotations

from dataclasses import dataclass

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least
from ppo_mpi.settings.heads import Head, parse_heads

LOSSES = ("policy", "value", "entropy", "auxiliary")
ALGORITHMS = ("ppo", "a2c")
"""Whose losses take what a model gives and nothing else of it."""


@dataclass(frozen=True)
class AuxiliaryConfig:
    """What is learned beside policy and values, and what of it reaches the layers both share."""

    auxiliary_heads: tuple[str, ...] = ()
    """Heads that learn truths which the environment tells in info["auxiliary"], each as
    name:kind:size@side.layer: distance:regression (one number), place:regression:2@policy.2,
    room:classes:4@shared.1. Without a layer a head sits behind the last one, and without a side on
    the layers that policy and value share, or on the policy's where they do not share all."""
    auxiliary_coef: float = 0.3
    """Weight of the sum of the heads' losses (published: .3)."""
    auxiliary_weights: tuple[float, ...] = ()
    """Weight of each head's loss in that sum, in their order; empty = 1 each."""
    shared_gradients: tuple[str, ...] = LOSSES
    """Losses whose gradients reach the layers that policy and value share: policy, value, entropy,
    auxiliary. The others train what is behind those layers only."""
    bonus_rewards: bool = False
    """Whether info["bonus_reward"] is read: summed up by episode in a column of its own
    (bonus_return_mean, never part of the reported returns), and learned from with bonus_coef."""
    bonus_coef: float = 1.0
    """Weight of bonus rewards in what is learned from; they are added before rewards are
    normalized or clipped. 0 = only reported."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads, in order."""
        return parse_heads(self.auxiliary_heads)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each head's loss in the whole loss."""
        own = self.auxiliary_weights or (1.0,) * len(self.auxiliary_heads)
        return tuple(self.auxiliary_coef * weight for weight in own)

    @property
    def blocks_gradients(self) -> bool:
        """Whether some loss does not reach the shared layers."""
        return set(self.shared_gradients) != set(LOSSES)

    def unread(self) -> list[tuple[tuple[str, ...], str]]:
        """Return names of settings that nothing reads beside the others, and what would."""
        found: list[tuple[tuple[str, ...], str]] = []
        if not self.auxiliary_heads:
            found.append((("auxiliary_coef",), "auxiliary_heads"))
        if not self.bonus_rewards:
            found.append((("bonus_coef",), "bonus_rewards=true"))
        return found

    def check(self) -> None:
        """Refuse values that are out of their range, or that do not fit each other."""
        heads = self.heads
        at_least(0, auxiliary_coef=self.auxiliary_coef)
        for weight in self.auxiliary_weights:
            at_least(0, auxiliary_weights=weight)
        if self.auxiliary_weights and len(self.auxiliary_weights) != len(heads):
            raise ConfigError(
                f"auxiliary_weights={_words(self.auxiliary_weights)} are "
                f"{len(self.auxiliary_weights)}, but there are {len(heads)} auxiliary_heads; give "
                "one for each, or leave them out"
            )
        reaching = self.shared_gradients
        unknown = [name for name in reaching if name not in LOSSES]
        if unknown or len(set(reaching)) < len(reaching):
            raise ConfigError(
                f"shared_gradients={_words(reaching)} must name different losses of "
                f"{', '.join(LOSSES)}"
            )
        if not reaching:
            raise ConfigError(
                "shared_gradients is empty: nothing would train the shared layers; name one of "
                f"{', '.join(LOSSES)}, or freeze them with frozen_layers"
            )

    def check_with(
        self, algorithm: str, augmentation: str, shares: bool, clips_in_parts: bool
    ) -> None:
        """Refuse what does not fit other settings.

        Args:
            algorithm: that learns.
            augmentation: of images.
            shares: whether policy and value share any layer.
            clips_in_parts: whether the gradients of policy and values are clipped by themselves.
        """
        asked = "shared_gradients=" + _words(self.shared_gradients)
        if self.blocks_gradients and not shares:
            raise ConfigError(
                f"{asked} has no effect, as policy and value share no layer; use "
                "shared_torso=true, or shared_layers, or leave it out"
            )
        if self.auxiliary_heads:
            asked = "auxiliary_heads=" + _words(self.auxiliary_heads)
        elif not self.blocks_gradients:
            return
        if algorithm not in ALGORITHMS:
            raise ConfigError(
                f"{asked} does not go with algorithm={algorithm}, which decides by itself what "
                f"reaches which layer; use algorithm={' or '.join(ALGORITHMS)}, or leave it out"
            )
        if augmentation != "none":
            raise ConfigError(
                f"{asked} does not go with augmentation={augmentation}, whose loss is of two views "
                "of an image; use augmentation=none, or leave it out"
            )
        if clips_in_parts and self.auxiliary_heads:
            raise ConfigError(
                f"{asked} has gradients that are neither the policy's nor the values', and "
                "clip_gradients=parts; use clip_gradients=whole"
            )


def _words(values: tuple[object, ...]) -> str:
    return " ".join(map(str, values))
