"""Trains small tasks to a known score, on one rank and on two, and says whether they reach it.

    python benchmarks/acceptance.py                       # all of them, one seed: see make learn
    python benchmarks/acceptance.py --tasks cartpole --ranks 1 --seeds 0,1,2

The tasks, timesteps and scores are those by which PPO And Friends tests itself. A score is the mean
return of 100 episodes in which the agent takes its most likely actions. Runs stay in the folder:
what was interrupted goes on, what is finished is not trained again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.jobs import find_mpirun, worker_environment
from benchmarks.options import names, new_parser, rank_counts

EPISODES = 100


@dataclass(frozen=True)
class Task:
    """Something to be learned."""

    env: str
    preset: str
    timesteps: int
    score: float
    """The mean return to reach; for ``fails``, one that must not be exceeded."""
    words: tuple[str, ...] = ()
    """Further settings of ``train``."""
    fails: bool = False
    """Whether it shows that something is needed: without it nothing is learned."""


TASKS = {
    "cartpole": Task("CartPole-v0", "friends-cartpole", 70_000, 200),
    "binary-cartpole": Task("benchmarks.binary_cartpole:make_env", "friends-cartpole", 70_000, 200),
    "lunarlander": Task("LunarLander-v3", "friends-lunarlander", 500_000, 200),
    "mountaincar": Task("MountainCar-v0", "mountaincar-icm", 150_000, -130),
    "mountaincar-plain": Task(
        "MountainCar-v0", "mountaincar-icm", 150_000, -200, ("--reward-model", "none"), fails=True
    ),
}


def main() -> int:
    """Train and measure; return 1 if a score was missed."""
    options = parse_options(sys.argv[1:])
    print("| task | timesteps | ranks | seed | score | asked for | minutes | |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    missed = 0
    for name in options.tasks:
        for ranks in options.ranks:
            for seed in options.seeds:
                reached, row = measure(name, TASKS[name], ranks, seed, options.folder)
                print(row, flush=True)
                missed += not reached
    return 1 if missed else 0


def parse_options(argv: list[str]) -> argparse.Namespace:
    """Return the options.

    Raises:
        SystemExit: a task is unknown.
    """
    parser = new_parser("Trains small tasks to a known score.")
    parser.add_argument("--tasks", type=names, default=list(TASKS), help=", ".join(TASKS))
    parser.add_argument("--ranks", type=rank_counts, default=[1, 2], help="of each run (1,2)")
    parser.add_argument("--seeds", type=names, default=["0"], help="of each task (0)")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/learn"), help="of runs")
    options = parser.parse_args(argv)
    for name in options.tasks:
        if name not in TASKS:
            parser.error(f"no task is called {name!r}; known: {', '.join(TASKS)}")
    return options


def measure(name: str, task: Task, ranks: int, seed: str, folder: Path) -> tuple[bool, str]:
    """Train one run and evaluate it.

    Args:
        name: of the task.
        task: what to learn.
        ranks: of the job.
        seed: of the run.
        folder: of the runs.

    Returns:
        whether the score was as it should be, and the table's row.
    """
    run, begin = folder / f"{name}-{ranks}-{seed}", time.monotonic()
    command = [find_mpirun(), "-np", str(ranks)] if ranks > 1 else []
    command += [sys.executable, "-m", "ppo_mpi", "train", task.env, "--preset", task.preset]
    command += ["--total-timesteps", str(task.timesteps), "--seed", seed, "--run", str(run)]
    command += ["--display", "off", *task.words]
    environment = worker_environment(os.environ)
    status = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, check=False
    ).returncode
    if status:
        sys.exit(status)
    minutes = (time.monotonic() - begin) / 60
    score, timesteps = evaluate(task, run)
    reached = score <= task.score if task.fails else score >= task.score
    asked = f"{'at most' if task.fails else 'at least'} {task.score:g}"
    cells = (
        name, f"{timesteps:,}", ranks, seed, f"{score:.1f}", asked, f"{minutes:.1f}",
        "" if reached else "missed",
    )  # fmt: skip
    return reached, "| " + " | ".join(map(str, cells)) + " |"


def evaluate(task: Task, run: Path) -> tuple[float, int]:
    """Return the mean return of the run's agent, and the timesteps it has learned from."""
    from ppo_mpi.api import evaluate as play
    from ppo_mpi.api import load_agent

    agent = load_agent(str(run), env=task.env)
    summary = play(agent, episodes=EPISODES, greedy=True).summary()
    return float(summary["mean_return"]), agent.timesteps


if __name__ == "__main__":
    sys.exit(main())
