"""Measures what the variants of Procgen's games cost beside the engine's own step.

    python benchmarks/variants.py --env coinrun_aisc,maze_aisc --json variants.json

Players that see the levels finish them, so that episodes are as short as a trained agent's: what a
variant does when an episode begins then falls on few steps. What they take for it is not counted.
The variants take turns, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.figures import load_before, write_figures
from benchmarks.options import names, positive
from benchmarks.procgen_players import chest_action, coinrun_actions, maze_action, scenes
from benchmarks.spread import spread_of
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import split_env_name
from ppo_mpi.settings.variant_names import VARIANT_GAMES, base_game
from ppo_mpi.storage.system_info import system_info
from ppo_mpi.suites import make_envs

SEED = 1
NOISE = 0.1
"""Share of a player's actions that are random: without them it would stick to corners."""


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options = parse_options(sys.argv[1:])
    load = load_before()
    try:
        timed = [Timed(env, options) for env in options.env]
    except ConfigError as error:
        print(f"variants.py: error: {error}", file=sys.stderr)
        return 2
    for _ in range(options.rounds):
        for one in timed:
            one.play(options.steps)
    results = [one.result() for one in timed]
    print("variant                  engine us  variant us (least - most)   more  steps/episode")
    print("\n".join(line(result) for result in results))
    if options.json:
        write_figures(options.json, {"results": results}, system_info(Communicator()), load)
    return 0


def parse_options(argv: list[str]) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description="Measures variants of Procgen's games.")
    parser.add_argument(
        "--env", type=names, default=list(VARIANT_GAMES), help="such as coinrun_aisc,maze_aisc"
    )
    parser.add_argument("--mode", default="hard", help="distribution_mode (hard)")
    parser.add_argument("--random-percent", type=int, default=0, help="of coinrun's levels (0)")
    parser.add_argument("--num-envs", type=positive, default=64)
    parser.add_argument("--steps", type=positive, default=60, help="of all, in each turn (60)")
    parser.add_argument("--rounds", type=positive, default=9, help="turns of each (9)")
    parser.add_argument("--json", type=Path, help="file for the figures and the machine's data")
    return parser.parse_args(argv)


class Timed:
    """A variant's environments, and the time that they and the engine in them take."""

    def __init__(self, env: str, options: argparse.Namespace) -> None:
        """Make the environments.

        Args:
            env: name of a variant or a game.
            options: see ``parse_options``.

        Raises:
            ConfigError: there is no such environment.
        """
        self.env, self.task = env, split_env_name(env)[1]
        values = {"env": env, "distribution_mode": options.mode}
        values |= {"random_percent": options.random_percent}
        config = with_values(TrainConfig(), values)
        self.envs: Any = make_envs(config, range(options.num_envs), SEED, "train")
        self.envs.reset()
        self.random = np.random.default_rng(0)
        self.in_engine = 0.0
        engine = self.envs._slots.engine
        engine.act, engine.observe = self.counted(engine.act), self.counted(engine.observe)
        self.engine: list[float] = []
        self.more: list[float] = []
        self.ends = self.timesteps = 0

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of the engine that adds its seconds up."""

        def timed(*arguments: Any) -> Any:
            begin = time.perf_counter()
            given = call(*arguments)
            self.in_engine += time.perf_counter() - begin
            return given

        return timed

    def actions(self) -> np.ndarray:
        """Return [B] int64, what finishes the levels."""
        num = len(self.envs.indices)
        if base_game(self.task) == "coinrun":
            return coinrun_actions(self.random, num)
        if base_game(self.task) == "maze":
            wise = [maze_action(scene) for scene in scenes(self.envs)]
        else:
            held = self.envs._rules._held
            wise = [chest_action(scene, held[i]) for i, scene in enumerate(scenes(self.envs))]
        return np.where(self.random.random(num) < NOISE, self.random.integers(15, size=num), wise)

    def play(self, steps: int) -> None:
        """Take so many steps in all environments, and keep the microseconds for one of one."""
        self.in_engine = whole = 0.0
        for _ in range(steps):
            actions = self.actions()
            begin = time.perf_counter()
            result = self.envs.step(actions)
            whole += time.perf_counter() - begin
            self.ends += int(result.terminated.sum())
        timesteps = steps * len(self.envs.indices)
        self.timesteps += timesteps
        self.engine.append(self.in_engine / timesteps * 1e6)
        self.more.append((whole - self.in_engine) / timesteps * 1e6)

    def result(self) -> dict[str, Any]:
        """Return the figures; times are microseconds for each timestep."""
        engine, more = spread_of(self.engine), spread_of(self.more)
        return {
            "env": self.env, "engine": engine.median, "more": more.median,
            "least": more.smallest, "most": more.largest, "share": more.median / engine.median,
            "steps_per_episode": self.timesteps / max(1, self.ends),
        }  # fmt: skip


def line(result: dict[str, Any]) -> str:
    """Return one result for the console."""
    spread = "{more:.1f} ({least:.1f} - {most:.1f})".format(**result)
    return (
        f"{result['env']:24} {result['engine']:9.1f}  {spread:26} {result['share']:5.0%} "
        f"{result['steps_per_episode']:12.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
