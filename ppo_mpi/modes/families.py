"""The families of environments: what each needs, what brings it, and which tasks it has.

Adding a family is an entry in ``FAMILIES``; it is shown once its suite is in ``registry.SUITES``.
Whether something is there is seen without importing it, so that listing is quick.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ppo_mpi.registry import PROCGEN_GAMES
from ppo_mpi.settings.atari_names import GAMES, title
from ppo_mpi.settings.variant_names import VARIANT_GAMES


@dataclass(frozen=True)
class Package:
    """A package that a family needs."""

    module: str
    """What is imported."""
    distributions: tuple[str, ...] = ()
    """The names under which it is published; empty if it is the module's own."""

    def version(self) -> str | None:
        """Return what is installed, such as ``mujoco 3.3``; None if it is not there."""
        if not is_there(self.module):
            return None
        for name in self.distributions or (self.module,):
            try:
                return f"{name} {metadata.version(name)}"
            except metadata.PackageNotFoundError:
                continue
        return self.module


@dataclass(frozen=True)
class Family:
    """Environments that come together, from one place."""

    suite: str
    """Key of ``registry.SUITES``."""
    title: str
    example: str
    """A name as ``train`` takes it."""
    packages: tuple[Package, ...] = ()
    """All that are needed to train."""
    remedy: str = ""
    """What brings them."""
    draws_with: tuple[str, ...] = ()
    """Modules and shared libraries (lib*.so.*) that are needed to draw frames only."""
    draw_remedy: str = ""
    """What brings those."""
    tasks: Callable[[], list[str]] | None = None
    """Lists names as ``train`` takes them; None where nobody can list them."""
    note: str = ""
    """What else there is to say."""


def is_there(module: str) -> bool:
    """Return whether a module could be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # it is hidden, or half installed
        return False


def folder_of(module: str) -> Path:
    """Return where a package that is there lies."""
    spec = importlib.util.find_spec(module)
    places = spec.submodule_search_locations if spec is not None else None
    assert places, f"{module} is an installed package"
    return Path(next(iter(places)))


def procgen_games() -> list[str]:
    """List the games."""
    return list(PROCGEN_GAMES)


def procgen_variants() -> list[str]:
    """List the variants of its games."""
    return list(VARIANT_GAMES)


def gym_ids(part: str) -> Callable[[], list[str]]:
    """Return what lists Gymnasium's ids from one part of its package."""

    def ids() -> list[str]:
        from ppo_mpi.envs.gym_listing import registered_ids

        return registered_ids(f"gymnasium.envs.{part}.")

    return ids


def atari_games() -> list[str]:
    """List the games."""
    return [f"atari:{title(game)}" for game in GAMES]


def dmc_tasks() -> list[str]:
    """List DeepMind Control's tasks by its sources: importing it takes seconds."""
    found = []
    for path in sorted((folder_of("dm_control") / "suite").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"^@SUITE\.add\([^)]*\)\s+def (\w+)\(", text, re.MULTILINE)
        found += [f"dmc:{path.stem}/{name}" for name in sorted(names)]
    return found


def pybullet_ids() -> list[str]:
    """List the ids that PyBullet's package registers, by its source."""
    text = (folder_of("pybullet_envs") / "__init__.py").read_text(encoding="utf-8")
    return sorted(f"pybullet:{name}" for name in set(re.findall(r"id='([\w-]+)'", text)))


def probes() -> list[str]:
    """List the probes."""
    from ppo_mpi.envs.probe import TASKS
    from ppo_mpi.envs.probe_corridor import SPECS
    from ppo_mpi.envs.probe_memory import SPECS as MEMORY_SPECS

    return [f"probe:{name}" for name in (*TASKS, *SPECS, *MEMORY_SPECS)]


PROCGEN = (Package("procgen", ("procgen-mirror", "procgen")),)
PROCGEN_REMEDY = (
    "pip install procgen-mirror (Python 3.11, 3.12, Linux on x86-64) or procgen (Python 3.10)"
)
GYMNASIUM = Package("gymnasium")
PYGAME = ("pygame",)
EGL = ("libEGL.so.1", "libGL.so.1")
CLASSIC = 'pip install "ppo_mpi[classic]"'
APT_EGL = "apt install libegl1 libgl1 (and MUJOCO_GL=egl without a display)"
FAMILIES = {
    "procgen": Family(
        "procgen", "16 games with endless levels", "coinrun", PROCGEN, PROCGEN_REMEDY,
        tasks=procgen_games,
    ),
    "misgen": Family(
        "procgen", "variants of them that mislead", "coinrun_aisc", PROCGEN, PROCGEN_REMEDY,
        tasks=procgen_variants,
        note="what an agent learns in some shows in others to be another goal than meant",
    ),
    "classic": Family(
        "gym", "Gymnasium's classic control", "CartPole-v1", (GYMNASIUM,), CLASSIC,
        PYGAME, CLASSIC, gym_ids("classic_control"),
    ),
    "toy": Family(
        "gym", "Gymnasium's toy texts", "FrozenLake-v1", (GYMNASIUM,), CLASSIC,
        PYGAME, CLASSIC, gym_ids("toy_text"),
    ),
    "box2d": Family(
        "gym", "Gymnasium's Box2D", "LunarLander-v3",
        (GYMNASIUM, Package("Box2D", ("box2d", "box2d-py")), Package("pygame")), CLASSIC,
        tasks=gym_ids("box2d"),
    ),
    "mujoco": Family(
        "gym", "Gymnasium's MuJoCo", "HalfCheetah-v5",
        (GYMNASIUM, Package("mujoco"), Package("imageio")), 'pip install "ppo_mpi[mujoco]"',
        EGL, APT_EGL, gym_ids("mujoco"),
    ),
    "atari": Family(
        "atari", "Atari 2600 games", "atari:Pong", (Package("ale_py", ("ale-py",)),),
        'pip install "ppo_mpi[atari]"', tasks=atari_games,
    ),
    "dmc": Family(
        "dmc", "DeepMind Control", "dmc:hopper/stand",
        (Package("dm_control", ("dm-control",)), Package("mujoco")), 'pip install "ppo_mpi[dmc]"',
        EGL, APT_EGL, dmc_tasks,
    ),
    "pybullet": Family(
        "pybullet", "PyBullet", "pybullet:HopperBulletEnv-v0",
        (Package("pybullet"), Package("pybullet_envs", ("pybullet",))),
        'pip install "ppo_mpi[pybullet]" (Python 3.10 and 3.11, x86-64)', tasks=pybullet_ids,
    ),
    "gymnasium": Family(
        "gym", "any other Gymnasium environment", "gym:package.module:Name-v0", (GYMNASIUM,),
        CLASSIC, note="the module is imported and registers the id",
    ),
    "user": Family(
        "user", "your own environment", "package.module:make_env",
        note="the function makes one environment",
    ),
    "probe": Family(
        "probe", "tiny ones with known answers", "probe:match", tasks=probes,
    ),
}  # fmt: skip
