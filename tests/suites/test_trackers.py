"""The real trackers, without a network: a run, and the same run going on."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    found = [list(wandb_records(run / f"run-{identity}.wandb")) for run in sorted(runs)]
    for own, timesteps in zip(found, ("512", "1024"), strict=True):
        assert [r["timesteps"] for r in rows_of(own) if "learning/loss" in r] == [timesteps]
        assert any("parameters/value_head.bias/bins" in row for row in rows_of(own))
    (begin,) = [r.run for r in found[0] if r.WhichOneof("record_type") == "run"]
    assert {item.key: item.value_json for item in begin.config.update}["num_envs"] == "8"


def wandb_records(path: Path) -> Iterator[Any]:
    """Read what W&B keeps to send it later.

    Source: LevelDB's log format: in blocks of 32 KiB records with a checksum, a length and what
    part of a whole each is; before them seven bytes of W&B's.
    """
    from wandb.proto import wandb_internal_pb2

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(content):
        if 2**15 - place % 2**15 < 7:  # no header fits into the rest of the block
            place += 2**15 - place % 2**15
            continue
        _, length, part = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def rows_of(records: list[Any]) -> list[dict[str, str]]:
    """Return what was logged, each time: name -> JSON."""
    return [
        {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]


def test_mlflow_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    # Files begin at once; a new database takes dozens of migrations.
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
