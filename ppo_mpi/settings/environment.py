"""Which environment, and how many."""

from __future__ import annotations

from dataclasses import dataclass, field

from ppo_mpi.settings.checks import RESUMABLE, at_least


@dataclass(frozen=True)
class EnvironmentConfig:
    """Which environment, and how many."""

    env: str = "procgen:coinrun"
    """Environment: a Procgen game (coinrun), a Gymnasium id (CartPole-v1), suite:name
    (atari, dmc, gym, oldgym, probe, procgen, pybullet), or package.module:callable, which makes
    your own."""
    num_envs: int = 64
    """Environments of the whole job, dealt to the ranks in blocks (published easy: 64)."""
    num_test_envs: int = 0
    """More environments on held-out levels, stepped beside the others with the same policy; they
    give the test curve, count no timesteps and have no weight in the gradient. 0 = none."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment's constructor, each key=value (value as in YAML). Most of those
    of Procgen and Atari are settings; a message names the setting."""
    restart_failed_envs: bool = field(default=False, metadata=RESUMABLE)
    """Whether an environment that raises is made anew and its episode dropped and counted, instead
    of ending the job. Procgen's and Atari's environments never raise."""

    env_workers: int = field(default=0, metadata=RESUMABLE)
    """Processes of each rank that step its environments side by side, for slow environments and
    idle cores (those on held-out levels have as many of their own). 0 = the rank itself."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(1, num_envs=self.num_envs)
        at_least(0, num_test_envs=self.num_test_envs, env_workers=self.env_workers)
