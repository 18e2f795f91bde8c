"""An evaluation as tables: a row for each episode and for each level; held-out levels compared."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.agent import Agent
from ppo_mpi.envs.procgen_layouts import DRAWN_WHILE_PLAYED, level_prints, same_levels
from ppo_mpi.levels import is_training_level
from ppo_mpi.modes.intervals import bootstrap_interval, welch_interval
from ppo_mpi.registry import split_env_name
from ppo_mpi.seeding import generator
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.storage.durable import write_atomically

COMPARED_AT_ONCE = 32
"""Environments that show their levels side by side."""
MOST_COMPARED = 5000
"""Training levels up to which held-out ones are compared with them: some ten seconds."""


@dataclass(frozen=True)
class PlayedEpisode:
    """One episode of an evaluation."""

    episode: int
    """Its number, from 0: it fixes the level and all random streams."""
    level: int
    """-1 where the suite has no levels."""
    episode_return: float
    """Sum of the raw rewards."""
    length: int
    """Timesteps."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What else its suite tells of it, by name."""


@dataclass(frozen=True)
class Overlap:
    """Held-out levels that are laid out as a training level."""

    compared: int
    """Held-out levels that were compared."""
    twins: Mapping[int, tuple[int, bool]]
    """Held-out level -> (training level, whether they also look the same)."""
    reason: str = ""
    """Why nothing was compared; empty if it was."""


def split_of(agent: Agent, level: int) -> str:
    """Return ``train``, ``test``, or ``all`` where nothing is held out."""
    procgen = agent.config.procgen
    if not agent.has_levels or not procgen.is_restricted:
        return "all"
    return "train" if is_training_level(level, procgen) else "test"


def by_split(agent: Agent, episodes: Sequence[PlayedEpisode]) -> dict[str, list[PlayedEpisode]]:
    """Return split -> its episodes, in their order."""
    found: dict[str, list[PlayedEpisode]] = {}
    for episode in episodes:
        found.setdefault(split_of(agent, episode.level), []).append(episode)
    return found


def compare_levels(agent: Agent, episodes: Sequence[PlayedEpisode]) -> Overlap | None:
    """Compare the held-out levels that were played with the training levels.

    Returns:
        None where no held-out level was played.
    """
    levels = sorted({e.level for e in episodes if split_of(agent, e.level) == "test"})
    if not levels:
        return None
    game, procgen = split_env_name(agent.config.environment.env)[1], agent.config.procgen
    if game in DRAWN_WHILE_PLAYED:
        return Overlap(0, {}, f"{game} draws its levels while they are played")
    known = procgen.training_levels
    if len(known) > MOST_COMPARED:
        return Overlap(0, {}, f"there are more than {MOST_COMPARED:,} training levels")
    # As they are, whatever the agent is made to see of them.
    envs = agent.seeing("none", 1).make_envs(COMPARED_AT_ONCE, 0, stream="compare", levels="test")
    try:
        known_prints = level_prints(envs, known)
        prints = level_prints(envs, levels)
    finally:
        envs.close()
    if known_prints is None or prints is None:
        return Overlap(0, {}, "these environments do not show their states")
    return Overlap(len(levels), same_levels(levels, prints, known, known_prints))


def level_means(episodes: Sequence[PlayedEpisode]) -> np.ndarray:
    """Return [levels] float64, the mean return on each level; of each episode without levels.

    Episodes on one level are not independent of each other, levels are.
    """
    returns: dict[tuple[int, int], list[float]] = {}
    for e in episodes:
        returns.setdefault((e.level, e.episode if e.level < 0 else 0), []).append(e.episode_return)
    return np.array([np.mean(own) for own in returns.values()])


def generalization_gap(agent: Agent, episodes: Sequence[PlayedEpisode], seed: int) -> dict | None:
    """Return how much more the agent earns on training levels than on held-out ones.

    Args:
        agent: who played.
        episodes: on both.
        seed: of the bootstrap's resamples.

    Returns:
        the difference of the means over levels, with two 95 % intervals: Welch's, and that of
        a bootstrap over levels; None unless both kinds of levels were played.
    """
    splits = by_split(agent, episodes)
    if not {"train", "test"} <= splits.keys():
        return None
    train, test = level_means(splits["train"]), level_means(splits["test"])
    return {
        "gap": float(train.mean() - test.mean()),
        "welch_95": welch_interval(train, test),
        "bootstrap_95": bootstrap_interval(train, test, generator(seed, "bootstrap")),
        "train_levels": len(train),
        "test_levels": len(test),
    }


def overlap_summary(episodes: Sequence[PlayedEpisode], overlap: Overlap) -> dict[str, Any]:
    """Return how many held-out levels are training levels in disguise, and what they change.

    Args:
        episodes: on held-out levels.
        overlap: of these levels.
    """
    if overlap.reason:
        return {"not_compared": overlap.reason}
    rest = [e for e in episodes if e.level not in overlap.twins]
    shared = [e for e in episodes if e.level in overlap.twins]
    return {
        "held_out_levels": overlap.compared,
        "same_layout": len(overlap.twins),
        "same_picture": sum(looks_same for _, looks_same in overlap.twins.values()),
        "mean_return": mean_return(episodes),
        "mean_return_without_them": mean_return(rest),
        "mean_return_on_them": mean_return(shared),
    }


def mean_return(episodes: Sequence[PlayedEpisode]) -> float | None:
    """Return the mean return; None without episodes."""
    return float(np.mean([e.episode_return for e in episodes])) if episodes else None


def episode_rows(
    agent: Agent, config: EvaluateConfig, episodes: Sequence[PlayedEpisode], overlap: Overlap | None
) -> list[dict[str, Any]]:
    """Return a row for each episode; all rows have the same columns."""
    twins = overlap.twins if overlap else {}
    facts = fact_names(episodes)
    job = agent.config.job
    return [
        {
            "run": agent.run_name,
            "env": agent.config.environment.env,
            "train_seed": job.seed,
            "timesteps": agent.timesteps,
            "split": split_of(agent, e.level),
            "level": e.level,
            "episode": e.episode,
            "policy_seed": config.seed,
            "return": e.episode_return,
            "length": e.length,
            "same_layout_as": twins.get(e.level, (None, False))[0],
            "same_picture": twins[e.level][1] if e.level in twins else None,
            **{name: e.facts.get(name) for name in facts},
        }
        for e in episodes
    ]


def level_rows(
    agent: Agent, episodes: Sequence[PlayedEpisode], overlap: Overlap | None
) -> list[dict[str, Any]]:
    """Return a row for each level that was played, in order of the levels."""
    twins = overlap.twins if overlap else {}
    facts = fact_names(episodes)
    played: dict[int, list[PlayedEpisode]] = {}
    for e in sorted(episodes, key=lambda e: e.level):
        played.setdefault(e.level, []).append(e)
    rows = []
    for level, own in played.items():
        returns = np.array([e.episode_return for e in own])
        row: dict[str, Any] = {
            "run": agent.run_name,
            "split": split_of(agent, level),
            "level": level,
            "episodes": len(own),
            "mean_return": float(returns.mean()),
            "std_return": float(returns.std(ddof=1)) if len(own) > 1 else None,
            "min_return": float(returns.min()),
            "max_return": float(returns.max()),
            "mean_length": float(np.mean([e.length for e in own])),
            "same_layout_as": twins.get(level, (None, False))[0],
            "same_picture": twins[level][1] if level in twins else None,
        }
        for name in facts:
            told = [e.facts[name] for e in own if name in e.facts]
            row[f"mean_{name}"] = float(np.mean(told)) if told else None
        rows.append(row)
    return rows


def fact_names(episodes: Sequence[PlayedEpisode]) -> list[str]:
    """Return the names of all facts that any episode tells, sorted."""
    return sorted({name for e in episodes for name in e.facts})


def write_table(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, or as JSON lines where the name ends in .jsonl; None is an empty cell."""
    text = io.StringIO()
    if path.endswith(".jsonl"):
        text.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(rows[0])
        table.writerows(["" if v is None else v for v in row.values()] for row in rows)
    write_atomically(Path(path).expanduser(), text.getvalue().encode())
