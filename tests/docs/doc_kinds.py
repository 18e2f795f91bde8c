"""How each kind of command is run by a test: as it stands, with a small budget, or as a dry run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from doc_pages import REPOSITORY, Item
from doc_place import Place, checked
from doc_server import Done
from doc_words import PYTHONS, Line, read_lines, split_options, value_of
from jobs import job_command

from ppo_mpi.modes.opening import run_dir_of

FIRST_STEPS = ("docs/quickstart.md", "docs/tutorial-own-environment.md", "assets/gallery/README.md")
"""Pages whose trainings are run for real, with a small budget; of others those that are used."""
READERS = ("play", "record", "evaluate", "export", "plot", "report")
"""Modes that look at runs that are there."""
AS_THEY_ARE = ("plot", "envs", "presets", "doctor", "export", "help")
"""Modes that cost little."""
LEFT_OUT = {
    ".": "activates an environment; the tests have theirs",
    "source": "likewise, or tells a shell about completion, which has tests of its own",
    "export": "sets a variable of the shell",
    "module": "a cluster's own software",
    "tail": "goes on until it is interrupted",
    "git": "fetches the sources from elsewhere",
    "cd": "the page's folder is the repository's root",
    "ls": "shows what is there",
    "cat": "shows what is there",
    "squeue": "asks a Slurm",
    "scancel": "asks a Slurm",
    "tensorboard": "goes on until it is interrupted",
    "jupyter": "the notebook has a test of its own",
}
"""Program -> why it is not run."""
_FROM_MAKE = re.compile(
    r"^\.venv/bin/(?:mpirun -np \d+ \.venv/bin/)?python (?:-m ppo_mpi|benchmarks/)"
)


def run_item(place: Place, item: Item) -> None:
    """Run something of a page; fails with what went wrong.

    Raises:
        AssertionError: it did not do what the page says.
        ValueError: there is no way to run it.
    """
    if item.kind == "file":
        place.write(item)
    elif item.kind == "python":
        place.execute(item)
    else:
        for line in read_lines(item.text):
            run_line(place, item, line)


def run_line(place: Place, item: Item, line: Line) -> None:
    """Run one simple command."""
    program = line.words[0]
    words = line.program_words
    if words is not None:
        run_mode(place, item, line, list(words))
    elif line.script:
        place.check_script(line.script, line.words[2:])
    elif program in PYTHONS and line.words[1:3] == ("-m", "pip"):
        run_pip(place, item, replace(line, words=line.words[2:]))
    elif program in OTHERS:
        OTHERS[program](place, item, line)
    elif program in PYTHONS and line.words[1:3] == ("-m", "venv"):
        return  # the tests have theirs
    elif program not in LEFT_OUT:
        raise ValueError(f"{program} is a new kind of command: teach tests/docs how to run it")


def run_mode(place: Place, item: Item, line: Line, words: list[str]) -> None:
    """Run ``python -m ppo_mpi words``, by what its mode costs."""
    command = place.parsed(words)
    mode = command.mode
    validate = getattr(command.config, "validate", None)
    if validate is not None:
        validate(line.ranks)  # as many ranks as on the page
    at = words.index(mode) if mode in words else len(words)  # mode=train stands anywhere
    behind = [word for word in [*words[:at], *words[at + 1 :]] if not word.startswith("mode=")]
    if mode == "train":
        train(place, item, line, behind)
    elif mode in ("launch", "experiment", "sweep"):
        plan(place, words)
        if mode == "launch":
            train(place, item, line, list(command.words)[1:])
    elif mode in SMALLER:
        place.run([mode, *SMALLER[mode](behind)], line.environ)
    elif mode in AS_THEY_ARE:
        place.run(words, line.environ)
    else:
        raise ValueError(f"{mode} is a new mode: teach tests/docs how to run it")


def train(place: Place, item: Item, line: Line, words: list[str]) -> None:
    """Check a training by a dry run; train for real, and little, what the page goes on with."""
    dry = [word for word in words if word not in ("--dry-run", "--clobber")]
    place.dry_run(dry)
    if "--dry-run" in words:
        return
    config = place.parsed(["train", *words]).config
    run_dir = run_dir_of(config)
    if not is_used_later(place, item, run_dir.name) and item.page not in FIRST_STEPS:
        return
    if place.has_run(run_dir) and item.page not in FIRST_STEPS:
        return  # the page shows another way to train it
    small = place.small_words(words)
    if line.launcher != "mpirun" or not is_sample(place, item):
        place.run(["train", *small], line.environ)
        return
    ranks = min(line.ranks, 2)
    done = subprocess.run(
        job_command(ranks, ["-m", "ppo_mpi", "train", *small]),
        cwd=place.folder, env=place.server.environ | line.environ,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    checked(Done(done.returncode, done.stdout), ["mpirun", "-np", str(ranks), "train", *small])


def is_sample(place: Place, item: Item) -> bool:
    """Return whether ``item`` is the first on a page of first steps that starts several ranks."""
    started = [o for o in place.items if o.text.startswith(("mpirun", "make train"))]
    return item.page in ("README.md", *FIRST_STEPS) and item is started[0]


def is_used_later(place: Place, item: Item, run: str) -> bool:
    """Return whether what stands behind ``item`` on its page looks at a run of this name."""
    name = re.compile(rf"(?<![\w.-]){re.escape(run)}(?![\w.-])")
    for other in place.items[place.items.index(item) + 1 :]:
        if other.kind == "python" and name.search(other.text):
            return True
        if other.kind != "command":
            continue
        words = re.split(r"\s", other.text)
        if any(mode in words for mode in READERS) or any(w.endswith(".py") for w in words):
            if name.search(other.text):
                return True
        elif name.search(value_of(words, "borrow-from")):
            return True
    return False


def plan(place: Place, words: list[str]) -> None:
    """Let a mode that starts many jobs say what it would do."""
    end = words.index("--") if "--" in words else len(words)
    own = [word for word in words[:end] if word != "--submit"]
    has_dry_run = "--dry-run" in own or "--table-only" in own
    place.run([*own, *([] if has_dry_run else ["--dry-run"]), *words[end:]])


def fewer_levels(words: list[str]) -> list[str]:
    """Return the words with two of each range of levels."""
    return [re.sub(r"^(\d+)-\d+$", lambda m: f"{m[1]}-{int(m[1]) + 1}", w) for w in words]


def smaller_evaluation(words: list[str]) -> list[str]:
    """Return the words of an evaluation of one episode on each set of levels."""
    return [*fewer_levels(words), "--episodes", "1"]


def smaller_recording(words: list[str]) -> list[str]:
    """Return the words of a video of a second; trajectories are left as they are."""
    return words if value_of(words, "trajectories") else [*words, "--seconds", "1"]


def smaller_report(words: list[str]) -> list[str]:
    """Return the words of a report whose evaluation has one episode on each set of levels."""
    return [*words, "--episodes", "1"]


def shorter_game(words: list[str]) -> list[str]:
    """Return the words of a game of a second, drawn in the terminal or written as a video."""
    return [*words, "--episodes", "1", "--seconds", "1"]


SMALLER: dict[str, Callable[[list[str]], list[str]]] = {
    "evaluate": smaller_evaluation,
    "play": shorter_game,
    "record": smaller_recording,
    "report": smaller_report,
}
"""Mode -> how its words become those of something short."""


def run_make(place: Place, item: Item, line: Line) -> None:
    """Ask make what it would do, and run what of it trains or measures."""
    words = ["make", "--dry-run", "--no-print-directory", *line.words[1:]]
    done = subprocess.run(words, cwd=place.folder, capture_output=True, text=True, check=False)
    checked(Done(done.returncode, done.stdout + done.stderr), words)
    for command in done.stdout.replace("\\\n", " ").splitlines():
        if _FROM_MAKE.match(command):
            for made in read_lines(command.replace(".venv/bin/", "")):
                run_line(place, item, made)


def run_pip(place: Place, item: Item, line: Line) -> None:
    """Check that the extras of ``pip install ".[x]"`` are those of setup.py."""
    assert line.words[1] == "install", line.words
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    known = set(re.findall(r'^EXTRAS\["([\w-]+)"\]|^    "([\w-]+)": \[', setup, re.MULTILINE))
    names = {one or other for one, other in known}
    for word in line.words[2:]:
        asked = re.fullmatch(r"(?:\.|ppo_mpi|ppo-mpi)\[([\w,-]+)\].*", word)
        unknown = set(asked[1].split(",")) - names if asked else set()
        assert not unknown, f"setup.py has no extra {', '.join(unknown)}, but {sorted(names)}"


def run_sbatch(place: Place, item: Item, line: Line) -> None:
    """Check a script of Slurm's, and the training that its words stand for, on its ranks."""
    options, (script, *words) = split_options(line.words[1:])
    check_shell(place, script)
    if script not in ("launch/train.slurm", "launch/preempt.slurm", "launch/sweep.slurm"):
        return
    of_script = (REPOSITORY / script).read_text(encoding="utf-8")
    ranks = 1
    for name in ("nodes", "ntasks-per-node"):
        default = re.search(rf"^#SBATCH --{name}=(\d+)", of_script, re.MULTILINE)
        assert default is not None, f"{script} has no line #SBATCH --{name}"
        ranks *= int(value_of(options, name) or default[1])
    games = line.environ.get("GAMES", "coinrun starpilot").split()
    for game in games if script.endswith("sweep.slurm") else [""]:
        of_job = [game] * bool(game) + words
        place.parsed(["train", *of_job]).config.validate(ranks)
        train(place, item, replace(line, environ={}), of_job)


def run_shell_script(place: Place, item: Item, line: Line) -> None:
    """Check a shell script; of local.sh also the training behind it."""
    words = list(line.words if "/" in line.words[0] else line.words[1:])
    check_shell(place, words[0])
    if Path(words[0]).name == "local.sh":
        _, rest = split_options(words[1:])
        train(place, item, replace(line, words=("local.sh",)), rest)


def check_shell(place: Place, script: str) -> None:
    """Check that a script is there and that a shell can read it."""
    assert (place.folder / script).is_file(), f"there is no {script}"
    done = subprocess.run(
        ["bash", "-n", script], cwd=place.folder, capture_output=True, text=True, check=False
    )
    checked(Done(done.returncode, done.stderr), ["bash", "-n", script])


OTHERS: dict[str, Callable[[Place, Item, Line], None]] = {
    "make": run_make,
    "pip": run_pip,
    "sbatch": run_sbatch,
    "bash": run_shell_script,
    "launch/local.sh": run_shell_script,
}
"""Program -> how it is run or checked."""
