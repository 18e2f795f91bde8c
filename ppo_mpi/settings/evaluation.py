"""How a trained agent is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least, within
from ppo_mpi.settings.corruption import Corruption
from ppo_mpi.settings.level_sets import check_levels


@dataclass(frozen=True)
class EvaluateConfig:
    """How a trained agent is measured."""

    run: str = ""
    """The run: a name under checkpoint_dir, gallery/NAME, or the path of a run or of one of its
    checkpoints; empty takes the newest run."""
    env: str = ""
    """The environment to be in, of those that the run learned together (empty: each in turn), or
    another one with the same observations and actions. Where it is code of your own, naming it
    says that you trust it."""
    env_kwargs: tuple[str, ...] = ()
    """The run's arguments of its environment, where they are more than numbers and plain words."""
    corruption: Corruption | Literal[""] = ""
    """What spoils the pictures that the agent sees; empty = what the run has."""
    corruption_severity: int = 1
    """How strong, 1 to 5; without meaning where corruption is empty."""
    episodes: int = 200
    """Episodes on each set of levels, over all ranks; with 200 the 95 % interval of a success
    rate is at most 7 percent wide on either side."""
    levels: str = "both"
    """Levels to play: train (those of the run's training set), test (those outside it), both,
    A:B (levels A to B-1), A-B (levels A to B), or a list such as 3,7,12."""
    episodes_per_level: int = 0
    """Episodes on each level of the set, instead of a number of episodes in all: the whole
    training set, all levels of a range or a list, or as many held-out levels as episodes says.
    0 = by episodes."""
    compare_levels: bool = True
    """Whether held-out levels are compared with the training levels (Procgen): some games draw the
    same level for more than one seed. Levels that are laid out alike are reported."""
    greedy: bool = False
    """Whether the most probable action is taken (true) or one drawn from the policy (false, as in
    training and in published Procgen numbers)."""
    json: str = ""
    """File for the results as JSON; empty writes none."""
    table: str = ""
    """File for a row of each episode, by its name CSV or JSON lines (.jsonl); empty writes none."""
    level_table: str = ""
    """File for a row of each level, CSV or JSON lines (.jsonl); empty writes none."""
    save_steps: str = ""
    """File .npz for every step: observations, actions, rewards, values, memories and ends, and
    what each episode ended in; empty writes none."""
    activations: bool = False
    """Whether what the network's layers gave stands in that file as well."""
    activation_layers: tuple[str, ...] = ()
    """Which layers, as names or patterns such as shared.*; empty = all."""
    seed: int = 1_000_003
    """Seed of the episodes and of the drawn actions, >= 0. The same for every run, so that agents
    are compared on the same episodes, and one that nobody trains with."""
    num_envs: int = 32
    """Environments stepped at once, over all ranks; changes the speed, not the result."""
    checkpoint_dir: str = "checkpoints"
    """Folder of the runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the network; auto takes a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Arithmetic of the torso; float32 gives the same figures on every machine."""
    threads: int = 0
    """Processor threads of each rank; 0 = the cores of its node divided by the ranks there."""
    hang_timeout_seconds: float = 0.0
    """How long a rank may be silent before the job is ended, with its name and stack (status 86);
    0 = ten times the longest silence so far, at least 600 s."""

    def validate(self, world_size: int) -> None:
        """Check what can be checked before the run is opened.

        Raises:
            ConfigError: a value is out of its range.
        """
        within(1, 5, corruption_severity=self.corruption_severity)
        check_levels(self.levels, allow_both=True)
        at_least(1, episodes=self.episodes, num_envs=self.num_envs)
        at_least(0, seed=self.seed, threads=self.threads)
        at_least(0, episodes_per_level=self.episodes_per_level)
        for name in ("table", "level_table"):
            path: str = getattr(self, name)
            if path and not path.endswith((".csv", ".jsonl")):
                raise ConfigError(
                    f"{name}={path} is of no known kind; use a name in .csv or .jsonl"
                )
        self._check_steps()
        at_least(0, hang_timeout_seconds=self.hang_timeout_seconds)
        if self.num_envs < world_size:
            raise ConfigError(
                f"num_envs={self.num_envs} is fewer than world_size={world_size}; "
                f"use num_envs={world_size} or more, or launch {self.num_envs} ranks"
            )

    def _check_steps(self) -> None:
        if self.save_steps and not self.save_steps.endswith(".npz"):
            raise ConfigError(f"save_steps={self.save_steps} is no .npz; use a name in .npz")
        if self.activations and not self.save_steps:
            raise ConfigError("activations=True writes nothing without save_steps; name a file")
        if self.activation_layers and not self.activations:
            shown = " ".join(self.activation_layers)
            raise ConfigError(f"activation_layers={shown} needs activations=true; add it")
