"""The benchmark of networks runs its job on hosts whose links are limited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import need_namespaces

ROOT = Path(__file__).resolve().parents[2]
BUCKET_BYTES = 256 * 1024


@pytest.mark.skipif(
    not Path(sys.executable).with_name("mpirun").exists(), reason="no mpirun beside this python"
)
def test_a_limited_link_is_seen_as_what_it_is(tmp_path: Path):
    need_namespaces()
    words = ["--rates", "100mbit", "--env", "CartPole-v1", "--preset", "cartpole"]
    command = [sys.executable, "benchmarks/network.py", *words, "--json", tmp_path / "n.json"]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    memory, network = json.loads((tmp_path / "n.json").read_text())
    assert (len(memory["hosts"]), len(network["hosts"])) == (1, 2)
    # The limit is a fact of the link, not of the machine's speed: for a sum over two hosts each
    # sends as many bytes as there are, of which the limiter's bucket lets some through at once.
    # Memory is far beyond it.
    size = max(map(int, network["sum_seconds"]))
    least = 8 * (size - BUCKET_BYTES) / 100e6
    assert memory["sum_seconds"][str(size)] < least < network["sum_seconds"][str(size)]
