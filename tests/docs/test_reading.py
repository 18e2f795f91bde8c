"""Pages are read as their readers read them, and what is wrong on a page does not pass."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_kinds import LEFT_OUT, fewer_levels, run_item
from doc_pages import Item, blocks_in, items_in, prose_in
from doc_place import Place
from doc_server import Server
from doc_words import Line, read_lines, split_options
from jobs import job_environment

PAGE = """# Title

```
make train      # once
python -m ppo_mpi train coinrun \\
    --seed 1
# nothing

```

<!-- not run: it needs a cluster of its own -->
```sh
srun nothing
```

- a list

  ```python
  # file: room.py
  x = 1
  ```

```console
$ ls
README.md
```

```text
no command
```
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Return the folder of a page, with a server behind it."""
    server = Server(job_environment())
    place = Place("README.md", tmp_path_factory.mktemp("page"), server)
    yield place
    place.close()
    server.close()


def command(text: str) -> Item:
    return Item("README.md", 1, "command", text)


def test_a_page_is_commands_python_and_files():
    found = [(item.line, item.kind, item.text, item.name) for item in items_in("page", PAGE)]
    assert found == [
        (4, "command", "make train      # once", ""),
        (5, "command", "python -m ppo_mpi train coinrun      --seed 1", ""),
        (19, "file", "# file: room.py\nx = 1\n", "room.py"),
        (24, "command", "ls", ""),
    ]
    assert [b.left_out for b in blocks_in("page", PAGE)][1] == "it needs a cluster of its own"
    assert [line for _, line in prose_in("page", PAGE) if line] == [
        "# Title", "<!-- not run: it needs a cluster of its own -->", "- a list",
    ]  # fmt: skip


def test_a_block_without_an_end_is_refused():
    with pytest.raises(ValueError, match="page:3: the block does not end"):
        blocks_in("page", "# Title\n\n```\nmake train\n")


def test_a_line_is_read_as_a_shell_reads_it():
    (line,) = read_lines("mpirun -np 8 python -m ppo_mpi train coinrun > log  # comment")
    assert line == Line(("python", "-m", "ppo_mpi", "train", "coinrun"), {}, "mpirun", 8)
    assert line.program_words == ("train", "coinrun")
    (line,) = read_lines("GAMES='coinrun maze' sbatch --array 0-5 launch/sweep.slurm --seed 1")
    assert line.environ == {"GAMES": "coinrun maze"}
    assert split_options(line.words[1:]) == (
        ["--array", "0-5"], ["launch/sweep.slurm", "--seed", "1"],
    )  # fmt: skip
    one, two = read_lines("cd x && srun -K1 -N 4 -n 64 python benchmarks/network.py --hosts 2")
    assert (one.words, two.ranks, two.script) == (("cd", "x"), 64, "benchmarks/network.py")
    (line,) = read_lines('eval "$(ppo-mpi --completion bash)"    # now')
    assert line.program_words == ("--completion", "bash")
    with pytest.raises(ValueError, match="more than tests/docs reads of a shell"):
        read_lines("(python -m ppo_mpi doctor)")


def test_ranges_of_levels_become_short():
    assert fewer_levels(["--levels", "200-1199", "--seed", "3"])[1] == "200-201"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frobnicate now", "frobnicate is a new kind of command"),
        ("python -m ppo_mpi train CartPole-v1 --learning-rat 1", "learning-rat"),
        ("python -m ppo_mpi train coinrun --num-levels many", "num_levels"),
        ("mpirun -np 8 python -m ppo_mpi train CartPole-v1 --num-envs 4", "world_size=8"),
        ("python -m ppo_mpi play --run nobody", "nobody"),
        ("srun -n 4 python benchmarks/scaling_model.py --enf coinrun", "enf"),
        ("python benchmarks/nothing.py", "there is no benchmarks/nothing.py"),
        ("sbatch --nodes 2 launch/train.slurm coinrun --sed 1", "sed"),
        ("sbatch launch/nothing.slurm coinrun", "there is no launch/nothing.slurm"),
        ("make tran", "tran"),
        ('pip install ".[atary]"', "no extra atary"),
        ("python -m ppo_mpi launch --ranks 2 -- train coinrun --sed 1", "sed"),
        ("python -m ppo_mpi experiment procgen-benchmark --games coinrum", "coinrum"),
    ],
)
def test_what_is_wrong_on_a_page_does_not_pass(place: Place, text: str, message: str):
    with pytest.raises((AssertionError, ValueError), match=message):
        run_item(place, command(text))


def test_python_that_fails_is_shown_with_the_line_of_its_page(place: Place):
    run_item(place, Item("README.md", 5, "python", "x = 1\n"))
    with pytest.raises(AssertionError, match=r'"README.md", line 8'):
        run_item(place, Item("README.md", 7, "python", "assert x\nx.y\n"))


def test_what_is_left_out_says_why():
    assert all(LEFT_OUT.values())


class LimitError(Exception):
    """As pytest-timeout raises one."""


def test_an_answer_that_comes_too_late_is_not_that_of_the_next(place: Place, tmp_path: Path):
    def end(number: int, frame: object) -> None:
        raise LimitError

    before = signal.signal(signal.SIGUSR1, end)
    try:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(LimitError):
            place.execute(Item("README.md", 1, "python", "import time\ntime.sleep(3)\n1 / 0"))
        place.execute(Item("README.md", 5, "python", "x = 1"))
        server = Server(job_environment())  # which takes longer to start than that
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(LimitError):
            server.run(tmp_path, ["presets"])
        assert server.run(tmp_path, ["frobnicate"]).status == 2
        server.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
