"""What soak.py has seen: events, samples, the table at the end, and whether it passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# How much more the last quarter may have than the first, beside what comes and goes.
MEMORY_FACTOR, MEMORY_MIB = 1.1, 30.0
MORE_FILES = 14
"""A run has few at its first checkpoint: more checkpoints follow, tags and records of failures."""
SEGMENTS_LEFT = 8
"""Shared memory of the last two lives may have been too young to be removed at their starts."""
TEMPORARY_FILES_LEFT = 24
"""A launcher's last lives may be too young as well; it has a few files in each."""
LEAST_SAMPLES = 8
"""Fewer say nothing of growth."""


@dataclass(frozen=True)
class Event:
    """One fault and what came of it."""

    seconds: float
    """Since the soak began."""
    kind: str
    what: str
    seconds_to_recover: float
    """From the fault to the first iteration behind it; 0 if it was not waited for."""
    lost_iterations: int
    problems: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the event as a line of the log."""
        verdict = "; ".join(self.problems) or "ok"
        return (
            f"{self.seconds:7.1f} s  {self.kind:22}  {self.what:48}  "
            f"again after {self.seconds_to_recover:5.1f} s  "
            f"lost {self.lost_iterations:3} iterations  {verdict}"
        )


@dataclass(frozen=True)
class Sample:
    """What a job took at one moment."""

    seconds: float
    game: str
    """Jobs are compared with their like."""
    memory_mib: float
    """Resident, of rank 0."""
    supervisor_mib: float
    files: int
    """Of the run, each checkpoint counted as one."""
    segments_left: int
    """Shared memory of dead processes."""
    temporary_files: int


@dataclass
class Record:
    """All that a soak has seen; grows as it goes on."""

    events: list[Event] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    """A line for each run that was compared with an undisturbed one."""
    problems: list[str] = field(default_factory=list)
    lives: int = 0


def beginning_and_end(values: Sequence[float]) -> tuple[float, float]:
    """Return the largest of the first and of the last quarter; at least one value is in each."""
    quarter = max(1, len(values) // 4)
    return max(values[:quarter]), max(values[-quarter:])


def growth_problems(samples: Sequence[Sample]) -> list[str]:
    """Return what has grown from the first quarter of the samples to the last."""
    problems = []
    games = {sample.game: [s for s in samples if s.game == sample.game] for sample in samples}
    for game, own in games.items():
        if len(own) < LEAST_SAMPLES:
            continue
        for name, values in (
            ("memory of rank 0", [s.memory_mib for s in own]),
            ("memory of the supervisor", [s.supervisor_mib for s in own]),
        ):
            first, last = beginning_and_end(values)
            if last > MEMORY_FACTOR * first + MEMORY_MIB:
                problems.append(f"{game}: the {name} grew from {first:.0f} to {last:.0f} MiB")
        first, last = beginning_and_end([s.files for s in own])
        if last > first + MORE_FILES:
            problems.append(f"{game}: the run's files grew from {first:.0f} to {last:.0f}")
    if samples and samples[-1].segments_left > SEGMENTS_LEFT:
        problems.append(f"{samples[-1].segments_left} pieces of shared memory are left")
    if samples and samples[-1].temporary_files > TEMPORARY_FILES_LEFT:
        problems.append(f"{samples[-1].temporary_files} temporary files are left")
    return problems


def all_problems(record: Record) -> list[str]:
    """Return everything that was not as it should be; empty = passed."""
    of_events = [f"{e.seconds:.0f} s, {e.kind}: {p}" for e in record.events for p in e.problems]
    nothing = [] if record.runs else ["no run was compared"]
    return [*record.problems, *nothing, *of_events, *growth_problems(record.samples)]


def summary(record: Record) -> str:
    """Return the table at the end."""
    lines = [f"{'fault':22}  times  recovered after (s)  lost iterations"]
    lines += [f"{'':22}         {'mean':>6} {'longest':>9}   {'all':>7} {'most':>6}"]
    for kind in sorted({event.kind for event in record.events}):
        own = [event for event in record.events if event.kind == kind]
        seconds = [event.seconds_to_recover for event in own]
        lost = [event.lost_iterations for event in own]
        lines.append(
            f"{kind:22}  {len(own):5}  {sum(seconds) / len(own):6.1f} {max(seconds):9.1f}  "
            f"{sum(lost):7} {max(lost):6}"
        )
    lines += ["", f"lives: {record.lives}, faults: {len(record.events)}"]
    for game in sorted({sample.game for sample in record.samples}):
        samples = [sample for sample in record.samples if sample.game == game]
        for name, values in (
            ("memory of rank 0, MiB", [s.memory_mib for s in samples]),
            ("memory of the supervisor, MiB", [s.supervisor_mib for s in samples]),
            ("files and checkpoints", [s.files for s in samples]),
            ("shared memory left behind", [s.segments_left for s in samples]),
            ("temporary files", [s.temporary_files for s in samples]),
        ):
            first, last = beginning_and_end(values)
            lines.append(
                f"{game:12} {name:30} beginning {first:7.0f}   end {last:7.0f}   "
                f"most {max(values):7.0f}"
            )
    lines += ["", *record.runs]
    problems = all_problems(record)
    lines += [f"PROBLEM  {problem}" for problem in problems]
    return "\n".join([*lines, "", "FAIL" if problems else "PASS"])
