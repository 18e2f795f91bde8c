"""Goal misgeneralization: agents that go on for what lay beside the reward when it lies elsewhere.

Agents are trained in one environment and tested in another, in which the goal that was meant can
be told from the one that may have been learned.

Source:
    Langosco et al. 2022, "Goal Misgeneralization in Deep Reinforcement Learning",
    arXiv:2105.14111: pairs of environments, settings, sweeps and the figures for coinrun.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppo_mpi.experiments.base import (
    Evaluation,
    Experiment,
    PlannedRun,
    Recording,
    label_of,
    plan_run,
    refuse_others,
)
from ppo_mpi.experiments.coinrun_values import measure_values
from ppo_mpi.experiments.misgeneralization_figures import draw_all
from ppo_mpi.experiments.misgeneralization_pairs import (
    PAIRS,
    Condition,
    conditions_of,
    parse_sweep,
)
from ppo_mpi.experiments.misgeneralization_results import collect
from ppo_mpi.experiments.misgeneralization_tables import write_tables
from ppo_mpi.settings.experiment import ExperimentConfig

PRESET, SWEEP_PRESET = "misgen-hard-500", "misgen-a100"
"""Of the published runs and of the published sweeps."""
VANILLA_SEED = 1_000_004
"""Of the vanilla agents' repeated episodes: others than those by which they are evaluated, so that
levels are not chosen by the same episodes that are counted in them."""
VIDEO_WORDS = ("--agent-view", "--saliency", "--values", "--caption")


def plan(config: ExperimentConfig, words: Sequence[str]) -> list[PlannedRun]:
    """Return the runs: each pair, with each value of the sweep, with each seed.

    Args:
        config: pairs, sweep, seeds.
        words: settings of ``train`` for all runs; they win over the experiment's.

    Raises:
        ConfigError: a pair is not known, or the words cannot be.
    """
    refuse_others(
        config, games="use --pair", setting="use --preset", eval_episodes="use --eval-levels"
    )
    return [
        planned(config, condition, seed, words)
        for condition in conditions_of(config)
        for seed in range(config.first_seed, config.first_seed + config.seeds)
    ]


def planned(
    config: ExperimentConfig, condition: Condition, seed: int, words: Sequence[str]
) -> PlannedRun:
    """Return one run with its evaluations and videos.

    Raises:
        ConfigError: the words cannot be.
    """
    pair = PAIRS[condition.pair]
    given = [pair.train, "--preset", preset_of(config)]
    if config.num_test_envs:
        given += ["--num-test-envs", str(config.num_test_envs), "--test-env", pair.test]
    if config.total_timesteps:
        given += ["--total-timesteps", str(config.total_timesteps)]
    if condition.setting:
        given += [f"--{condition.setting.replace('_', '-')}", condition.value]
    given += ["--checkpoint-dir", str(Path(config.checkpoint_dir) / label_of(config))]
    given += ["--seed", str(seed), "--run", f"{condition.group}-seed{seed}"]
    recordings: Sequence[Recording] = ()
    if config.videos and not config.sweep and seed == config.first_seed:
        recordings = videos(config, condition)
    return plan_run(
        condition.group, seed, [*given, *words], evaluations(config, condition), recordings
    )


def preset_of(config: ExperimentConfig) -> str:
    """Return the preset of the runs."""
    return config.preset or (SWEEP_PRESET if config.sweep else PRESET)


def default_label(config: ExperimentConfig) -> str:
    """Return the name of the folders: experiment, preset and, if there is one, sweep."""
    label = f"{config.name}-{preset_of(config).removeprefix('misgen-')}"
    return f"{label}-{parse_sweep(config.sweep)[0]}" if config.sweep else label


def evaluations(config: ExperimentConfig, condition: Condition) -> list[Evaluation]:
    """Return the evaluations of a run: the same levels in both environments, once each."""
    if not config.eval_levels:
        return []
    levels = ("--levels", config.eval_levels, "--compare-levels", "false")
    once, elsewhere = ("--episodes-per-level", "1"), ("--env", PAIRS[condition.pair].test)
    found = [
        Evaluation("train.json", (*levels, *once)),
        Evaluation("test.json", (*levels, *once, *elsewhere)),
    ]
    if condition.is_vanilla:
        repeats = ("--episodes-per-level", str(config.vanilla_repeats))
        found.append(Evaluation("vanilla.json", (*levels, *repeats, "--seed", str(VANILLA_SEED))))
    return found


def videos(config: ExperimentConfig, condition: Condition) -> list[Recording]:
    """Return a video in each of the two environments, beside the figures."""
    folder = Path(config.asset_dir) / label_of(config)
    words: tuple[str, ...] = ("--episodes", str(config.videos), *VIDEO_WORDS)
    if config.eval_levels:
        words += ("--levels", config.eval_levels)
    elsewhere = ("--env", PAIRS[condition.pair].test)
    return [
        Recording(folder / f"{condition.group}-train.mp4", words),
        Recording(folder / f"{condition.group}-test.mp4", (*words, *elsewhere)),
    ]


def conclude(config: ExperimentConfig, runs: Sequence[PlannedRun], folder: Path) -> list[Path]:
    """Make the tables and figures of what has been trained so far.

    Returns:
        the files.

    Raises:
        MissingPackageError: matplotlib is not installed; the tables are written before.
    """
    values = {}
    if config.value_levels:
        values = measure_values(
            [run for run in runs if run.group.partition("-")[0] == "coinrun"],
            config.eval_levels or "0-9999",
            config.value_levels,
        )
    title = f"{preset_of(config)}, {{}} timesteps a run"
    results = collect(title, conditions_of(config), runs, values)
    if not results.is_trained:
        print("nothing has been trained yet: no tables, no figures")
        return []
    written = write_tables(results, folder)
    return [*written, *draw_all(results, folder)]


EXPERIMENT = Experiment(
    "agents that pursue another goal than meant: pairs of environments, sweeps, value by place",
    plan,
    conclude,
    default_label,
)
