"""Videos of the training itself: which environment is filmed, from which episode on, where to."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.envs.filmed import FilmedEnvs
from ppo_mpi.envs.parts import EnvParts
from ppo_mpi.storage.film import Film
from ppo_mpi.storage.logger import Logger
from ppo_mpi.storage.run_folder import EPISODES


def start_filming(run: Run, config: TrainConfig, run_dir: Path, logger: Logger) -> None:
    """Film environment 0 of the job from now on, where this rank has it and it was asked for.

    Args:
        run: restored, if it goes on.
        config: says how often.
        run_dir: the run's folder, with the episodes so far.
        logger: shows what goes wrong.
    """
    envs = run.collector.actor.envs
    parts = [envs, *(envs.parts if isinstance(envs, EnvParts) else ())]
    for filmed in (part for part in parts if isinstance(part, FilmedEnvs)):
        folder = Path(config.job.asset_dir) / run_dir.name / "training"
        for left_over in folder.glob(".episode-*"):  # of a rank that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        filmed.film = Film(
            folder,
            config.job.capture_video,
            episodes_of(filmed.indices[0], run_dir / EPISODES),
            lambda text: logger.message(text, is_warning=True),
            logger.video,
        )


def episodes_of(env: int, path: Path) -> int:
    """Return how many episodes of a training environment are told of in episodes.csv."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:  # nobody has written it yet
        return 0
    return sum(row.get("split") == "train" and row.get("env") == str(env) for row in rows)
