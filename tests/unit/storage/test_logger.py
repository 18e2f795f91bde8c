"""The curves and the plain lines."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.storage.logger import EPISODE_WINDOW, EpisodeRecord, Logger
from ppo_mpi.storage.progress_line import (
    describe,
    fit,
    live_line,
    progress_bar,
)

ITERATION_TIMESTEPS = 64
NAN = float("nan")


def train_episode(iteration: int, env: int, episode_return: float) -> EpisodeRecord:
    return EpisodeRecord(iteration, "train", env, 17, episode_return, 20 + env)


def new_logger(run_dir: Path | None, resumed_iteration: int = 0, display="off") -> Logger:
    return Logger(run_dir, Communicator(), display, 10 * ITERATION_TIMESTEPS, resumed_iteration)


def log(logger: Logger, iteration: int, episodes: list[EpisodeRecord] | None = None, **extra):
    metrics = {"policy_loss": iteration / 3, "collect_seconds": 3.0, "update_seconds": 1.0}
    logger.log(iteration, iteration * ITERATION_TIMESTEPS, metrics | extra, episodes or [])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_holds_the_last_hundred_episodes_and_the_metrics(tmp_path: Path) -> None:
    logger = new_logger(tmp_path)
    log(logger, 1)
    log(logger, 2, [train_episode(2, env, float(env)) for env in range(4)])
    many = [train_episode(3, 1, 7.0)] * (EPISODE_WINDOW - 1)
    log(logger, 3, [*many, EpisodeRecord(3, "test", 0, 900, 2.5, 11)])
    logger.close()
    first, second, third = rows(tmp_path / "progress.csv")
    assert first["iteration"] == "1"
    assert first["timesteps"] == "64"
    assert first["policy_loss"] == repr(1 / 3)
    assert first["mean_return"] == first["median_return"] == first["test_mean_return"] == ""
    assert first["num_episodes"] == "0"
    assert [second[f"{x}_return"] for x in ("mean", "median", "min", "max")] == [
        "1.5", "1.5", "0.0", "3.0",
    ]  # fmt: skip
    assert second["mean_length"] == "21.5"
    assert float(third["mean_return"]) == (99 * 7.0 + 3.0) / 100
    assert third["num_episodes"] == "103"
    assert third["test_mean_return"] == "2.5"
    assert third["test_num_episodes"] == "1"
    assert float(third["wall_seconds"]) >= float(first["wall_seconds"]) >= 0


def test_a_metric_that_is_missing_or_nan_leaves_its_cell_empty(tmp_path: Path) -> None:
    logger = new_logger(tmp_path)
    log(logger, 1, eval_return=NAN)
    log(logger, 2, eval_return=4.0)
    log(logger, 3)
    assert [row["eval_return"] for row in rows(tmp_path / "progress.csv")] == ["", "4.0", ""]
    with pytest.raises(AssertionError, match=r"metrics \['surprise'\] were not in"):
        log(logger, 4, surprise=1.0)
    with pytest.raises(AssertionError, match=r"\['mean_return'\] have the names"):
        log(logger, 5, mean_return=1.0)
    logger.close()


def test_the_same_episodes_give_the_same_bytes(tmp_path: Path) -> None:
    episodes = [train_episode(1, 0, 0.1 + 0.2), EpisodeRecord(1, "test", 3, -1, 1e22, 5)]
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        logger = new_logger(tmp_path / name)
        log(logger, 1, episodes)
        logger.close()
        contents.append((tmp_path / name / "episodes.csv").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] == (
        b"iteration,split,env,level,return,length\n"
        b"1,train,0,17,0.30000000000000004,20\n"
        b"1,test,3,-1,1e+22,5\n"
    )


def without_times(path: Path) -> list[dict[str, str]]:
    times = ("wall_seconds", "timesteps_per_second")
    return [{k: v for k, v in row.items() if k not in times} for row in rows(path)]


def test_interrupted_and_resumed_curves_equal_uninterrupted_ones(tmp_path: Path) -> None:
    episodes = {i: [train_episode(i, i % 3, i / 7)] * (10 * i) for i in range(1, 7)}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    logger = new_logger(tmp_path / "whole")
    for iteration in range(1, 7):
        log(logger, iteration, episodes[iteration])
    logger.close()

    logger = new_logger(tmp_path / "cut")
    for iteration in range(1, 6):
        log(logger, iteration, episodes[iteration])
        if iteration == 3:
            state = logger.state_dict()
    with (tmp_path / "cut" / "progress.csv").open("a") as file:
        file.write("6,38")  # killed while writing; iterations 4 and 5 are not in the checkpoint
    resumed = new_logger(tmp_path / "cut", resumed_iteration=3)
    resumed.load_state_dict(state)
    for iteration in range(4, 7):
        log(resumed, iteration, episodes[iteration])
    resumed.close()
    logger.close()

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert (whole / "episodes.csv").read_bytes() == (cut / "episodes.csv").read_bytes()
    assert without_times(whole / "progress.csv") == without_times(cut / "progress.csv")
    walls = [float(row["wall_seconds"]) for row in rows(cut / "progress.csv")]
    assert walls == sorted(walls)
    assert walls[3] >= round(state["wall_seconds"], 3)


def test_a_resumed_run_may_bring_new_metrics(tmp_path: Path) -> None:
    logger = new_logger(tmp_path)
    log(logger, 1)
    logger.close()
    logger = new_logger(tmp_path, resumed_iteration=1)
    log(logger, 2, eval_return=5.0)
    log(logger, 3, eval_return=6.0)
    logger.close()
    found = rows(tmp_path / "progress.csv")
    assert [row["eval_return"] for row in found] == ["", "5.0", "6.0"]
    assert [row["policy_loss"] for row in found] == [repr(i / 3) for i in (1, 2, 3)]


def test_a_run_that_starts_over_starts_its_curves_afresh(tmp_path: Path) -> None:
    for _ in range(2):
        logger = new_logger(tmp_path)
        log(logger, 1, [train_episode(1, 0, 1.0)])
        logger.close()
    assert len(rows(tmp_path / "progress.csv")) == len(rows(tmp_path / "episodes.csv")) == 1
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_tensorboard_reads_the_curves_and_drops_what_a_resume_did_again(tmp_path: Path) -> None:
    for resumed, iterations, loss in ((0, (1, 2, 3, 4), 1.0), (2, (3, 4, 5), 2.0)):
        logger = new_logger(tmp_path, resumed)
        for iteration in iterations:
            log(logger, iteration, [train_episode(iteration, 0, 4.0)], value_loss=loss)
        logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = [(event.step, event.value) for event in events.Scalars("learning/value_loss")]
    assert curve == [(64, 1.0), (128, 1.0), (192, 2.0), (256, 2.0), (320, 2.0)]
    assert events.Scalars("episodes/mean_return")[0].value == 4.0
    assert "time/collect_seconds" in events.Tags()["scalars"]


def test_writing_event_files_imports_no_tensorflow(tmp_path: Path) -> None:
    # A package of that name that cannot be imported: touching it would be an error.
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise SystemExit('imported')")
    program = (
        "import sys; from pathlib import Path; from ppo_mpi.storage.curves import Curves\n"
        "curves = Curves(Path(sys.argv[1]), 0)\n"
        "curves.write({'iteration': 1, 'timesteps': 1, 'loss': 2.0})\n"
        "curves.close(); assert not curves.warning, curves.warning\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={"PYTHONPATH": f"{tmp_path}:{':'.join(p for p in sys.path if p)}:."},
        check=True,
    )


class OtherRank(Communicator):
    """A rank that is not the root; a Logger asks for nothing else."""

    rank = 1


def test_other_ranks_write_and_print_nothing(tmp_path: Path, capsys) -> None:
    logger = Logger(tmp_path, OtherRank(), "plain", 64, 0)
    log(logger, 1, [train_episode(1, 0, 1.0)])
    logger.message("hello", is_warning=True)
    logger.flush()
    logger.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_without_a_folder_there_are_no_files_but_the_mean_return(capsys) -> None:
    logger = new_logger(None)
    assert logger.mean_return() is None
    log(logger, 1, [train_episode(1, 0, 1.0), train_episode(1, 1, 2.0)])
    assert logger.mean_return() == 1.5
    assert logger.mean_return("test") is None
    logger.flush()
    logger.close()
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_plain_lines_come_every_two_seconds_and_at_the_beginning_and_the_end(
    capsys, clock: list[float]
) -> None:
    logger = new_logger(None, display="plain")
    for iteration in range(1, 9):
        clock[0] += 0.5
        log(logger, iteration, [train_episode(iteration, 0, 3.0)] if iteration > 1 else [])
    logger.message("a message")
    logger.close()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    lines = out.splitlines()
    assert [line.split()[-1] for line in lines] == ["1", "5", "message", "8"]
    assert lines[0] == (
        " 10%  64/640 timesteps  128/s  ETA 0:04  no episode finished yet  "
        "collect 75% update 25%  iteration 1"
    )
    assert "return 3.00" in lines[1]


def test_auto_draws_no_live_line_into_a_file(tmp_path: Path) -> None:
    program = (
        "from ppo_mpi.storage.logger import Logger\n"
        "from ppo_mpi.distributed.communicator import Communicator\n"
        "logger = Logger(None, Communicator(), 'auto', 10, 0)\n"
        "logger.log(1, 5, {}, []); logger.message('hello'); logger.log(2, 10, {}, [])\n"
        "logger.close()"
    )
    with (tmp_path / "log").open("w") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    text = (tmp_path / "log").read_text()
    assert "\x1b" not in text
    assert "\r" not in text
    assert len(text.splitlines()) == 3


def test_off_prints_warnings_only(capsys) -> None:
    logger = new_logger(None, display="off")
    log(logger, 1)
    logger.message("news")
    logger.message("beware", is_warning=True)
    logger.close()
    assert capsys.readouterr() == ("", "beware\n")


def test_a_line_that_is_too_long_loses_its_last_parts() -> None:
    assert fit(["abc", "de", "f"], 80) == "abc  de  f"
    assert fit(["abc", "de", "f"], 8) == "abc  de"
    assert fit(["abc", "de", "f"], 2) == "ab"
    assert live_line(["50%", "10/20"], 0.5, 22) == "[####....]  50%  10/20"
    assert live_line(["50%", "10/20"], 0.5, 80) == f"[{'#' * 10}{'.' * 10}]  50%  10/20"
    assert live_line(["50%", "10/20"], 0.5, 18) == "50%  10/20"
    assert progress_bar(0.5, 4) == "[##..]"
    assert progress_bar(0.999, 4) == "[###.]"
    assert progress_bar(1.2, 4) == "[####]"


def test_the_progress_names_what_matters() -> None:
    columns = {"mean_return": 5.234, "test_mean_return": 4.0, "collect_seconds": 1.0}
    columns |= {"update_seconds": 2.0, "communication_seconds": 1.0}
    assert describe(7, 1_234_567, 25_000_000, 640.4, columns) == [
        "  5%", "1.235M/25M timesteps", "640/s", "ETA 10:18:30", "return 5.23 (test 4.00)",
        "collect 33% update 33% MPI 33%", "iteration 7",  # within the update lies MPI
    ]  # fmt: skip
    assert describe(1, 1, 100, 0.0, {})[3:] == ["ETA ?", "no episode finished yet", "iteration 1"]
