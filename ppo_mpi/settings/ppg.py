"""Phasic policy gradient: its two phases."""

from __future__ import annotations

from dataclasses import dataclass, field

from ppo_mpi.settings.checks import RESUMABLE, at_least, positive


@dataclass(frozen=True)
class PpgConfig:
    """Phasic policy gradient: its two phases; read with algorithm=ppg only."""

    policy_iterations: int = 32
    """Iterations of a policy phase; an auxiliary phase over all their rollouts follows (published
    N_pi: 32)."""
    value_epochs: int = 0
    """Passes over a rollout that train the values, before num_epochs train the policy alone, with
    an optimizer of their own (published E_V: 1, with num_epochs=1). 0 = as many as num_epochs, in
    the same passes."""
    aux_epochs: int = 6
    """Passes of an auxiliary phase over all its rollouts (published E_aux: 6); 0 = no such
    phase."""
    aux_minibatches: int = 16
    """Optimizer steps of an auxiliary epoch for each iteration of the phase (published: 16)."""
    aux_learning_rate: float | None = None
    """Learning rate of the auxiliary phase's own Adam, constant; none = as learning_rate is now
    (published: 5e-4, as learning_rate)."""
    clone_coef: float = 1.0
    """Weight of KL(policy before the auxiliary phase || policy now), per nat (published beta_clone:
    1)."""
    detach_values: bool = True
    """Whether values of a shared torso leave the torso alone during the policy phase; the auxiliary
    phase then trains it by them (published for one network)."""
    saved_phase_mebibytes: int = field(default=256, metadata=RESUMABLE)
    """Size in MiB of a full phase of the whole job up to which checkpoints hold its rollouts. A
    run with larger phases that goes on in the midst of one begins a fresh one, and says so."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(1, policy_iterations=self.policy_iterations, aux_minibatches=self.aux_minibatches)
        at_least(0, value_epochs=self.value_epochs, aux_epochs=self.aux_epochs)
        at_least(0, clone_coef=self.clone_coef, saved_phase_mebibytes=self.saved_phase_mebibytes)
        if self.aux_learning_rate is not None:
            positive(aux_learning_rate=self.aux_learning_rate)
