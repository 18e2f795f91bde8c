"""An experiment from one command to the figure: real runs, half of them done before."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path

import pytest
from jobs import run_job, start_job
from made_runs import files_in

from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.storage.run_folder import checkpoints_of, done_timesteps

pytest.importorskip("procgen", reason="procgen is not installed")

TINY = [
    "--num-envs", "8", "--rollout-timesteps", "1024", "--num-minibatches", "2",
    "--num-epochs", "1", "--network", "nature", "--channel-multiplier", "0.25",
    "--feature-size", "16", "--checkpoint-every", "1", "--display", "off",
]  # fmt: skip
EXPERIMENT = ["experiment", "procgen-benchmark", "--games", "heist", "--seeds", "2",
              "--num-test-envs", "4", "--eval-episodes", "8"]  # fmt: skip


def run(folder: Path, words: list[str], status: int = 0) -> str:
    """Run ppo_mpi in a folder; return what it printed."""
    done = run_job(0, *words, cwd=folder, status=status)
    return done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_an_experiment_goes_on_where_it_was_and_ends_in_figures(tmp_path):
    runs = tmp_path / "checkpoints" / "procgen-benchmark-easy-200"
    plan = [*EXPERIMENT, "--total-timesteps", "3072"]
    # One seed is finished and the other was interrupted after one iteration of three.
    run(tmp_path, [*plan, "--seeds", "1", "--", *TINY])
    first = runs / "heist-seed0"
    before = (first / "DONE").stat().st_mtime_ns, (first / "evaluation.json").stat().st_mtime_ns
    shown = run(tmp_path, [*plan, "--dry-run", "--", *TINY])
    words = next(line for line in shown.splitlines() if "heist-seed1" in line and "train" in line)
    begun = words.split()[3:]
    begun[begun.index("--total-timesteps") + 1] = "1024"
    run(tmp_path, begun)
    assert done_timesteps(runs / "heist-seed1") == 1024

    # The rest on two ranks, which changes nothing but the time that it takes.
    shown = run(tmp_path, [*plan, "--ranks", "2", "--", *TINY])
    assert "heist-seed1, from 1,024 of 3,072 timesteps" in shown
    assert "heist-seed0, from" not in shown
    assert done_timesteps(runs / "heist-seed1") == 3072
    after = (first / "DONE").stat().st_mtime_ns, (first / "evaluation.json").stat().st_mtime_ns
    assert after == before

    folder = tmp_path / "assets" / "procgen-benchmark-easy-200"
    assert {"curves.png", "scores.pdf", "aggregate.png", "games.csv"} <= files_in(folder)
    (row,) = csv.DictReader((folder / "games.csv").open())
    assert (row["game"], row["runs"], row["train_published"]) == ("heist", "2", "7.9")
    documents = [json.loads((runs / f"heist-seed{k}" / "evaluation.json").read_text())
                 for k in range(2)]  # fmt: skip
    means = [document["levels"]["held-out"]["mean_return"] for document in documents]
    assert float(row["evaluated_test_return"]) == pytest.approx(sum(means) / 2)
    with (first / "evaluation.csv").open() as file:
        episodes = list(csv.DictReader(file))
    assert [row["split"] for row in episodes] == ["train"] * 8 + ["test"] * 8
    assert {row["train_seed"] for row in episodes} == {"0"}

    # Now there is nothing left to do but to draw.
    shown = run(tmp_path, [*plan, "--figures-only", "--", *TINY])
    assert "run 1 of 2" not in shown
    assert "wrote" in shown


@pytest.mark.timeout(300)
def test_a_run_whose_words_cannot_be_ends_the_experiment_before_it_begins(tmp_path):
    shown = run(tmp_path, [*EXPERIMENT, "--", "--discount", "2"], status=2)
    assert "discount=2" in shown
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.timeout(300)
def test_an_experiment_that_is_told_to_stop_saves_its_run_and_says_so(tmp_path):
    words = [*EXPERIMENT, "--total-timesteps", "1000000", "--", *TINY]
    job = start_job(0, *words, cwd=tmp_path)
    folder = tmp_path / "checkpoints" / "procgen-benchmark-easy-200" / "heist-seed0"
    deadline = time.monotonic() + 120
    while not checkpoints_of(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=120)
    assert job.returncode == EXIT_STOPPED, out + err
    assert "stopped; the same line goes on" in err
    assert checkpoints_of(folder)
    assert done_timesteps(folder) is None
    assert not (folder.parent / "heist-seed1").exists()
