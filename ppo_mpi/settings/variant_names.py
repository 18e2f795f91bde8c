"""Names of the variants of Procgen's games in which an agent can pursue another goal than meant.

Source:
    Langosco et al. 2022, "Goal Misgeneralization in Deep Reinforcement Learning",
    arXiv:2105.14111; the names of its environments, among them two that its instructions use and
    its code has renamed (``maze_yellowgem``, ``maze_redgem_yellowstar``).
"""

from __future__ import annotations

# Name -> the game whose engine plays it.
VARIANT_GAMES = {
    "coinrun_aisc": "coinrun",
    "coinrun_mod_wall": "coinrun",
    "heist_aisc_many_chests": "heist",
    "heist_aisc_many_keys": "heist",
    "maze_aisc": "maze",
    "maze_fixed_size": "maze",
    "maze_redgem_yellowstar": "maze",
    "maze_redline_yellowgem": "maze",
    "maze_yellowgem": "maze",
    "maze_yellowline": "maze",
    "maze_yellowstar_redgem": "maze",
}
# What else they are called -> the name above.
PLAIN_NAMES = {
    "coinrun-random-coin": "coinrun_aisc",
    "coinrun-open-end": "coinrun_mod_wall",
    "keys-many-chests": "heist_aisc_many_chests",
    "chests-many-keys": "heist_aisc_many_keys",
    "maze-corner": "maze_aisc",
    "maze-largest": "maze_fixed_size",
    "maze-red-gem-yellow-star": "maze_redgem_yellowstar",
    "maze-red-line-yellow-gem": "maze_redline_yellowgem",
    "maze-yellow-gem": "maze_yellowgem",
    "maze-yellow-line": "maze_yellowline",
    "maze-yellow-star-red-gem": "maze_yellowstar_redgem",
}


def base_game(task: str) -> str:
    """Return the engine's game for a game or a variant."""
    return VARIANT_GAMES.get(task, task)
