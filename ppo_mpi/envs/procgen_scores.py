"""Procgen's score ranges, for the normalized score.

Source:
    Cobbe et al. 2020, "Leveraging procedural generation to benchmark reinforcement learning",
    arXiv:1912.01588, appendix C: (lowest, highest) return of each game.
"""

from __future__ import annotations

from ppo_mpi.settings.variants import VariantsConfig

EASY = {
    "bigfish": (1, 40), "bossfight": (0.5, 13), "caveflyer": (3.5, 12), "chaser": (0.5, 13),
    "climber": (2, 12.6), "coinrun": (5, 10), "dodgeball": (1.5, 19), "fruitbot": (-1.5, 32.4),
    "heist": (3.5, 10), "jumper": (1, 10), "leaper": (1.5, 10), "maze": (5, 10),
    "miner": (1.5, 13), "ninja": (3.5, 10), "plunder": (4.5, 30), "starpilot": (2.5, 64),
}  # fmt: skip
HARD = {
    "bigfish": (0, 40), "bossfight": (0.5, 13), "caveflyer": (2, 13.4), "chaser": (0.5, 14.2),
    "climber": (1, 12.6), "coinrun": (5, 10), "dodgeball": (1.5, 19), "fruitbot": (-0.5, 27.2),
    "heist": (2, 10), "jumper": (1, 10), "leaper": (1.5, 10), "maze": (4, 10),
    "miner": (1.5, 20), "ninja": (2, 10), "plunder": (3, 30), "starpilot": (1.5, 35),
}  # fmt: skip


def normalized_score(
    game: str, distribution_mode: str, changes: VariantsConfig, mean_return: float
) -> float | None:
    """Return (return - lowest) / (highest - lowest); None where no range is published.

    Args:
        game: or a variant, which has none.
        distribution_mode: easy and hard have one.
        changes: to the game; none is published of a coinrun whose coin lies or pays otherwise.
        mean_return: over episodes.
    """
    ranges = {"easy": EASY, "hard": HARD}.get(distribution_mode, {})
    is_changed = bool(changes.random_percent) or changes.continue_after_coin
    if game not in ranges or (game == "coinrun" and is_changed):
        return None
    low, high = ranges[game]
    return (mean_return - low) / (high - low)
