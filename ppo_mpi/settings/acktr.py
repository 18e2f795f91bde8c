"""ACKTR: the curvature of the policy and values, and the trust region."""

from __future__ import annotations

from dataclasses import dataclass

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least, positive
from ppo_mpi.settings.job import RunConfig
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig


@dataclass(frozen=True)
class AcktrConfig:
    """ACKTR: curvature and trust region; read with algorithm=acktr only."""

    kl_clip: float = 1e-3
    """Largest KL divergence of a step, in nats, of policy and values together: twice what its
    quadratic approximation says must not be more (published code: 1e-3)."""
    value_kl_clip: float | None = None
    """The same for the values' own parameters, in a trust region of their own, which needs
    shared_torso=false; none = one for all (published code: one for Atari, two for MuJoCo)."""
    curvature_damping: float = 1e-2
    """Added to each eigenvalue of the curvature (published code: 1e-2)."""
    curvature_momentum: float = 0.9
    """What a step leaves of the sum of the steps before it (published: 0.9)."""
    curvature_decay: float = 0.99
    """What one minibatch leaves of the running means of the factors (published: 0.99)."""
    curvature_every: int = 1
    """Optimizer steps from one estimate of the factors to the next (published T_s: 1)."""
    eigen_every: int = 10
    """Optimizer steps from one decomposition of the factors to the next (published T_f: 10)."""
    value_deviation: float = 1.0
    """Deviation of the normal distribution that values stand for in the Fisher information, in the
    unit of the value head (published: 1; its code, without the half of the square, has the
    curvature of 0.5)."""
    weight_decay: float = 0.0
    """Times the parameters, added to their gradient (published code: 0)."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        positive(kl_clip=self.kl_clip, curvature_damping=self.curvature_damping)
        positive(value_deviation=self.value_deviation)
        if self.value_kl_clip is not None:
            positive(value_kl_clip=self.value_kl_clip)
        at_least(0, weight_decay=self.weight_decay)
        at_least(1, curvature_every=self.curvature_every, eigen_every=self.eigen_every)
        for name in ("curvature_momentum", "curvature_decay"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"{name}={value} must be at least 0 and below 1")


def check_natural(
    acktr: AcktrConfig, learning: LearningConfig, network: NetworkConfig, job: RunConfig
) -> None:
    """Refuse what does not go with the natural gradient.

    Raises:
        ConfigError: names value and remedy.
    """
    if network.recurrent != "none":
        raise ConfigError(
            f"recurrent={network.recurrent} does not go with algorithm=acktr: a recurrent layer "
            "has no curvature that is known here; use recurrent=none, or algorithm=a2c"
        )
    if learning.optimizer != "auto":
        raise ConfigError(
            f"optimizer={learning.optimizer} takes no natural gradient, which algorithm=acktr is; "
            "leave it out, or use algorithm=a2c"
        )
    if acktr.value_kl_clip is not None and network.shared_torso:
        raise ConfigError(
            f"value_kl_clip={acktr.value_kl_clip} needs policy and values of their own; use "
            "shared_torso=false, or leave it out for one trust region"
        )
    if learning.clip_gradients == "parts":
        raise ConfigError(
            "clip_gradients=parts changes how much policy and values count in the one trust region "
            "of algorithm=acktr; use clip_gradients=whole, or max_grad_norm=0 for no clipping"
        )
    if job.precision == "bfloat16":
        raise ConfigError(
            "precision=bfloat16 has too few digits for the curvature of algorithm=acktr; use "
            "precision=auto or float32"
        )
