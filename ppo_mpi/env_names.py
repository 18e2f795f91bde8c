"""The names of environments that users type -> (suite, task), and names that have gone out of use.

The rules, the first that fits:

1. ``suite:task``, where ``suite`` is one of the registry's.
2. ``module:Id-v0``: an id of Gymnasium that the module registers when it is imported.
3. ``package.module:callable``: a user's own environment.
4. A name without a colon: a Procgen game; ``dm.domain.task`` and ``dm_control/domain-task-v0`` of
   the DeepMind Control Suite; an id of PyBullet's; an Atari game written like one
   (``PongNoFrameskip-v4``, ``ALE/Pong-v5``); else an id of Gymnasium.

Several names with commas between them are several environments; a suite stands for the names
behind it as well: ``atari:Pong,Breakout``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ppo_mpi.settings.atari_names import looks_like_atari

MUJOCO_V4 = ("InvertedPendulum", "InvertedDoublePendulum", "HalfCheetah", "Hopper", "Swimmer",
             "Walker2d", "Reacher", "Ant", "Humanoid", "HumanoidStandup")  # fmt: skip
"""MuJoCo's tasks whose -v4 runs with today's MuJoCo; Pusher's needs one before 3.0."""

# Old id -> (today's id, what is different).
RENAMED = {
    "LunarLander-v2": ("LunarLander-v3", "the same but for the wind, which each episode redraws"),
    "LunarLanderContinuous-v2": (
        "LunarLanderContinuous-v3",
        "the same but for the wind, which each episode redraws",
    ),
    "BipedalWalker-v2": ("BipedalWalker-v3", "whose lidar shows the nearest obstacle"),
    "BipedalWalkerHardcore-v2": (
        "BipedalWalkerHardcore-v3",
        "whose lidar shows the nearest obstacle",
    ),
    "CarRacing-v2": ("CarRacing-v3", "where a finished lap is an end and no time limit"),
    "Pusher-v2": ("Pusher-v5", "whose object weighs more, so that returns do not compare"),
}
SAME = "with the same observations and rewards"
FEWER = "whose observations lack the 84 contact forces (27 numbers instead of 111)"

_ID = re.compile(r"(?:[\w.-]+/)?[\w.-]+-v\d+", re.ASCII)
_CONTROL = re.compile(r"(?:dm\.|dm_control/)(\w+)[./-](\w+?)(?:-v\d+)?", re.ASCII)
_CONTROL_TASK = re.compile(r"(\w+)[./-](\w+?)(?:-v\d+)?", re.ASCII)
_BULLET = re.compile(r"\w*Bullet\w*Env-v\d+|Minitaur\w+-v\d+|KukaDiverseObjectGrasping-v\d+")


def renamed(task: str) -> tuple[str, str]:
    """Return the id of Gymnasium that an old one stands for, and what the user should know of it.

    An id that is in use is returned as it is, with an empty note.
    """
    new, difference = RENAMED.get(task, (task, ""))
    name, _, version = task.rpartition("-v")
    if version in ("2", "3") and name in MUJOCO_V4:
        new, difference = f"{name}-v4", FEWER if name == "Ant" else SAME
    if new == task:
        return task, ""
    return new, f"{task} is out of use in Gymnasium: {new} is taken, {difference}"


def single_names(env: str, suites: Iterable[str]) -> tuple[str, ...]:
    """Return the names in a list of environments, each with the suite that stands before it.

    Args:
        env: as typed: one name, or several with commas between them.
        suites: the known ones.
    """
    names, known, suite = [], frozenset(suites), ""
    for name in (part.strip() for part in env.split(",")):
        before, colon, _ = name.partition(":")
        if colon:
            suite = f"{before}:" if before in known else ""
        names.append(name if colon or not name else suite + name)
    return tuple(names)


def split_name(env: str, suites: Iterable[str], games: Iterable[str]) -> tuple[str, str]:
    """Return (suite, task) by the rules above; the task in the one form that is stored.

    Args:
        env: as typed.
        suites: the known ones.
        games: Procgen's.
    """
    suite, colon, task = env.partition(":")
    if not colon or suite not in suites:
        suite, task = _guess(env, games)
    if suite == "gym":
        task = renamed(task)[0]
    if suite == "dmc" and (parts := _CONTROL_TASK.fullmatch(task)):
        task = "/".join(parts.groups())
    return suite, task


def _guess(env: str, games: Iterable[str]) -> tuple[str, str]:
    _, colon, behind = env.partition(":")
    if colon:
        return ("gym" if _ID.fullmatch(behind) else "user"), env
    if env in games:
        return "procgen", env
    if parts := _CONTROL.fullmatch(env):
        return "dmc", "/".join(parts.groups())
    if _BULLET.fullmatch(env):
        return "pybullet", env
    return ("atari" if looks_like_atari(env) else "gym"), env
