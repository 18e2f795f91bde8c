"""The Procgen benchmark: the sixteen games on few levels or on all, beside the published baseline.

Source:
    Cobbe et al. 2020, "Leveraging procedural generation to benchmark reinforcement learning",
    arXiv:1912.01588: settings, score ranges for the normalized score, and the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppo_mpi.envs.procgen_scores import EASY
from ppo_mpi.errors import ConfigError
from ppo_mpi.experiments.base import (
    Evaluation,
    Experiment,
    PlannedRun,
    chosen,
    label_of,
    plan_run,
    refuse_others,
)
from ppo_mpi.experiments.benchmark_figures import draw_all
from ppo_mpi.experiments.benchmark_tables import aggregates, collect, print_table, write_tables
from ppo_mpi.registry import split_env_name
from ppo_mpi.settings.experiment import ExperimentConfig


@dataclass(frozen=True)
class Setting:
    """One of the benchmark's settings."""

    distribution_mode: str
    num_levels: int
    """Training levels; 0 = all."""
    preset: str
    """The settings of the published baseline."""


SETTINGS = {
    "easy-200": Setting("easy", 200, "procgen-paper-easy"),
    "easy-all": Setting("easy", 0, "procgen-paper-easy"),
    "hard-500": Setting("hard", 500, "procgen-paper-hard"),
    "hard-all": Setting("hard", 0, "procgen-paper-hard"),
}


def plan(config: ExperimentConfig, words: Sequence[str]) -> list[PlannedRun]:
    """Return the runs: each game with each seed.

    Args:
        config: games, setting, seeds.
        words: settings of ``train`` for all runs; they win over the setting's.

    Raises:
        ConfigError: a game is not known, or the words cannot be.
    """
    of_pairs = ("pair", "sweep", "eval_levels", "vanilla_repeats", "value_levels", "videos")
    refuse_others(config, **dict.fromkeys(of_pairs, "leave it out"))
    setting = SETTINGS[config.setting]
    given = ["--preset", config.preset or setting.preset]
    given += ["--distribution-mode", setting.distribution_mode]
    given += ["--num-levels", str(setting.num_levels)]
    if setting.num_levels:
        given += ["--num-test-envs", str(config.num_test_envs)]
    if config.total_timesteps:
        given += ["--total-timesteps", str(config.total_timesteps)]
    given += ["--checkpoint-dir", str(Path(config.checkpoint_dir) / label_of(config))]
    evaluations = []
    if config.eval_episodes:
        levels = "both" if setting.num_levels else "test"
        asked = ("--levels", levels, "--episodes", str(config.eval_episodes))
        evaluations.append(Evaluation("evaluation.json", asked))
    last = config.first_seed + config.seeds
    runs = [
        plan_run(
            game,
            seed,
            [game, *given, "--seed", str(seed), "--run", f"{game}-seed{seed}", *words],
            evaluations,
        )
        for game in chosen("Procgen game", config.games, sorted(EASY))
        for seed in range(config.first_seed, last)
    ]
    folder = Path(config.checkpoint_dir) / label_of(config)
    for run in runs:
        check_own(run, folder)
    return runs


def check_own(run: PlannedRun, folder: Path) -> None:
    """Refuse words that make of a run another one than its game and seed say.

    Args:
        run: as the words have it.
        folder: of the experiment's runs.

    Raises:
        ConfigError: its game, seed or folder is not the planned one.
    """
    meant = run.folder == folder / f"{run.group}-seed{run.seed}"
    game = split_env_name(run.config.environment.env)[1]
    if not meant or game != run.group or run.config.job.seed != run.seed:
        raise ConfigError(
            f"the words behind -- make {run.group} with seed {run.seed} the run {run.folder} of "
            f"{game} with seed {run.config.job.seed}; env, seed, run and checkpoint_dir of the "
            "runs follow from --games, --seeds, --first-seed, --label and --checkpoint-dir"
        )
    tested = run.config.environment.test_env
    if tested and split_env_name(tested)[1] != game:
        raise ConfigError(
            f"test_env={tested} behind -- would let figures of held-out levels of {game} be those "
            "of another game; leave it out"
        )


def conclude(config: ExperimentConfig, runs: Sequence[PlannedRun], folder: Path) -> list[Path]:
    """Make the tables and figures of what has been trained so far.

    Returns:
        the files.

    Raises:
        MissingPackageError: matplotlib is not installed; the tables are written before.
    """
    benchmark = collect(config.setting, runs)
    if not benchmark.games:
        print("nothing has been trained yet: no tables, no figures")
        return []
    totals = aggregates(benchmark)
    print_table(benchmark, totals)
    written = write_tables(benchmark, totals, folder)
    return [*written, *draw_all(benchmark, totals, folder)]


EXPERIMENT = Experiment(
    "16 Procgen games on training and held-out levels, beside the published baseline",
    plan,
    conclude,
    lambda config: f"{config.name}-{config.setting}",
)
