"""A command of the documentation as a shell reads it: variables, launcher, program, words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

PROGRAMS = ("ppo-mpi",)
PYTHONS = ("python", "python3")
LAUNCHERS = ("mpirun", "mpiexec", "srun")
_RANKS = ("-n", "-np", "--ntasks")
_ONE_WORD = re.compile(
    r"--\w[\w-]*=.*|-[a-zA-Z]\d+|-[kKlouvVW]|--(oversubscribe|exclusive|requeue|pty)"
)
"""Options of launchers and of sbatch that need no word behind them."""
_WITHIN = re.compile(r"""(?:eval|source|\.)\s+(?:"?\$|<)\((.*)\)"?\s*(?:#.*)?""")
"""A command whose output the shell reads: ``eval "$(ppo-mpi --completion bash)"``."""
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Line:
    """One simple command."""

    words: tuple[str, ...]
    """The program and what stands behind it, without a launcher."""
    environ: dict[str, str] = field(default_factory=dict)
    """Variables in front of it."""
    launcher: str = ""
    """mpirun, mpiexec or srun; empty without one."""
    ranks: int = 1

    @property
    def program_words(self) -> tuple[str, ...] | None:
        """The words behind ``python -m ppo_mpi`` or ``ppo-mpi``; None if it is another program."""
        if self.words[0] in PROGRAMS:
            return self.words[1:]
        if self.words[0] in PYTHONS and self.words[1:3] == ("-m", "ppo_mpi"):
            return self.words[3:]
        return None

    @property
    def script(self) -> str:
        """The script that Python runs; empty if it runs none."""
        is_script = self.words[0] in PYTHONS and self.words[1:2] and self.words[1].endswith(".py")
        return self.words[1] if is_script else ""


def read_lines(text: str) -> list[Line]:
    """Return the simple commands of a line, without where their output goes.

    Raises:
        ValueError: it is more than ``&&``, ``;``, ``|`` and ``>`` between simple commands.
    """
    within = _WITHIN.fullmatch(text)
    lexer = shlex.shlex(within[1] if within else text, posix=True, punctuation_chars="();<>|&")
    lexer.commenters = ""
    lexer.whitespace_split = True
    words: list[str] = []
    lines: list[list[str]] = []
    skips = False  # the name of a file behind > or <
    for word in lexer:
        if word.startswith("#"):
            break  # a comment, up to the end
        if word in ("&&", ";", "|", "||", "&"):
            lines, words = [*lines, words], []
        elif word in (">", ">>", "<", ">&", "&>"):
            if words and words[-1] in ("1", "2"):
                words.pop()
            skips = True
        elif word[0] in "();<>|&":
            raise ValueError(f"{word} is more than tests/docs reads of a shell")
        elif skips:
            skips = False
        else:
            words.append(word)
    return [_simple(words) for words in [*lines, words] if words]


def _simple(words: Sequence[str]) -> Line:
    """Tell variables and a launcher from the program behind them."""
    rest, environ = list(words), {}
    while rest and _VARIABLE.match(rest[0]):
        name, _, environ[name] = rest.pop(0).partition("=")
    if not rest or rest[0] not in LAUNCHERS:
        return Line(tuple(rest) or ("true",), environ)
    launcher, ranks = rest.pop(0), 1
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in _RANKS:
            ranks = int(rest.pop(0))
        elif option.startswith("--ntasks="):
            ranks = int(option.partition("=")[2])
        elif not _ONE_WORD.fullmatch(option):
            rest.pop(0)
    return Line(tuple(rest), environ, launcher, ranks)


def split_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (options of sbatch, the script and its words)."""
    rest, options = list(words), []
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        options.append(option)
        if not _ONE_WORD.fullmatch(option):
            options.append(rest.pop(0))
    return options, rest


def value_of(words: Sequence[str], name: str) -> str:
    """Return the value of ``--name value`` or ``--name=value``; empty if it is not there."""
    for at, word in enumerate(words):
        if word == f"--{name}" and at + 1 < len(words):
            return words[at + 1]
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return ""
