"""The pages of the documentation, cut into what a test can run: commands, Python, files.

A fenced block without a language, or with ``sh``, ``bash`` or ``console``, holds commands. A block
whose first line is ``# file: NAME`` is that file. A block behind ``<!-- not run: REASON -->`` is
left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

REPOSITORY = Path(__file__).resolve().parents[2]
PATTERNS = (
    "README.md", "docs/*.md", "launch/README.md", "assets/README.md", "assets/gallery/README.md",
    "checkpoints/README.md", "benchmarks/README.md",
)  # fmt: skip
COMMANDS = ("", "sh", "bash", "console")
"""Languages of blocks that hold commands."""
INERT = ("text", "yaml", "json", "ini", "toml", "html", "c", "cpp", "diff", "make")
"""Languages of blocks that are read only, unless they are files."""

_FENCE = re.compile(r"^(\s*)(```+|~~~+)\s*([\w+-]*)")
_FILE = re.compile(r"(?:#|//)\s*file:\s*(\S+)")
_NOT_RUN = re.compile(r"<!--\s*not run:\s*(.*?)\s*-->")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    """Its file, from the repository's root."""
    line: int
    """Number of its first line, behind the fence."""
    language: str
    lines: tuple[str, ...]
    """Without the indentation of the fence."""
    left_out: str
    """Why it is not run; empty if it is."""

    @property
    def file_name(self) -> str:
        """The file that it is; empty if it is none."""
        found = _FILE.match(self.lines[0]) if self.lines else None
        return found[1] if found else ""


@dataclass(frozen=True)
class Item:
    """Something of a page that is run by itself."""

    page: str
    line: int
    kind: Literal["command", "python", "file"]
    text: str
    """A command without its comment sign's meaning, Python's source, or the content of a file."""
    name: str = ""
    """Of a file."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def page_names() -> list[str]:
    """Return the pages that are there, the README first."""
    found = [path for pattern in PATTERNS for path in sorted(REPOSITORY.glob(pattern))]
    return [path.relative_to(REPOSITORY).as_posix() for path in found]


def text_of(page: str) -> str:
    """Return what stands on a page."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks_in(page: str, text: str) -> list[Block]:
    """Return the fenced blocks of a page.

    Raises:
        ValueError: one of them does not end.
    """
    blocks: list[Block] = []
    lines, reason, at = text.splitlines(), "", 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        marked = _NOT_RUN.search(lines[at])
        if marked:
            reason = marked[1]
        elif lines[at].strip() and not fence:
            reason = ""
        at += 1
        if not fence:
            continue
        indent, mark, language = fence.groups()
        inside = []
        begin = at + 1
        while at < len(lines) and lines[at].strip() != mark:
            inside.append(lines[at].removeprefix(indent))
            at += 1
        if at == len(lines):
            raise ValueError(f"{page}:{begin - 1}: the block does not end")
        at += 1
        blocks.append(Block(page, begin, language, tuple(inside), reason))
        reason = ""
    return blocks


def prose_in(page: str, text: str) -> list[tuple[int, str]]:
    """Return (number, line) of all lines outside the fenced blocks."""
    inside = {
        number
        for block in blocks_in(page, text)
        for number in range(block.line - 1, block.line + len(block.lines) + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return [(number, line) for number, line in lines if number not in inside]


def items_in(page: str, text: str) -> list[Item]:
    """Return what of a page is run, in its order."""
    items: list[Item] = []
    for block in blocks_in(page, text):
        source = "\n".join(block.lines) + "\n"
        if block.left_out:
            continue
        if block.file_name:
            items.append(Item(page, block.line, "file", source, block.file_name))
        elif block.language == "python":
            items.append(Item(page, block.line, "python", source))
        elif block.language in COMMANDS:
            items += _commands(block)
    return items


def _commands(block: Block) -> list[Item]:
    """Return a block's commands; a backslash at a line's end joins the next one to it."""
    items: list[Item] = []
    open_line, joined = 0, ""
    for number, line in enumerate(block.lines, block.line):
        if block.language == "console":
            if not line.startswith("$ "):
                continue  # what the command printed
            line = line.removeprefix("$ ")
        open_line = open_line or number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        text = (joined + line).strip()
        if text and not text.startswith("#"):
            items.append(Item(block.page, open_line, "command", text))
        open_line, joined = 0, ""
    return items
