"""What the acceptance runs train: tasks with a score to reach, and tasks that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Something to be learned."""

    env: str
    preset: str
    timesteps: int
    score: float | None
    """The mean return to reach; for ``fails``, one that must not be exceeded; None: any."""
    words: tuple[str, ...] = ()
    """Further settings of ``train``."""
    fails: bool = False
    """Whether it shows that something is needed: without it nothing is learned."""
    expert: str = ""
    """The task whose agent is imitated; it is trained first."""


SCORED = {
    "cartpole": Task("CartPole-v0", "friends-cartpole", 70_000, 200),
    "binary-cartpole": Task("benchmarks.binary_cartpole:make_env", "friends-cartpole", 70_000, 200),
    "lunarlander": Task("LunarLander-v3", "friends-lunarlander", 500_000, 200),
    "mountaincar": Task("MountainCar-v0", "mountaincar-icm", 150_000, -130),
    "mountaincar-plain": Task(
        "MountainCar-v0",
        "mountaincar-icm",
        150_000,
        -200,
        ("--reward-model", "none"),
        fails=True,
    ),
    "cartpole-ppo": Task("CartPole-v1", "cartpole", 100_000, 475),
    "cartpole-a2c": Task("CartPole-v1", "cartpole-a2c", 200_000, 475),
    "cartpole-acktr": Task("CartPole-v1", "cartpole-acktr", 100_000, 475),
    "pendulum-ppo": Task(
        "Pendulum-v1",
        "gym-control",
        250_000,
        -250,
        (
            *("--num-envs", "16", "--rollout-timesteps", "4096", "--num-minibatches", "16"),
            *("--discount", "0.95", "--learning-rate", "1e-3"),
        ),
    ),
    # Nine tenths of the way from random actions (-1258) to the expert (-156), from four episodes.
    "pendulum-gail": Task("Pendulum-v1", "pendulum-gail", 300_000, -266, expert="pendulum-ppo"),
}
"""Those that have a score to reach. The first five, their timesteps and scores are those by which
PPO And Friends tests itself."""

COMPARED = {
    "compare-cartpole-ppo": Task("CartPole-v1", "cartpole", 100_000, None),
    "compare-cartpole-a2c": Task("CartPole-v1", "cartpole-a2c", 100_000, None),
    "compare-cartpole-acktr": Task("CartPole-v1", "cartpole-acktr", 100_000, None),
    "compare-hopper-ppo": Task("Hopper-v5", "mujoco-ppo", 200_000, None),
    "compare-hopper-a2c": Task("Hopper-v5", "mujoco-a2c", 200_000, None),
    "compare-hopper-acktr": Task("Hopper-v5", "mujoco-acktr", 200_000, None),
}
"""The algorithms at the same number of timesteps, to be told side by side."""
TASKS = SCORED | COMPARED


def tasks_of(names: Sequence[str]) -> list[str]:
    """Return the tasks by their names, where ``compare-cartpole`` stands for all of its kind."""
    found: list[str] = []
    for name in names:
        group = [own for own in COMPARED if own.rpartition("-")[0] == name]
        found += group or [name]
    return found
