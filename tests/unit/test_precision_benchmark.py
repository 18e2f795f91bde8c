"""The comparison of precisions, on a small run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("procgen", reason="procgen is not installed")

ROOT = Path(__file__).resolve().parents[2]


def test_gradients_of_both_precisions_point_the_same_way(tmp_path):
    words = ["--env", "coinrun", "--num-envs", "4", "--rollout-timesteps", "128"]
    words += ["--num-minibatches", "2", "--iterations", "1", "--threads", "1"]
    program = str(ROOT / "benchmarks" / "precision.py")
    done = subprocess.run(
        [sys.executable, program, *words, "--json", str(tmp_path / "p.json")],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "p.json").read_text())
    assert len(rows) == 2
    assert all(0.9 < row["cosine"] < 1.0 for row in rows)  # equal ones would be one precision
    assert all(0.9 < row["norm_ratio"] < 1.1 for row in rows)
    assert all(-1 <= row["cosine_of_halves"] < row["cosine"] for row in rows)
