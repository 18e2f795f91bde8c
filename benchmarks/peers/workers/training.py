"""Trains with Stable-Baselines3's PPO in one shape and writes the seconds of each iteration.

It is started by the comparison, with an interpreter that has stable-baselines3. An iteration lasts
from the beginning of one rollout to that of the next, without logging, as with ours.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

# At the end: the program beside this folder has the name of the peer's package.
sys.path += [str(Path(__file__).resolve().parents[i]) for i in (2, 3)]

from peers.shapes import Shape

ENDLESS = 2**31
"""Timesteps, of which the callback ends the training long before."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=Shape.from_json, required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    seconds = measure(options.shape, options.iterations)
    options.json.write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


def measure(shape: Shape, iterations: int) -> list[float]:
    """Return the seconds of each iteration behind the first one."""
    import torch
    from stable_baselines3.common.callbacks import BaseCallback

    class Clock(BaseCallback):
        """Notes when each rollout begins, and ends the training behind the last one."""

        def __init__(self) -> None:
            super().__init__()
            self.begins: list[float] = []

        def _on_rollout_start(self) -> None:
            self.begins.append(time.perf_counter())

        def _on_step(self) -> bool:
            # In the first step of a rollout that is not measured any more.
            return len(self.begins) < iterations + 2

    torch.set_num_threads(1)
    model = make_model(shape)
    clock = Clock()
    model.learn(ENDLESS, callback=clock, log_interval=None)
    begins = clock.begins[1:]
    return [end - begin for begin, end in zip(begins, begins[1:], strict=False)]


def make_model(shape: Shape) -> Any:
    """Return the peer's PPO with our numbers for this shape."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize
    from torch import nn

    envs: Any = make_vec_env(shape.env, shape.num_envs, seed=0)
    if shape.normalize:
        envs = VecNormalize(envs, gamma=shape.discount)
    layers = {} if shape.images else {"net_arch": [64, 64], "activation_fn": nn.Tanh}
    return PPO(
        "CnnPolicy" if shape.images else "MlpPolicy",
        envs,
        learning_rate=3e-4,
        n_steps=shape.rollout_steps,
        batch_size=shape.minibatch_size,
        n_epochs=shape.num_epochs,
        gamma=shape.discount,
        gae_lambda=0.95,
        clip_range=0.2,
        normalize_advantage=True,
        ent_coef=0.0,
        vf_coef=0.5,
        max_grad_norm=0.5,
        policy_kwargs=layers,
        seed=0,
        device="cpu",
        verbose=0,
    )


if __name__ == "__main__":
    main()
