"""Training from Python."""

from __future__ import annotations

from pathlib import Path

from ppo_mpi.api import train

SMALL = {
    "num_envs": 2,
    "rollout_timesteps": 32,
    "num_minibatches": 2,
    "num_epochs": 1,
    "display": "off",
    "hidden_sizes": [8, 8],
}


def test_the_same_call_goes_on_with_its_run_though_python_has_lists(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for total in (32, 64):
        assert train("CartPole-v1", run="r", total_timesteps=total, **SMALL).status == 0
    rows = (tmp_path / "checkpoints" / "r" / "progress.csv").read_text().splitlines()
    assert len(rows) == 3
