"""Trains small tasks to a known score, on one rank and on two, and says whether they reach it.

    python benchmarks/acceptance.py                       # all of them, one seed: see make learn
    python benchmarks/acceptance.py --tasks cartpole --ranks 1 --seeds 0,1,2
    python benchmarks/acceptance.py --total-timesteps 4096    # too short: to see it at work

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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.jobs import find_mpirun, program, worker_environment
from benchmarks.options import names, new_parser, rank_counts
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError

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
    """Train and measure; return 1 if a score was missed, 2 if nothing can be trained so."""
    try:
        options, words = parse_options(sys.argv[1:])
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    print("| task | timesteps | ranks | seed | score | asked for | minutes | |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    missed = 0
    for name in options.tasks:
        for ranks in options.ranks:
            for seed in options.seeds:
                run = options.folder / f"{name}-{ranks}-{seed}"
                minutes = train(TASKS[name], ranks, seed, run, words)
                score, timesteps = evaluate(TASKS[name], run)
                about = (name, f"{timesteps:,}", str(ranks), seed)
                print(row(TASKS[name], score, minutes, about), flush=True)
                missed += not is_reached(TASKS[name], score)
    return 1 if missed else 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and what is left: settings of ``train``.

    Raises:
        ConfigError: a task or a setting is unknown.
    """
    parser = new_parser("Trains small tasks to a known score.")
    parser.add_argument("--tasks", type=names, default=list(TASKS), help=", ".join(TASKS))
    parser.add_argument("--ranks", type=rank_counts, default=[1, 2], help="of each run (1,2)")
    parser.add_argument("--seeds", type=names, default=["0"], help="of each task (0)")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/learn"), help="of runs")
    options, words = parser.parse_known_args(argv)
    for name in options.tasks:
        if name not in TASKS:
            raise ConfigError(f"no task is called {name!r}; known: {', '.join(TASKS)}")
        parse_command(train_words(TASKS[name], "0", options.folder, words))
    return options, words


def train_words(task: Task, seed: str, run: Path, words: Sequence[str]) -> list[str]:
    """Return the command line of one run; what was typed wins over the task's own."""
    found = ["train", task.env, "--preset", task.preset, "--seed", seed, "--run", str(run)]
    found += ["--total-timesteps", str(task.timesteps), "--display", "off"]
    return [*found, *task.words, *words]


def train(task: Task, ranks: int, seed: str, run: Path, words: Sequence[str]) -> float:
    """Train one run, or what is left of it; if that fails, leave with its status.

    Args:
        task: what to learn.
        ranks: of the job.
        seed: of the run.
        run: its folder.
        words: further settings as they were typed.

    Returns:
        the minutes that it took.
    """
    begin = time.monotonic()
    command = [find_mpirun(), "-np", str(ranks)] if ranks > 1 else []
    command += [sys.executable, "-m", "ppo_mpi", *train_words(task, seed, run, words)]
    environment = worker_environment(os.environ)
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return (time.monotonic() - begin) / 60


def is_reached(task: Task, score: float) -> bool:
    """Return whether a mean return is as it should be."""
    return score <= task.score if task.fails else score >= task.score


def row(task: Task, score: float, minutes: float, about: tuple[str, str, str, str]) -> str:
    """Return the table's row of one run; ``about`` are its first four cells."""
    asked = f"{'at most' if task.fails else 'at least'} {task.score:g}"
    missed = "" if is_reached(task, score) else "missed"
    return "| " + " | ".join((*about, f"{score:.1f}", asked, f"{minutes:.1f}", missed)) + " |"


def evaluate(task: Task, run: Path) -> tuple[float, int]:
    """Return the mean return of the run's agent, and the timesteps it has learned from."""
    from ppo_mpi.api import evaluate as play
    from ppo_mpi.api import load_agent

    agent = load_agent(str(run), env=task.env)
    summary = play(agent, episodes=EPISODES, greedy=True).summary()
    return float(summary["mean_return"]), agent.timesteps


if __name__ == "__main__":
    sys.exit(main())
