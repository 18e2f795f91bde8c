"""One Python interpreter for the Python blocks of a page, which go on from each other.

As a program: executes the sources that come as lines of JSON, in one namespace, and answers with
what went wrong. ``Interpreter`` is the other end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path


class Interpreter:
    """Another process that executes Python; ``close`` ends it."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        """Start it in ``folder``."""
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def execute(self, source: str, page: str, line: int) -> str:
        """Execute a block.

        Args:
            source: Python.
            page: its file, for the traceback.
            line: of the page, on which the block begins.

        Returns:
            the traceback; empty if there is none.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"source": "\n" * (line - 1) + source, "page": page, "line": line}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        while answer := self._process.stdout.readline():
            found = json.loads(answer)
            if found["line"] == line:  # those before: tests ended at their limit
                return found["problem"]
        return "the interpreter has died"

    def close(self) -> None:
        """End the interpreter, whatever it does."""
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Execute what comes, and keep what it prints apart from the answers."""
    requests = os.fdopen(os.dup(0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.path[0] = os.getcwd()
    namespace = {"__name__": "__main__"}
    for line in requests:
        request = json.loads(line)
        problem = ""
        try:
            exec(compile(request["source"], request["page"], "exec"), namespace)
        except BaseException:
            problem = traceback.format_exc()
        print(json.dumps({"line": request["line"], "problem": problem}), file=answers, flush=True)


if __name__ == "__main__":
    serve()
