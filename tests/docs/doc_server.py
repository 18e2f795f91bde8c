"""Runs ``python -m ppo_mpi`` and scripts many times for the price of importing torch once.

As a program: imports what takes long, then forks a process for each request that comes as a line
of JSON, and answers with its exit status. The fork has its own folder, environment and output,
reads the command line that a user would have typed, and ends as any program does. ``Server`` is
the other end.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 250
"""What a single command may take."""
PROBE_TIMESTEPS = 32
"""Of a dry run's probe: it shows that a job works; how fast it is, is not asked."""


@dataclass(frozen=True)
class Done:
    """What has become of a command."""

    status: int
    output: str
    """What it printed, errors as well."""


class Server:
    """Another process that runs commands; ``close`` ends it."""

    def __init__(self, environ: dict[str, str]) -> None:
        """Start it.

        Args:
            environ: of the server, and of the commands unless they have another.
        """
        self.environ = environ
        self.checked: set[tuple[str, ...]] = set()
        """Dry runs that have succeeded."""
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(
        self,
        folder: Path,
        words: Sequence[str],
        script: str = "",
        environ: dict[str, str] | None = None,
    ) -> Done:
        """Run ``python -m ppo_mpi`` (or, with ``script``, read that script's options only).

        Args:
            folder: to be in.
            words: behind the program's name.
            script: path of a script whose command line is checked and which is then left.
            environ: variables beside those of the server.
        """
        with tempfile.NamedTemporaryFile("r", suffix=".txt", errors="replace") as printed:
            request = {
                "folder": str(folder), "words": list(words), "script": script,
                "environ": environ or {}, "printed": printed.name,
            }  # fmt: skip
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = {}
            while answer.get("printed") != printed.name:  # those before: tests ended at their limit
                line = self._process.stdout.readline()
                assert line, "the server of commands has died"
                answer = json.loads(line)
            return Done(answer["status"], printed.read())

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def be_a_program(request: dict[str, Any]) -> None:
    """Do what a request says; leaves by SystemExit, as the program itself would."""
    signal.alarm(SECONDS)
    nothing = os.open(os.devnull, os.O_RDONLY)
    printed = os.open(request["printed"], os.O_WRONLY | os.O_APPEND)
    os.dup2(nothing, 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    if request["script"]:
        import runpy

        sys.argv = [request["script"], *request["words"]]
        sys.path[0] = str(Path(request["script"]).resolve().parent)
        stop_behind_the_options()
        runpy.run_path(request["script"], run_name="__main__")
        sys.exit(f"{request['script']} has not read its options")
    from ppo_mpi.__main__ import main
    from ppo_mpi.experiments import runner
    from ppo_mpi.modes import dry_run

    # A plan says how long it would take by another dry run, which takes the most of it.
    runner.probed_speed = lambda config, run: None

    dry_run.PROBE_SECONDS, dry_run.PROBE_TIMESTEPS = 0.0, PROBE_TIMESTEPS
    sys.argv = ["ppo_mpi", *request["words"]]
    sys.path[0] = os.getcwd()
    main()


def stop_behind_the_options() -> None:
    """Let scripts end where they have read their options; what they leave to ``train`` is read."""
    import argparse

    from ppo_mpi.cli import parse_command
    from ppo_mpi.errors import ConfigError

    read = argparse.ArgumentParser.parse_known_args

    def parse_all(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        _, rest = read(self, args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        sys.exit(0)

    def parse_some(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        found, rest = read(self, args, namespace)
        job = [found.env] if isinstance(getattr(found, "env", None), str) else []
        if getattr(found, "preset", None):
            job += ["--preset", found.preset]
        try:
            parse_command(["train", *job, *rest])
        except ConfigError as error:
            self.error(str(error))
        sys.exit(0)

    argparse.ArgumentParser.parse_args = parse_all  # type: ignore[method-assign]
    argparse.ArgumentParser.parse_known_args = parse_some  # type: ignore[method-assign]


def serve() -> None:
    """Fork a process for each request, one after the other."""
    import ppo_mpi.api
    import ppo_mpi.modes.dry_run
    import ppo_mpi.modes.plot
    import ppo_mpi.modes.report
    import ppo_mpi.modes.train  # noqa: F401

    with contextlib.suppress(ImportError):
        import matplotlib.pyplot  # noqa: F401
    gc.freeze()  # a fork that collects garbage would copy all of it
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            be_a_program(request)
            return
        _, status = os.waitpid(process, 0)
        answer = {"printed": request["printed"], "status": os.waitstatus_to_exitcode(status)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
