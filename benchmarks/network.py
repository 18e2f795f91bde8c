"""Measures what a network costs: the same job on hosts with different links between them.

    python benchmarks/network.py --hosts 2,3 --rates none,1gbit --env starpilot

The hosts are namespaces on this machine (root and iproute2 are needed), each with one rank and a
network card of its own on a bridge; ``tc`` limits what a card sends. One host, without a network,
comes first. Each job is ``scaling_model.py``, which fits latency and bandwidth to what it sees.
The ranks share this machine's cores: compare links with the same number of hosts.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

from hosts import Hosts  # noqa: E402

MODEL = ROOT / "benchmarks" / "scaling_model.py"
TIMEOUT_SECONDS = 600
TCP = {"UCX_TLS": "tcp,self"}
"""MPICH finds out that the hosts are one machine, and would use its memory instead."""
MAX_WAIT = "50ms"
"""Of a packet in the limited card's queue; a longer queue holds more than TCP has under way."""


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options, words = parse_options(sys.argv[1:])
    if os.geteuid() != 0:
        print(
            "network: error: namespaces need root; run it as root, or measure a real network: "
            "mpirun -hosts a,b -np 2 python benchmarks/scaling_model.py",
            file=sys.stderr,
        )
        return 2
    train_words = ["--env", options.env, "--preset", options.preset]
    train_words += ["--iterations", str(options.iterations), *words]
    results = []
    for number in options.hosts:
        results.append({"link": "shared memory"} | on_one_host(number, train_words))
        for rate in options.rates:
            results.append({"link": rate} | over_network(number, rate, train_words))
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = argparse.ArgumentParser(
        description="Measures the same job over different links between hosts.",
        epilog="All other options are settings of train, for example --num-envs 128.",
        allow_abbrev=False,
    )
    counts, names = lambda text: [int(n) for n in text.split(",")], lambda text: text.split(",")
    parser.add_argument("--hosts", type=counts, default=[2], help="such as 2,3 (2)")
    parser.add_argument(
        "--rates", type=names, default=["none", "1gbit"], help="of tc; none = no limit (none,1gbit)"
    )
    parser.add_argument("--env", default="starpilot")
    parser.add_argument("--preset", default="procgen-easy", help="gives the shapes (procgen-easy)")
    parser.add_argument("--iterations", type=int, default=1, help="measured in each job (1)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser.parse_known_args(argv)


def on_one_host(ranks: int, train_words: list[str]) -> dict[str, Any]:
    """Return what ``scaling_model.py`` writes for ranks that share memory."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [*mpirun(), "-n", str(ranks), *model_words(train_words, result)]
        return finished(subprocess.run(command, **how({})), result)


def over_network(number: int, rate: str, train_words: list[str]) -> dict[str, Any]:
    """Return what it writes for hosts of one rank each, whose cards send at ``rate``."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        hosts = Hosts(number, Path(folder), 9)
        try:
            hosts.up()
            if rate != "none":
                limit(hosts, rate)
            launch = [*mpirun(), "-launcher", "ssh", "-launcher-exec", str(hosts.agent)]
            launch += ["-hosts", ",".join(f"{name}:1" for name in hosts.names), "-n", str(number)]
            line = shlex.join([*launch, *model_words(train_words, result)])
            done = subprocess.run([*hosts.enter("h0"), line], **how(TCP))
        finally:
            hosts.down()
        return finished(done, result)


def limit(hosts: Hosts, rate: str) -> None:
    """Let every host's card send no faster than ``rate``."""
    for name in hosts.names:
        command = ["tc", "-n", hosts.namespace(name), "qdisc", "add", "dev", "eth0", "root"]
        command += ["tbf", "rate", rate, "burst", "256kb", "latency", MAX_WAIT]
        subprocess.run(command, check=True)


def mpirun() -> list[str]:
    """Return MPICH's launcher beside this Python."""
    path = Path(sys.executable).with_name("mpirun")
    if not path.exists():
        sys.exit('network: error: no mpirun beside this python; pip install "ppo_mpi[mpich]"')
    return [str(path)]


def model_words(train_words: list[str], result: Path) -> list[str]:
    """Return the words of one rank."""
    return [sys.executable, str(MODEL), "--json", str(result), *train_words]


def how(more: dict[str, str]) -> dict[str, Any]:
    """Return how a job is run: one thread a rank, and these variables."""
    return {
        "env": os.environ | {"OMP_NUM_THREADS": "1"} | more,
        "capture_output": True,
        "text": True,
        "timeout": TIMEOUT_SECONDS,
        "stdin": subprocess.DEVNULL,
    }


def finished(done: subprocess.CompletedProcess[str], result: Path) -> dict[str, Any]:
    """Return what a job wrote, or end with what it said."""
    if done.returncode:
        sys.exit(f"network: error: a job ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    written: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return written


def table(results: list[dict[str, Any]]) -> str:
    """Return the results for the console."""
    lines = [
        "ranks link           timesteps/s  in collectives  sum of 4.2 MB (ms)  latency (us)  Gbit/s"
    ]
    for r in results:
        largest = 1e3 * max(r["sum_seconds"].values())
        latency, gigabits = 1e6 * r["network"]["latency"], 8e-9 * r["network"]["bandwidth"]
        lines.append(
            f"{r['ranks']:5} {r['link']:14} {r['timesteps_per_second']:11,.0f} "
            f"{r['share_in_collectives']:15.1%} {largest:18.2f} {latency:13,.0f} {gigabits:7.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
