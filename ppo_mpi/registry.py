"""Names a user types -> where their code lives, as "module:function", imported on use.

Adding an algorithm, a network or a suite is one file and one line here.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from typing import Any

from ppo_mpi.env_names import MUJOCO_V4, single_names, split_name
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings import atari_names
from ppo_mpi.settings.variant_names import PLAIN_NAMES, VARIANT_GAMES

ALGORITHMS = {
    "acktr": "ppo_mpi.algorithms.acktr:ACKTR",
    "a2c": "ppo_mpi.algorithms.a2c:A2C",
    "ppg": "ppo_mpi.algorithms.ppg:PPG",
    "ppo": "ppo_mpi.algorithms.ppo:PPO",
}
NETWORKS = {
    "combined": "ppo_mpi.networks.combined:make_torso",
    "impala": "ppo_mpi.networks.impala:make_torso",
    "mlp": "ppo_mpi.networks.mlp:make_torso",
    "nature": "ppo_mpi.networks.nature:make_torso",
    "split": "ppo_mpi.networks.split:make_torso",
}
REWARD_MODELS = {
    "gail": "ppo_mpi.rewards.gail:Gail",
    "icm": "ppo_mpi.rewards.icm:Icm",
    "rnd": "ppo_mpi.rewards.rnd:Rnd",
}
SUITES = {
    "atari": "ppo_mpi.envs.atari:make_envs",
    "dmc": "ppo_mpi.envs.dmc:make_envs",
    "gym": "ppo_mpi.envs.gym_control:make_envs",
    "oldgym": "ppo_mpi.envs.old_gym:make_envs",
    "probe": "ppo_mpi.envs.probe:make_envs",
    "procgen": "ppo_mpi.envs.procgen:make_envs",
    "pybullet": "ppo_mpi.envs.pybullet:make_envs",
    "user": "ppo_mpi.envs.user:make_envs",
}
EXPERIMENTS = {
    "goal-misgeneralization": "ppo_mpi.experiments.goal_misgeneralization:EXPERIMENT",
    "procgen-benchmark": "ppo_mpi.experiments.procgen_benchmark:EXPERIMENT",
}
PROCGEN_GAMES = (
    "bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot",
    "heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot",
)  # fmt: skip
PROCGEN_NAMES = (*PROCGEN_GAMES, *VARIANT_GAMES, *PLAIN_NAMES)
"""Games, variants of them, and what else the variants are called."""

VECTOR_SUITES = ("gym", "dmc", "oldgym", "pybullet", "user")
"""Suites whose environments mostly give vectors."""

# The preset that `train ENV` uses when none is named: an exact name first, then its suite.
DEFAULT_PRESETS = {
    "gym:CartPole-v1": "cartpole",
    "gym:Acrobot-v1": "acrobot",
    "gym:LunarLander-v3": "lunarlander",
    "gym:MountainCar-v0": "mountaincar-icm",
    **{f"gym:{task}-v{v}": "mujoco-ppo" for task in (*MUJOCO_V4, "Pusher") for v in (4, 5)},
    "gym:HalfCheetah-v5": "halfcheetah",
    "gym:HalfCheetah-v4": "halfcheetah",
    "atari": "atari-ppo",
    **{f"procgen:{name}": "misgen-easy" for name in VARIANT_GAMES},
    "procgen:maze_fixed_size": "misgen-hard-500",
    "procgen": "procgen-easy",
    "gym": "gym-control",
    "dmc": "mujoco-ppo",
    "oldgym": "gym-control",
    "pybullet": "mujoco-ppo",
    "user": "gym-control",
    "probe": "probe",
}
# The same for jobs that name another algorithm.
PRESETS_OF_ALGORITHMS = {
    algorithm: {
        "gym:CartPole-v1": f"cartpole-{algorithm}",
        "atari": f"atari-{algorithm}",
        "procgen": f"atari-{algorithm}",  # images, too
        "probe": f"cartpole-{algorithm}",
        **dict.fromkeys(VECTOR_SUITES, f"mujoco-{algorithm}"),
    }
    for algorithm in ("a2c", "acktr")
}


def lookup(kind: str, table: dict[str, str], name: str) -> Any:
    """Import and return what ``name`` stands for.

    Raises:
        ConfigError: the table has no such name; the message lists the known ones.
    """
    if name not in table:
        raise ConfigError(unknown_name(kind, name, table))
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(module), attribute)


MOST_LISTED = 24
"""Names in a message."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: the nearest names, else those that there are."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    listed = ", ".join(known[:MOST_LISTED])
    if len(known) > MOST_LISTED:
        listed += f" and {len(known) - MOST_LISTED} more"
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {listed}"
    return f"unknown {kind} {name!r}; {hint}"


def names_of(env: str) -> tuple[str, ...]:
    """Return the environments in ``env``: one, or those between commas.

    Raises:
        ConfigError: there is nothing between two commas.
    """
    names = single_names(env, SUITES)
    if len(names) > 1 and not all(names):
        raise ConfigError(f"env={env} has an empty name in its list; use for example coinrun,maze")
    return names


def task_names(env: str) -> tuple[str, ...]:
    """Return the tasks in ``env`` in the form that is stored, each once, in their order."""
    return tuple(dict.fromkeys(split_env_name(name)[1] for name in names_of(env)))


def split_env_name(env: str) -> tuple[str, str]:
    """Return (suite, task): ``"coinrun"`` and ``"procgen:coinrun"`` are the same.

    The rules are those of ``env_names``. Of several environments the tasks have commas between
    them.

    Raises:
        ConfigError: the game is unknown, or several environments are not of one suite.
    """
    names = names_of(env)
    if len(names) > 1:
        pairs = [split_env_name(name) for name in names]
        suites = list(dict.fromkeys(suite for suite, _ in pairs))
        if len(suites) > 1:
            raise ConfigError(
                f"env={env} is of the suites {' and '.join(suites)}; environments of one run are "
                "of one suite: name those of one"
            )
        return suites[0], ",".join(task for _, task in pairs)
    suite, task = split_name(env, SUITES, PROCGEN_NAMES)
    if suite == "procgen":
        if task not in PROCGEN_NAMES:
            raise ConfigError(unknown_name("Procgen game", task, PROCGEN_NAMES))
        return suite, PLAIN_NAMES.get(task, task)
    return suite, _atari_task(task) if suite == "atari" else task


def default_run_name(env: str) -> str:
    """Return the run's name where none is given: the environment's, fit for a folder."""
    return re.sub("[/:,]", "-", split_env_name(env)[1])


def _atari_task(task: str) -> str:
    """Return the name of an Atari environment in one way of writing it."""
    try:
        name = atari_names.parse_name(task)
    except KeyError as error:
        known = [atari_names.title(game) for game in atari_names.GAMES]
        raise ConfigError(unknown_name("Atari game", error.args[0], known)) from None
    if name is None:
        raise ConfigError(
            f"{task!r} is not the name of an Atari environment; use for example atari:Pong, "
            "PongNoFrameskip-v4, ALE/Pong-v5 or Pong-ram-v4"
        )
    return name.task


def default_preset(env: str, algorithm: str = "ppo") -> str:
    """Return the name of the preset registered for an environment and an algorithm.

    Of several environments with presets of their own, it is their suite's. An algorithm without
    one for the suite has PPO's.
    """
    suite = split_env_name(env)[0]
    own = PRESETS_OF_ALGORITHMS.get(algorithm, {})
    table = own if suite in own else DEFAULT_PRESETS
    found = {table.get(f"{suite}:{task}", table[suite]) for task in task_names(env)}
    return found.pop() if len(found) == 1 else table[suite]
