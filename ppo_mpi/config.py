"""Every setting of training, with its meaning, unit and published value.

One tree of frozen dataclasses, a section in each file of ``settings/``. Field names are unique in
the whole tree, so that the command line and YAML files may use them without their section
(``num_levels`` is ``procgen.num_levels``). All counts are for the whole job, however many ranks
share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.acktr import AcktrConfig, check_natural
from ppo_mpi.settings.atari import AtariConfig
from ppo_mpi.settings.augmentation import AugmentationConfig
from ppo_mpi.settings.auxiliary import AuxiliaryConfig
from ppo_mpi.settings.checks import finite
from ppo_mpi.settings.corruption import CorruptionConfig
from ppo_mpi.settings.environment import EnvironmentConfig
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.settings.job import RunConfig
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig
from ppo_mpi.settings.ppg import PpgConfig
from ppo_mpi.settings.procgen import ProcgenConfig
from ppo_mpi.settings.report import ReportingConfig
from ppo_mpi.settings.rewards import RewardsConfig
from ppo_mpi.settings.tracking import TrackingConfig
from ppo_mpi.settings.transfer import TransferConfig
from ppo_mpi.settings.variants import VariantsConfig


@dataclass(frozen=True)
class TrainConfig:
    """All settings of one training job."""

    environment: EnvironmentConfig = EnvironmentConfig()
    procgen: ProcgenConfig = ProcgenConfig()
    variants: VariantsConfig = VariantsConfig()
    atari: AtariConfig = AtariConfig()
    corruption: CorruptionConfig = CorruptionConfig()
    network: NetworkConfig = NetworkConfig()
    learning: LearningConfig = LearningConfig()
    ppg: PpgConfig = PpgConfig()
    acktr: AcktrConfig = AcktrConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    rewards: RewardsConfig = RewardsConfig()
    imitation: ImitationConfig = ImitationConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    transfer: TransferConfig = TransferConfig()
    job: RunConfig = RunConfig()
    reporting: ReportingConfig = ReportingConfig()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def rollout_steps(self) -> int:
        """Steps of each environment in one rollout, T."""
        return self.learning.rollout_timesteps // self.environment.num_envs

    @property
    def num_iterations(self) -> int:
        """Whole iterations within total_timesteps, at least one."""
        return max(1, self.job.total_timesteps // self.learning.rollout_timesteps)

    @property
    def is_phasic(self) -> bool:
        """Whether the policy learns in phases, by phasic policy gradient."""
        return self.learning.algorithm == "ppg"

    @property
    def is_natural(self) -> bool:
        """Whether the policy follows the natural gradient, by ACKTR."""
        return self.learning.algorithm == "acktr"

    @property
    def has_other_optimizers(self) -> bool:
        """Whether something learns beside the policy; it does so by Adam."""
        return self.is_phasic or self.rewards.reward_model != "none"

    @property
    def has_aux_head(self) -> bool:
        """Whether the policy's torso has a value head of its own, for an auxiliary phase."""
        return self.is_phasic and not self.network.shared_torso

    @property
    def detaches_values(self) -> bool:
        """Whether values leave the torso that they share with the policy alone."""
        return self.is_phasic and self.network.shared_torso and self.ppg.detach_values

    def share_done(self, iterations: int) -> float:
        """Return the job's progress in [0, 1] after so many iterations, for schedules."""
        return min(1.0, iterations / self.num_iterations)

    def without_effect(self) -> list[str]:
        """Return a sentence for each setting that nothing comes of beside the others."""
        sentences = self.learning.without_effect()
        sections = self.learning, self.augmentation, self.auxiliary, self.transfer, self.tracking
        unread: list[tuple[object, tuple[str, ...], str]] = [
            (section, *rest) for section in sections for rest in section.unread()
        ]
        if self.learning.optimizer_name != "adam" and not self.has_other_optimizers:
            unread.insert(0, (self.learning, ("adam_epsilon",), "optimizer=adam"))
        model = self.rewards.reward_model
        unread += [(self.imitation, *rest) for rest in self.imitation.unread(model)]
        if model == "gail":
            unread.append((self.rewards, ("reward_epochs",), "icm or rnd"))
        if not self.is_phasic:
            unread.insert(0, (self.ppg, tuple(vars(self.ppg)), "algorithm=ppg"))
        if not self.is_natural:
            unread.insert(0, (self.acktr, tuple(vars(self.acktr)), "algorithm=acktr"))
        for section, names, needed in unread:
            values = [(name, getattr(section, name)) for name in names]
            changed = [f"{n}={v}" for n, v in values if v != getattr(type(section), n)]
            if changed:
                sentences.append(f"{', '.join(changed)} without effect: read with {needed} only")
        return sentences

    def validate(self, world_size: int) -> None:
        """Check what can be checked before any work.

        Raises:
            ConfigError: a value is out of its range, or two do not fit each other.
        """
        for section in sections(self).values():
            section.check()
        finite(**flatten(self))
        learning, num_envs = self.learning, self.environment.num_envs
        if num_envs < world_size:
            raise ConfigError(
                f"num_envs={num_envs} is fewer than world_size={world_size}; "
                f"use num_envs={world_size} or more, or launch {num_envs} ranks"
            )
        if learning.rollout_timesteps % num_envs:
            lower = max(1, learning.rollout_timesteps // num_envs) * num_envs
            raise ConfigError(
                f"rollout_timesteps={learning.rollout_timesteps} is not a multiple of "
                f"num_envs={num_envs}; use for example {lower} or {lower + num_envs}"
            )
        if learning.num_minibatches > learning.rollout_timesteps:
            raise ConfigError(
                f"num_minibatches={learning.num_minibatches} is more than "
                f"rollout_timesteps={learning.rollout_timesteps}; use fewer minibatches"
            )
        if self.is_phasic and self.ppg.aux_minibatches > learning.rollout_timesteps:
            raise ConfigError(
                f"aux_minibatches={self.ppg.aux_minibatches} for each iteration are more than "
                f"rollout_timesteps={learning.rollout_timesteps}; use fewer"
            )
        if self.augmentation.is_on and learning.algorithm not in ("ppo", "a2c"):
            raise ConfigError(
                f"augmentation={self.augmentation.augmentation} is made for algorithm=ppo or a2c, "
                f"not for {learning.algorithm}; use one of them, or augmentation=none"
            )
        network, in_parts = self.network, learning.clip_gradients == "parts"
        shares = network.shared_torso or network.num_shared_layers > 0
        if in_parts and shares:
            raise ConfigError(
                "clip_gradients=parts needs policy and values of their own; use "
                "shared_torso=false without shared_layers, or clip_gradients=whole"
            )
        if self.is_natural:
            check_natural(self.acktr, learning, self.network, self.job)
        self.imitation.check_use(self.network.recurrent)
        if self.is_phasic and network.num_shared_layers:
            raise ConfigError(
                f"shared_layers={network.shared_layers} does not go with algorithm=ppg, which is "
                "for one torso or two; use algorithm=ppo, or leave shared_layers out"
            )
        augmentation = self.augmentation.augmentation
        self.auxiliary.check_with(learning.algorithm, augmentation, shares, in_parts)
        self._check_sequences()

    def _check_sequences(self) -> None:
        """Refuse sequences that nobody learns, and minibatches that would have none."""
        learning, steps = self.learning, self.rollout_steps
        length = learning.sequence_steps or steps
        if self.network.recurrent == "none":
            if learning.sequence_steps:
                raise ConfigError(
                    f"sequence_steps={length} has no effect on recurrent=none; use recurrent=gru "
                    "or recurrent=lstm, or leave it out"
                )
            return
        if self.is_phasic:
            raise ConfigError(
                f"recurrent={self.network.recurrent} does not go with algorithm=ppg: its auxiliary "
                "phase takes samples one by one; use algorithm=ppo, or recurrent=none"
            )
        if length > steps:
            raise ConfigError(
                f"sequence_steps={length} is longer than the {steps} steps of a rollout "
                f"(rollout_timesteps / num_envs); use 0 for all of them, or up to {steps}"
            )
        num = math.ceil(steps / length) * self.environment.num_envs
        if learning.num_minibatches > num:
            raise ConfigError(
                f"num_minibatches={learning.num_minibatches} is more than the {num} sequences of "
                "a recurrent policy's rollout, which are dealt as wholes; use fewer minibatches, "
                "more environments or a smaller sequence_steps"
            )


def sections(config: TrainConfig) -> dict[str, Any]:
    """Return the config's sections by name."""
    return {f.name: getattr(config, f.name) for f in fields(config)}


def flatten(config: TrainConfig) -> dict[str, Any]:
    """Return field name -> value over all sections."""
    return {
        f.name: getattr(section, f.name)
        for section in sections(config).values()
        for f in fields(section)
    }


PLACES = ("run", "checkpoint_dir", "asset_dir")
"""Settings that say where files go: never taken from a run, which may come from elsewhere."""


def resumable_fields() -> set[str]:
    """Return the names of the fields that may change when a run is resumed."""
    return {
        f.name
        for section in sections(TrainConfig()).values()
        for f in fields(section)
        if f.metadata.get("resumable")
    }


def with_values(config: TrainConfig, values: dict[str, Any]) -> TrainConfig:
    """Return ``config`` with some fields, named without their section, set to new values.

    Lists become tuples, as YAML and JSON have no tuples. Types are not checked here.

    Raises:
        ConfigError: a field does not exist.
    """
    left = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    changed = {}
    for name, section in sections(config).items():
        own = {f.name: left.pop(f.name) for f in fields(section) if f.name in left}
        changed[name] = type(section)(**(vars(section) | own))
    if left:
        raise ConfigError(f"unknown setting {', '.join(sorted(left))}")
    return TrainConfig(**changed)
