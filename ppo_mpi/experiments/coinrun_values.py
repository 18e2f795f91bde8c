"""What agents of coinrun expect at four places of a level, with a coin in view and without one.

The published figure was made of a thousand pictures sorted by hand; here agent and coin are put
into their places in the engine's state. Axes: N levels.

Source:
    Langosco et al. 2022, arXiv:2105.14111: the value follows the place in the level rather than
    the coin.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ppo_mpi.agent import Agent, load_agent
from ppo_mpi.config import with_values
from ppo_mpi.envs.coinrun_places import PLACES, agent_cells, coin_in_view, placed
from ppo_mpi.envs.procgen import ProcgenEnvs
from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.experiments.statistics import RESAMPLES, Estimate
from ppo_mpi.modes.evaluation_tables import write_table
from ppo_mpi.settings.level_sets import level_set

FILE = "coinrun_values.csv"
"""In a run's folder."""
AT_ONCE = 16
"""Levels that are open at the same time, and pictures that go through the network at once."""
ASKED_PER_LEVEL = 10
"""At most so many levels are looked at for each that is wanted: about half of them have enough
sections."""
Values = Mapping[tuple[str, bool], np.ndarray]
"""(place, whether a coin is in view) -> [N] float64, the values; the same levels in all."""


def measure_values(runs: Sequence[PlannedRun], levels: str, count: int) -> dict[str, list[Values]]:
    """Return group -> the values of each of its runs, of those that have a checkpoint.

    What was measured before, of the same checkpoint and in the same levels, is read from the
    run's folder.

    Args:
        runs: of coinrun.
        levels: those to look at, in turn.
        count: levels to measure in, at most.
    """
    found: dict[str, list[Values]] = {}
    for run in runs:
        if not run.timesteps_done():
            continue
        asked = f"{run.timesteps_done()}:{count}:{levels}"
        values = read_values(run.folder / FILE, asked)
        if values is None:
            print(f"values of {run.folder.name}, in {count} levels", flush=True)
            values = values_of(load_agent(str(run.folder), precision="float32"), levels, count)
            write_values(run.folder / FILE, asked, values)
        if len(next(iter(values.values()))):
            found.setdefault(run.group, []).append(values)
    return found


def values_of(agent: Agent, levels: str, count: int) -> Values:
    """Return the agent's values at each place, with a coin in view and without one.

    Args:
        agent: trained in coinrun, in whatever variant.
        levels: those to look at, in turn.
        count: levels to measure in, at most.
    """
    known = level_set(levels)
    assert known, f"levels={levels} were checked"
    known = known[: ASKED_PER_LEVEL * count]
    agent = agent.shown_in("procgen:coinrun")
    plain = {"random_percent": 0, "continue_after_coin": False, "corruption": "none"}
    agent = replace(agent, config=with_values(agent.config, plain))
    values: dict[tuple[str, bool], list[float]] = {
        (place, is_seen): [] for place in PLACES for is_seen in (False, True)
    }
    envs = agent.make_envs(AT_ONCE, 0, stream="values", levels="all")
    assert isinstance(envs, ProcgenEnvs), "nothing of the run is wrapped around the engine"
    try:
        for start in range(0, len(known), AT_ONCE):
            scenes = begin(envs, known[start : start + AT_ONCE])
            left = count - len(values[PLACES[0], False])
            scenes = dict(list(scenes.items())[:left])
            for key, own in measured(agent, envs, scenes).items():
                values[key] += own
            if left == len(scenes):
                break
    finally:
        envs.close()
    return {key: np.array(own) for key, own in values.items()}


def begin(envs: ProcgenEnvs, levels: Sequence[int]) -> dict[int, bytes]:
    """Begin levels, one in each slot; return slot -> state of those with all places."""
    for slot, level in enumerate(levels):
        envs.assign(slot, 0, int(level))
    envs.reset()
    states: dict[int, bytes] = {}
    for slot in range(len(levels)):

        def note(state: bytes, slot: int = slot) -> bytes:
            states[slot] = state
            return state

        envs.edit(slot, note)
    return {slot: state for slot, state in states.items() if has_all_places(state)}


def has_all_places(state: bytes) -> bool:
    """Return whether agent and coin can be put into all places of a level."""
    cells = agent_cells(state)
    return cells is not None and all(
        coin_in_view(state, place, cell) is not None for place, cell in cells.items()
    )


def measured(
    agent: Agent, envs: ProcgenEnvs, states: Mapping[int, bytes]
) -> dict[tuple[str, bool], list[float]]:
    """Return (place, whether a coin is in view) -> the agent's values in these slots.

    Args:
        agent: who is asked.
        envs: ``AT_ONCE`` of coinrun.
        states: slot -> its level as it begins.
    """
    found = {}
    for place in PLACES:
        for is_seen in (False, True):
            for slot, state in states.items():
                cell = (agent_cells(state) or {})[place]
                coin = coin_in_view(state, place, cell) if is_seen else None
                changed = placed(state, cell, coin)
                envs.edit(slot, lambda _, changed=changed: changed)  # type: ignore[misc]
            obs, memory = envs.observe(), agent.no_memory(AT_ONCE)
            values = agent.act(obs, None, memory).values
            found[place, is_seen] = [float(values[slot]) for slot in states]
    return found


def write_values(path: Path, asked: str, values: Values) -> None:
    """Write a row for each level and scene, with what was asked for."""
    rows = [
        {"asked": asked, "place": place, "coin_in_view": int(is_seen), "number": k, "value": value}
        for (place, is_seen), own in values.items()
        for k, value in enumerate(own.tolist())
    ]
    if rows:
        write_table(str(path), rows)


def read_values(path: Path, asked: str) -> Values | None:
    """Return what was measured before; None if there is nothing, or something else was asked."""
    if not path.is_file():
        return None
    found: dict[tuple[str, bool], list[float]] = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        if row.get("asked") != asked:
            return None
        found.setdefault((row["place"], row["coin_in_view"] == "1"), []).append(float(row["value"]))
    return {key: np.array(own) for key, own in found.items()} or None


def mean_with_bars(values: np.ndarray, random: np.random.Generator) -> Estimate:
    """Return the mean with the range of 5 to 95 % of its bootstrap, as published.

    Args:
        values: [N] float64, independent of each other; N >= 1.
        random: draws the resamples.
    """
    drawn = values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, [5, 95])
    return Estimate(float(values.mean()), float(low), float(high))
