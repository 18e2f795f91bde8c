"""The names of Atari's games: what a user types -> the game, and what the name says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

GAMES = (
    "adventure", "air_raid", "alien", "amidar", "assault", "asterix", "asteroids", "atlantis",
    "atlantis2", "backgammon", "bank_heist", "basic_math", "battle_zone", "beam_rider", "berzerk",
    "blackjack", "bowling", "boxing", "breakout", "carnival", "casino", "centipede",
    "chopper_command", "crazy_climber", "crossbow", "darkchambers", "defender", "demon_attack",
    "donkey_kong", "double_dunk", "earthworld", "elevator_action", "enduro", "entombed", "et",
    "fishing_derby", "flag_capture", "freeway", "frogger", "frostbite", "galaxian", "gopher",
    "gravitar", "hangman", "haunted_house", "hero", "human_cannonball", "ice_hockey", "jamesbond",
    "journey_escape", "kaboom", "kangaroo", "keystone_kapers", "king_kong", "klax", "koolaid",
    "krull", "kung_fu_master", "laser_gates", "lost_luggage", "mario_bros", "miniature_golf",
    "montezuma_revenge", "mr_do", "ms_pacman", "name_this_game", "othello", "pacman", "phoenix",
    "pitfall", "pitfall2", "pong", "pooyan", "private_eye", "qbert", "riverraid", "road_runner",
    "robotank", "seaquest", "sir_lancelot", "skiing", "solaris", "space_invaders", "space_war",
    "star_gunner", "superman", "surround", "tennis", "tetris", "tic_tac_toe_3d", "time_pilot",
    "trondead", "turmoil", "tutankham", "up_n_down", "venture", "video_checkers", "video_chess",
    "video_cube", "video_pinball", "wizard_of_wor", "word_zapper", "yars_revenge", "zaxxon",
)  # fmt: skip
"""The emulator's games for one player."""

_FORM = re.compile(r"(?:ALE/)?(\w+?)(-ram)?(NoFrameskip|Deterministic)?(?:-v([045]))?")
_ROM_OF = {game.replace("_", ""): game for game in GAMES}
STICKY = 0.25
"""Of the names that end in -v0 and -v5: Machado et al. 2018, arXiv:1709.06009."""


@dataclass(frozen=True)
class AtariName:
    """What an environment's name says."""

    rom: str
    """The game as the emulator calls it: ``ms_pacman``."""
    obs: Literal["auto", "ram"]
    frame_skip: tuple[int, int]
    """Fewest and most frames of a step."""
    sticky_actions: float
    task: str
    """The name in one way of writing it: ``MsPacmanNoFrameskip-v4``."""


def title(game: str) -> str:
    """Return a game's name as environments are called: ``MsPacman``."""
    return game.title().replace("_", "")


def parse_name(name: str) -> AtariName | None:
    """Return what an Atari environment's name says; None if it is not of the form of one.

    The forms are those of the emulator's Gymnasium environments, and the game's name alone:
    ``Pong``, ``ms_pacman``, ``PongNoFrameskip-v4``, ``Pong-v0``, ``PongDeterministic-v4``,
    ``ALE/Pong-v5``, and with ``-ram`` behind the game.

    Raises:
        KeyError: there is no such game; its argument is the name that was found.
    """
    found = _FORM.fullmatch(name)
    if found is None:
        return None
    given, ram, kind, version = found.groups()
    rom = _ROM_OF.get(given.replace("_", "").lower())
    if rom is None:
        raise KeyError(given)
    draws_skip = version in ("0", "4") and not kind
    return AtariName(
        rom,
        "ram" if ram else "auto",
        (2, 4) if draws_skip else (4, 4),
        STICKY if version in ("0", "5") else 0.0,
        title(rom) + (ram or "") + (kind or "") + (f"-v{version}" if version else ""),
    )


def looks_like_atari(name: str) -> bool:
    """Return whether a name without a suite in front means an Atari environment.

    It does with ``ALE/`` or NoFrameskip in it, whatever the game, and else with a version behind
    a game that there is.
    """
    found = _FORM.fullmatch(name)
    if found is None:
        return False
    game, _, kind, version = found.groups()
    if name.startswith("ALE/") or kind == "NoFrameskip":
        return True
    return version is not None and game.lower() in _ROM_OF
