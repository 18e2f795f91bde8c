"""Atari's names and settings, and its games as bytes; no emulator."""

from __future__ import annotations

import json
import struct
import sys
import zlib

import numpy as np
import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs import atari_state
from ppo_mpi.envs.atari_options import import_ale, import_cv2, resolve
from ppo_mpi.envs.atari_pool import check_pool_options
from ppo_mpi.envs.atari_state import SavedGame
from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import CheckpointError, ConfigError, MissingPackageError
from ppo_mpi.registry import default_preset, split_env_name
from ppo_mpi.seeding import generator
from ppo_mpi.settings.atari import AtariConfig


@pytest.mark.parametrize(
    ("env", "task", "rom", "skip", "sticky", "ram"),
    [
        ("atari:Pong", "Pong", "pong", (4, 4), 0.0, False),
        ("atari:ms_pacman", "MsPacman", "ms_pacman", (4, 4), 0.0, False),
        ("PongNoFrameskip-v4", "PongNoFrameskip-v4", "pong", (4, 4), 0.0, False),
        ("PongNoFrameskip-v0", "PongNoFrameskip-v0", "pong", (4, 4), 0.25, False),
        ("PongDeterministic-v4", "PongDeterministic-v4", "pong", (4, 4), 0.0, False),
        ("Pong-v4", "Pong-v4", "pong", (2, 4), 0.0, False),
        ("Pong-v0", "Pong-v0", "pong", (2, 4), 0.25, False),
        ("ALE/Pong-v5", "Pong-v5", "pong", (4, 4), 0.25, False),
        ("atari:ALE/MsPacman-v5", "MsPacman-v5", "ms_pacman", (4, 4), 0.25, False),
        ("Pong-ram-v4", "Pong-ram-v4", "pong", (2, 4), 0.0, True),
        ("ALE/Pong-ram-v5", "Pong-ram-v5", "pong", (4, 4), 0.25, True),
        ("Breakout-ramNoFrameskip-v4", "Breakout-ramNoFrameskip-v4", "breakout", (4, 4), 0, True),
    ],
)
def test_a_name_says_how_a_game_is_played(env, task, rom, skip, sticky, ram):
    assert split_env_name(env) == ("atari", task)
    options = resolve(task, AtariConfig())
    assert (options.rom, options.frame_skip, options.sticky_actions) == (rom, skip, sticky)
    assert options.shows_ram == ram
    expected = ObservationSpec((512,), "float32") if ram else ObservationSpec((84, 84, 4), "uint8")
    assert options.obs_spec == expected
    assert default_preset(env) == "atari-ppo"


def test_what_is_set_wins_over_the_name():
    options = resolve("Pong-v5", AtariConfig(frame_skip=2, sticky_actions=0.0, atari_obs="ram"))
    assert (options.frame_skip, options.sticky_actions, options.shows_ram) == ((2, 2), 0.0, True)
    with pytest.raises(ConfigError, match="atari_obs=frames does not fit the environment Pong-ram"):
        resolve("Pong-ram-v4", AtariConfig(atari_obs="frames"))


@pytest.mark.parametrize("env", ["CartPole-v0", "Reacher-v5", "gym:Pong-v4", "LunarLander-v3"])
def test_other_names_stay_with_gymnasium(env):
    assert split_env_name(env)[0] == "gym"


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("PogNoFrameskip-v4", "unknown Atari game 'Pog'; did you mean Pong"),
        ("ALE/Breakot-v5", "unknown Atari game 'Breakot'; did you mean Breakout"),
        ("atari:Pong-v3", "'Pong-v3' is not the name of an Atari environment; use for example"),
    ],
)
def test_an_unknown_game_lists_near_ones(env, message):
    with pytest.raises(ConfigError, match=message):
        split_env_name(env)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_skip": -1}, "frame_skip=-1 is out of range"),
        ({"screen_size": 8}, "screen_size=8 is out of range; use 16 to 512"),
        ({"frame_stack": 0}, "frame_stack=0 is out of range"),
        ({"noop_max": -1}, "noop_max=-1 is out of range"),
        ({"sticky_actions": 1.5}, "sticky_actions=1.5 is out of range"),
        ({"max_episode_frames": 129}, "max_episode_frames=129 is too small; use 130 or more"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        with_values(TrainConfig(), {"env": "atari:Pong", **settings}).validate(1)


def a_game() -> SavedGame:
    random = generator(1, "x")
    random.random(3)
    frames = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    screen = np.ones((4, 4), np.uint8)
    return SavedGame(b"emulator", frames, screen, random.bit_generator.state, 3, 5)


def test_a_game_comes_back_from_bytes_as_it_was():
    game = a_game()
    again, seed = atari_state.unpack(atari_state.pack(game, "pong", 9), game, "pong", 0)
    assert seed == 9
    assert (again.emulator, again.lives, again.held) == (b"emulator", 3, 5)
    np.testing.assert_array_equal(again.frames, game.frames)
    np.testing.assert_array_equal(again.screen, game.screen)
    one, two = generator(0, "y"), generator(0, "y")
    one.bit_generator.state, two.bit_generator.state = game.random, again.random
    np.testing.assert_array_equal(one.integers(99, size=20), two.integers(99, size=20))


def test_every_byte_of_a_damaged_state_is_noticed():
    game = a_game()
    state = atari_state.pack(game, "pong", None)
    for position in range(0, len(state), 7):
        damaged = bytearray(state)
        damaged[position] ^= 1
        with pytest.raises(CheckpointError, match="the saved state of environment 4 is damaged"):
            atari_state.unpack(bytes(damaged), game, "pong", 4)
    for length in (0, 3, 20, len(state) - 1):
        with pytest.raises(CheckpointError, match="is damaged"):
            atari_state.unpack(state[:length], game, "pong", 4)


def with_header(change: dict[str, object]) -> bytes:
    """Return a state whose header says something else, with the right checksum."""
    state = atari_state.pack(a_game(), "pong", None)
    start = len(atari_state.MAGIC) + 4
    length = struct.unpack_from("<I", state, start - 4)[0]
    header = json.loads(state[start : start + length]) | change
    text = json.dumps(header).encode()
    body = atari_state.MAGIC + struct.pack("<I", len(text)) + text + state[start + length : -4]
    return body + struct.pack("<I", zlib.crc32(body))


def philox(**change: object) -> dict[str, object]:
    state = atari_state._as_json(a_game().random)
    return {"random": {**state, **change}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rom": "breakout"}, "is one of the game 'breakout', not of 'pong'"),
        ({"frames": [9, 3, 3]}, r"has frames \[9, 3, 3\], these environments \[2, 3, 3\]"),
        ({"screen": []}, r"has screen \[\], these environments \[4, 4\]"),
        ({"emulator": 3}, "bytes behind its header"),
        ({"emulator": 2**40}, "emulator is not a count"),
        ({"lives": -1}, "lives is not a count"),
        ({"held": 18}, "held is not a count below 18"),
        ({"held": True}, "held is not a count"),
        ({"next_seed": 0.5}, "next_seed is not a count"),
        ({"random": {"bit_generator": "MT19937"}}, "not of the kind Philox"),
        ({"random": []}, "is damaged: TypeError"),
        (philox(buffer_pos=9), "buffer_pos is not a count below 5"),
        (philox(buffer=[1, 2, 3]), "has other sizes"),
        (philox(buffer=[1, 2, 3, 2**64]), "buffer is not a count"),
    ],
)
def test_a_state_that_says_something_else_is_refused(change, message):
    with pytest.raises(CheckpointError, match=f"environment 0 .*{message}"):
        atari_state.unpack(with_header(change), a_game(), "pong", 0)


def test_opencv_without_libgl_names_both_remedies(tmp_path, monkeypatch):
    text = 'raise ImportError("libGL.so.1: cannot open shared object file")\n'
    (tmp_path / "cv2.py").write_text(text)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match="apt install libgl1, or pip uninstall opencv-py"):
        import_cv2()


@pytest.mark.parametrize(
    ("package", "ask", "extra"),
    [
        ("cv2", import_cv2, "atari"),
        ("ale_py", import_ale, "atari"),
        ("envpool", lambda: check_pool_options(resolve("Pong", AtariConfig())), "envpool"),
    ],
)
def test_a_missing_package_names_the_command_that_installs_it(monkeypatch, package, ask, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf'pip install "ppo_mpi\[{extra}\]"'):
        ask()
