"""Makes Procgen's engine, after checking what would otherwise end the process.

The engine is a C++ library that exits on what it does not like, which under MPI would look like
a dying rank. Nothing reaches it unchecked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ppo_mpi.envs.arguments import PROCGEN, own_arguments
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.envs.procgen_pictures import LIBRARIES
from ppo_mpi.envs.procgen_sprites import Sprite
from ppo_mpi.envs.procgen_state import LAST_LEVEL_SEED
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.registry import PROCGEN_GAMES, unknown_name
from ppo_mpi.settings.procgen import ProcgenConfig

OBS_SPEC = ObservationSpec((64, 64, 3), "uint8")
ACTION_SPEC = Discrete(15)
NO_SPRITES: Mapping[str, Sprite] = MappingProxyType({})
FORCED_RESET = -1
"""The action that ends an episode at once and begins the next."""

# The engine has easy and hard for every game, the others for these.
SPECIAL_MODES: Mapping[str, tuple[str, ...]] = {
    "extreme": ("chaser", "dodgeball", "leaper", "starpilot"),
    "memory": ("caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"),
    "exploration": (
        "caveflyer", "climber", "coinrun", "heist", "jumper", "leaper", "maze", "ninja",
    ),
}  # fmt: skip
MODES = ("easy", "hard", *SPECIAL_MODES)


@dataclasses.dataclass(frozen=True)
class EngineConfig(ProcgenConfig):
    """The settings, and what is no setting: an argument that reaches the engine as it is."""

    debug_mode: int = 0
    """A number for the game's own code; coinrun takes it for its levels' difficulty."""


def parse_options(game: str, options: Mapping[str, Any]) -> tuple[EngineConfig, int]:
    """Return the engine's settings and its number of threads, both checked.

    Args:
        game: one of the 16 games.
        options: fields of ``ProcgenConfig``; beside them may stand ``num_threads`` (0, the
            default, steps in the calling thread, the fastest for one core) and ``env_kwargs``,
            as "key=value" strings.

    Raises:
        ConfigError: the game, an option or a mode of this game is unknown, or the levels are
            out of the engine's range.
    """
    if game not in PROCGEN_GAMES:
        raise ConfigError(unknown_name("Procgen game", game, PROCGEN_GAMES))
    values = dict(options)
    num_threads = values.pop("num_threads", 0)
    own = own_arguments(PROCGEN, {"env_kwargs": values.pop("env_kwargs", ())})
    known = [field.name for field in dataclasses.fields(ProcgenConfig)]
    for name in values:
        if name not in known:
            raise ConfigError(unknown_name("Procgen option", name, known))
    config = EngineConfig(**values, **own)
    _check_mode(game, config)
    if not isinstance(num_threads, int) or num_threads < 0:
        raise ConfigError(f"num_threads={num_threads!r} must be a whole number from 0")
    low, count = config.start_level, config.num_levels
    if low < 0 or count < 0 or low + count > LAST_LEVEL_SEED + 1:
        raise ConfigError(
            f"start_level={low} with num_levels={count} is out of the engine's levels; "
            f"use numbers from 0 whose sum is at most {LAST_LEVEL_SEED + 1}"
        )
    return config, num_threads


def make_engine(
    game: str,
    num: int,
    config: ProcgenConfig,
    num_threads: int,
    rand_seed: int,
    render: bool,
    replaced: Mapping[str, Sprite] = NO_SPRITES,
) -> Any:
    """Return a ``procgen.ProcgenGym3Env`` of ``num`` environments, ``num`` >= 1.

    Args:
        game: one of the 16 games.
        num: environments.
        config: checked settings, from ``parse_options``.
        num_threads: threads of the engine's own; 0 = none.
        rand_seed: seeds the levels, [0, 2**31). Without one the library would start MPI.
        render: whether the engine also draws the human view.
        replaced: pictures that others take the place of.

    Raises:
        MissingPackageError: procgen is not installed.
    """
    settings = dataclasses.asdict(config)
    if config.distribution_mode == "exploration":
        # It is one fixed level, and the library refuses to be told the levels.
        del settings["num_levels"], settings["start_level"]
    engine_class, package = _engine_class()
    with LIBRARIES.for_game(game, package, replaced) as library:
        engine = engine_class(
            library.folder,
            num=num,
            env_name=game,
            rand_seed=rand_seed,
            num_threads=num_threads,
            render_mode="rgb_array" if render else None,
            resource_root=library.pictures,
            **settings,
        )
        library.handle = engine._c_lib
    # An engine that nobody closed is closed by the garbage collector, at any moment. The first
    # look-up of a function in the library takes a lock that the interrupted code may hold: a
    # deadlock, unless the look-up is done here.
    _ = engine._c_lib.libenv_close
    return engine


def engine_levels(engine: Any) -> np.ndarray:
    """Return [B] int64, the levels the engine's environments are in, as last observed."""
    # get_info() would copy every frame and build a dict per environment, at each step.
    levels: np.ndarray = engine._info["level_seed"].astype(np.int64)
    return levels


def check_level(level: int) -> None:
    """Refuse a number that is no level.

    Raises:
        ConfigError: the engine has no such level.
    """
    if not 0 <= level <= LAST_LEVEL_SEED:
        raise ConfigError(f"level {level} does not exist; use 0 to {LAST_LEVEL_SEED}")


def _check_mode(game: str, config: ProcgenConfig) -> None:
    mode = config.distribution_mode
    if mode not in MODES:
        raise ConfigError(unknown_name("distribution_mode", mode, MODES))
    games = SPECIAL_MODES.get(mode, PROCGEN_GAMES)
    if game not in games:
        own = [name for name in MODES if game in SPECIAL_MODES.get(name, PROCGEN_GAMES)]
        raise ConfigError(
            f"{game} has no distribution_mode={mode}; use {' or '.join(own)}, "
            f"or a game that has it: {', '.join(games)}"
        )
    if mode == "exploration" and (config.num_levels or config.start_level):
        raise ConfigError(
            f"num_levels={config.num_levels} and start_level={config.start_level} have no "
            "meaning with distribution_mode=exploration, which is one fixed level; use 0 and 0"
        )


def _engine_class() -> tuple[Any, Path]:
    """Return the engine's class, which takes the folder of its library first, and its package."""
    try:
        import gym_notices.notices

        # gym prints a banner of four lines on every rank otherwise.
        gym_notices.notices.notices.clear()
        import procgen
        from gym3.libenv import CEnv
    except ImportError as error:
        raise MissingPackageError(
            f"Procgen's games need the package procgen ({error}): pip install procgen-mirror "
            "(Python 3.11 and 3.12, Linux on x86-64) or pip install procgen (Python 3.10)"
        ) from error

    class FromLibrary(CEnv):
        def __init__(self, lib_dir: str, **arguments: Any) -> None:
            super().__init__(lib_dir=self.library or lib_dir, **arguments)

    class Engine(procgen.ProcgenGym3Env, FromLibrary):
        def __init__(self, library: str, **arguments: Any) -> None:
            self.library = library
            super().__init__(**arguments)

    return Engine, Path(procgen.__file__).parent
