"""The house is in order: imports point down, suites and MPI stay in their files, files stay small.

The sources are read, not imported, unless a test says otherwise.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ppo_mpi"
FILES = sorted(PACKAGE.rglob("*.py"))
PLACES = [ROOT / name for name in ("ppo_mpi", "tests", "benchmarks", "docs", "launch")]
ALL_FILES = sorted(
    [*ROOT.glob("*.py"), *(path for place in PLACES for path in place.rglob("*.py"))]
)

MAX_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_BYTES = 5_000_000

# Room -> row; a room imports only from its own row and from lower ones.
ROWS = {
    **dict.fromkeys(
        (
            "config",
            "mode_config",
            "settings",
            "env_names",
            "registry",
            "seeding",
            "errors",
            "levels",
        ),
        0,
    ),
    **dict.fromkeys(("distributed", "presets"), 1),
    **dict.fromkeys(("networks", "envs", "storage"), 2),
    **dict.fromkeys(("cli", "cli_fields", "cli_modes", "cli_runs", "cli_shells"), 2),
    **dict.fromkeys(("cli_sources", "cli_values", "cli_words"), 2),
    "learning": 3,
    **dict.fromkeys(("algorithms", "rewards"), 4),
    **dict.fromkeys(
        (
            *("suites", "stepping", "build", "agent", "predicting", "snapshot"),
            *("snapshot_checks", "snapshot_phase"),
        ),
        5,
    ),
    **dict.fromkeys(("reports", "modes"), 6),
    **dict.fromkeys(("experiments", "sweeps"), 7),
    **dict.fromkeys(("__main__", "api"), 8),
}

# Package -> the files that may import it, inside a function. Nothing else needs it to be there.
OWN_FILES = {
    "mpi4py": ("distributed/communicator.py",),
    "gymnasium": (
        *("envs/gym_*.py", "envs/atari*.py", "envs/mujoco*.py", "envs/dmc*.py"),
        *("envs/old_gym*.py", "envs/user*.py"),
    ),
    "ale_py": ("envs/atari*.py",),
    "envpool": ("envs/atari*.py",),
    "gym": ("envs/procgen*.py", "envs/old_gym*.py", "envs/pybullet*.py"),
    "gym3": ("envs/procgen*.py",),
    "procgen": ("envs/procgen*.py",),
    "gym_notices": ("__main__.py", "envs/procgen*.py", "envs/old_gym*.py"),
    "dm_control": ("envs/dmc*.py",),
    "pybullet": ("envs/pybullet*.py",),
    "pybullet_envs": ("envs/pybullet*.py",),
    "pybullet_utils": ("envs/pybullet*.py",),
    "cv2": (
        *("modes/viewers.py", "envs/atari*.py", "envs/corruption*.py", "envs/wrappers.py"),
        "envs/procgen_sprites.py",
    ),
    "minari": ("storage/minari_data.py",),
    "imageio_ffmpeg": (),  # its import fails beside a new setuptools; its program is found by path
}

# Mathematics, without anything of ours.
PURE = ("losses", "advantages", "schedules", "augmentations")


def relative(path: Path) -> str:
    """Return a file's name inside the package."""
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    """Return the folder or, directly in the package, the module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST) -> list[tuple[ast.stmt, str]]:
    """Return every import, in functions and for type checkers too: (statement, dotted module)."""
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # "from ppo_mpi import registry" imports a module of the package.
            whole = module == "ppo_mpi"
            found += [(node, f"{module}.{a.name}" if whole else module) for a in node.names]
    return found


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_every_room_has_a_row():
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(ROWS)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_down(path):
    wrong = []
    for node, module in imported_modules(parse(path)):
        assert not module.startswith("."), f"{path}:{node.lineno}: write the whole module's name"
        parts = module.split(".")
        if parts[0] != "ppo_mpi" or len(parts) == 1:
            continue
        if parts[1] == "learning" and parts[-1] in PURE:
            continue  # what imports nothing of ours is nobody's upper floor
        if ROWS[parts[1]] > ROWS[room_of(path)]:
            wrong.append(f"line {node.lineno}: {module} is above {room_of(path)}")
    assert wrong == []


def test_the_package_itself_holds_the_version_only():
    body = parse(PACKAGE / "__init__.py").body
    assert [type(node) for node in body] == [ast.Expr, ast.Assign]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_suites_and_mpi_are_imported_in_their_own_files_and_inside_functions(path):
    tree = parse(path)
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    wrong = []
    for node, module in imported_modules(tree):
        package = module.split(".")[0]
        if package not in OWN_FILES:
            continue
        if not any(Path(relative(path)).match(pattern) for pattern in OWN_FILES[package]):
            wrong.append(f"line {node.lineno}: {package} is not imported here")
        elif node not in inside:
            wrong.append(f"line {node.lineno}: {package} is imported inside a function")
    assert wrong == []


@pytest.mark.parametrize("name", PURE)
def test_the_mathematics_imports_nothing_of_ours(name):
    path = PACKAGE / "learning" / f"{name}.py"
    if not path.exists():
        assert name == "augmentations"
        return
    modules = [module for _, module in imported_modules(parse(path))]
    assert [module for module in modules if module.startswith("ppo_mpi")] == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_file_has_a_docstring_and_its_annotations_are_not_evaluated(path):
    tree = parse(path)
    assert ast.get_docstring(tree), "say in one line what the file holds"
    if path.name == "__init__.py":
        return
    futures = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    assert [alias.name for node in futures for alias in node.names] == ["annotations"]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_what_is_public_has_a_docstring(path):
    tree = parse(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    holders = [tree, *(node for node in classes if not node.name.startswith("_"))]
    definitions = [
        node
        for holder in holders
        for node in holder.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in definitions if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_read_in_one_go(path):
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert num_lines < MAX_LINES, f"{num_lines} lines: which of its concerns is a file of its own?"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_function_fits_on_a_screen(path):
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_no_file_of_the_repository_is_big():
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    big = [str(p) for p in files if p.is_file() and p.stat().st_size > MAX_BYTES]
    assert len(files) > len(FILES)
    assert big == []


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_losses_are_imported_without_mpi():
    done = run_python("import sys, ppo_mpi.learning.losses; sys.exit('mpi4py' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_no_module_of_the_package_imports_mpi_or_a_suite_by_itself():
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES]
    done = run_python(
        f"import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(*sorted(set({sorted(OWN_FILES)!r}) & set(sys.modules)))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_an_import_that_points_up_is_found():
    tree = ast.parse("def f():\n    from ppo_mpi import modes\nimport ppo_mpi.modes.train")
    assert sorted(m for _, m in imported_modules(tree)) == ["ppo_mpi.modes", "ppo_mpi.modes.train"]
