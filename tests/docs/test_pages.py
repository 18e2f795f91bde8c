"""What pages name is there: pages, places in them, pictures, settings, files of the sources."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from doc_pages import COMMANDS, INERT, REPOSITORY, blocks_in, page_names, prose_in, text_of

from ppo_mpi.cli import TrainOptions
from ppo_mpi.cli_fields import config_fields
from ppo_mpi.cli_modes import MODES
from ppo_mpi.cli_words import OLD_NAMES

PAGES = page_names()
MOST_LEFT_OUT = 8
"""Blocks that no test runs; each says why."""
OF_OTHER_PROGRAMS = {
    **dict.fromkeys(("array", "nodes", "signal", "time", "partition", "pty", "requeue"), "Slurm"),
    **dict.fromkeys(("cpus-per-task", "ntasks", "ntasks-per-node", "gpus-per-task"), "Slurm"),
    **dict.fromkeys(("account", "qos", "mem", "mem-per-cpu", "exclusive", "cpu-bind"), "Slurm"),
    **dict.fromkeys(("gpus", "gres", "output", "error", "hint", "distribution"), "Slurm"),
    **dict.fromkeys(("gpus-per-node", "dependency"), "Slurm"),
    **dict.fromkeys(
        ("hostfile", "host", "map-by", "bind", "nv", "export", "switches"), "launchers"
    ),
    **dict.fromkeys(("mpi", "with-ft", "bind-to", "oversubscribe", "mca"), "srun or mpirun"),
    **dict.fromkeys(("shm-size", "init"), "docker"),
    "logdir": "tensorboard",
    "complete": "the scripts of completion",
    "recurrent-policy": "ikostrikov/pytorch-a2c-ppo-acktr-gail",
    **dict.fromkeys(("no-binary", "constraint", "editable", "upgrade"), "pip"),
}
"""Option -> whose it is."""

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
_CODE = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<![\w-])--([A-Za-z][\w.-]*)")
_SOURCE = re.compile(
    r"(?:ppo_mpi|benchmarks|tests|launch|docs)/[\w/.-]+\.(?:py|md|yaml|sh|slurm|csv)"
)


def anchors_of(page: str) -> set[str]:
    """Return what a page's headings are called in links, as GitHub makes it."""
    seen: Counter[str] = Counter()
    anchors = set(re.findall(r'(?:id|name)="([^"]+)"', text_of(page)))
    for _, line in prose_in(page, text_of(page)):
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            anchors.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return anchors


def known_options() -> set[str]:
    """Return every option of a mode, of the benchmarks and of the tests' own programs."""
    classes = [TrainOptions, *(mode.config_class for mode in MODES.values())]
    names = {name for config_class in classes for name in config_fields(config_class)}
    names |= set(OLD_NAMES) | {"mode", "completion", "complete", "help", "version"}
    scripts = [*REPOSITORY.glob("benchmarks/**/*.py"), *REPOSITORY.glob("tests/faults/*.py")]
    for script in scripts:
        names |= set(re.findall(r'add_argument\(\s*"--([\w-]+)"', script.read_text("utf-8")))
    return {name.replace("_", "-") for name in names} | set(OF_OTHER_PROGRAMS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    broken = []
    for number, line in prose_in(page, text_of(page)):
        for found in _LINK.finditer(line):
            target = found[1] or found[2]
            if re.match(r"[a-z]+:", target):
                continue  # elsewhere; nothing is asked of a network
            name, _, anchor = target.partition("#")
            path = (REPOSITORY / page).parent / name if name else REPOSITORY / page
            if not path.exists():
                broken.append(f"{page}:{number}: there is no {target}")
            elif anchor and path.suffix == ".md":
                other = path.resolve().relative_to(REPOSITORY).as_posix()
                if anchor not in anchors_of(other):
                    broken.append(f"{page}:{number}: {other} has no heading #{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_are_named_exist(page: str):
    known, unknown = known_options(), []
    for number, line in prose_in(page, text_of(page)):
        for code in _CODE.findall(line):
            for option in _OPTION.findall(code):
                name = option.rpartition(".")[2].replace("_", "-").rstrip("-")
                if name not in known and name.removeprefix("no-") not in known:
                    unknown.append(f"{page}:{number}: --{option}")
    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_sources_that_are_named_exist(page: str):
    missing = []
    for number, line in prose_in(page, text_of(page)):
        for code in _CODE.findall(line):
            for name in _SOURCE.findall(code):
                if Path(name).stem != "x" and not (REPOSITORY / name).exists():  # x: one to be
                    missing.append(f"{page}:{number}: {name}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_hold(page: str):
    for block in blocks_in(page, text_of(page)):
        where = f"{page}:{block.line}"
        assert block.language in (*COMMANDS, *INERT, "python"), (
            f"{where}: {block.language} is not known; text is what is only read"
        )
        if block.language == "yaml":
            yaml.safe_load("\n".join(block.lines))


def test_few_blocks_are_left_out_and_all_say_why():
    left_out = [b for page in PAGES for b in blocks_in(page, text_of(page)) if b.left_out]
    for block in left_out:
        print(f"{block.page}:{block.line}: {block.left_out}")
    assert len(left_out) <= MOST_LEFT_OUT


def test_every_page_of_the_folder_is_linked():
    linked = set()
    for page in PAGES:
        for found in _LINK.finditer(text_of(page)):
            path = (REPOSITORY / page).parent / (found[1] or found[2]).partition("#")[0]
            linked.add(path.resolve())
    pages = [page for page in PAGES if page.startswith("docs/")]
    assert [page for page in pages if (REPOSITORY / Path(page)).resolve() not in linked] == []
