"""Each benchmark does its work once, on the smallest job; how fast it is, is not asked."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jobs import run_forked
from on_ranks import find_mpirun

from ppo_mpi.settings.augmentation import TRANSFORMS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SHAPE = ("--num-envs", "4", "--rollout-timesteps", "64", "--num-minibatches", "2")
CARTPOLE = ("--env", "CartPole-v1", "--preset", "cartpole", *SHAPE)

needs_mpirun = pytest.mark.skipif(
    find_mpirun() is None, reason="needs an MPI launcher: pip install mpich"
)
needs_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells the peak of the memory"
)


def run_benchmark(script: str, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a benchmark as a user would, from another folder's point of view."""
    return run_forked(0, [str(BENCHMARKS / script), *words], cwd=Path.cwd(), status=status)


def figures(path: Path) -> dict[str, Any]:
    """Return what a benchmark wrote, after a look at what every one writes."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert f"--json {path}" in content["machine"]["command"]
    assert len(content["machine"]["load_before"]) == 3
    return content


def test_throughput_measures_every_round(tmp_path):
    path = tmp_path / "speed.json"
    words = ("--iterations", "3", "--rounds", "2", "--warmup", "0", "--json", str(path))
    done = run_benchmark("throughput.py", *CARTPOLE, *words)
    (result,) = figures(path)["results"]
    assert len(result["iterations"]) == 3
    assert figures(path)["timesteps_per_second"] == result["timesteps_per_second"] > 0
    assert result["timesteps_per_iteration"] == 64
    assert done.stdout.splitlines()[1].split()[:3] == ["1", "1", "float32"]


def test_gpu_compares_the_ways_to_train(tmp_path):
    path = tmp_path / "gpu.json"
    words = ("--iterations", "1", "--warmup", "0", "--rounds", "1", "--json", str(path))
    done = run_benchmark("gpu.py", *CARTPOLE, *words, "--device", "cpu")
    results = figures(path)["results"]
    assert len({result["way"] for result in results}) == len(results) == 2
    assert all(result["engine_steps_per_second"] > 0 for result in results)
    assert done.stdout.splitlines()[0] == "on cpu, 1 rank(s), float32"


def test_the_parts_of_an_iteration_are_the_whole(tmp_path):
    path = tmp_path / "parts.json"
    done = run_benchmark("parts.py", *CARTPOLE, "--iterations", "1", "--json", str(path))
    seconds = figures(path)["seconds"]
    assert len(seconds) == 9
    assert all(number >= 0 for number in seconds.values())
    assert done.stdout.splitlines()[-1].startswith("all but the network")


def test_phases_are_measured_beside_ppo(tmp_path):
    path = tmp_path / "phases.json"
    words = ("--env", "CartPole-v1", "--preset", "cartpole-ppg", *SHAPE)
    done = run_benchmark("phases.py", *words, "--iterations", "2", "--json", str(path))
    ppg, ppo = figures(path)["seconds_per_timestep"].values()
    assert all(number > 0 for number in ppg.values())
    assert ppo["auxiliary phase"] == 0
    assert done.stdout.splitlines()[-1].split()[0] == "together"


def test_changed_images_are_measured_beside_the_update_and_painted(tmp_path):
    path, picture = tmp_path / "images.json", tmp_path / "images.png"
    words = ("--env", "coinrun", *SHAPE, "--channel-multiplier", "0.25", "--feature-size", "16")
    turns = ("--rounds", "2", "--samples", "4", "--json", str(path))
    done = run_benchmark("augmentation.py", *words, *turns)
    measured = figures(path)["microseconds_per_sample"]
    assert len(measured) == 2 + 3 * len(TRANSFORMS)
    assert all(0 < own["low"] <= own["median"] <= own["high"] for own in measured.values())
    assert len(done.stdout.splitlines()) == 3 + len(TRANSFORMS)
    run_benchmark("augmentation.py", *words, "--picture", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_learning_in_both_precisions_is_shown_beside_each_other(tmp_path):
    path = tmp_path / "curves.json"
    words = ("--timesteps", "640", "--seeds", "3", "--folder", str(tmp_path), "--json", str(path))
    done = run_benchmark("precision_learning.py", *CARTPOLE, *words)
    curves = json.loads(path.read_text(encoding="utf-8"))
    assert set(curves) == {"bfloat16", "float32"}
    assert all(own[0][-1][0] == 640 for own in curves.values())
    assert "float32: the runs end at" in done.stdout
    config = (tmp_path / "CartPole-v1-bfloat16-3" / "config.yaml").read_text(encoding="utf-8")
    assert "precision: bfloat16" in config
    assert "seed: 3" in config


@needs_mpirun
def test_scaling_compares_one_rank_with_two(tmp_path):
    path = tmp_path / "scaling.json"
    words = ("--iterations", "1", "--warmup", "0", "--json", str(path))
    done = run_benchmark("scaling.py", *CARTPOLE, *words)
    results = figures(path)["results"]
    assert [(r["kind"], r["ranks"]) for r in results] == [
        ("strong", 1), ("strong", 2), ("weak", 1), ("weak", 2)
    ]  # fmt: skip
    assert [r["timesteps_per_iteration"] for r in results] == [64, 64, 64, 128]
    assert {r["threads"] for r in results} == {1}
    assert [r["efficiency"] for r in results if r["ranks"] == 1] == [1.0, 1.0]
    assert all(0 < r["communication_share"] < 1 for r in results if r["ranks"] == 2)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:5]] == ["strong"] * 2 + [
        "weak"
    ] * 2


def test_workers_are_compared_with_the_rank_itself(tmp_path):
    path = tmp_path / "workers.json"
    words = ("--env", "probe:box,CartPole-v1", "--workers", "0,2", "--num-envs", "4")
    run_benchmark("env_workers.py", *words, "--steps", "5", "--rounds", "1", "--json", str(path))
    results = figures(path)["results"]
    assert [(r["env"], r["workers"]) for r in results] == [
        ("probe:box", 0), ("probe:box", 2), ("CartPole-v1", 0), ("CartPole-v1", 2)
    ]  # fmt: skip
    assert all(r["timesteps_per_second"] > 0 for r in results)
    assert [r["ratio"] for r in results if r["workers"] == 0] == [1.0, 1.0]


def table_of(printed: str) -> list[list[str]]:
    """Return the rows of a Markdown table as cells, without its head."""
    rows = [line.strip("|").split("|") for line in printed.splitlines()]
    return [[cell.strip() for cell in row] for row in rows][2:]


@needs_mpirun
def test_acceptance_trains_to_scores_and_says_which_were_missed(tmp_path):
    tiny = ("--folder", str(tmp_path), "--total-timesteps", "512", *SHAPE)
    done = run_benchmark("acceptance.py", "--tasks", "cartpole", "--ranks", "1", *tiny, status=1)
    ((name, timesteps, ranks, seed, score, *asked),) = table_of(done.stdout)
    assert (name, timesteps, ranks, seed) == ("cartpole", "512", "1", "0")
    assert 8 <= float(score) < 200  # CartPole falls no sooner, and 200 steps are not learned so
    assert asked[0] == "at least 200"
    assert asked[2] == "missed"
    saved = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert saved

    # What is finished is not trained again, and the number of ranks does not change the result.
    done = run_benchmark("acceptance.py", "--tasks", "cartpole", "--ranks", "1,2", *tiny, status=1)
    one, two = table_of(done.stdout)
    assert one[:5] == [name, timesteps, "1", seed, score]
    assert two[:5] == [name, timesteps, "2", seed, score]
    assert all(path.stat().st_mtime_ns == moment for path, moment in saved.items())

    # Without curiosity the car does not get up the mountain, and that is asked for.
    words = ("--tasks", "mountaincar-plain", "--ranks", "1", "--seeds", "4")
    done = run_benchmark("acceptance.py", *words, *tiny)
    (found,) = table_of(done.stdout)
    assert found[:6] == ["mountaincar-plain", "512", "1", "4", "-200.0", "at most -200"]
    assert found[7] == ""


@needs_linux
def test_memory_shows_the_peak_after_each_stage(tmp_path):
    path = tmp_path / "memory.json"
    run_benchmark("memory.py", *CARTPOLE, "--ranks", "2", "--json", str(path))
    found = figures(path)
    assert list(found["peaks"]) == ["imports", "environments", "run", "iterations"]
    peaks = list(found["peaks"].values())
    assert peaks[0] > 2**24
    # Linux may be wrong by some pages.
    assert all(later > earlier - 2**20 for earlier, later in pairwise(peaks))
    assert all(found["resident"][stage] <= peak for stage, peak in found["peaks"].items())
    assert set(found["paper"]) > {"imports", "rollout", "model", "activations"}
    assert found["machine"]["ranks"] == 1


@needs_linux
def test_memory_without_training_leaves_that_stage_out(tmp_path):
    path = tmp_path / "memory.json"
    words = ("--ranks", "2", "--iterations", "0", "--json", str(path))
    done = run_benchmark("memory.py", *CARTPOLE, *words)
    assert list(figures(path)["peaks"]) == ["imports", "environments", "run"]
    assert "one rank of 2: 2 of 4 environments, 32 of 64 timesteps" in done.stdout


def test_startup_splits_the_time_into_phases(tmp_path):
    path = tmp_path / "startup.json"
    words = ("--ranks", "1", "--env", "CartPole-v1", "--repeats", "2", "--json", str(path))
    run_benchmark("startup.py", *words, *SHAPE)
    (result,) = figures(path)["results"]
    assert len(result["starts"]) == 2
    for start in result["starts"]:
        assert list(start) == ["launch", "imports", "connect", "build"]
        assert result["fastest"] <= sum(start.values()) <= result["slowest"]
        assert start["imports"] > 0 < start["build"]


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("throughput.py", ("--preset", "nonsense"), "unknown preset 'nonsense'"),
        ("scaling.py", (*CARTPOLE, "--ranks", "1,9"), "num_envs=4 is fewer than world_size=9"),
        ("memory.py", (*CARTPOLE, "--ranks", "9"), "num_envs=4 is fewer than world_size=9"),
        ("startup.py", ("--iterations", "3"), "unknown setting '--iterations'"),
        ("acceptance.py", ("--iterations", "3"), "unknown setting '--iterations'"),
        ("acceptance.py", ("--tasks", "cartpole,car"), "no task is called 'car'; known: cartpole,"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(script, words, message):
    if script == "memory.py" and not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells the peak of the memory")
    done = run_benchmark(script, *words, status=2)
    assert f"{script.removesuffix('.py')}: error: {message}" in done.stderr
    assert done.stdout == ""


def test_a_failing_worker_ends_the_benchmark_with_its_status():
    words = ("--env", "NoSuchEnvironment-v0", *SHAPE)
    done = run_benchmark("throughput.py", *words, status=1)
    assert "NoSuchEnvironment" in done.stderr
    assert done.stdout == ""
