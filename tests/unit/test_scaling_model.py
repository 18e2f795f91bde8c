"""The formulas of the scaling model, and one prediction from a real measurement."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "scaling_model.py"
MPIRUN = Path(sys.executable).with_name("mpirun")

spec = importlib.util.spec_from_file_location("scaling_model", PROGRAM)
assert spec is not None
assert spec.loader is not None
model = importlib.util.module_from_spec(spec)
sys.modules["scaling_model"] = model
spec.loader.exec_module(model)

NETWORK = model.Network(latency=50e-6, bandwidth=1e9)
JOB = model.Job(
    timesteps=16_384, num_envs=64, optimizer_steps=24, gradient_bytes=2_500_000,
    other_messages=20, timestep_seconds=1 / 400, spread=0.0,
)  # fmt: skip


def test_a_sum_halves_and_doubles():
    assert NETWORK.seconds(1, 1e6) == 0.0
    assert NETWORK.seconds(2, 0) == pytest.approx(2 * 50e-6)
    assert NETWORK.seconds(8, 8e6) == pytest.approx(6 * 50e-6 + 14 / 8 * 8e-3)


@pytest.mark.parametrize("ranks", [2, 3, 16])
def test_the_fit_finds_the_network_that_made_the_times(ranks):
    seconds = [NETWORK.seconds(ranks, size) for size in model.MESSAGE_BYTES]
    found = model.fit_network(ranks, model.MESSAGE_BYTES, seconds)
    assert found.latency == pytest.approx(NETWORK.latency, rel=1e-6)
    assert found.bandwidth == pytest.approx(NETWORK.bandwidth, rel=1e-6)


def test_the_same_job_has_less_work_a_rank_and_as_many_messages():
    p = model.predict(JOB, NETWORK, 8)
    assert p.timesteps == 16_384
    assert p.busy == pytest.approx(16_384 / 8 / 400)
    assert p.gradients == pytest.approx(24 * NETWORK.seconds(8, 2_500_000))
    assert p.messages == pytest.approx(20 * NETWORK.seconds(8, 64))
    assert p.efficiency == pytest.approx(p.busy / (p.busy + p.gradients + p.messages))


def test_what_is_sent_early_is_hidden_behind_the_last_microbatch():
    job = replace(JOB, early_bytes=2_000_000, microbatch_seconds=0.002, step_seconds=0.008)
    late, early = (NETWORK.seconds(8, size) for size in (500_000, 2_000_000))
    # A rank of 8 has less than a microbatch to do in a step; a rank of two has more.
    assert job.step_gradients(NETWORK, 8) == pytest.approx(late + early - 0.6 * 0.001)
    late, early = (NETWORK.seconds(2, size) for size in (500_000, 2_000_000))
    assert job.step_gradients(NETWORK, 2) == pytest.approx(late + early - 0.6 * 0.002)
    fast = model.Network(latency=0.0, bandwidth=1e12)
    assert job.step_gradients(fast, 2) == pytest.approx(fast.seconds(2, 500_000))


def test_a_job_that_grows_keeps_its_share_a_rank():
    two, many = (model.predict(JOB, NETWORK, ranks, weak_from=2) for ranks in (2, 256))
    assert (two.timesteps, many.timesteps) == (16_384, 16_384 * 128)
    assert many.busy == two.busy
    assert many.efficiency > model.predict(JOB, NETWORK, 256).efficiency


def test_the_slowest_of_many_ranks_is_waited_for():
    uneven = replace(JOB, spread=0.1)
    p = model.predict(uneven, NETWORK, 16)
    assert p.waiting == pytest.approx(p.busy * 0.1 * math.sqrt(2 * math.log(16)))
    assert model.predict(uneven, NETWORK, 1).waiting == 0.0


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_the_spread_is_found_in_what_was_waited(spread):
    p = model.predict(replace(JOB, spread=spread), NETWORK, 4)
    waited = p.waiting + p.gradients + p.messages
    assert model.spread_of(JOB, NETWORK, 4, waited) == pytest.approx(spread, abs=1e-12)


@pytest.mark.parametrize(
    ("network", "spread", "word"),
    [
        (model.Network(1e-6, 1e7), 0.0, "--num-minibatches"),
        (model.Network(1.0, 1e15), 0.0, "--num-minibatches"),
        (NETWORK, 0.9, "bind"),
    ],
)
def test_where_it_stops_scaling_it_is_said_what_to_change(network, spread, word):
    text = model.table(replace(JOB, spread=spread), network, 2)
    assert word in text
    assert "most is lost to" in text


def test_there_are_no_more_ranks_than_environments():
    text = model.table(replace(JOB, num_envs=4), model.Network(0.0, 1e15), 2)
    assert "more ranks than num_envs=4" in text


@pytest.mark.skipif(not MPIRUN.exists(), reason="no mpirun: pip install 'ppo_mpi[mpich]'")
def test_two_ranks_measure_and_predict(tmp_path):
    words = ["--env", "CartPole-v1", "--preset", "cartpole", "--iterations", "1"]
    words += ["--json", str(tmp_path / "model.json"), "--rollout-timesteps", "256"]
    command = [MPIRUN, "-np", "2", sys.executable, PROGRAM, *words]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "measured on 2 ranks" in done.stdout
    result = json.loads((tmp_path / "model.json").read_text())
    assert result["job"]["optimizer_steps"] == 80
    assert result["job"]["other_messages"] > 0
    assert result["network"]["bandwidth"] > 0


def test_one_rank_is_told_to_launch_more(tmp_path):
    words = ["--env", "CartPole-v1", "--preset", "cartpole"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "mpirun -np 2" in done.stderr
