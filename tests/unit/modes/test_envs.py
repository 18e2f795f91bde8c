"""What is installed is told without importing it, and how to get what is not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import EnvsConfig
from ppo_mpi.modes import envs, families
from ppo_mpi.modes.envs import envs_command, listing, overview, shown_families
from ppo_mpi.modes.families import FAMILIES, Family, Package
from ppo_mpi.registry import PROCGEN_GAMES, SUITES, split_env_name

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "mpi4py", "procgen", "mujoco", "pybullet", "dm_control", "ale_py", "pygame")


def run_envs(*words: str, hidden: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run ``ppo_mpi envs`` in a process in which some packages are not there."""
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({hidden!r}))\n"
        "from ppo_mpi.__main__ import run_program\n"
        f"status = run_program(['envs', *{words!r}])\n"
        f"print('imported', *[n for n in {HEAVY!r} if sys.modules.get(n)], file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def line_of(text: str, family: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{family} ")]
    return line


def test_the_overview_imports_no_suite_no_torch_and_no_mpi():
    done = run_envs()
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["imported"]
    for name in shown_families():
        assert line_of(done.stdout, name)
    procgen = line_of(done.stdout, "procgen")
    assert re.search(r" 16 +coinrun +procgen-easy ", procgen)


@pytest.mark.parametrize(
    ("hidden", "family", "remedy"),
    [
        ("procgen", "procgen", "procgen missing; pip install procgen-mirror (Python 3.11"),
        ("Box2D", "box2d", 'Box2D missing; pip install "ppo_mpi[classic]"'),
        ("mujoco", "mujoco", 'mujoco missing; pip install "ppo_mpi[mujoco]"'),
        ("gymnasium", "classic", 'gymnasium missing; pip install "ppo_mpi[classic]"'),
    ],
)
def test_what_is_not_there_is_told_with_its_remedy(hidden: str, family: str, remedy: str):
    done = run_envs(hidden=(hidden,))
    assert done.returncode == 0, done.stderr
    assert line_of(done.stdout, family).endswith("not installed")
    assert f"  {family}: {remedy}" in done.stdout
    one = run_envs(family, hidden=(hidden,))
    assert one.returncode == 0, one.stderr
    assert one.stdout.splitlines()[1] == "not installed"
    assert remedy in one.stdout


def test_what_is_needed_to_draw_only_does_not_hide_a_family():
    done = run_envs("classic", hidden=("pygame",))
    assert "pygame missing, needed to draw only; pip install" in done.stdout
    assert "  CartPole-v1\n" in done.stdout


def test_a_missing_library_names_the_system_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(envs.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    (line,) = envs.remedies(Family("gym", "", "", draws_with=families.EGL,
                                   draw_remedy=families.APT_EGL))  # fmt: skip
    assert line.startswith("libEGL.so.1 and libGL.so.1 missing, needed to draw only; apt install ")
    assert "libegl1 libgl1" in line


def test_the_tasks_of_a_family_are_names_that_train_takes(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("gymnasium")
    envs_command(EnvsConfig("procgen"))
    assert [x.strip() for x in capsys.readouterr().out.splitlines()[2:-1]] == list(PROCGEN_GAMES)
    for family in shown_families().values():
        assert split_env_name(family.example)[0] == family.suite
        if family.tasks is not None and envs.versions(family) is not None:
            names = family.tasks()
            assert family.example in names
            assert len(set(names)) == len(names)
            assert {split_env_name(name)[0] for name in names} == {family.suite}


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match="unknown family of environments 'mujocco'; did you mean "
    ):
        envs_command(EnvsConfig("mujocco"))


def test_a_family_without_its_suite_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    assert {FAMILIES[name].suite for name in shown_families()} <= set(SUITES)
    monkeypatch.delitem(SUITES, "procgen")
    assert "procgen" not in shown_families()


def test_a_package_that_was_copied_without_its_version_is_there(monkeypatch: pytest.MonkeyPatch):
    assert Package("ppo_mpi.modes", ("no-such-distribution",)).version() == "ppo_mpi.modes"
    assert Package("no_such_module").version() is None


def test_nothing_to_install_and_nothing_to_list_is_said():
    family = Family("user", "your own", "package.module:make_env", note="as you like")
    assert listing("user", family) == [
        "user: your own; as you like", "nothing to install",
        "train with: python -m ppo_mpi train package.module:make_env",
    ]  # fmt: skip
    rows = overview({"probe": FAMILIES["probe"]})
    assert re.search(r"^probe +tiny.* [1-9]\d* +probe:match +probe +yes$", rows[1])


@pytest.mark.parametrize(
    ("module", "tasks", "some"),
    [
        ("pybullet_envs", families.pybullet_ids, {"pybullet:HopperBulletEnv-v0"}),
        ("dm_control", families.dmc_tasks, {"dmc:hopper/stand", "dmc:cartpole/swingup_sparse"}),
    ],
)
def test_suites_are_listed_by_their_files(module: str, tasks, some: set[str]):
    if not families.is_there(module):
        pytest.skip(f"needs {module}")
    assert some <= set(tasks())
    assert len(tasks()) > 30


def test_deepmind_controls_sources_tell_what_its_module_tells():
    if not families.is_there("dm_control"):
        pytest.skip("needs dm_control")
    code = "from dm_control import suite; print(*sorted('/'.join(t) for t in suite.ALL_TASKS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(families.dmc_tasks()) == [f"dmc:{name}" for name in done.stdout.split()]
