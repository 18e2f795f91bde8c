"""A search from one command to the table: real runs, one interrupted, one that fails."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from jobs import allowed, run_job, start_job
from made_runs import files_in

from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.storage.run_folder import checkpoints_of, done_timesteps
from ppo_mpi.sweeps.metrics import Metric

SEARCH = """\
env: probe:match
total_timesteps: 20480
settings: {num_epochs: 1, checkpoint_every: 1, precision: float32}
parameters:
  learning_rate: [3e-4, 3e-3]
seeds: 2
parallel: 2
metric: {column: mean_return, over: mean, last: 4}
"""
TINY = ["--total-timesteps", "20480", "--num-epochs", "1", "--checkpoint-every", "1",
        "--precision", "float32"]  # fmt: skip
FAILING = """\
env: probe:match
total_timesteps: 512
parameters:
  network: [mlp, nature]
seeds: 1
metric: mean_return
"""


def sweep(folder: Path, text: str, *words: str, status: int = 0) -> str:
    """Carry a search out in a folder; return what it printed."""
    (folder / "s.yaml").write_text(text)
    done = run_job(0, "sweep", "s.yaml", *words, cwd=folder, status=status)
    return done.stdout + done.stderr


def scores(folder: Path) -> dict[int, dict[str, float]]:
    document = json.loads((folder / "assets" / "s" / "results.json").read_text())
    return {trial["trial"]: trial["scores"] for trial in document["trials"]}


@pytest.mark.timeout(600)
def test_a_search_goes_on_where_it_was_interrupted(tmp_path):
    (tmp_path / "s.yaml").write_text(SEARCH)
    job = start_job(0, "sweep", "s.yaml", cwd=tmp_path)
    runs = tmp_path / "checkpoints" / "s"
    deadline = time.monotonic() + allowed(60)
    while time.monotonic() < deadline and not any(map(checkpoints_of, runs.glob("learning*"))):
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=120)
    assert job.returncode == EXIT_STOPPED, out + err
    assert "stopped; the same line goes on" in err
    cut = [path for path in runs.glob("learning*") if checkpoints_of(path)]
    assert len(cut) < 4
    shown = sweep(tmp_path, SEARCH)
    assert " of 4: learning_rate" in shown
    trials = scores(tmp_path)
    assert [sorted(known) for known in trials.values()] == [["0", "1"], ["0", "1"]]
    assert min(trials[1].values()) > max(trials[0].values())
    assert {"results.csv", "results.md", "results.json"} <= files_in(tmp_path / "assets" / "s")
    # A run that was interrupted has brought what it would have brought alone.
    alone = ["--run", "alone", "--seed", cut[0].name[-1], "--learning-rate"]
    rate = cut[0].name.removeprefix("learning_rate")[:-6]
    run_job(0, "train", "probe:match", *TINY, *alone, rate, cwd=tmp_path)
    values = Metric(column="mean_return", over="mean", last=4)
    assert values.of_run(cut[0]) == values.of_run(tmp_path / "checkpoints" / "alone")
    # What is finished is not trained again, and other settings are not mixed with it.
    assert "timesteps\n" not in sweep(tmp_path, SEARCH)
    shown = sweep(tmp_path, SEARCH.replace("num_epochs: 1", "num_epochs: 2"), status=2)
    assert "was begun with other settings: num_epochs=2 (it has 1)" in shown


@pytest.mark.timeout(300)
def test_a_failing_trial_is_listed_and_does_not_end_the_search(tmp_path):
    shown = sweep(tmp_path, FAILING, status=1)
    document = json.loads((tmp_path / "assets" / "s" / "results.json").read_text())
    good, bad = document["trials"]
    assert (good["status"], good["rank"], bad["status"], bad["rank"]) == (
        "finished", 1, "failed", None,
    )  # fmt: skip
    assert "training left with 2: ppo_mpi: error: " in bad["reason"]
    assert "--retry-failed tries what failed again" in shown
    assert "1 of 1" in sweep(tmp_path, FAILING, "--retry-failed", status=1)
    assert done_timesteps(Path(tmp_path, good["folders"][0])) == 512
