"""A process loads its game's pictures only, and shows what one with all pictures shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("procgen", reason="procgen is not installed")

from ppo_mpi.envs.procgen_engine import SPECIAL_MODES
from ppo_mpi.envs.procgen_pictures import FOLDERS, PIXEL, SHOWN, Libraries, slim_copy
from ppo_mpi.modes.play import PROCGEN_COMBOS
from ppo_mpi.registry import PROCGEN_GAMES

SAMPLE = ("coinrun", "starpilot")
"""The game that shows the most pictures, and one that shows few; the others take their time."""

# Prints a hash of what some hundred levels of each game and mode look like, and the memory taken.
PROGRAM = """
import hashlib, sys
import numpy as np
from ppo_mpi.settings.procgen import ProcgenConfig
from ppo_mpi.envs import procgen_engine, procgen_pictures
if sys.argv[1] == "all":
    procgen_pictures.SHOWN = dict.fromkeys(procgen_pictures.SHOWN, tuple(procgen_pictures.FOLDERS))
for word in sys.argv[2:]:
    game, mode = word.split(":")
    config = ProcgenConfig(distribution_mode=mode)
    engine = procgen_engine.make_engine(game, 32, config, 0, 5, True)
    digest = hashlib.sha256()
    for turn in range(6):
        for action in range(3):
            digest.update(engine.observe()[1]["rgb"].tobytes())
            engine.act(np.full(32, (5 * action + turn) % 15))
        digest.update(engine.get_info()[0]["rgb"].tobytes())
        engine.act(np.full(32, -1))
    print(word, digest.hexdigest())
    engine.close()
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def looks(pictures: str, *words: str) -> tuple[list[str], int]:
    """Return the hashes of "game:mode" words in a process of its own, and its memory in KiB."""
    command = [sys.executable, "-c", PROGRAM, pictures, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    *lines, memory = done.stdout.splitlines()
    return lines, int(memory)


def words_of(game: str) -> list[str]:
    special = [mode for mode, games in SPECIAL_MODES.items() if game in games]
    modes = [mode for mode in ("easy", "hard", *special) if mode != "exploration"]
    return [f"{game}:{mode}" for mode in modes]


@pytest.mark.parametrize(
    "game",
    [
        pytest.param(game, marks=() if game in SAMPLE else pytest.mark.faults)
        for game in PROCGEN_GAMES
    ],
)
def test_a_game_looks_the_same_with_its_own_pictures(game):
    alone, memory = looks("own", *words_of(game))
    expected, memory_of_all = looks("all", *words_of(game))
    assert alone == expected
    assert len(set(alone)) == len(alone)
    assert memory < memory_of_all


def test_games_with_other_pictures_share_a_process():
    words = ["maze:easy", "starpilot:easy", "maze:hard", "bossfight:easy"]
    together, _ = looks("own", *words)
    assert together == looks("all", *words)[0]


def test_every_game_has_its_folders():
    assert set(SHOWN) == set(PROCGEN_GAMES)
    assert {name for names in SHOWN.values() for name in names} == FOLDERS


def test_a_slim_copy_has_all_names_and_one_pixel_where_nothing_is_shown(tmp_path):
    assets = tmp_path / "assets"
    for name in ("shown", "not_shown"):
        (assets / name).mkdir(parents=True)
        (assets / name / "a.png").write_bytes(name.encode())
    slim_copy(assets, tmp_path / "slim", frozenset({"not_shown"}))
    assert (tmp_path / "slim" / "shown" / "a.png").read_bytes() == b"shown"
    assert (tmp_path / "slim" / "not_shown" / "a.png").read_bytes() == PIXEL


def package(folder: Path, names: frozenset[str]) -> Path:
    (folder / "data" / "prebuilt").mkdir(parents=True)
    (folder / "data" / "prebuilt" / "libenv.so").write_bytes(b"a library")
    for name in names:
        (folder / "data" / "assets" / name).mkdir(parents=True)
    return folder


def test_a_library_serves_all_games_whose_pictures_it_has(tmp_path):
    libraries, known = Libraries(), package(tmp_path, FOLDERS)
    with libraries.for_game("climber", known) as first:
        assert Path(first.pictures).is_dir()
    with libraries.for_game("starpilot", known) as second:  # climber shows space, too
        assert second is first
    with libraries.for_game("maze", known) as third:
        assert third.folder != first.folder
        assert Path(third.folder, "libenv.so").read_bytes() == b"a library"
    with libraries.for_game("heist", known) as fourth:
        assert fourth is third
    assert Path(third.folder, "libenv.so").exists()
    assert not Path(first.pictures).exists()


def test_without_a_place_for_links_all_pictures_are_loaded(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with Libraries().for_game("maze", package(tmp_path, FOLDERS)) as library:
        assert library.pictures == f"{tmp_path}/data/assets/"
        assert library.shown == FOLDERS


def test_a_folder_that_the_engine_cannot_name_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "größer").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "größer"))
    with Libraries().for_game("maze", package(tmp_path, FOLDERS)) as library:
        assert library.pictures == f"{tmp_path}/data/assets/"
    assert list((tmp_path / "größer").iterdir()) == []


def test_after_a_failure_the_library_is_not_trusted(tmp_path):
    libraries, known = Libraries(), package(tmp_path, FOLDERS)
    with pytest.raises(KeyboardInterrupt), libraries.for_game("maze", known) as first:
        raise KeyboardInterrupt
    with libraries.for_game("starpilot", known) as second:
        assert second.folder != first.folder


def test_a_library_that_the_package_builds_itself_is_left_to_it(tmp_path):
    known = package(tmp_path, FOLDERS)
    (known / "data" / "prebuilt" / "libenv.so").unlink()
    (known / "data" / "prebuilt").rmdir()
    with Libraries().for_game("maze", known) as library:
        assert library.folder == ""


def test_another_version_of_the_package_loads_all_it_has(tmp_path):
    libraries, other = Libraries(), package(tmp_path, frozenset({"new_backgrounds"}))
    with libraries.for_game("maze", other) as library:
        assert library.pictures == f"{tmp_path}/data/assets/"
    with libraries.for_game("coinrun", other) as again:
        assert again is library


def test_the_keys_are_those_of_procgens_own_table():
    from procgen import ProcgenGym3Env

    envs = ProcgenGym3Env(num=1, env_name="coinrun", rand_seed=0, num_threads=0)
    engine = [
        frozenset(key.lower() if len(key) > 1 or key != "Q" else key for key in combo)
        for combo in envs.get_combos()
    ]
    assert list(PROCGEN_COMBOS) == engine
