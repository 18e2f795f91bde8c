"""What was measured: medians, spread and ratios, as a table for the console."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from peers.contestants import Contestant

HEADER = (
    f"{'shape':12} {'what':9} {'contestant':18} {'timesteps/s':>11} {'(slowest - fastest)':>23} "
    f"{'ratio':>7} {'of engine':>9}"
)


@dataclass(frozen=True)
class Measurement:
    """All turns of one contestant in one shape."""

    shape: str
    contestant: Contestant
    timesteps: int
    """Of one iteration."""
    rounds: tuple[tuple[float, ...], ...]
    """Seconds of each measured iteration, by round."""

    @property
    def speeds(self) -> list[float]:
        """Timesteps per second of every iteration."""
        return [self.timesteps / seconds for turn in self.rounds for seconds in turn]

    @property
    def median(self) -> float:
        """Timesteps per second."""
        return statistics.median(self.speeds)


def ratio(one: Measurement, other: Measurement) -> float:
    """Return how many times faster ``one`` is: the median over the rounds of each round's ratio.

    What else the machine does changes from round to round and falls on both sides of one.

    Raises:
        ValueError: they did not take the same number of turns.
    """
    if len(one.rounds) != len(other.rounds):
        raise ValueError(
            f"{len(one.rounds)} and {len(other.rounds)} rounds cannot be compared; give both "
            "contestants the same number of turns"
        )
    return statistics.median(
        (statistics.median(theirs) / other.timesteps) / (statistics.median(own) / one.timesteps)
        for own, theirs in zip(one.rounds, other.rounds, strict=True)
    )


def find(
    measurements: Sequence[Measurement], shape: str, kind: str, is_ours: bool
) -> Measurement | None:
    """Return the one process of that shape, kind and side; None if it was not measured."""
    for m in measurements:
        key = (m.shape, m.contestant.kind, m.contestant.is_ours, m.contestant.num_processes)
        if key == (shape, kind, is_ours, 1):
            return m
    return None


def ratio_to_peer(one: Measurement, measurements: Sequence[Measurement]) -> float | None:
    """Return how many times faster it is than the peer at the same: training, or its engine."""
    peer = find(measurements, one.shape, one.contestant.kind, is_ours=False)
    return None if peer is None else ratio(one, peer)


def share_of_engine(one: Measurement, measurements: Sequence[Measurement]) -> float | None:
    """Return training's speed as a share of what its own environments alone give on its cores."""
    contestant = one.contestant
    engine = find(measurements, one.shape, "engine", contestant.is_ours)
    if engine is None or contestant.kind == "engine":
        return None
    return ratio(one, engine) / contestant.num_processes


def table(measurements: Sequence[Measurement]) -> str:
    """Return a line for each, with the median over all iterations of all rounds."""
    lines = [HEADER]
    for one in measurements:
        speeds = one.speeds
        times, share = ratio_to_peer(one, measurements), share_of_engine(one, measurements)
        lines.append(
            f"{one.shape:12} {one.contestant.kind:9} {one.contestant.name:18} "
            f"{one.median:11,.0f} {f'({min(speeds):,.0f} - {max(speeds):,.0f})':>23} "
            f"{'-' if times is None else f'{times:.2f}':>7} "
            f"{'-' if share is None else f'{share:.0%}':>9}"
        )
    return "\n".join(lines)


def as_json(measurements: Sequence[Measurement]) -> list[dict[str, object]]:
    """Return all that was measured and derived, ready for JSON."""
    return [
        {
            "shape": one.shape,
            "kind": one.contestant.kind,
            "contestant": one.contestant.name,
            "processes": one.contestant.num_processes,
            "timesteps_per_second": one.median,
            "slowest": min(one.speeds),
            "fastest": max(one.speeds),
            "ratio_to_peer": ratio_to_peer(one, measurements),
            "share_of_engine": share_of_engine(one, measurements),
            "timesteps_per_iteration": one.timesteps,
            "seconds_by_round": one.rounds,
        }
        for one in measurements
    ]
