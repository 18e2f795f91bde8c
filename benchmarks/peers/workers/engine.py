"""Steps the environments of one shape with random actions and writes the seconds.

No policy and no learning: the most that training on these environments could reach on one core.
The actions are drawn before the clock starts. It is started by the comparison.

Axes: T steps; B environments; A action size.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# At the end: the program beside this folder has the name of the peer's package.
sys.path += [str(Path(__file__).resolve().parents[i]) for i in (2, 3)]

from peers.shapes import Shape

Step = Callable[[np.ndarray], Any]
"""Takes the actions of one step, [B] int64 or [B, A] float32."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["ppo_mpi", "stable-baselines3"], required=True)
    parser.add_argument("--shape", type=Shape.from_json, required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    open_envs = our_envs if options.library == "ppo_mpi" else peer_envs
    actions = random_actions(options.shape)
    step = open_envs(options.shape)
    seconds = [measure(step, actions) for _ in range(options.iterations + 1)]
    options.json.write_text(json.dumps({"seconds": seconds[1:]}), encoding="utf-8")


def measure(step: Step, actions: np.ndarray) -> float:
    """Return the seconds of one rollout's steps."""
    begin = time.perf_counter()
    for row in actions:
        step(row)
    return time.perf_counter() - begin


def random_actions(shape: Shape) -> np.ndarray:
    """Return actions of one rollout within the bounds, [T, B] int64 or [T, B, A] float32."""
    import gymnasium

    env = gymnasium.make(shape.env)
    env.action_space.seed(0)
    samples = [env.action_space.sample() for _ in range(shape.timesteps)]
    env.close()
    actions = np.array(samples)
    return actions.reshape(shape.rollout_steps, shape.num_envs, *actions.shape[1:])


def our_envs(shape: Shape) -> Step:
    """Begin episodes in our environments."""
    from ppo_mpi.registry import SUITES, lookup

    make_envs = lookup("environment suite", SUITES, "gym")
    envs = make_envs(shape.env, range(shape.num_envs), 0, options={})
    envs.reset()
    step: Step = envs.step
    return step


def peer_envs(shape: Shape) -> Step:
    """Begin episodes in the peer's environments, as its training makes them."""
    from stable_baselines3.common.env_util import make_vec_env

    envs = make_vec_env(shape.env, shape.num_envs, seed=0)
    envs.reset()
    return envs.step


if __name__ == "__main__":
    main()
