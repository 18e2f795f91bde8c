"""Trains small tasks to a known score, on one rank and on two, and says whether they reach it.

    python benchmarks/acceptance.py                       # all of them, one seed: see make learn
    python benchmarks/acceptance.py --tasks cartpole --ranks 1 --seeds 0,1,2
    python benchmarks/acceptance.py --tasks compare-cartpole,compare-hopper --ranks 1 --seeds 0,1,2
    python benchmarks/acceptance.py --total-timesteps 4096    # too short: to see it at work

A score is the mean return of 100 episodes in which the agent takes its most likely actions. Runs
stay in the folder: what was interrupted goes on, what is finished is not trained again. Of several
seeds mean and spread are told at the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.acceptance_tasks import SCORED, TASKS, Task, tasks_of
from benchmarks.jobs import find_mpirun, program, worker_environment
from benchmarks.options import names, new_parser, rank_counts
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError

EPISODES = 100
TRAJECTORIES = 4
"""Episodes of an expert that are imitated."""


def main() -> int:
    """Train and measure; return 1 if a score was missed, 2 if nothing can be trained so."""
    try:
        options, words = parse_options(sys.argv[1:])
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    print("| task | timesteps | ranks | seed | score | asked for | minutes | |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    missed, summaries = 0, []
    for name in options.tasks:
        for ranks in options.ranks:
            scores = []
            for seed in options.seeds:
                minutes, run = train(name, ranks, seed, options.folder, words)
                score, timesteps = evaluate(TASKS[name], run)
                about = (name, f"{timesteps:,}", str(ranks), seed)
                print(row(TASKS[name], score, minutes, about), flush=True)
                missed += not is_reached(TASKS[name], score)
                scores.append(score)
            summaries.append(summary(name, ranks, scores))
    if len(options.seeds) > 1:
        print("\n| task | ranks | seeds | mean | deviation | lowest | highest |")
        print("\n".join(["| --- | --- | --- | --- | --- | --- | --- |", *summaries]))
    return 1 if missed else 0


def summary(name: str, ranks: int, scores: Sequence[float]) -> str:
    """Return the row of a task over its seeds: the mean score and how far the seeds lie apart."""
    deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
    numbers = (statistics.fmean(scores), deviation, min(scores), max(scores))
    cells = [name, str(ranks), str(len(scores)), *(f"{number:.1f}" for number in numbers)]
    return "| " + " | ".join(cells) + " |"


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and what is left: settings of ``train``.

    Raises:
        ConfigError: a task or a setting is unknown.
    """
    parser = new_parser("Trains small tasks to a known score.")
    parser.add_argument("--tasks", type=names, default=list(SCORED), help=", ".join(TASKS))
    parser.add_argument("--ranks", type=rank_counts, default=[1, 2], help="of each run (1,2)")
    parser.add_argument("--seeds", type=names, default=["0"], help="of each task (0)")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/learn"), help="of runs")
    options, words = parser.parse_known_args(argv)
    options.tasks = tasks_of(options.tasks)
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


def train(
    name: str, ranks: int, seed: str, folder: Path, words: Sequence[str]
) -> tuple[float, Path]:
    """Train one run, or what is left of it, its expert first; if that fails, leave with its status.

    Args:
        name: of the task.
        ranks: of the job.
        seed: of the run.
        folder: of the runs.
        words: further settings as they were typed.

    Returns:
        the minutes that it took, those of an expert not counted, and the run's folder.
    """
    task, run, words = TASKS[name], folder / f"{name}-{ranks}-{seed}", [*words]
    if task.expert:
        words += ["--expert-data", str(expert_data(task, ranks, seed, folder).resolve())]
    begin = time.monotonic()
    start(ranks, train_words(task, seed, run, words))
    return (time.monotonic() - begin) / 60, run


def expert_data(task: Task, ranks: int, seed: str, folder: Path) -> Path:
    """Return a file of what the expert of a task did; it is trained, if it was not yet."""
    _, run = train(task.expert, ranks, seed, folder, ())
    path = folder / f"{task.expert}-{ranks}-{seed}.npz"
    if not path.exists():
        words = ["record", "--run", str(run), "--trajectories", str(TRAJECTORIES)]
        start(1, [*words, "--greedy", "true", "--output", str(path)])
    return path


def start(ranks: int, words: Sequence[str]) -> None:
    """Run a command of ppo_mpi; if it fails, leave with its status."""
    command = [find_mpirun(), "-np", str(ranks)] if ranks > 1 else []
    command += [sys.executable, "-m", "ppo_mpi", *words]
    environment = worker_environment(os.environ)
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def is_reached(task: Task, score: float) -> bool:
    """Return whether a mean return is as it should be."""
    if task.score is None:
        return True
    return score <= task.score if task.fails else score >= task.score


def row(task: Task, score: float, minutes: float, about: tuple[str, str, str, str]) -> str:
    """Return the table's row of one run; ``about`` are its first four cells."""
    asked = ""
    if task.score is not None:
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
