"""The variants of Procgen's games by name: which pictures and which rules each of them has.

The engine is Procgen's own. A level is changed when an episode begins, in the state that the
engine hands out; what happens in it is counted from outside. So levels, physics and pictures are
those of the games, and a variant runs wherever they run.

Source:
    Langosco et al. 2022, arXiv:2105.14111. Mazes have the same numbers there as here; the levels of
    its coinrun and heist have others, as their numbers draw more than the game's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ppo_mpi.envs.chest_variants import ChestRules
from ppo_mpi.envs.coinrun_variants import CoinrunRules
from ppo_mpi.envs.maze_variants import MazeRules
from ppo_mpi.envs.procgen_rules import Rules
from ppo_mpi.envs.procgen_sprites import Diagonal, Picture, Sprite
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.procgen import ProcgenConfig
from ppo_mpi.settings.variant_names import VARIANT_GAMES, base_game
from ppo_mpi.settings.variants import VariantsConfig

WATCHED_STREAM = "evaluate"
"""The stream of evaluations, which also tell where an agent goes in the games that are not changed;
training is not slowed down by it."""
GOAL_PICTURE = "misc_assets/cheese.png"
# Pictures of cells without effect: LIKE_WALL and SECOND, then LIKE_COIN.
FIRST_FREE, SECOND_FREE = "misc_assets/explosion1.png", "misc_assets/explosion2.png"
WALL = "kenney/Ground/Dirt/dirtCenter.png"
COIN = "kenney/Items/coinGold.png"
ITEMS = {name: f"kenney/Items/{name}.png" for name in ("gemRed", "gemYellow", "star")}
LINES = {"yellow_line": (253, 215, 0), "red_line": (252, 3, 0)}
LINE_WIDTH = {"faithful": 8, "large": 40}
"""Pixels, of 128."""
# Variant -> what goal and second object look like; "" = there is none.
LOOKS = {
    "maze_yellowgem": ("gemYellow", ""),
    "maze_yellowline": ("yellow_line", ""),
    "maze_redgem_yellowstar": ("gemRed", "star"),
    "maze_redline_yellowgem": ("red_line", "gemYellow"),
    "maze_yellowstar_redgem": ("star", "gemRed"),
}
MODES = {"maze_fixed_size": ("hard",), "coinrun": ("easy", "hard")}
"""What has fewer modes than easy, hard and memory."""
# Setting -> whose levels it changes.
CONCERNS = {
    "random_percent": ("coinrun", "coinrun_mod_wall"),
    "continue_after_coin": ("coinrun", "coinrun_aisc", "coinrun_mod_wall"),
    "rand_region": ("maze_aisc",),
    "key_penalty": ("heist_aisc_many_chests", "heist_aisc_many_keys"),
    "step_penalty": ("heist_aisc_many_chests", "heist_aisc_many_keys"),
    "sprites": tuple(LOOKS),
}


@dataclass(frozen=True)
class Variant:
    """What is different from a game."""

    game: str
    """The engine's."""
    rules: Rules | None = None
    """Fresh ones, for the environments of one engine; None if the game is not changed."""
    sprites: Mapping[str, Sprite] = field(default_factory=dict)
    """Pictures that others take the place of, by their path."""


def split_options(options: Mapping[str, Any]) -> tuple[VariantsConfig, dict[str, Any]]:
    """Return the settings of variants among the options, and the other options."""
    known = {f.name for f in dataclasses.fields(VariantsConfig)}
    own = {name: value for name, value in options.items() if name in known}
    return VariantsConfig(**own), {n: v for n, v in options.items() if n not in known}


def make_variant(task: str, config: ProcgenConfig, changes: VariantsConfig, stream: str) -> Variant:
    """Return what a game's or a variant's environments do differently.

    Args:
        task: a game or a variant.
        config: the engine's settings.
        changes: what is changed.
        stream: what the environments are for.

    Raises:
        ConfigError: two settings do not fit each other.
    """
    changes.check()
    game = base_game(task)
    rules = make_rules(task, config, changes, watches=stream == WATCHED_STREAM)
    if rules is None:
        return Variant(game)
    if task in VARIANT_GAMES or changes.random_percent or changes.continue_after_coin:
        check_engine_settings(task, config)
    elif cannot_be_changed(config):
        return Variant(game)  # it was only to be watched
    return Variant(game, rules, make_sprites(task, changes))


def make_rules(
    task: str, config: ProcgenConfig, changes: VariantsConfig, watches: bool
) -> Rules | None:
    """Return the rules of a game or a variant; None for a game that is not changed.

    Args:
        task: a game or a variant.
        config: the engine's settings.
        changes: what is changed.
        watches: whether it is told where the agent goes in games that are not changed, too.
    """
    game = base_game(task)
    if game == "coinrun":
        percent = 100 if task == "coinrun_aisc" else changes.random_percent
        stays, is_open = changes.continue_after_coin, task == "coinrun_mod_wall"
        if percent or stays or is_open or watches:
            return CoinrunRules(task, percent, is_open, stays, watches)
    if game == "maze" and (task in VARIANT_GAMES or watches):
        watched: Literal["corner", "second", ""] = "corner"
        if task in LOOKS:
            watched = "second" if LOOKS[task][1] else ""
        return MazeRules(task, task == "maze_aisc", changes.rand_region, watched)
    if game == "heist" and task in VARIANT_GAMES:
        many_keys, is_memory = task.endswith("many_keys"), config.distribution_mode == "memory"
        return ChestRules(task, many_keys, is_memory, changes.key_penalty, changes.step_penalty)
    return None


def make_sprites(task: str, changes: VariantsConfig) -> dict[str, Sprite]:
    """Return the pictures that others take the place of in a variant."""
    sprites: dict[str, Sprite] = {}
    for place, name in zip((GOAL_PICTURE, FIRST_FREE), LOOKS.get(task, ()), strict=False):
        if name in LINES:
            sprites[place] = Diagonal(LINES[name], LINE_WIDTH[changes.sprites])
        elif name:
            sprites[place] = Picture(ITEMS[name], is_cut=changes.sprites == "large")
    if task == "coinrun_mod_wall":
        sprites[FIRST_FREE] = Picture(WALL)
    if base_game(task) == "coinrun" and changes.continue_after_coin:
        sprites[SECOND_FREE] = Picture(COIN)
    return sprites


def cannot_be_changed(config: ProcgenConfig) -> str:
    """Return the setting of the engine with which its levels cannot be changed; "" if none."""
    for name in ("use_generated_assets", "use_sequential_levels"):
        if getattr(config, name):
            return f"{name}=true"
    mode = config.distribution_mode
    return f"distribution_mode={mode}" if mode == "exploration" else ""


def check_engine_settings(task: str, config: ProcgenConfig) -> None:
    """Refuse settings of the engine with which a variant cannot be played.

    Raises:
        ConfigError: it has such a setting.
    """
    wrong = cannot_be_changed(config)
    if wrong.startswith("use_"):
        raise ConfigError(
            f"{wrong}: the levels of {task} cannot be changed with it; use false, or the game "
            f"{base_game(task)} as it is"
        )
    modes = MODES.get(task, MODES.get(base_game(task), ("easy", "hard", "memory")))
    if config.distribution_mode not in modes:
        raise ConfigError(
            f"{task} has no distribution_mode={config.distribution_mode}; take another environment "
            f"or, in training, distribution_mode={' or '.join(modes)}"
        )


def without_effect(task: str, changes: VariantsConfig) -> list[str]:
    """Return the settings that are not at their defaults and do not concern this variant."""
    defaults = VariantsConfig()
    return [
        name
        for name, tasks in CONCERNS.items()
        if getattr(changes, name) != getattr(defaults, name) and task not in tasks
    ]
