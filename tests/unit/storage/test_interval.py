"""Rows of several iterations: means, sums, episodes, and runs that are stopped within one."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.interval import OF_ROWS, Interval
from ppo_mpi.storage.logger import EpisodeRecord, Logger
from ppo_mpi.storage.stored_state import check_state

EVERY, TIMESTEPS = 3, 8  # of a row; of an iteration
LOSSES = [0.1, 0.7, -0.3, 1.1, 0.2, 0.9, 0.4, -0.8]


def logger_for(
    run_dir: Path, total: int, state: dict | None = None, iteration: int = 0, eval_every: int = 0
) -> Logger:
    """Return the logger of a run of ``total`` iterations; one that goes on from a state."""
    logged = state["logged_iteration"] if state else None
    logger = Logger(
        run_dir, Communicator(), "off", total * TIMESTEPS, iteration, None, EVERY, logged,
        eval_every=eval_every,
    )  # fmt: skip
    if state:
        logger.load_state_dict(json.loads(json.dumps(state)))
    return logger


def log(logger: Logger, iterations: range) -> None:
    for i in iterations:
        episode = EpisodeRecord(i, "train", 0, -1, float(i), 10 * i)
        metrics = {
            "loss": LOSSES[i - 1], "learning_rate": 1 / i, "restarted_envs": float(i == 2),
            "eval_mean_return": 5.0 if i == 6 else math.nan,
        }  # fmt: skip
        logger.log(i, i * TIMESTEPS, metrics, [episode] * (i != 4))


def rows(run_dir: Path, name: str = "progress.csv") -> list[dict[str, str]]:
    with (run_dir / name).open(newline="") as file:
        found = list(csv.DictReader(file))
    clocks = ("wall_seconds", "timesteps_per_second")
    return [{key: row[key] for key in row if key not in clocks} for row in found]


def test_a_row_is_of_all_iterations_since_the_last_one_and_the_end_has_what_is_left(tmp_path: Path):
    logger = logger_for(tmp_path, 8)
    log(logger, range(1, 9))
    logger.close()
    first, second, last = rows(tmp_path)
    assert [row["iteration"] for row in (first, second, last)] == ["3", "6", "8"]
    assert [row["timesteps"] for row in (first, second, last)] == ["24", "48", "64"]
    for row, of in ((first, LOSSES[:3]), (second, LOSSES[3:6]), (last, LOSSES[6:])):
        assert float(row["loss"]) == pytest.approx(sum(of) / len(of))
    assert [float(row["learning_rate"]) for row in (first, second, last)] == [1 / 3, 1 / 6, 1 / 8]
    assert [row["restarted_envs"] for row in (first, second, last)] == ["1.0", "0.0", "0.0"]
    assert [row["eval_mean_return"] for row in (first, second, last)] == ["", "5.0", ""]
    assert [row["num_episodes"] for row in (first, second, last)] == ["3", "5", "7"]
    assert float(second["mean_return"]) == (1 + 2 + 3 + 5 + 6) / 5
    ended = [int(row["iteration"]) for row in rows(tmp_path, "episodes.csv")]
    assert ended == [1, 2, 3, 5, 6, 7, 8]


@pytest.mark.parametrize("stop", [2, 3, 4, 5])
def test_a_run_that_is_stopped_within_a_row_goes_on_with_it(tmp_path: Path, stop: int):
    """Iterations after the checkpoint were taken, and are taken again."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    logger = logger_for(whole, 8)
    log(logger, range(1, 9))
    logger.close()
    logger = logger_for(cut, 8)
    log(logger, range(1, stop + 1))
    state = logger.state_dict()
    log(logger, range(stop + 1, 8))
    logger.close()
    logger = logger_for(cut, 8, state, stop)
    assert logger.mean_return() is not None
    log(logger, range(stop + 1, 9))
    logger.close()
    assert rows(cut) == rows(whole)
    assert rows(cut, "episodes.csv") == rows(whole, "episodes.csv")
    events = EventAccumulator(str(cut / "tensorboard")).Reload().Scalars("learning/loss")
    assert [event.step for event in events] == [24, 48, 64]


def test_a_run_that_is_extended_is_the_longer_run(tmp_path: Path):
    """The row of its end, which is shorter than the others, goes: from TensorBoard, too."""
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    for folder in (whole, longer):
        folder.mkdir()
    logger = logger_for(whole, 8)
    log(logger, range(1, 9))
    logger.close()
    logger = logger_for(longer, 5)
    log(logger, range(1, 6))
    assert [row["iteration"] for row in rows(longer)] == ["3", "5"]
    state = logger.state_dict()
    logger.close()
    logger = logger_for(longer, 8, state, 5)
    log(logger, range(6, 9))
    logger.close()
    assert rows(longer) == rows(whole)
    events = EventAccumulator(str(longer / "tensorboard")).Reload().Scalars("learning/loss")
    assert [event.step for event in events] == [24, 48, 64]


def test_one_iteration_is_what_it_was():
    interval = Interval()
    interval.add({"loss": 0.1, "clip_range": 0.3, "nothing": math.nan})
    found = interval.metrics()
    assert (found["loss"], found["clip_range"]) == (0.1, 0.3)
    assert math.isnan(found["nothing"])


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 5, 6])
def test_each_evaluation_has_its_row_and_the_next_begins_behind_it(tmp_path: Path, stop: int):
    """Rows end with iterations 2, 3, 4, 6, 8: log_every=3, eval_every=2; also over a stop."""
    state = None
    for first, last in ((1, stop), (stop + 1, 8)) if stop else ((1, 8),):
        logger = logger_for(tmp_path, 8, state, first - 1, eval_every=2)
        log(logger, range(first, last + 1))
        state = logger.state_dict()
        if last < 8:
            log(logger, range(last + 1, 8))  # lost, as there is no checkpoint behind it
        logger.close()
    found = rows(tmp_path)
    assert [row["iteration"] for row in found] == ["2", "3", "4", "6", "8"]
    for row, of in zip(
        found, (LOSSES[:2], LOSSES[2:3], LOSSES[3:4], LOSSES[4:6], LOSSES[6:]), strict=True
    ):
        assert float(row["loss"]) == sum(of) / len(of)
    with_values(TrainConfig(), {"log_every": 100, "eval_every": 10}).validate(1)


@pytest.mark.parametrize(
    "own",
    [
        {"interval": [1]}, {"interval": {"loss": 1.0}}, {"interval": {"loss": ["1", 1]}},
        {"interval": {"loss": [1.0, -1]}}, {"interval": {"loss": [1.0, 1.5]}},
        {"logged_iteration": -1}, {"logged_iteration": "1"},
    ],
)  # fmt: skip
def test_another_interval_than_ours_is_refused(own: dict[str, object]):
    config = with_values(TrainConfig(), {"num_envs": 1, "normalize_rewards": False})
    logger = Logger(None, Communicator(), "off", 8, 0)
    logger.log(1, 4, {"loss": 0.5, "eval_mean_return": math.nan}, [])
    state = {"iteration": 1, "timesteps": 4, "best_return": None,
             "logger": logger.state_dict(), "train_episodes": {"0": [0.0, 0]}}  # fmt: skip
    check_state(Checkpoint(Path("step-4"), {}, {}, state), config)
    older = {key: value for key, value in logger.state_dict().items() if key not in own}
    check_state(Checkpoint(Path("step-4"), {}, {}, state | {"logger": older}), config)
    with pytest.raises(CheckpointError, match="instead of the state of a logger"):
        check_state(Checkpoint(Path("step-4"), {}, {}, state | {"logger": older | own}), config)
    ahead = {"logger": older | {"logged_iteration": 2}}
    with pytest.raises(CheckpointError, match="of iteration 1 has logged_iteration=2, .* to come"):
        check_state(Checkpoint(Path("step-4"), {}, {}, state | ahead), config)


def test_what_a_row_has_by_itself_is_known(tmp_path: Path):
    logger = logger_for(tmp_path, 3)
    log(logger, range(1, 4))
    logger.close()
    metrics = {"loss", "learning_rate", "restarted_envs", "eval_mean_return"}
    with (tmp_path / "progress.csv").open(newline="") as file:
        assert set(next(csv.reader(file))) == OF_ROWS | metrics


@pytest.mark.parametrize("name", ["iteration", "mean_return", "", "two\nlines", "x" * 201])
def test_a_checkpoint_brings_no_column_that_is_no_metric(name: str):
    state = Logger(None, Communicator(), "off", 8, 0).state_dict()
    state = {"iteration": 0, "timesteps": 0, "best_return": None, "logger": state}
    config = with_values(TrainConfig(), {"normalize_rewards": False, "num_envs": 1})
    state["train_episodes"] = {"0": [0.0, 0]}
    check_state(Checkpoint(Path("r"), {}, {}, state), config)
    state["logger"]["interval"] = {"auxiliary/lean_loss": [0.5, 2]}
    check_state(Checkpoint(Path("r"), {}, {}, state), config)
    state["logger"]["interval"] = {name: [0.5, 2]}
    with pytest.raises(CheckpointError, match="instead of the state of a logger"):
        check_state(Checkpoint(Path("r"), {}, {}, state), config)
