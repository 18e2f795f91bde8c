"""A checkpoint made to attack is refused: no code runs, no memory is blown, no process dies.

Each attack is a change to a real checkpoint, signed anew as its maker would do, and read in a
process of its own whose memory is limited, by all that reads checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import job_environment, run_job
from runs import JOBS, newest

WORDS = {
    "CartPole": ["train", *JOBS["CartPole"], "--run", "r", "--total-timesteps", "512"],
    "starpilot": ["train", *JOBS["starpilot"], "--run", "r", "--total-timesteps", "512"],
}
GIB = 2**30
MEMORY = 6 * GIB
"""Address space of a reader; torch alone takes about half of it."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, words in WORDS.items():
        folder = tmp_path_factory.mktemp(name)
        run_job(0, *words, cwd=folder)
        found[name] = folder
    return found


def sign(checkpoint: Path) -> None:
    """Let the manifest fit the files, as an attacker would."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name in manifest["files"]:
        content = (checkpoint / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"][name] = {"size": len(content), "sha256": digest}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def change_state(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return an attack that changes state.json."""

    def attack(checkpoint: Path) -> None:
        path = checkpoint / "state.json"
        state = json.loads(path.read_text())
        change(state)
        path.write_text(json.dumps(state))

    return attack


def set_config(**values: Any) -> Callable[[Path], None]:
    return change_state(lambda state: state["config"].update(values))


def set_state(**values: Any) -> Callable[[Path], None]:
    return change_state(lambda state: state.update(values))


def write_file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / name).write_bytes(content) and None


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch pwned",))


def tensor_header(shape: list[int], end: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header


def rename_in_manifest(new: str) -> Callable[[Path], None]:
    def attack(checkpoint: Path) -> None:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        manifest["files"][new] = manifest["files"].pop("model.safetensors")
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))

    return attack


def link_out(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors").symlink_to("/etc/passwd")


def a_pipe(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    os.mkfifo(checkpoint / "model.safetensors")


def poison_model(checkpoint: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    first = next(iter(tensors))
    tensors[first] = tensors[first].astype("float64")
    save_file(tensors, checkpoint / "model.safetensors")


def extra_environment(checkpoint: Path) -> None:
    from safetensors.numpy import load_file, save_file

    states = load_file(checkpoint / "environments.safetensors")
    states["../../evil"] = next(iter(states.values()))
    save_file(states, checkpoint / "environments.safetensors")


def garble_environments(checkpoint: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    states = load_file(checkpoint / "environments.safetensors")
    rng = np.random.default_rng(1)
    garbled = {
        key: rng.integers(0, 256, len(state), dtype=np.uint8) for key, state in states.items()
    }
    save_file(garbled, checkpoint / "environments.safetensors")


UNSIGNED: dict[str, Callable[[Path], None]] = {
    "a name outside": rename_in_manifest("../../../etc/passwd"),
    "an absolute name": rename_in_manifest("/etc/passwd"),
    "a link": link_out,
    "a pipe": a_pipe,
    "a manifest that is a list": write_file("manifest.json", b"[]"),
    "a manifest nested deeply": write_file("manifest.json", b"[" * 200_000),
    "a pickled manifest": write_file("manifest.json", pickle.dumps(Payload())),
}
# Attacks that everything must refuse.
SIGNED: dict[str, Callable[[Path], None]] = {
    "a pickle for a model": write_file("model.safetensors", pickle.dumps(Payload())),
    "a pickle for a state": write_file("state.json", pickle.dumps(Payload())),
    "a tensor of terabytes": write_file("model.safetensors", tensor_header([2**40], 2**42)),
    "a negative shape": write_file("model.safetensors", tensor_header([-1], 4)),
    "a header of terabytes": write_file("model.safetensors", struct.pack("<Q", 2**42) + b"{}"),
    "a state nested deeply": write_file("state.json", b'{"a":' * 100_000),
    "a number of many digits": write_file("state.json", b'{"iteration": ' + b"9" * 10_000 + b"}"),
    "a state that is a list": write_file("state.json", b"[1, 2]"),
    "tensors of another type": poison_model,
    "a word for the iteration": set_state(iteration="one"),
    "a negative iteration": set_state(iteration=-1),
    "a fraction of timesteps": set_state(timesteps=0.5),
    "no number": set_state(timesteps=float("nan")),
    "a list for the config": set_state(config=[]),
    "no config": change_state(lambda state: state.pop("config") and None),
    "an unknown setting": set_config(evil=1),
    "a word for a number": set_config(num_envs="many"),
    "a huge layer": set_config(hidden_sizes=[10**9]),
    "a million layers": set_config(hidden_sizes=[64] * 10**6),
    "a layer of nothing": set_config(left_hidden_sizes=[8, 0]),
    "a huge critic": set_config(value_hidden_sizes=[10**9], shared_torso=False),
    "a billion channels": set_config(conv_channels=[10**9]),
    "a module to import": set_config(env="gym:antigravity:Evil-v0"),
    "a module to import by the old gym": set_config(env="oldgym:antigravity:Evil-v0"),
    "a function to call": set_config(env="os:system", env_kwargs=["command=touch pwned"]),
    "a function of the user's": set_config(env="user:builtins:open", env_kwargs=["file=pwned"]),
    "an unknown suite": set_config(env="procgn:coinrun"),
}
# Attacks on what only training reads.
TRAINING: dict[str, Callable[[Path], None]] = {
    "a billion environments": set_config(num_envs=10**9, rollout_timesteps=10**9),
    "a million environments": set_config(num_envs=10**6, rollout_timesteps=10**6),
    "a huge rollout": set_config(rollout_timesteps=8 * 10**12),
    "episodes of nobody": set_state(train_episodes={"0": [0.0, 0]}),
    "episodes of another type": set_state(train_episodes="none"),
    "a logger of another type": set_state(logger={"windows": 3}),
    "an environment outside": extra_environment,
    "environments of noise": garble_environments,
}


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def use(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ppo_mpi", *words], cwd=folder, env=job_environment(),
        capture_output=True, text=True, timeout=100, preexec_fn=limited,
    )  # fmt: skip


def attacked(real: Path, folder: Path, attack: Callable[[Path], None], signed: bool) -> Path:
    shutil.copytree(real / "checkpoints", folder / "checkpoints")
    checkpoint = newest(folder / "checkpoints" / "r")
    attack(checkpoint)
    if signed:
        sign(checkpoint)
    return checkpoint


def check_refused(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    told = done.stdout + done.stderr
    assert done.returncode == 2, told
    assert done.stderr.count("ppo_mpi: error:") == 1, told
    assert "Traceback" not in told
    assert len(told) < 5000
    assert not (folder / "pwned").exists()


ALL = {**dict.fromkeys(UNSIGNED, False), **dict.fromkeys(SIGNED, True)}
SAMPLE = ("a pickle for a model", "a huge layer", "a module to import", "a function to call")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SAMPLE else pytest.mark.faults) for n in ALL]
)
def test_an_attack_is_refused_by_all_that_reads_checkpoints(
    name: str, real: dict[str, Path], tmp_path: Path
):
    attack = UNSIGNED.get(name) or SIGNED[name]
    attacked(real["CartPole"], tmp_path, attack, ALL[name])
    total = ["--total-timesteps", "1024"]
    for words in (
        [*WORDS["CartPole"], *total],
        ["evaluate", "r", "--episodes", "1"],
        ["record", "r", "--seconds", "1"],
    ):
        check_refused(use(tmp_path, *words), tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n == "a billion environments" else pytest.mark.faults)
        for n in TRAINING
    ],
)
def test_an_attack_on_a_run_that_goes_on_is_refused(
    name: str, real: dict[str, Path], tmp_path: Path
):
    attacked(real["CartPole"], tmp_path, TRAINING[name], signed=True)
    done = use(tmp_path, "train", "CartPole-v1", "--run", "r", "--total-timesteps", str(10**14))
    check_refused(done, tmp_path)


def of_another_game(checkpoint: Path) -> None:
    set_config(env="procgen:coinrun")(checkpoint)


@pytest.mark.parametrize(
    "attack", [of_another_game, garble_environments], ids=lambda attack: attack.__name__
)
def test_engine_states_that_would_end_the_process_are_refused(
    attack: Callable[[Path], None], real: dict[str, Path], tmp_path: Path
):
    attacked(real["starpilot"], tmp_path, attack, signed=True)
    words = WORDS["starpilot"][2:] if attack is of_another_game else WORDS["starpilot"][1:]
    game = ["coinrun"] if attack is of_another_game else []
    done = use(tmp_path, "train", *game, *words, "--total-timesteps", "1024")
    check_refused(done, tmp_path)
