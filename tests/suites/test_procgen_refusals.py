"""What Procgen's suite refuses, so that the engine does not end the process over it."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("procgen")

from ppo_mpi.envs import procgen_state, procgen_trial
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.procgen import make_envs
from ppo_mpi.envs.procgen_engine import SPECIAL_MODES
from ppo_mpi.envs.procgen_trial import survives
from ppo_mpi.errors import CheckpointError, ConfigError, MissingPackageError
from ppo_mpi.registry import PROCGEN_GAMES


def make(game: str, indices: list[int], **options: Any) -> VecEnvs:
    return make_envs(game, indices, 3, options=options)


class TestRefusals:
    """Nothing here reaches the engine, which would end the process."""

    def refusal(self, states: Sequence[bytes | None], **options: Any) -> str:
        envs = make(options.pop("game", "coinrun"), [0, 4], **options)
        shown = envs.reset()
        with pytest.raises(CheckpointError) as caught:
            envs.set_states(states)
        np.testing.assert_array_equal(envs.observe(), shown)
        return str(caught.value)

    @pytest.fixture(scope="class")
    def states(self) -> list[bytes | None]:
        envs = make("coinrun", [0, 4])
        envs.reset()
        return envs.get_states()

    def test_a_flipped_bit_is_damage(self, states: list[bytes]) -> None:
        damaged = bytearray(states[1])
        damaged[30_000] ^= 4
        message = self.refusal([states[0], bytes(damaged)])
        assert message.startswith("the saved state of environment 4 is damaged: its ")

    @pytest.mark.parametrize("length", [0, 3, 100, 20_000])
    def test_a_cut_state_is_damage(self, states: list[bytes], length: int) -> None:
        message = self.refusal([states[0][:length], states[1]])
        assert message.startswith("the saved state of environment 0 is damaged: ")

    def test_a_resealed_cut_state_is_damage(self, states: list[bytes]) -> None:
        state = procgen_state.seal(procgen_state.unseal(states[0])[:-4])
        assert "instead of the end marker 0xcafecafe" in self.refusal([state, states[1]])

    def test_another_game_is_named(self, states: list[bytes]) -> None:
        assert self.refusal(states, game="maze") == (
            "the saved state of environment 0 is one of coinrun, not of maze"
        )

    def test_another_option_is_named(self, states: list[bytes]) -> None:
        message = self.refusal(states, distribution_mode="hard")
        assert message.endswith("has distribution_mode=0, these environments 1")
        message = self.refusal(states, use_backgrounds=False)
        assert message.endswith("has use_backgrounds=1, these environments 0")

    def test_other_levels_are_named(self, states: list[bytes]) -> None:
        message = self.refusal(states, num_levels=10)
        assert message.endswith("has levels [0, 2147483647), these environments [0, 10)")

    def test_another_number_of_states_is_named(self, states: list[bytes]) -> None:
        assert self.refusal(states[:1]) == "1 saved environments do not fit 2 slots"


@pytest.mark.parametrize(
    ("game", "options", "message"),
    [
        ("coinrun", {"distribution_mode": "memory"},
         "coinrun has no distribution_mode=memory; use easy or hard or exploration, or a game "
         "that has it: caveflyer, dodgeball, heist, jumper, maze, miner"),
        ("bigfish", {"distribution_mode": "extreme"}, "bigfish has no distribution_mode=extreme"),
        ("bigfish", {"distribution_mode": "exploration"}, "bigfish has no distribution_mode=expl"),
        ("coinrun", {"distribution_mode": "hrad"}, "did you mean hard"),
        ("coinrun", {"distribution_mode": "exploration", "num_levels": 5},
         "num_levels=5 and start_level=0 have no meaning"),
        ("conrun", {}, "unknown Procgen game 'conrun'; did you mean coinrun?"),
        ("coinrun", {"num_level": 5}, "unknown Procgen option 'num_level'; did you mean num"),
        ("coinrun", {"num_threads": -1}, "num_threads=-1 must be a whole number from 0"),
        ("coinrun", {"start_level": -1}, "start_level=-1 with num_levels=0 is out of"),
        ("coinrun", {"start_level": 2**31 - 2, "num_levels": 2}, "whose sum is at most 2147483647"),
    ],
)  # fmt: skip
def test_what_the_engine_would_die_of_is_refused_before(
    game: str, options: dict[str, Any], message: str
) -> None:
    for indices in ([0], []):
        with pytest.raises(ConfigError) as caught:
            make(game, indices, **options)
        assert message in str(caught.value)


def test_levels_that_do_not_exist_cannot_be_assigned() -> None:
    for generated in (False, True):
        envs = make("coinrun", [0], use_generated_assets=generated)
        with pytest.raises(ConfigError, match="level -1 does not exist; use 0 to 2147483646"):
            envs.assign(0, 0, -1)
        with pytest.raises(ConfigError, match="level 2147483647 does not exist"):
            envs.assign(0, 0, 2**31 - 1)
        envs.assign(0, 0, 2**31 - 2)
        envs.reset()
        assert envs.levels[0] == 2**31 - 2


@pytest.mark.parametrize("mode", ["extreme", "memory", "exploration"])
@pytest.mark.parametrize("game", PROCGEN_GAMES)
def test_the_table_of_modes_is_the_engines(game: str, mode: str) -> None:
    if game not in SPECIAL_MODES[mode]:
        with pytest.raises(ConfigError):
            make(game, [0], distribution_mode=mode)
    else:
        envs = make(game, [0], distribution_mode=mode)
        envs.reset()
        envs.step(np.zeros(1, np.int64))


def test_a_missing_procgen_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "procgen", None)
    with pytest.raises(
        MissingPackageError, match="pip install procgen-mirror .*pip install procgen"
    ):
        make("coinrun", [0])


def test_an_engine_with_another_layout_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procgen_state, "VERSION", 1)
    with pytest.raises(ConfigError, match="its version is 0 instead of 1.*install procgen 0.10.7"):
        make("coinrun", [0])


def test_a_state_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine makes room for as many items of its game's own lists as a state says.

    Its allocation fails at once; a process with other engines' threads may wait for a lock then.
    """
    monkeypatch.setattr(procgen_trial, "SECONDS", 10)
    envs = make("leaper", [0])
    envs.reset()
    state = procgen_state.unseal(envs.get_states()[0])
    with pytest.MonkeyPatch.context() as patch:
        ends = []
        check_grid = procgen_state._check_grid

        def remember(reader: Any, *arguments: Any) -> None:
            check_grid(reader, *arguments)
            ends.append(reader.offset)

        patch.setattr(procgen_state, "_check_grid", remember)
        procgen_state.parse(state)
    count = ends[0] + procgen_state.WORD  # of the first list: lanes of the road
    swollen = state[:count] + struct.pack("<i", 2**28) + state[count + procgen_state.WORD :]
    with pytest.raises(CheckpointError, match="use an older checkpoint"):
        envs.set_states([procgen_state.seal(swollen)])


def test_a_trial_has_little_memory_and_ends_with_its_parent(tmp_path: Path) -> None:
    assert survives(lambda: None)
    assert not survives(lambda: np.ones(2**29) and None)
    assert not survives(lambda: os.kill(os.getpid(), signal.SIGTERM))
    program = PARENT.format(mark=str(tmp_path / "mark"))
    parent = subprocess.Popen([sys.executable, "-c", program])
    child = wait_for(lambda: int((tmp_path / "mark").read_text()))
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not Path(f"/proc/{child}").exists())


PARENT = """
import os, signal, time
from pathlib import Path
from ppo_mpi.envs.procgen_trial import survives
signal.signal(signal.SIGTERM, lambda *a: None)
def action():
    Path({mark!r}).write_text(str(os.getpid()))
    time.sleep(600)
survives(action)
"""


def wait_for(question: Any) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if answer := question():
                return answer
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError("it takes too long")
