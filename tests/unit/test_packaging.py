"""What a user installs: the wheel is whole, extras exist that messages name, constraints fit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ppo_mpi
from ppo_mpi.envs import gym_making

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md")
ENV_EXTRAS = {"classic", "atari", "mujoco", "dmc", "pybullet"}
EXTRAS = ENV_EXTRAS | {"envs", "video", "plot", "tracking", "all", "envpool", "mpich", "openmpi"}
EXTRAS |= {"export", "minari", "mlflow", "sweep", "dev"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what the wheel is built from, so that no build folder is left behind."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ppo_mpi", folder / "ppo_mpi", ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def unpacked(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the content of the wheel that pip builds."""
    pytest.importorskip("wheel", reason="the build tools are not installed")
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, tree]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def metadata(unpacked: Path) -> Message:
    (path,) = unpacked.glob("*.dist-info/METADATA")
    return Parser().parsestr(path.read_text(encoding="utf-8"))


def pins() -> dict[str, str]:
    """Return package -> version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    pinned = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9._]+)", line) for line in lines]
    assert [line for line, match in zip(lines, pinned, strict=True) if match is None] == []
    return {canonicalize_name(match[1]): match[2] for match in pinned if match}


def test_the_wheel_holds_every_module_preset_and_curve(unpacked):
    patterns = ("**/*.py", "presets/*.yaml", "experiments/*.csv")
    sources = {
        path.relative_to(ROOT).as_posix()
        for pattern in patterns
        for path in (ROOT / "ppo_mpi").glob(pattern)
    }
    packed = {p.relative_to(unpacked).as_posix() for p in unpacked.glob("ppo_mpi/**/*.*")}
    kernels = {name for name in packed if name.startswith("ppo_mpi/networks/_")}
    kernels -= sources
    assert packed - kernels == sources
    has_compiler = shutil.which("cc") is not None or shutil.which("gcc") is not None
    assert len(kernels) == (2 if has_compiler else 0)
    assert any(name.endswith("procgen-easy.yaml") for name in packed)
    assert {p.name for p in unpacked.iterdir() if not p.name.endswith(".dist-info")} == {"ppo_mpi"}


def test_the_wheel_alone_lists_the_presets(unpacked, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); import ppo_mpi.__main__ as main; "
    code += "assert main.__file__.startswith(sys.path[0]); sys.exit(main.run_program(['presets']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "procgen-easy " in done.stdout


def test_the_version_is_read_without_importing_the_package(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "tree")
    with (tmp_path / "tree" / "ppo_mpi" / "__init__.py").open("a", encoding="utf-8") as init:
        init.write("\nraise RuntimeError('imported')\n")
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=tmp_path / "tree", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ppo_mpi.__version__


def test_the_metadata_name_version_pythons_and_command(metadata, unpacked):
    assert metadata["Name"].replace("-", "_") == "ppo_mpi"
    assert metadata["Version"] == ppo_mpi.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "ppo-mpi = ppo_mpi.__main__:main" in entry_points.read_text(encoding="utf-8")


def test_there_is_an_extra_for_each_family_and_purpose(metadata):
    assert set(metadata.get_all("Provides-Extra")) == EXTRAS


def test_every_extra_that_a_message_names_exists():
    named = set()
    for path in (ROOT / "ppo_mpi").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= {e for m in re.finditer(r"ppo_mpi\[([a-z,]+)\]", text) for e in m[1].split(",")}
    named |= set(gym_making.EXTRAS.values())
    assert {"mpich", "classic"} <= named <= EXTRAS


def requirements(metadata: Message, python: str, machine: str = "x86_64") -> list[Requirement]:
    """Return what is needed with all extras on Linux; extras and markers are resolved."""
    environment = {"python_version": python, "platform_machine": machine, "sys_platform": "linux"}
    found = map(Requirement, metadata.get_all("Requires-Dist"))
    return [
        requirement
        for requirement in found
        if requirement.marker is None
        or any(requirement.marker.evaluate(environment | {"extra": extra}) for extra in EXTRAS)
    ]


def test_every_requirement_is_pinned_to_a_version_that_it_allows(metadata):
    pinned = pins()
    for requirement in requirements(metadata, "3.11"):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(Version(version)), requirement


def test_pins_carry_no_build_of_one_machine():
    assert Version(pins()["torch"]).local is None
    assert len(pins()) > 50


@pytest.mark.parametrize(
    ("python", "machine", "expected"),
    [
        ("3.10", "x86_64", {"procgen", "pybullet"}),
        ("3.11", "x86_64", {"procgen-mirror", "pybullet"}),
        ("3.12", "x86_64", {"procgen-mirror"}),
        ("3.13", "x86_64", set()),
        ("3.11", "aarch64", set()),
    ],
)
def test_packages_without_wheels_are_asked_for_only_where_there_are_some(
    metadata, python, machine, expected
):
    names = {canonicalize_name(r.name) for r in requirements(metadata, python, machine)}
    assert names & {"procgen", "procgen-mirror", "pybullet"} == expected


def test_all_covers_every_other_extra_but_launchers_and_tools(metadata):
    found = list(map(Requirement, metadata.get_all("Requires-Dist")))
    base = {"python_version": "3.11", "platform_machine": "x86_64", "sys_platform": "linux"}

    def names(extra: str) -> set[str]:
        environment = base | {"extra": extra}
        return {str(r.name) for r in found if r.marker and r.marker.evaluate(environment)}

    every = [names(extra) for extra in EXTRAS - {"all", "envpool", "mpich", "openmpi", "dev"}]
    assert names("all") == set().union(*every)
    assert names("envs") == set().union(*(names(extra) for extra in ENV_EXTRAS))
    assert "mpich" not in names("all")
