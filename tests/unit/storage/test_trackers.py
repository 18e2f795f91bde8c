"""Trackers: what they are told, and that none of them stops a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.storage import tracker_process
from ppo_mpi.storage.logger import Logger
from ppo_mpi.storage.tensorboard import TensorBoard, tag_of
from ppo_mpi.storage.trackers import Tracking, histogram
from ppo_mpi.storage.video import VideoWriter

SETTINGS = {"env": "coinrun", "seed": 3, "normalize_rewards": True, "lr": 5e-4, "sizes": (64, 64)}

# A package that does what MLflow's client does, and notes it down.
FAKE = """
import json, os, pathlib, time
here = pathlib.Path(__file__).parent

def note(*words):
    with (here / "calls").open("a") as file:
        file.write(json.dumps(words) + "\\n")

class MlflowClient:
    def get_experiment_by_name(self, name):
        return None
    def create_experiment(self, name):
        note("experiment", name)
        return "7"
    def create_run(self, experiment, run_name):
        note("run", experiment, run_name)
        class Run:
            class info:
                run_id = "abc"
        return Run
    def update_run(self, run_id, status):
        note("again", run_id, status)
    def log_batch(self, run_id, metrics=(), params=()):
        if metrics:
            {row}
        note("batch", run_id, [(m.key, m.value, m.step) for m in metrics],
             {{p.key: p.value for p in params}})
    def log_artifact(self, run_id, path, folder):
        note("artifact", run_id, path, folder)
    def set_terminated(self, run_id):
        {end}
        note("end", run_id)
"""
ENTITIES = """
class Param:
    def __init__(self, key, value):
        self.key, self.value = key, value
class Metric:
    def __init__(self, key, value, timestamp, step):
        self.key, self.value, self.step = key, value, step
"""


@pytest.fixture
def fake_mlflow(tmp_path, monkeypatch):
    """Return what makes the package; it returns the file of its notes."""

    def make(row: str = "pass", end: str = "pass") -> Path:
        folder = tmp_path / "packages" / "mlflow"
        (folder / "entities").mkdir(parents=True)
        (folder / "__init__.py").write_text(FAKE.format(row=row, end=end))
        (folder / "entities" / "__init__.py").write_text(ENTITIES)
        monkeypatch.syspath_prepend(str(folder.parent))
        return folder / "calls"

    return make


def new_logger(run_dir: Path, *trackers: str, resumed: int = 0) -> Logger:
    run_dir.mkdir(exist_ok=True)
    tracking = Tracking(trackers, "a project", histograms_every=2, settings=SETTINGS)
    return Logger(run_dir, Communicator(), "off", 1000, resumed, tracking=tracking)


def log(logger: Logger, iteration: int) -> None:
    logger.log(iteration, 100 * iteration, {"loss": 0.5 * iteration, "nothing": np.nan}, [])


def calls(path: Path) -> list[list]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_another_process_is_told_everything_and_goes_on_with_its_run(fake_mlflow, tmp_path, capsys):
    notes = fake_mlflow()
    for resumed in (0, 2):
        logger = new_logger(tmp_path / "r", "mlflow", resumed=resumed)
        logger.video(tmp_path / "v.mp4")
        for iteration in range(resumed + 1, resumed + 3):
            log(logger, iteration)
        logger.close()
    told = calls(notes)
    assert [words[0] for words in told] == [
        "experiment", "run", "batch", "artifact", "batch", "batch", "end",
        "again", "artifact", "batch", "batch", "end",
    ]  # fmt: skip
    assert told[0:2] == [["experiment", "a project"], ["run", "7", "r"]]
    assert told[2][3] == {n: str(v) for n, v in SETTINGS.items()} | {"sizes": "[64, 64]"}
    assert told[3] == ["artifact", "abc", str(tmp_path / "v.mp4"), "videos"]
    rows = [words[2] for words in told if words[0] == "batch"][1:]
    assert [dict((k, v) for k, v, _ in row)["learning/loss"] for row in rows] == [0.5, 1, 1.5, 2]
    assert {step for row in rows for _, _, step in row} == {100, 200, 300, 400}
    assert not any("nothing" in key for row in rows for key, _, _ in row)
    assert capsys.readouterr() == ("", "")


def test_a_tracker_that_fails_is_named_once_and_left(fake_mlflow, tmp_path, capsys):
    fake_mlflow(row="raise RuntimeError('the server is on fire')")
    logger = new_logger(tmp_path / "r", "mlflow", "tensorboard")
    for iteration in range(1, 6):
        log(logger, iteration)
    logger.close()
    err = capsys.readouterr().err
    assert err == (
        "track=mlflow failed, and the training goes on without: "
        "RuntimeError: the server is on fire\n"
    )
    events = EventAccumulator(str(tmp_path / "r" / "tensorboard")).Reload()
    assert len(events.Scalars("learning/loss")) == 5
    assert len((tmp_path / "r" / "progress.csv").read_text().splitlines()) == 6


def test_a_tracker_that_never_ends_is_ended(fake_mlflow, tmp_path, monkeypatch, capsys):
    notes = fake_mlflow(end="time.sleep(1000)")
    monkeypatch.setattr(tracker_process, "CLOSE_SECONDS", 3.0)
    logger = new_logger(tmp_path / "r", "mlflow")
    log(logger, 1)
    logger.close()
    assert "what was not sent within 3 s of the end is lost" in capsys.readouterr().err
    assert "end" not in [words[0] for words in calls(notes)]


def test_a_tracker_that_does_not_read_is_left_before_it_fills_the_memory(
    fake_mlflow, tmp_path, monkeypatch, capsys
):
    fake_mlflow(row="time.sleep(1000)")
    monkeypatch.setattr(tracker_process, "MOST_WAITING_BYTES", 2**16)
    logger = new_logger(tmp_path / "r", "mlflow")
    for iteration in range(1, 1500):  # more than the pipe takes
        log(logger, iteration)
    logger.close()
    assert capsys.readouterr().err.count("it is too slow") == 1


def test_a_missing_package_costs_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracker_process, "find_spec", lambda name: None)
    logger = new_logger(tmp_path / "r", "wandb")
    log(logger, 1)
    logger.close()
    err = capsys.readouterr().err
    assert err.count("track=wandb failed") == 1
    assert "pip install wandb" in err


def test_an_error_of_tensorboard_is_no_error_of_the_training(tmp_path, monkeypatch, capsys):
    def fail(self, timesteps, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoard, "row", fail)
    logger = new_logger(tmp_path / "r", "tensorboard")
    log(logger, 1)
    log(logger, 2)
    logger.close()
    assert capsys.readouterr().err.count("track=tensorboard failed") == 1


def test_no_tracker_writes_nothing_but_the_curves(tmp_path):
    logger = new_logger(tmp_path / "r")
    log(logger, 1)
    logger.close()
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["episodes.csv", "progress.csv"]


def test_tensorboard_shows_settings_histograms_and_videos(tmp_path):
    logger = new_logger(tmp_path / "r", "tensorboard")
    with VideoWriter(tmp_path / "v.mp4", 15) as writer:
        for shade in range(30):
            writer.write(np.full((64, 48, 3), 8 * shade, np.uint8))
        logger.video(writer.finish().path)
    log(logger, 1)
    torch.manual_seed(0)
    model = torch.nn.Linear(30, 40)
    logger.parameters(1, 100, model)  # not yet
    logger.parameters(2, 200, model)
    logger.close()
    events = EventAccumulator(str(tmp_path / "r" / "tensorboard")).Reload()
    (event,) = events.Histograms("parameters/weight")
    spread = event.histogram_value
    weight = model.weight.detach().numpy()
    assert spread.num == weight.size
    assert spread.min == pytest.approx(weight.min())
    assert spread.max == pytest.approx(weight.max())
    assert spread.sum == pytest.approx(weight.sum(), abs=0.01 * np.abs(weight).sum())
    image = events.Images("episodes/video")[0]
    assert (image.width, image.height, image.step) == (48, 64, 100)
    assert image.encoded_image_string.startswith(b"GIF8")
    about = events.SummaryMetadata("_hparams_/session_start_info")
    for name in SETTINGS:
        assert name.encode() in about.plugin_data.content


def test_a_curve_stands_in_its_group_whatever_an_auxiliary_head_is_called():
    assert tag_of("mean_return") == "episodes/mean_return"
    assert tag_of("collect_seconds") == "time/collect_seconds"
    assert tag_of("mean_return_of_maze") == "games/mean_return_of_maze"
    for head in ("seconds_left", "side_of_door"):
        assert tag_of(f"auxiliary/{head}_loss") == f"auxiliary/{head}_loss"


def test_a_histogram_counts_all_that_is_finite():
    spread = histogram(np.array([0.0, 1.0, 1.0, np.nan, np.inf]))
    assert sum(spread.counts) == 3
    assert spread.counts[0] == 1
    assert spread.counts[-1] == 2
    assert (spread.edges[0], spread.edges[-1]) == (0.0, 1.0)
    assert len(spread.edges) == len(spread.counts) + 1
