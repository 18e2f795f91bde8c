"""Where the commands of one page are run: a folder that looks like the repository's root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from doc_interpreter import Interpreter
from doc_pages import REPOSITORY, Item, items_in, text_of
from doc_server import Done, Server

from ppo_mpi.cli import Command, parse_command

LINKED = ("launch", "benchmarks", "docs", "tests", "ppo_mpi", "Makefile", "setup.py",
          "pyproject.toml", "constraints.txt")  # fmt: skip
"""What commands read; they are run so that nothing is written there."""
IMAGE_SUITES = ("procgen", "atari")
SMALL = ("--num-envs", "16", "--rollout-timesteps", "2048", "--total-timesteps", "4096",
         "--num-minibatches", "1", "--num-epochs", "1", "--channel-multiplier", "0.25",
         "--feature-size", "32")  # fmt: skip
"""A training that shows that everything works, where the network sees images: with a small one,
until some episodes have ended, since without there is no curve."""
MOST_ENVS = 64
"""Of a dry run; more of the same would tell nothing."""
MOST_TIMESTEPS = 16_384
"""Of a training with vectors."""


class Place:
    """A page's folder, and what has been run in it so far."""

    def __init__(self, page: str, folder: Path, server: Server) -> None:
        """Make the folder.

        Args:
            page: its file.
            folder: empty; nothing is written elsewhere.
            server: runs the commands.
        """
        self.page, self.folder, self.server = page, folder, server
        text = text_of(page)
        self.items = items_in(page, text)
        # What is in a file is different from page to page.
        self.has_files = any(item.kind == "file" for item in self.items)
        self.outcomes: dict[Item, str] = {}
        self._interpreter: Interpreter | None = None
        for name in LINKED:
            (folder / name).symlink_to(REPOSITORY / name)
        (folder / "checkpoints").mkdir()
        (folder / "assets").mkdir()
        wanted = ["readme"] * ("assets/readme" in text) + ["gallery"] * ("gallery" in text)
        for name in wanted:
            if (REPOSITORY / "assets" / name).exists():
                shutil.copytree(REPOSITORY / "assets" / name, folder / "assets" / name)

    def close(self) -> None:
        """End the page's interpreter."""
        if self._interpreter:
            self._interpreter.close()

    def run(self, words: Sequence[str], environ: dict[str, str] | None = None) -> Done:
        """Run ``python -m ppo_mpi words``; fail unless it leaves with 0."""
        return checked(self.server.run(self.folder, words, environ=environ), words)

    def dry_run(self, words: Sequence[str]) -> None:
        """Check a training as it stands on the page; once, where pages repeat each other.

        Args:
            words: behind ``train``.
        """
        asked = (*words, str(self.folder) if self.has_files else "")
        if asked not in self.server.checked:
            environment = self.parsed(["train", *words]).config.environment  # as they stand
            few: list[str] = []
            if environment.num_envs > MOST_ENVS and environment.num_envs % MOST_ENVS == 0:
                few += ["--num-envs", str(MOST_ENVS)]
            if environment.num_test_envs > MOST_ENVS:
                few += ["--num-test-envs", str(MOST_ENVS)]
            self.run(["train", *words, *few, "--dry-run"])
            self.server.checked.add(asked)

    def check_script(self, script: str, words: Sequence[str]) -> None:
        """Let a script read its options, and fail if it does not know them."""
        assert (self.folder / script).is_file(), f"there is no {script}"
        checked(self.server.run(self.folder, words, script=script), [script, *words])

    def execute(self, item: Item) -> None:
        """Execute a block of Python behind the page's others."""
        if self._interpreter is None:
            self._interpreter = Interpreter(self.folder, self.server.environ)
        problem = self._interpreter.execute(item.text, item.page, item.line)
        assert not problem, problem

    def write(self, item: Item) -> None:
        """Write a block that is a file."""
        path = self.folder / item.name
        assert path.resolve().is_relative_to(self.folder.resolve()), f"{path} is elsewhere"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(item.text, encoding="utf-8")

    def small_words(self, words: Sequence[str]) -> list[str]:
        """Return the words of a training that is over in some seconds.

        Args:
            words: behind ``train``, as they are on the page.
        """
        config = self.parsed(["train", *words]).config
        environment = config.environment
        if environment.env.partition(":")[0] not in IMAGE_SUITES:
            budget = min(config.job.total_timesteps, MOST_TIMESTEPS)
            return [*words, "--total-timesteps", str(budget)]
        few = ["--num-test-envs", str(min(environment.num_test_envs, 2))]
        return [*words, *SMALL, *few]

    def has_run(self, run_dir: Path) -> bool:
        """Return whether a run is there."""
        return (self.folder / run_dir / "config.yaml").exists()

    def parsed(self, words: Sequence[str]) -> Command:
        """Return what a command line asks for, read in the page's folder."""
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            return parse_command(words)
        finally:
            os.chdir(before)


def checked(done: Done, words: Sequence[str]) -> Done:
    """Return what has become of a command; fail unless it left with 0."""
    said = f"{' '.join(words)} left with {done.status}:\n{done.output[-3000:]}"
    assert done.status == 0, said
    return done
