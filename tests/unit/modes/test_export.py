"""Exported policies do what the agent does: every network, observation and action."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model, make_observation_normalizer
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.spaces import ObservationPart, ObservationSpec
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.modes import export_formats
from ppo_mpi.modes.export import describe, expected, export, finite, verify
from ppo_mpi.modes.exported_policy import ExportedPolicy, as_inputs, input_names
from ppo_mpi.settings.export import ExportConfig
from ppo_mpi.suites import make_envs


def make_agent(env: str, **values: object) -> Agent:
    """Return an agent with fresh weights and a will of its own, who has seen some observations."""
    small = {
        "env": env, "precision": "float32", "channel_multiplier": 0.25, "feature_size": 16,
        "hidden_sizes": (8,), "recurrent_size": 8 if "recurrent" in values else 0,
    }  # fmt: skip
    config = with_values(TrainConfig(), small | values)
    envs = make_envs(config, range(1), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    normalizer = make_observation_normalizer(config, envs)
    with torch.no_grad():
        for parameter in (model.policy_head.weight, model.policy_head.bias, model.value_head.bias):
            parameter.add_(torch.randn_like(parameter))
        if model.value_scale is not None:
            model.value_scale.mean.fill_(3.0)
            model.value_scale.variance.fill_(4.0)
    if normalizer is not None:
        shape = normalizer.moments.mean.shape
        normalizer.moments.merge(100.0, np.full(shape, 0.3), np.full(shape, 0.01))
    return Agent(config, Path("runs/r"), 1000, model.eval(), normalizer, Path("runs/r/x"))


AGENTS = {
    "mlp": {"env": "CartPole-v1", "normalize_observations": True, "observation_clip": 2.0},
    "clipped": {"env": "probe:match", "clip_observations": True, "observation_clip": 0.5},
    "split": {"env": "CartPole-v1", "network": "split", "split_start": 1, "shared_torso": False},
    "heads": {
        "env": "probe:beacon",
        "shared_layers": 1,
        "hidden_sizes": (8, 8),
        "shared_torso": False,
        "auxiliary_heads": ("distance:regression@policy.1", "side:classes:2@shared"),
    },
    "parted": {"env": "CartPole-v1", "shared_layers": 1, "hidden_sizes": (8, 8)},
    "box": {"env": "probe:box", "normalize_observations": True, "normalize_values": True},
    "squashed": {"env": "probe:tuple", "box_actions": "squash", "std_function": "softplus"},
    "choices": {"env": "probe:multi_discrete"},
    "switches": {"env": "probe:multi_binary"},
    "impala": {"env": "probe:image"},
    "nature": {"env": "probe:image", "network": "nature", "conv_channels": (8,)},
    "packed": {"env": "probe:picture_and_vector", "normalize_observations": True},
    "gru": {"env": "probe:memory", "recurrent": "gru"},
    "lstm": {"env": "probe:image", "recurrent": "lstm", "shared_torso": False},
}


def check(agent: Agent, file_format: str, folder: Path) -> None:
    path = folder / "policy"
    metadata = export(agent, file_format, path)
    largest, differing, num = verify(agent, file_format, path)
    assert (differing, num) == (0, 113)
    assert max(largest.values()) < 1e-5
    assert set(largest) | {"action"} == set(metadata["outputs"])


@pytest.mark.parametrize("name", AGENTS)
def test_torchscript_does_what_the_agent_does(name: str, tmp_path: Path):
    check(make_agent(**AGENTS[name]), "torchscript", tmp_path)


# Some seconds each: those between which the others lie.
@pytest.mark.parametrize("name", ["squashed", "packed", "lstm"])
def test_onnx_does_what_the_agent_does(name: str, tmp_path: Path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    check(make_agent(**AGENTS[name]), "onnx", tmp_path)


def test_a_file_that_does_something_else_is_found_out(tmp_path: Path):
    agent = make_agent(**AGENTS["mlp"])
    export(agent, "torchscript", tmp_path / "p")
    with torch.no_grad():
        agent.model.policy_head.weight.neg_()
        agent.model.policy_head.bias.neg_()
    largest, differing, _ = verify(agent, "torchscript", tmp_path / "p")
    assert differing > 100
    assert largest["policy_outputs"] > 0.5


def test_a_file_that_gives_no_numbers_is_found_out(tmp_path: Path):
    agent = make_agent(**AGENTS["mlp"])
    good = agent.model.value_head.bias.detach().clone()
    with torch.no_grad():
        agent.model.value_head.bias.fill_(math.nan)
        export(agent, "torchscript", tmp_path / "p")
        agent.model.value_head.bias.copy_(good)
    largest, _, _ = verify(agent, "torchscript", tmp_path / "p")
    assert largest["value"] == math.inf


READER = """
import json, sys
sys.modules["ppo_mpi"] = None  # importing it would fail
import numpy, torch
extra = {"ppo_mpi.json": ""}
policy = torch.jit.load(sys.argv[1], _extra_files=extra)
metadata = json.loads(extra["ppo_mpi.json"])
found = policy(torch.from_numpy(numpy.load(sys.argv[2])))
named = dict(zip(metadata["outputs"], found))
print(json.dumps([named["action"].tolist(), named["value"].tolist(), metadata["env"]]))
"""


def test_a_process_without_ppo_mpi_reads_torchscript(tmp_path: Path):
    agent = make_agent(**AGENTS["mlp"])
    export(agent, "torchscript", tmp_path / "p.pt")
    obs = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.save(tmp_path / "obs.npy", obs)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "p.pt"), str(tmp_path / "obs.npy")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    actions, values, env = json.loads(done.stdout)
    wanted = expected(agent, obs, agent.no_memory(5))
    assert actions == wanted["action"].tolist()
    assert values == pytest.approx(wanted["value"].tolist(), rel=1e-5)
    assert env == "CartPole-v1"


def test_the_metadata_say_what_goes_in_and_out(tmp_path: Path):
    agent = make_agent(**AGENTS["packed"], recurrent="gru")
    metadata = export(agent, "torchscript", tmp_path / "p")
    spec = agent.model.obs_spec
    assert metadata["inputs"] == [f"observation_{part.name}" for part in spec.parts] + ["memory"]
    assert metadata["outputs"][-1] == "next_memory"
    assert metadata["memory_size"] == 8
    assert metadata["config"]["recurrent"] == "gru"
    assert [own.shape[1:] for own in as_inputs(spec, np.zeros((2, *spec.shape), np.uint8))] == [
        part.shape for part in spec.parts
    ]
    _, read = export_formats.read_policy("torchscript", tmp_path / "p")
    assert read == metadata
    assert metadata["action"]["type"] == "Discrete"
    free = make_agent("probe:tuple")
    assert finite((math.inf, [{"low": -math.inf}], 2.0)) == [None, [{"low": None}], 2.0]
    assert [own["type"] for own in describe(free, ExportedPolicy(free))["action"]["parts"]]
    box = make_agent("probe:box", initial_log_std=-0.5)
    assert export(box, "torchscript", tmp_path / "p")["log_std"] == [-0.5]


def test_an_agent_that_calculates_in_bfloat16_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match='precision="float32"'):
        export(make_agent("probe:image", precision="bfloat16"), "torchscript", tmp_path / "p")


def test_what_is_missing_or_contradicts_itself_is_said(monkeypatch: pytest.MonkeyPatch):
    export_formats.check_installed("torchscript")
    monkeypatch.setattr(export_formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ppo_mpi\[export\]'"):
        export_formats.check_installed("onnx")
    ExportConfig(output="a.onnx", format="onnx").validate()
    with pytest.raises(ConfigError, match="use --format onnx"):
        replace(ExportConfig(), output="a.onnx").validate()


def test_parts_whose_names_differ_in_other_signs_alone_have_inputs_of_their_own():
    parts = [ObservationPart(name, (2,), "float32") for name in ("a.b", "a_b", "a b", "a_b_2")]
    names = input_names(ObservationSpec.packed(parts))
    assert names[:2] == ["observation_a_b", "observation_a_b_2"]
    assert len(set(names)) == 4
