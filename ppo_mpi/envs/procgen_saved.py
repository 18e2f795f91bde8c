"""Checks what a checkpoint holds of Procgen's environments, and what a library makes of its own.

The engine would end the process over a bad state, so nothing reaches it unchecked.
"""

from __future__ import annotations

from collections.abc import Callable

from ppo_mpi.envs import procgen_state
from ppo_mpi.envs.procgen_rules import Rules
from ppo_mpi.envs.procgen_scene import Scene
from ppo_mpi.envs.procgen_state import StateLayout
from ppo_mpi.errors import CheckpointError, ConfigError

MAX_STATE_BYTES = 2**20
"""Size of the buffer that the library itself gives a state; they are 20 to 60 kB."""
GAME_WORDS = {"coinrun": 7, "maze": 2}
"""Numbers that one game alone has, of games that have variants; heist's are counted in them."""

Saved = tuple[bytes, tuple[int, ...]]
"""A state of the engine, and what its variant's rules say of it."""


def checked_state(
    sealed: bytes, whose: str, layout: StateLayout, slot: int, rules: Rules | None
) -> Saved:
    """Return what was saved, the state as the engine takes it in this slot.

    Args:
        sealed: as ``ProcgenEnvs.get_states`` gave it.
        whose: begins messages.
        layout: of the environments that are to take it.
        slot: where it goes.
        rules: of their variant.

    Raises:
        CheckpointError: it is damaged, or belongs to another game or other options.
    """
    record: tuple[int, ...] = ()
    try:
        state = procgen_state.unseal(sealed)
        if rules is not None:
            state, record = rules.split(state)
        saved = procgen_state.parse(state)
        if rules is not None:
            check_scene(state, saved.game)
            rules.check(state, record)
    except ValueError as error:
        raise CheckpointError(f"{whose} is damaged: {error}") from error
    if saved.game != layout.game:
        raise CheckpointError(f"{whose} is one of {saved.game}, not of {layout.game}")
    for name, before, own in zip(
        procgen_state.OPTION_NAMES, saved.options, layout.options, strict=True
    ):
        if before != own:
            raise CheckpointError(f"{whose} has {name}={before}, these environments {own}")
    if len(state) > MAX_STATE_BYTES:
        raise CheckpointError(f"{whose} has {len(state)} bytes")
    low, high = saved.level_range
    if (low, high) != layout.level_range and high != low + 1:
        raise CheckpointError(
            f"{whose} has levels [{low}, {high}), these environments "
            f"[{layout.level_range[0]}, {layout.level_range[1]})"
        )
    return procgen_state.with_slot(state, slot), record


def check_layout(
    game: str, get: Callable[[int], bytes], put: Callable[[int, bytes], None]
) -> StateLayout:
    """Read and write back one state, so that a library of another layout is found out.

    Args:
        game: the engine's.
        get: returns a slot's state.
        put: puts a state into a slot.

    Raises:
        ConfigError: the library has another layout.
    """
    state = get(0)
    try:
        layout = procgen_state.parse(state)
        if layout.game != game:
            raise ValueError(f"it names the game {layout.game}")
        check_scene(state, game)
        edited = procgen_state.with_level_generator(state, 1)
        put(0, edited)
        if get(0) != edited:
            raise ValueError("it comes back changed")
    except ValueError as error:
        raise ConfigError(
            f"the installed procgen keeps its states in another way ({error}); "
            "install procgen 0.10.7, or procgen-mirror 0.10.7 on Python 3.11 and later"
        ) from error
    return layout


def check_scene(state: bytes, game: str) -> None:
    """Check what edits of a level rely on: where cells, agent and the game's own numbers are.

    Args:
        state: follows the layout.
        game: the engine's.

    Raises:
        ValueError: something is not where it should be.
    """
    scene = Scene(state)
    x, y = scene.agent_cell()
    height, width = scene.grid.shape
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"its agent is at ({x}, {y}), outside of {width} x {height} cells")
    words = GAME_WORDS.get(game)
    if game == "heist":
        words = 3 + int(scene.game[2]) if len(scene.game) > 2 else 3
    if words is not None and len(scene.game) != words:
        raise ValueError(f"it has {len(scene.game)} numbers of {game} alone instead of {words}")
    if game == "maze" and not 0 < scene.game[0] <= width:
        raise ValueError(f"its maze of {scene.game[0]} cells is in a world of {width}")
