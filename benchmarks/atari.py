"""Measures Atari's engines: steps of four frames per second of processor time.

    python benchmarks/atari.py --game Breakout --rounds 5

In turns, in one process, with the same actions: this project's environments, EnvPool with one
thread (where it is installed), and Gymnasium's AtariPreprocessing with FrameStackObservation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.spread import spread_of
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import Discrete
from ppo_mpi.errors import MissingPackageError
from ppo_mpi.suites import make_envs

Stepper = Callable[[np.ndarray], object]


def main() -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--game", default="Pong", help="such as Breakout or MsPacman")
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=250, help="of each environment, a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    steppers: dict[str, Stepper] = {}
    num_actions = 0
    for engine in ("python", "envpool"):
        settings = {"env": f"atari:{options.game}", "atari_engine": engine}
        config = with_values(TrainConfig(), settings)
        try:
            envs = make_envs(config, range(options.num_envs), 0, "train")
        except MissingPackageError as error:
            print(error)
            continue
        assert isinstance(envs.action_spec, Discrete), "Atari's actions are"
        num_actions = envs.action_spec.num_actions
        envs.reset()
        steppers[engine] = envs.step
    steppers["gymnasium"] = gymnasium_stepper(options.game, options.num_envs)
    rates: dict[str, list[float]] = {name: [] for name in steppers}
    for number in range(options.rounds):
        for name, step in steppers.items():
            random = np.random.default_rng(number)
            begin = time.process_time()
            for _ in range(options.steps):
                step(random.integers(num_actions, size=options.num_envs))
            seconds = time.process_time() - begin
            rates[name].append(options.steps * options.num_envs / seconds)
    print(f"{options.game}, {options.num_envs} environments: steps per second of processor time")
    for name, found in rates.items():
        spread = spread_of(found)
        print(f"{name:10} {spread.median:7,.0f} ({spread.smallest:,.0f} - {spread.largest:,.0f})")
    return 0


def gymnasium_stepper(game: str, num_envs: int) -> Stepper:
    """Return what steps environments that Gymnasium's wrappers make, and resets those that end."""
    import ale_py
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    gymnasium.register_envs(ale_py)
    envs = [
        FrameStackObservation(AtariPreprocessing(gymnasium.make(f"{game}NoFrameskip-v4")), 4)
        for _ in range(num_envs)
    ]
    for number, env in enumerate(envs):
        env.reset(seed=number)

    def step(actions: np.ndarray) -> None:
        for env, action in zip(envs, actions.tolist(), strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return step


if __name__ == "__main__":
    sys.exit(main())
