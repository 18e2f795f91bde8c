"""Compares ppo_mpi with Stable-Baselines3's PPO: timesteps per second in the same shapes.

    python benchmarks/peers/stable_baselines3.py --shapes cartpole,halfcheetah --rounds 3

Every round runs each contestant once, in turns, on the same core (two ranks: on two cores), so
that what else the machine does falls on all of them. The rows "engine" step the environments
alone, with random actions. ``ratio`` is to the peer's row of the same kind; ``of engine`` is the
share of the speed that the contestant's own environments alone have on as many cores.

Stable-Baselines3 is no dependency of the project: it is installed into an environment of its own
over the packages of this one, so that both sides have the same torch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # behind: tests have a module jobs as well

from peers.contestants import CONTESTANTS, Contestant, cores, run  # noqa: E402
from peers.interpreter import (  # noqa: E402
    InterpreterError,
    check_same,
    peer_interpreter,
    versions_here,
    versions_of_peer,
)
from peers.results import Measurement, as_json, table  # noqa: E402
from peers.shapes import SHAPES  # noqa: E402


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options = parse_options(sys.argv[1:])
    try:
        python = peer_interpreter(options.python, options.environment)
        versions = versions_of_peer(python)
        check_same(versions_here(), versions)
    except InterpreterError as error:
        print(f"peers: error: {error}", file=sys.stderr)
        return 2
    machine = {
        "processor": processor(),
        "cores": len(cores()) or os.cpu_count() or 1,
        "pinned": bool(cores()),
        "load_before": os.getloadavg(),
    }
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{machine['processor']}, {machine['cores']} cores", flush=True)
    measurements = measure(options, python, contestants(len(cores())))
    print(table(measurements))
    if options.json:
        content = {"results": as_json(measurements), "versions": versions, "machine": machine}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


def parse_options(argv: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ",".join(SHAPES)
    parser.add_argument("--shapes", type=shape_names, default=list(SHAPES), help=f"of {known}")
    parser.add_argument("--rounds", type=positive, default=3, help="turns of each contestant (3)")
    parser.add_argument("--iterations", type=positive, default=3, help="measured in a turn (3)")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    parser.add_argument("--python", help="an interpreter that has stable-baselines3")
    # Not in this folder: tests of the source tree read every file of it.
    parser.add_argument(
        "--environment",
        type=Path,
        default=ROOT / ".venv-peers",
        help="where an environment is made if no interpreter is given (.venv-peers)",
    )
    return parser.parse_args(argv)


def positive(text: str) -> int:
    """Read a number from 1 on."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def shape_names(text: str) -> list[str]:
    """Read names of shapes, separated by commas."""
    names = text.split(",")
    for name in names:
        if name not in SHAPES:
            raise argparse.ArgumentTypeError(f"unknown shape {name!r}; known: {', '.join(SHAPES)}")
    return names


def contestants(num_cores: int) -> list[Contestant]:
    """Return those that have a core for each process; say who is left out.

    Args:
        num_cores: that can be pinned to; 0 if none can.
    """
    fitting = [c for c in CONTESTANTS if not num_cores or c.num_processes <= num_cores]
    for contestant in CONTESTANTS:
        if contestant not in fitting:
            print(f"peers: {contestant.name} is left out: {num_cores} core is too few")
    if not num_cores:
        print("peers: this system pins no process to a core; the figures spread more")
    return fitting


def measure(
    options: argparse.Namespace, python: str, entrants: list[Contestant]
) -> list[Measurement]:
    """Let all contestants take their turns.

    Args:
        options: of this program.
        python: interpreter that has stable-baselines3.
        entrants: the contestants.

    Returns:
        one for each shape and contestant, in the order of the table.
    """
    entries = [(shape, contestant) for shape in options.shapes for contestant in entrants]
    rounds: list[list[tuple[float, ...]]] = [[] for _ in entries]
    for _ in range(options.rounds):
        for turns, (shape, contestant) in zip(rounds, entries, strict=True):
            turns.append(tuple(run(contestant, SHAPES[shape], options.iterations, python)))
    return [
        Measurement(shape, contestant, SHAPES[shape].timesteps, tuple(turns))
        for turns, (shape, contestant) in zip(rounds, entries, strict=True)
    ]


def processor() -> str:
    """Return the processor's model."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
