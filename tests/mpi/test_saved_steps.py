"""A file of an evaluation's steps is the same on any number of ranks, idle ones included."""

from __future__ import annotations

from pathlib import Path

from jobs import run_job

from ppo_mpi.api import load_steps

TRAIN = (
    *("train", "probe:memory", "--recurrent", "gru", "--recurrent-size", "8", "--num-envs", "4"),
    *("--rollout-timesteps", "64", "--total-timesteps", "64", "--num-epochs", "1"),
    *("--num-minibatches", "1", "--hidden-sizes", "8", "--display", "off", "--run", "r"),
)


def evaluate(ranks: int, folder: Path, episodes: int) -> bytes:
    """Evaluate the run on a number of ranks; return the file."""
    path = folder / "steps.npz"
    run_job(ranks, "evaluate", "r", "--episodes", str(episodes), "--num-envs", "5",
            "--save-steps", str(path), "--activations", cwd=folder)  # fmt: skip
    return path.read_bytes()


def test_the_number_of_ranks_changes_no_step(tmp_path: Path):
    run_job(0, *TRAIN, cwd=tmp_path)
    alone = evaluate(0, tmp_path, 7)
    steps = load_steps(tmp_path / "steps.npz")
    assert steps.num_episodes == 7
    assert steps["memories"].any()
    assert steps["final_observations"].shape == (7, *steps["observations"].shape[1:])
    assert steps["final_known"].all()
    assert steps["activations/policy.memory"].shape == (len(steps), 8)
    assert evaluate(2, tmp_path, 7) == alone
    # Of three ranks one has nothing to play.
    assert evaluate(3, tmp_path, 2) == evaluate(0, tmp_path, 2)
