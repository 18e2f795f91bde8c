"""What training tells its user at the start and at the end, on rank 0."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppo_mpi.algorithms.ppg import is_phase_saved, phase_bytes
from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig, sections
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.procgen_variants import CONCERNS, without_effect
from ppo_mpi.modes.opening import Opening
from ppo_mpi.registry import SUITES, names_of, split_env_name, task_names
from ppo_mpi.settings.job import RunConfig
from ppo_mpi.settings.variant_names import VARIANT_GAMES
from ppo_mpi.settings.variants import VariantsConfig
from ppo_mpi.storage import run_folder
from ppo_mpi.storage.logger import Logger
from ppo_mpi.storage.stored_config import words_of_trust


def announce(
    run: Run, config: TrainConfig, comm: Communicator, threads: int, logger: Logger
) -> None:
    """Print, on rank 0, what is about to run and where."""
    if not comm.is_root or config.job.display == "off":
        return
    for line in settings_lines(config):
        logger.message(line)
    num_envs, world_size = config.environment.num_envs, comm.world_size
    each = num_envs // world_size
    dealt = f"{each}" if num_envs % world_size == 0 else f"{each} to {each + 1}"
    rollout = config.learning.rollout_timesteps
    total = config.num_iterations * rollout
    by = f"; gradients by {comm.transport}" if comm.transport != "mpi" else ""
    logger.message(
        f"{config.environment.env}: {num_envs} environments = {world_size} rank(s) x {dealt}, "
        f"{threads} thread(s) each; {parameters_text(run, ' parameters')} on "
        f"{run.collector.actor.device} in {str(run.model.precision).removeprefix('torch.')}{by}"
    )
    if config.environment.test_env:
        logger.message(
            f"{config.environment.test_env}: {config.environment.num_test_envs} environments to "
            "test in, on all levels"
        )
    logger.message(
        f"{config.num_iterations:,} iterations of {rollout:,} timesteps "
        f"({config.rollout_steps} steps each), {config.learning.num_epochs} epochs x "
        f"{config.learning.num_minibatches} minibatches"
    )
    for text, is_warning in phase_lines(run, config, comm):
        logger.message(text, is_warning=is_warning)
    if run.learner.augmenter is not None:
        logger.message(run.learner.augmenter.description())
    warn_without_effect(config, logger)
    if total != config.job.total_timesteps:
        logger.message(
            f"total_timesteps={config.job.total_timesteps:,} is rounded to {total:,}: "
            "whole iterations only"
        )
    if comm.local_size > len(frozenset[int]().union(*comm.node_affinities)):
        logger.message(
            f"{comm.local_size} ranks share fewer cores on this node: they take turns, so more "
            "ranks bring no more speed here",
            is_warning=True,
        )
    crowded = crowded_workers(config.environment.env_workers, comm.node_affinities, comm.local_rank)
    if crowded:
        logger.message(crowded, is_warning=True)


def parameters_text(run: Run, unit: str = "") -> str:
    """Return how many parameters the job has, those of a reward model told apart.

    Args:
        run: of the job.
        unit: stands behind the first number.
    """
    counts = [
        f"{sum(p.numel() for p in model.parameters()):,}"
        for model in (run.model, *run.reward_models)
    ]
    return f"{counts[0]}{unit}" + "".join(f" and {n} of the reward model" for n in counts[1:])


def phase_lines(run: Run, config: TrainConfig, comm: Communicator) -> list[tuple[str, bool]]:
    """Return what to say of a run's phases, each with whether it is a warning.

    Args:
        run: of the job.
        config: the settings.
        comm: the job.
    """
    spec, ppg = run.model.obs_spec, config.ppg
    size = phase_bytes(config, spec)
    if not size:
        return []
    num_envs = config.environment.num_envs
    most = size * -(-num_envs // comm.world_size) // num_envs
    lines = [
        (
            f"phases of {ppg.policy_iterations} iterations, whose rollouts take "
            f"{size / 2**20:,.0f} MiB of memory, at most {most / 2**20:,.0f} MiB on a rank; then "
            f"{ppg.aux_epochs} epochs x {ppg.policy_iterations * ppg.aux_minibatches} minibatches "
            "over all of them",
            False,
        )
    ]
    if config.num_iterations < ppg.policy_iterations:
        lines.append(
            (
                f"no auxiliary phase will be taken: the run has {config.num_iterations} "
                f"iterations, fewer than policy_iterations={ppg.policy_iterations}",
                True,
            )
        )
    if not is_phase_saved(config, spec):
        lines.append(
            (
                "checkpoints do not hold these rollouts, as they are more than "
                f"saved_phase_mebibytes={ppg.saved_phase_mebibytes}: a run that goes on in the "
                "midst of a phase begins a fresh one; checkpoint_every="
                f"{ppg.policy_iterations} saves at the ends of phases",
                False,
            )
        )
    return lines


def crowded_workers(num_workers: int, affinities: Sequence[frozenset[int]], local_rank: int) -> str:
    """Return what to say where worker processes have to share cores; empty if they need not.

    Args:
        num_workers: of each rank.
        affinities: the cores that each rank of the node may run on, and so may its workers.
        local_rank: whose workers are asked for.
    """
    own = affinities[local_rank]
    sharing = sum(not own.isdisjoint(cores) for cores in affinities)
    if num_workers * sharing <= len(own):
        return ""
    return (
        f"env_workers={num_workers} for each of {sharing} rank(s) on {len(own)} core(s): they take "
        "turns; use fewer, or let mpirun --bind-to none give each rank more cores"
    )


def announce_resume(path: Path, run: Run, fresh: int, logger: Logger) -> None:
    """Print where the run goes on, and what could not be restored."""
    logger.message(f"resuming from {path} at {run.progress.timesteps:,} timesteps")
    if fresh:
        logger.message(
            f"{fresh} environment(s) cannot be saved and begin a fresh episode", is_warning=True
        )

    warn_of_fresh_phase(run, logger)


def warn_of_fresh_phase(run: Run, logger: Logger) -> None:
    """Print that a phase was under way which could not be restored."""
    if run.phasic is not None and run.phasic.forgotten:
        logger.message(
            f"{run.phasic.forgotten} rollout(s) of the phase under way are not there any more: a "
            "fresh phase begins, and the run is no longer equal to an undisturbed one (what "
            "checkpoints hold of a phase: saved_phase_mebibytes)",
            is_warning=True,
        )


def announce_loss(
    loss: dict[str, int],
    run: Run,
    threads: int,
    comm: Communicator,
    logger: Logger,
    seconds: float,
) -> None:
    """Print, on rank 0, that ranks were lost and how the others go on."""
    logger.message(
        f"{loss['ranks']} rank(s) were lost: after {seconds:.2f} s iteration {loss['iteration']} "
        f"is repeated by the {comm.world_size} that are left, {threads} thread(s) each",
        is_warning=True,
    )
    if loss["fresh"]:
        logger.message(
            f"the state of {loss['fresh']} environment(s) was lost with them: they begin a fresh "
            "episode, and the run is no longer equal to an undisturbed one (`losses` in its "
            "state.json)",
            is_warning=True,
        )
    warn_of_fresh_phase(run, logger)


def say_finished(opening: Opening, comm: Communicator) -> None:
    """Print, on rank 0, that there is nothing to do and how to go on."""
    if not comm.is_root or opening.checkpoint is None:
        return
    timesteps = opening.checkpoint.state["timesteps"]
    print(
        f"{opening.run_dir} is finished ({timesteps:,} timesteps); extend it with "
        f"--total-timesteps {2 * timesteps}, or start over with --clobber"
    )


def say_goodbye(run_dir: Path, run: Run, config: TrainConfig, reason: str) -> None:
    """Print where everything is and what one would type next, so that it works as it stands."""
    checkpoints = run_folder.checkpoints_of(run_dir)
    if not checkpoints:
        print(f"\n{reason} before anything was learned; the same command begins again")
        return
    is_default = run_dir.parent == Path(RunConfig().checkpoint_dir)
    name = run_dir.name if is_default else shlex.quote(str(run_dir))
    page = run_dir / run_folder.REPORT
    report = f"  report      {page}\n" if page.exists() else ""
    before, behind = words_of_trust(config)
    commands = "\n".join(
        f"  {before}python -m ppo_mpi {mode} --run {name}{behind}"
        for mode in ("play", "record", "evaluate")
    )
    print(
        f"\n{reason} at {run.progress.timesteps:,} timesteps\n"
        f"  checkpoint  {checkpoints[0]}\n"
        f"  curves      {run_dir / 'progress.csv'}, tensorboard --logdir {run_dir}\n"
        f"  log         {run_dir / 'episodes.csv'}\n"
        f"{report}"
        "next:\n"
        f"{commands}"
    )


def settings_lines(config: TrainConfig) -> list[str]:
    """Return the resolved config for the console: a paragraph for each section that counts."""
    lines = []
    for name, section in sections(config).items():
        if name in SUITES and name != split_env_name(config.environment.env)[0]:
            continue
        if name == "ppg" and not config.is_phasic:
            continue
        if name == "variants" and not is_changed(config):
            continue
        if name == "rewards" and config.rewards.reward_model == "none":
            lines.append("rewards: reward_model=none")
            continue
        if name == "imitation" and not config.imitation.expert_data:
            continue
        words = " ".join(f"{key}={_shown(value)}" for key, value in vars(section).items())
        lines += textwrap.wrap(f"{name}: {words}", 100, subsequent_indent="  ")
    return lines


def is_changed(config: TrainConfig) -> bool:
    """Return whether the job's game is a variant, or changed by a setting of variants."""
    env = config.environment.env
    if split_env_name(env)[0] != "procgen":
        return False
    is_variant = any(task in VARIANT_GAMES for task in task_names(env))
    return is_variant or config.variants != VariantsConfig()


def warn_without_effect(config: TrainConfig, logger: Logger) -> None:
    """Say which settings of variants concern none of the job's environments."""
    environment = config.environment
    tasks = [
        (suite, task)
        for env in (environment.env, environment.test_env)
        if env
        for suite, task in map(split_env_name, names_of(env))
    ]
    idle = [without_effect(task if suite == "procgen" else "", config.variants)
            for suite, task in tasks]  # fmt: skip
    shown = ", ".join(dict.fromkeys(task for _, task in tasks))
    for name in idle[0]:
        if not all(name in own for own in idle):
            continue
        logger.message(
            f"{name}={getattr(config.variants, name)} has no effect in {shown}; it is one of "
            f"{', '.join(CONCERNS[name])}",
            is_warning=True,
        )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "''"
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"
