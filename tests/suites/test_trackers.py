"""The real trackers, without a network: a run, and the same run going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jobs import run_job
from runs import JOBS

WORDS = ["train", *JOBS["CartPole"], "--run", "r", "--checkpoint-every", "1"]


def test_wandb_goes_on_with_its_run_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    words = [*WORDS, "--track", "wandb", "--track-mode", "offline", "--track-histograms", "1"]
    for timesteps in ("512", "1024"):
        done = run_job(0, *words, "--total-timesteps", timesteps, cwd=tmp_path)
        assert "failed" not in done.stderr
    folder = tmp_path / "checkpoints" / "r" / "trackers"
    identity = json.loads((folder / "wandb.json").read_text())["id"]
    runs = list(folder.glob("wandb/offline-run-*"))
    assert len(runs) == 2
    assert all((run / f"run-{identity}.wandb").stat().st_size > 1000 for run in runs)


def test_mlflow_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for timesteps in ("512", "1024"):
        words = [*WORDS, "--track", "mlflow", "--total-timesteps", timesteps]
        done = run_job(0, *words, cwd=tmp_path)
        assert "failed" not in done.stderr
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("ppo_mpi")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["num_envs"] == "8"
    history = client.get_metric_history(run.info.run_id, "learning/loss")
    assert [point.step for point in history] == [512, 1024]
