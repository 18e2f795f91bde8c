"""Runs that are exported to be shared act as before, hold nothing else, and stay as they are."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ppo_mpi import api
from ppo_mpi.cli import parse_command
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.modes.evaluate import evaluate_command
from ppo_mpi.modes.export import export_command
from ppo_mpi.modes.export_run import compare, plain_command
from ppo_mpi.modes.report import report_command
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.settings.export import ExportConfig
from ppo_mpi.settings.report import ReportConfig
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.manifest import MANIFEST, manifest_bytes
from ppo_mpi.storage.run_folder import checkpoints_of
from ppo_mpi.storage.shared_run import is_shared

SMALL = {
    "num_envs": 4, "rollout_timesteps": 64, "total_timesteps": 192, "num_minibatches": 1,
    "num_epochs": 1, "channel_multiplier": 0.25, "feature_size": 16, "hidden_sizes": (8,),
    "display": "off", "precision": "float32", "device": "cpu", "run": "whole",
}  # fmt: skip
KINDS = {
    "vectors": {"env": "probe:box", "normalize_observations": True, "normalize_rewards": True},
    "memory": {"env": "probe:memory", "recurrent": "gru", "recurrent_size": 8},
    "images": {"env": "probe:image", "reward_model": "rnd", "rnd_output_size": 8},
    "phasic": {"env": "probe:match", "algorithm": "ppg", "policy_iterations": 2},
}


def trained(folder: Path, kind: str) -> Path:
    settings = SMALL | KINDS[kind] | {"checkpoint_dir": str(folder)}
    return api.train(str(settings.pop("env")), **settings).path


def exported(run: Path, **settings: object) -> Path:
    path = run.parent.parent / "sent" / "shared"
    config = ExportConfig(run=str(run), format="run", output=str(path), **settings)
    assert export_command(config) == 0
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("lab") / "checkpoints", "vectors")


@pytest.fixture
def shared(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "checkpoints" / "whole")
    return exported(tmp_path / "checkpoints" / "whole")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_agent_acts_as_before_to_the_bit(kind: str, tmp_path: Path, capsys):
    whole = trained(tmp_path / "checkpoints", kind)
    path = exported(whole)
    assert "64 observations: 0 of them bring other" in capsys.readouterr().out
    one, other = (api.load(str(folder), device="cpu") for folder in (whole, path))
    results = [api.evaluate(agent, 3).episodes for agent in (one, other)]
    assert results[0] == results[1]
    with torch.no_grad():
        other.model.policy_head.bias += 1e-3
        other.model.value_head.bias += 1e-3
    assert compare(one, other)[1] == 64


def test_it_holds_what_acting_needs_and_nothing_of_the_machine(run: Path, shared: Path):
    step = checkpoints_of(shared)[0].name
    assert set(files_of(shared)) == {
        "DONE", "NEWEST", "config.yaml", "progress.csv", "report.html", "system.json",
        *(f"{step}/{name}" for name in (
            "environments.safetensors", "manifest.json", "model.safetensors",
            "normalizers.safetensors", "state.json",
        )),
    }  # fmt: skip
    checkpoint = load_checkpoint(shared / step)
    assert set(checkpoint.tensors) == {"model", "normalizers"}
    assert checkpoint.environments == {}
    names = set(checkpoint.tensors["normalizers"])
    kinds, numbers = ("observation", "reward"), ("mean", "variance", "count")
    assert names == {f"{kind}/{number}" for kind in kinds for number in numbers}
    assert {"train_episodes", "running_returns", "logger"}.isdisjoint(checkpoint.state)
    together = b"".join(files_of(shared).values())
    for secret in (str(run.parents[1]), str(Path.cwd()), socket.gethostname()):
        assert f'"{secret}"'.encode() not in together
    assert str(run.parents[1]).encode() not in together
    assert shared.stat().st_mode == run.stat().st_mode


@pytest.mark.parametrize("clobber", [False, True])
def test_training_on_is_refused_before_anything_is_written(shared: Path, clobber: bool):
    before = files_of(shared)
    with pytest.raises(ConfigError, match=r"was exported.*--borrow-from .*shared"):
        api.train("probe:box", run=str(shared), clobber=clobber, display="off")
    assert files_of(shared) == before
    assert is_shared(shared)


def test_training_on_is_refused_in_a_dry_run_with_a_remedy_that_can_be_typed(
    shared: Path, monkeypatch
):
    monkeypatch.chdir(shared.parent)
    with pytest.raises(ConfigError, match=r"was exported.*--borrow-from \./shared$"):
        parse_command(["train", "--run", "./shared", "--dry-run"], looks_at_run=True)


def test_a_new_run_can_borrow_its_layers_with_the_units_of_inputs_and_values(
    shared: Path, tmp_path: Path
):
    settings = SMALL | KINDS["vectors"] | {"checkpoint_dir": str(tmp_path / "new")}
    settings |= {"frozen_layers": ("torso",), "borrow_from": str(shared)}
    lent = load_checkpoint(checkpoints_of(shared)[0]).tensors
    own = api.train(str(settings.pop("env")), **settings).path
    taken = load_checkpoint(checkpoints_of(own)[0]).tensors
    same = {
        name for name in lent["model"] if torch.equal(lent["model"][name], taken["model"][name])
    }
    assert {name for name in lent["model"] if name.startswith("torso")} <= same < set(lent["model"])
    for kind in ("observation", "reward"):  # they go on from the lender's
        counts = [float(run["normalizers"][f"{kind}/count"]) for run in (lent, taken)]
        assert counts[1] == counts[0] + SMALL["total_timesteps"]


def changed(shared: Path, change: dict[str, bytes]) -> Path:
    """Return the checkpoint with files changed or added, and a manifest that fits."""
    path = checkpoints_of(shared)[0]
    files = {name: content for name, content in files_of(path).items() if name != MANIFEST}
    files |= change
    for name, content in files.items():
        (path / name).write_bytes(content)
    (path / MANIFEST).write_bytes(manifest_bytes(SMALL["total_timesteps"], files))
    return path


BLOB = {"train/000000": torch.zeros(4, dtype=torch.uint8)}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("optimizer.safetensors", {}, "of the files, it also has 'optimizer'"),
        ("environments.safetensors", BLOB, "holds the environment 'train/000000'"),
        ("normalizers.safetensors", {}, "it lacks 'observation/count'"),
        ("model.safetensors", {"x": torch.zeros(1)}, "of the tensors of model, it lacks"),
    ],
)
def test_a_copy_with_other_content_is_refused(shared: Path, file: str, content, message: str):
    path = changed(shared, {file: safetensors.torch.save(content)})
    with pytest.raises(CheckpointError, match=message):
        api.load(str(path))


@pytest.mark.parametrize(
    ("entry", "message"),
    [({"timesteps": -1}, "timesteps=-1 instead of"), ({"holds": "all"}, "logger='nothing'")],
)
def test_a_copy_with_another_state_is_refused(shared: Path, entry: dict, message: str):
    state = json.loads((checkpoints_of(shared)[0] / "state.json").read_text()) | entry
    with pytest.raises(CheckpointError, match=message):
        api.load(str(changed(shared, {"state.json": json.dumps(state).encode()})))


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_copy_is_refused(shared: Path, name: str):
    path = checkpoints_of(shared)[0] / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="is damaged"):
        api.load(str(shared))


def test_a_whole_checkpoint_that_claims_to_be_a_policy_is_refused(run: Path, tmp_path: Path):
    whole = tmp_path / "whole"
    shutil.copytree(run, whole)
    state = json.loads((checkpoints_of(whole)[0] / "state.json").read_text()) | {"holds": "policy"}
    path = changed(whole, {"state.json": json.dumps(state).encode()})
    with pytest.raises(CheckpointError, match="holds the environment|also has 'optimizer'"):
        api.load(str(path))


def test_reports_and_evaluations_of_it_leave_its_folder_alone(shared: Path, tmp_path: Path, capsys):
    before = files_of(shared)
    assets = str(tmp_path / "assets")
    report_command(
        ReportConfig((str(shared),), evaluate=True, episodes=2, asset_dir=assets, device="cpu")
    )
    assert "assets/shared/report.html" in capsys.readouterr().out
    page = (tmp_path / "assets" / "shared" / "report.html").read_text("utf-8")
    assert "<h2>Evaluation</h2>" in page
    assert "finished" in page
    assert files_of(shared) == before


def test_only_evaluations_of_its_timesteps_go_with_it(run: Path, tmp_path: Path, capsys):
    whole = tmp_path / "checkpoints" / "whole"
    shutil.copytree(run, whole)
    written = str(whole / "evaluation.json")
    asked = EvaluateConfig(run=str(whole), episodes=2, device="cpu", json=written)
    evaluate_command(asked, Communicator())
    document = json.loads((whole / "evaluation.json").read_text())
    (whole / "evaluation-old.json").write_text(json.dumps(document | {"timesteps": 64}))
    (whole / "evaluation-cut.json").write_text("{")
    (whole / "evaluation-none.json").write_text('{"timesteps": 192}')
    os.mkfifo(whole / "evaluation-pipe.json")
    capsys.readouterr()
    path = exported(whole)
    out = capsys.readouterr().out
    assert "evaluation-old.json is left out: it is not of 192" in out
    assert "evaluation-cut.json is left out: cannot read the evaluation" in out
    assert "evaluation-none.json is left out: " in out
    assert "evaluation-pipe.json is left out: cannot read the evaluation" in out
    sent = json.loads((path / "evaluation.json").read_text())
    assert sent["levels"] == document["levels"]
    assert (sent["run"], sent["checkpoint"]) == ("shared", "step-000000000192")
    assert [file.name for file in path.glob("evaluation*")] == ["evaluation.json"]


def test_an_existing_folder_is_not_touched(run: Path, tmp_path: Path):
    (tmp_path / "there").mkdir()
    config = ExportConfig(run=str(run), format="run", output=str(tmp_path / "there"))
    with pytest.raises(ConfigError, match=r"output=.*there exists; remove it"):
        export_command(config)
    assert os.listdir(tmp_path / "there") == []


def test_a_file_in_place_of_a_folder_is_named(run: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    config = ExportConfig(run=str(run), format="run", output=str(tmp_path / "file" / "x"))
    with pytest.raises(ConfigError, match=r"cannot write the run to .*choose another --output"):
        export_command(config)


@pytest.mark.parametrize(
    ("command", "plain"),
    [
        ("/a/python /b/ppo_mpi/__main__.py train coinrun --checkpoint-dir /c/d --seed 3",
         "python -m ppo_mpi train coinrun --seed 3"),
        ("/a/python /a/bin/ppo_mpi train --asset_dir=/x --config /y/z.yaml --display plain",
         "python -m ppo_mpi train --config z.yaml"),
        ("python /home/me/study.py --expert-data=/home/me/e.npz", "python study.py "
         "--expert-data=e.npz"),
        ("", ""),
        ("python 'unclosed", ""),
    ],
)  # fmt: skip
def test_commands_lose_the_folders_of_the_machine(command: str, plain: str):
    assert plain_command(command) == plain
