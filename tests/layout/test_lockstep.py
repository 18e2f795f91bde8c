"""No rank takes a way of its own to a collective: what can be seen of it by reading the sources.

A call counts as collective when its function's docstring says "Collective", as the house rules
ask. It must not stand where only some ranks come by: under a condition on the rank, behind an
early exit of some ranks, or in an exception's handler.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "ppo_mpi"
FILES = sorted(PACKAGE.rglob("*.py"))

RANK_WORDS = {"rank", "local_rank", "is_root"}
LEAVING = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


class Names(NamedTuple):
    """Names of what is collective, by its docstring."""

    functions: set[str]
    methods: set[str]


def collective_names(trees: Iterable[ast.AST]) -> Names:
    """Return the names of all functions and methods that say that they are collective."""
    names = Names(set(), set())
    for tree in trees:
        for parent in ast.walk(tree):
            for node in ast.iter_child_nodes(parent):
                if not isinstance(node, ast.FunctionDef):
                    continue
                if "Collective" in (ast.get_docstring(node) or ""):
                    kind = names.methods if isinstance(parent, ast.ClassDef) else names.functions
                    kind.add(node.name)
    return names


COLLECTIVE = collective_names(map(parse, FILES))


def last_name(node: ast.expr) -> str:
    """Return ``c`` of ``a.b.c``, ``a`` of ``a``, "" of all else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_communicator(node: ast.expr) -> bool:
    return last_name(node).lstrip("_") in ("comm", "communicator")


def is_collective(call: ast.Call) -> bool:
    """Tell whether a call is collective; ``array.sum()`` and ``seen.update(x)`` are not."""
    if isinstance(call.func, ast.Name):
        return call.func.id in COLLECTIVE.functions
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr not in COLLECTIVE.functions | COLLECTIVE.methods:
        return False
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    return is_communicator(call.func.value) or any(map(is_communicator, arguments))


def mentions_rank(node: ast.expr) -> bool:
    return any(
        last_name(part) in RANK_WORDS for part in ast.walk(node) if isinstance(part, ast.expr)
    )


def leaves(block: list[ast.stmt]) -> bool:
    return bool(block) and isinstance(block[-1], LEAVING)


def statements_of_some_ranks(block: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield what only some ranks reach within ``block`` and all blocks inside it."""
    for position, statement in enumerate(block):
        if isinstance(statement, ast.If | ast.While) and mentions_rank(statement.test):
            yield from (*statement.body, *statement.orelse)
            if leaves(statement.body) or leaves(statement.orelse):
                yield from block[position + 1 :]
        for expression in ast.iter_child_nodes(statement):
            if isinstance(expression, ast.expr):
                yield from expressions_of_some_ranks(expression)
        if isinstance(statement, ast.Try):
            for handler in statement.handlers:
                yield from handler.body
        for name in ("body", "orelse", "finalbody"):
            yield from statements_of_some_ranks(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", []):
            yield from statements_of_some_ranks(handler.body)


def expressions_of_some_ranks(expression: ast.expr) -> Iterator[ast.AST]:
    """Yield the branches of ``a if comm.is_root else b`` and what follows ``comm.is_root and``."""
    for node in ast.walk(expression):
        if isinstance(node, ast.IfExp) and mentions_rank(node.test):
            yield from (node.body, node.orelse)
        if isinstance(node, ast.BoolOp):
            for position, value in enumerate(node.values):
                if mentions_rank(value):
                    yield from node.values[position + 1 :]


def stray_collectives(tree: ast.Module) -> list[str]:
    """Return the collective calls that not all ranks reach, as "line: name"."""
    stray = {
        (call.lineno, last_name(call.func))
        for node in statements_of_some_ranks(tree.body)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and is_collective(call)
    }
    return [f"line {line}: {name}" for line, name in sorted(stray)]


def headers(tree: ast.Module) -> Iterator[tuple[int, int, list[ast.AST]]]:
    """Yield (first line, last line, parts) of each statement, without the blocks it holds."""
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.stmt):
            continue
        parts = [
            p for p in ast.iter_child_nodes(statement) if isinstance(p, ast.expr | ast.withitem)
        ]
        block = getattr(statement, "body", None)
        last = block[0].lineno - 1 if block else statement.end_lineno
        yield statement.lineno, max(statement.lineno, last or 0), parts


def unmarked_collectives(source: str) -> list[str]:
    """Return the collective calls in whose statement no line says ``# collective``."""
    lines = source.splitlines()
    unmarked = set()
    for first, last, parts in headers(ast.parse(source)):
        if any("# collective" in line for line in lines[first - 1 : last]):
            continue
        for part in parts:
            for call in ast.walk(part):
                if isinstance(call, ast.Call) and is_collective(call):
                    unmarked.add((call.lineno, last_name(call.func)))
    return [f"line {line}: {name}" for line, name in sorted(unmarked)]


def test_the_communicators_collectives_are_known():
    methods, functions = COLLECTIVE.methods, COLLECTIVE.functions
    assert {"sum", "any", "moments", "barrier", "average_gradients"} < methods
    assert {"run_iteration", "save_checkpoint", "build_run", "connect"} < functions
    assert not {"shard", "abort", "is_root", "gae"} & (methods | functions)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_rank_reaches_every_collective(path):
    assert stray_collectives(parse(path)) == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_collective_call_is_marked_where_it_is_made(path):
    assert unmarked_collectives(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "if comm.is_root:\n    total = comm.sum(x)",
        "if not self.comm.is_root:\n    pass\nelse:\n    self._comm.barrier()",
        "def f():\n    if rank > 0:\n        return\n    comm.barrier()",
        "for x in y:\n    if comm.rank == 0:\n        continue\n    save_checkpoint(x, comm)",
        "total = comm.sum(x) if comm.is_root else None",
        "late = comm.is_root and comm.any(x)",
        "try:\n    f()\nexcept OSError:\n    comm.barrier()",
        "with x:\n    while local_rank:\n        normalizer.sum(comm)",
    ],
)
def test_a_collective_that_some_ranks_miss_is_found(source):
    assert len(stray_collectives(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "total = comm.sum(x)\nif comm.is_root:\n    print(total.sum())",
        "def f():\n    comm.barrier()\n    if not comm.is_root:\n        return\n    write()",
        "if comm.any(stop):\n    comm.barrier()",
        "late = comm.is_root and seconds > 3\ncomm.any(late)",
    ],
)
def test_a_collective_that_all_ranks_reach_is_left_alone(source):
    assert stray_collectives(ast.parse(source)) == []


def test_a_collective_without_its_mark_is_found():
    assert unmarked_collectives("if a:\n    comm.barrier()") == ["line 2: barrier"]
    assert unmarked_collectives("comm.sum(\n    x\n)  # collective") == []
