"""The keys of the mode play do what its help line says."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest

from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import PlayConfig
from ppo_mpi.modes import play
from ppo_mpi.modes.play import Controls, open_viewer, procgen_action, write_instead
from ppo_mpi.modes.playback import View


def test_keys_become_procgens_actions_and_the_longest_combination_wins():
    assert procgen_action([]) == 4
    assert procgen_action(["left"]) == 1
    assert procgen_action(["right"]) == 7
    assert procgen_action(["up", "right"]) == 8
    assert procgen_action(["down", "left"]) == 0
    assert [procgen_action([key]) for key in "dawsQe"] == [9, 10, 11, 12, 13, 14]
    assert procgen_action(["D"]) == 9
    assert procgen_action(["q"]) == 4
    assert procgen_action(["h", "x"]) == 4


def test_keys_control_the_show():
    controls = Controls()
    controls.press([" ", "+", "+", "n", "h"])
    assert (controls.paused, controls.speed, controls.skip, controls.human) == (True, 4, True, True)
    controls.press([" ", "-", "h", "q"])
    assert (controls.paused, controls.speed, controls.human) == (False, 2, False)
    assert controls.quit


def test_the_speed_has_bounds():
    controls = Controls()
    controls.press("+" * 20)
    assert controls.speed == 16
    controls.press("-" * 40)
    assert controls.speed == 1 / 16


def test_an_environment_without_keys_cannot_be_taken_over():
    controls = Controls(can_take_over=False)
    controls.press("h")
    assert not controls.human


def test_the_status_line_says_who_plays_and_how_fast():
    frame = np.zeros((2, 2, 3), np.uint8)
    view = View(frame, frame, 42, 0, 3.0, 9, False)
    assert Controls().status(view) == ("return 3.0  level 42", "")
    controls = Controls(human=True, paused=True, speed=2)
    assert controls.status(view) == ("return 3.0  level 42", "you play  paused  speed 2")


def test_a_terminal_shows_what_the_agent_sees_only_where_it_looks_like_the_game():
    frame, small = np.zeros((8, 8, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    terminal, window = (SimpleNamespace(prefers_obs=prefers) for prefers in (True, False))
    for obs, shown in ((small, small), (small[:, :, :1], frame), (np.zeros(5), frame)):
        view = View(frame, obs, -1, 0, 0.0, 0, False)
        assert play._picture(view, PlayConfig(), terminal) is shown
        assert play._picture(view, PlayConfig(), window) is frame
    view = View(frame, small[:, :, :1], -1, 0, 0.0, 0, False)
    asked = PlayConfig(agent_view=True)
    assert play._picture(view, asked, terminal).tolist() == small.tolist()
    assert play._picture(view, asked, window).shape == frame.shape


def test_without_a_display_and_a_terminal_there_is_no_viewer(monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(play.sys, "platform", "linux")
    assert open_viewer(PlayConfig(), "title") is None
    assert open_viewer(PlayConfig(terminal=True), "title") is None
    assert capsys.readouterr().err.count("no window: no display") == 1


def test_a_person_without_a_screen_is_an_error():
    with pytest.raises(ConfigError, match="leave out --human"):
        write_instead(None, PlayConfig(human=True))
