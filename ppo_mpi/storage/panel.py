"""What the dashboard shows, as lines of text that fit a terminal; it knows nothing of drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import ASCII, ROUNDED
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from ppo_mpi.storage.progress_line import clock_text, count_text
from ppo_mpi.storage.sparkline import ASCII_BLOCKS, BLOCKS, sparkline

LEAST_COLUMNS, LEAST_ROWS = 40, 10
"""Of a terminal that the panel fits."""
ROOMY_ROWS = 22
"""From here on there are empty lines between the sections."""
_LABEL = 9
_MOST_SPARK = 60
_ROUNDING = 1e-7
_LOSSES = (
    ("policy", "policy_loss"),
    ("value", "value_loss"),
    ("entropy", "entropy"),
    ("KL", "approx_kl"),
    ("predicted KL", "predicted_kl"),
    ("trust region", "trust_region_scale"),
    ("clipped", "clip_fraction"),
    ("variance explained", "explained_variance"),
    ("gradient", "gradient_norm"),
    ("rate", "learning_rate"),
)
_COLORS = {
    "engine": "cyan",
    "policy": "blue",
    "collect": "cyan",
    "update": "magenta",
    "MPI": "yellow",
    "waiting": "red",
    "other": "bright_black",
}


@dataclass
class View:
    """The state of a job, as far as it is shown."""

    title: str = ""
    total: int = 1
    """Timesteps."""
    timesteps: int = 0
    iteration: int = 0
    rate: float = 0.0
    """Timesteps per second; 0 before the first iteration."""
    elapsed_seconds: float = 0.0
    """Of all sessions."""
    since_seconds: float = 0.0
    """Since the last iteration ended."""
    activity: str = ""
    """What rank 0 is doing."""
    row: Mapping[str, float | None] = field(default_factory=dict)
    """The newest of progress.csv."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Part -> share of the time, lately."""
    returns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Column of mean returns -> its values from the run's beginning on."""
    hosts: Sequence[str] = ("",)
    """Of each rank."""
    checkpoint: str = ""
    """The newest, and its age."""


def panel(view: View, columns: int, rows: int, is_ascii: bool, has_colors: bool = True) -> Panel:
    """Return the panel for a terminal.

    Args:
        view: what to show.
        columns: of the terminal; one is left free.
        rows: of the panel, at most; what matters least is left out.
        is_ascii: whether the terminal's encoding has no block characters.
        has_colors: whether colors tell the parts of a bar apart, instead of letters.
    """
    room = columns - 1 - 4  # the frame and its margin
    for most_lines in (4, 2, 1):
        sections = _sections(view, room, is_ascii, has_colors, most_lines)
        if sum(map(len, sections)) <= rows - 2:
            break
    lines = _fitted([section for section in sections if section], rows - 2)
    return Panel(
        Group(*lines),
        box=ASCII if is_ascii else ROUNDED,
        title=Text(view.title, style="bold"),
        title_align="left",
        subtitle=Text(view.checkpoint, style="dim") if view.checkpoint else None,
        subtitle_align="right",
        border_style="bright_black",
        width=columns - 1,
    )


def _sections(
    view: View, room: int, is_ascii: bool, has_colors: bool, most_lines: int
) -> list[list[Text]]:
    """Return all there is to show, what matters most first; lists of words in few lines."""
    return [
        _progress(view, room, is_ascii, most_lines),
        _returns(view, room, is_ascii),
        _times(view, room, is_ascii or not has_colors, most_lines),
        _losses(view, room, most_lines),
        _ranks(view, room, most_lines),
    ]


def rendered(shown: Panel, console: Console) -> list[tuple[str, int]]:
    """Return a panel's lines with their colors as escape codes, and their widths."""
    with console.capture() as capture:
        console.print(shown)
    return [(line, shown.width or console.width) for line in capture.get().splitlines()]


def _fitted(sections: list[list[Text]], rows: int) -> list[Text]:
    """Return the sections' lines: with empty ones between if there is room, cut if there is not."""
    number = sum(map(len, sections))
    if number + len(sections) - 1 <= rows and rows >= ROOMY_ROWS - 2:
        spaced = [line for section in sections for line in (*section, Text(""))]
        return spaced[:-1]
    lines = [line for section in sections for line in section]
    return lines[:rows]


def _progress(view: View, room: int, is_ascii: bool, most_lines: int) -> list[Text]:
    share = min(1.0, view.timesteps / view.total)
    left = f" {share:4.0%} "
    if view.rate > 0:
        seconds = (view.total - view.timesteps) / view.rate
        right = f" ETA {clock_text(max(0.0, seconds - view.since_seconds))}"
    else:
        right = " ETA ?"
    if share >= 1:
        right = f" in {clock_text(view.elapsed_seconds)}"
    bar = _bar(share, room - len(left) - len(right), is_ascii)
    first = Text(left, style="bold").append(bar, style="green").append(right, style="bold")
    speed = f"{view.rate:,.0f} timesteps/s" if view.rate > 0 else "first iteration"
    words = [
        f"{count_text(view.timesteps)} of {count_text(view.total)} timesteps",
        speed,
        f"iteration {view.iteration:,}",
        f"{view.activity} {view.since_seconds:.0f} s" if view.activity else "",
        f"{clock_text(view.elapsed_seconds)} elapsed",
    ]
    return [first, *_flow("", [Text(word) for word in words if word], room, most_lines)]


def _returns(view: View, room: int, is_ascii: bool) -> list[Text]:
    lines = []
    for split, prefix in (("train", ""), ("test", "test_")):
        mean = view.row.get(f"{prefix}mean_return")
        if mean is None and split == "test":
            continue
        label = "return" if split == "train" else "held out"
        line = Text(f"{label:{_LABEL}}", style="dim")
        if mean is None:
            lines.append(line.append("no episode finished yet", style="dim"))
            continue
        line.append(f"{mean:9.2f}", style="bold green" if split == "train" else "bold cyan")
        low, high = view.row.get("min_return"), view.row.get("max_return")
        note = f" {number_text(view.row.get(f'{prefix}num_episodes'))} episodes"
        if split == "train" and low is not None and high is not None and room >= 70:
            note = f" {number_text(low)} to {number_text(high)}," + note
        blocks = ASCII_BLOCKS if is_ascii else BLOCKS
        space = min(_MOST_SPARK, room - len(line) - len(note) - 2)
        drawn = sparkline(view.returns.get(f"{prefix}mean_return", ()), max(0, space), blocks)
        lines.append(line.append(f"  {drawn}").append(note, style="dim"))
    return lines


def _times(view: View, room: int, has_letters: bool, most_lines: int) -> list[Text]:
    if not view.shares:
        return []
    several = len(view.hosts) > 1
    parts = {n: s for n, s in view.shares.items() if several or n not in ("MPI", "waiting")}
    bar = Text(f"{'time':{_LABEL}}", style="dim")
    space, drawn, share_so_far = room - _LABEL, 0, 0.0
    for name, share in parts.items():
        share_so_far += share
        width = round(share_so_far * space) - drawn
        letter = name[0] if has_letters else "█"
        bar.append(letter * width, style=_COLORS.get(name, ""))
        drawn += width
    legend = []
    for name, share in parts.items():
        mark = name[0] if has_letters else "■"
        shown = "waiting for the slowest" if name == "waiting" else name
        word = Text(f"{mark} ", style=_COLORS.get(name, "")).append(f"{shown} ", style="default")
        legend.append(word.append(f"{share:.0%}", style="bold default"))
    return [bar, *_flow("", legend, room, most_lines)]


def _losses(view: View, room: int, most_lines: int) -> list[Text]:
    known = {key for _, key in _LOSSES} | {"loss"}
    pairs = [*_LOSSES, *((k[:-5], k) for k in view.row if k.endswith("_loss") and k not in known)]
    # Of a single step on each rollout the KL is rounding: the policy has not moved yet.
    hidden = {"approx_kl"} if abs(view.row.get("approx_kl") or 0.0) < _ROUNDING else set()
    words = [
        Text(f"{name} ", style="dim").append(number_text(view.row[key]), style="not dim")
        for name, key in pairs
        if view.row.get(key) is not None and key not in hidden
    ]
    return _flow("learning", words, room, most_lines) if words else []


def _ranks(view: View, room: int, most_lines: int) -> list[Text]:
    row, lines = view.row, []
    busy = [row.get(f"busy_{name}") for name in ("min", "median", "max")]
    if len(view.hosts) > 1 and None not in busy:
        low, median, high = (f"{share:.0%}" for share in busy if share is not None)
        slowest, hosts = int(row.get("slowest_rank") or 0), len(set(view.hosts))
        words = [
            f"{len(view.hosts)} on {hosts} host{'s' * (hosts > 1)}",
            f"busy {low} to {high}, median {median}",
            f"slowest: rank {slowest} on {view.hosts[slowest]}",
        ]
        lines += _flow("ranks", [Text(word) for word in words], room, most_lines)
    memory, largest = row.get("memory_mebibytes"), row.get("largest_rank_mebibytes")
    if memory is not None and largest is not None:
        text = size_text(memory)
        if len(view.hosts) > 1:
            text += f" in all ranks, {size_text(largest)} in the largest"
        lines += _flow("memory", [Text(text)], room, most_lines=1)
    return lines


def _bar(share: float, columns: int, is_ascii: bool) -> str:
    if columns <= 0:
        return ""
    if is_ascii:
        return ("#" * int(share * columns)).ljust(columns, ".")
    eighths = int(share * columns * 8)
    text = "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]
    return text.ljust(columns, "░")


def _flow(label: str, words: Sequence[Text], room: int, most_lines: int) -> list[Text]:
    """Set words into lines behind a label, two blanks between; what does not fit is left out."""
    lines = [Text(f"{label:{_LABEL}}", style="dim")]
    is_begun = False
    for word in words:
        if is_begun and len(lines[-1]) + 2 + len(word) > room:
            if len(lines) == most_lines:
                break
            lines.append(Text(" " * _LABEL))
            is_begun = False
        lines[-1].append("  " * is_begun).append_text(word)
        is_begun = True
    for line in lines:
        line.truncate(room)
        line.no_wrap = True
    return lines


def number_text(value: float | None) -> str:
    """Return a number with three digits, in few letters."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.3g}"


def size_text(mebibytes: float) -> str:
    """Return an amount of memory."""
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"
