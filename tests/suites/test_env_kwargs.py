"""Arguments of the constructor reach Procgen, Atari and the probes, whose options are settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from env_checks import assert_goes_on_exactly, assert_streams_by_index, random_actions
from jobs import run_job

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs import procgen_state
from ppo_mpi.envs.arguments import ATARI, PROCGEN
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.suites import make_envs


def make(env: str, indices: Sequence[int], *kwargs: str, seed: int = 3, **settings: Any) -> VecEnvs:
    render = settings.pop("render", False)
    config = with_values(TrainConfig(), {"env": env, "env_kwargs": kwargs, **settings})
    return make_envs(config, indices, seed, settings.pop("stream", "train"), render=render)


def first_frames(envs: VecEnvs, steps: int = 30) -> np.ndarray:
    shown = [envs.reset()]
    shown += [envs.step(actions).obs for actions in random_actions(envs, steps)]
    envs.close()
    return np.array(shown)


class TestProcgen:
    """The engine takes one argument that is no setting: debug_mode."""

    pytestmark = pytest.mark.skipif(not find_spec("procgen"), reason="needs procgen")

    @pytest.mark.parametrize("generated", [False, True])
    def test_debug_mode_reaches_the_engine(self, generated: bool) -> None:
        settings = {"num_levels": 1, "use_generated_assets": generated}
        plain, same, hard = (
            first_frames(make("coinrun", [0], *kwargs, **settings))
            for kwargs in ((), ("debug_mode=0",), ("debug_mode=10",))
        )
        np.testing.assert_array_equal(plain, same)
        assert (plain != hard).any()

    def test_it_is_that_of_the_package_itself(self) -> None:
        import procgen

        ours = make("coinrun", [0], "debug_mode=10", num_levels=1)
        engine = procgen.ProcgenGym3Env(
            1, "coinrun", debug_mode=10, num_levels=1, distribution_mode="easy", rand_seed=7,
            num_threads=0,
        )  # fmt: skip

        def levels() -> list[Any]:  # not pictures, which the first engine of a process chooses
            (own,), (its,) = ours.get_states(), engine.callmethod("get_state")
            assert own is not None
            return [procgen_state.contents(state) for state in (procgen_state.unseal(own), its)]

        ours.reset()
        own, its = levels()
        assert own == its
        for actions in random_actions(ours, 20):
            engine.act(actions.astype(np.int32))
            rewards = engine.observe()[0]
            np.testing.assert_array_equal(ours.step(actions).rewards, rewards)
            own, its = levels()
            assert own == its
        engine.close()

    def test_streams_and_states_stay_exact(self) -> None:
        def made(indices: Sequence[int], seed: int) -> VecEnvs:
            return make("coinrun", indices, "debug_mode=10", seed=seed)

        assert_streams_by_index(made, 150, least_ends=0)
        assert_goes_on_exactly(made, 40, 100, least_ends=0)

    def test_a_state_of_another_debug_mode_is_refused(self) -> None:
        one, other = make("coinrun", [0], "debug_mode=10"), make("coinrun", [0])
        one.reset()
        other.reset()
        with pytest.raises(CheckpointError, match="has debug_mode=10, these environments 0"):
            other.set_states(one.get_states())

    def test_every_argument_of_the_package_is_known(self) -> None:
        import inspect

        from procgen import env

        taken: set[str] = set()
        for kind in (env.ProcgenGym3Env, env.BaseProcgenEnv):
            taken |= set(inspect.signature(kind.__init__).parameters)
        taken -= {"self", "kwargs", "options"}
        known = {*PROCGEN.own, *PROCGEN.settings, *(PROCGEN.renamed or {})}
        assert taken <= known


class TestAtari:
    """Modes and difficulties of a game."""

    pytestmark = pytest.mark.skipif(not find_spec("ale_py"), reason="needs ale_py")
    plain = {"noop_max": 1, "fire_on_reset": False, "life_loss_ends": False, "frame_skip": 1}

    @pytest.mark.parametrize("kwargs", [("mode=8",), ("difficulty=1",), ("mode=4", "difficulty=1")])
    @pytest.mark.parametrize("full", [False, True])
    def test_they_are_those_of_ale_pys_environment(
        self, kwargs: tuple[str, ...], full: bool
    ) -> None:
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
        settings = {**self.plain, "frame_stack": 1, "max_over_frames": False}
        ours = make(
            "atari:SpaceInvaders", [0], *kwargs, render=True, full_action_space=full, **settings
        )
        ours.reset()
        named = {key: int(value) for key, value in (item.split("=") for item in kwargs)}
        theirs = gymnasium.make(
            "ALE/SpaceInvaders-v5", frameskip=1, repeat_action_probability=0.0,
            full_action_space=full, **named,
        )  # fmt: skip
        theirs.reset()
        theirs.step(0)  # the one frame of doing nothing
        assert ours.action_spec.num_actions == theirs.action_space.n  # type: ignore[union-attr]
        differs = make("atari:SpaceInvaders", [0], render=True, full_action_space=full, **settings)
        differs.reset()
        others = []
        for actions in random_actions(ours, 200):
            result, seen = ours.step(actions), theirs.step(actions[0])
            if seen[2]:
                break
            assert result.rewards[0] == seen[1]
            np.testing.assert_array_equal(ours.render()[0], seen[0])
            others.append((differs.step(actions), (differs.render()[0] != seen[0]).any())[1])
        assert any(others), "the argument changes what is seen"

    def test_streams_and_states_stay_exact_without_frames_of_doing_nothing_too(self) -> None:
        for noop_max in (30, 0):

            def made(indices: Sequence[int], seed: int, most: int = noop_max) -> VecEnvs:
                return make("atari:Breakout", indices, "mode=4", "difficulty=1", seed=seed,
                            noop_max=most)  # fmt: skip

            same_start = noop_max == 0
            assert_streams_by_index(made, 60, least_ends=0, same_start=same_start)
            assert_goes_on_exactly(made, 20, 200, least_ends=1)

    def test_a_state_of_another_mode_is_refused(self) -> None:
        one, other = make("atari:Breakout", [0], "mode=4"), make("atari:Breakout", [0])
        one.reset()
        before = other.reset()
        with pytest.raises(CheckpointError, match=r"env_kwargs {'mode': 4}, these environments {}"):
            other.set_states(one.get_states())
        np.testing.assert_array_equal(other.observe(), before)

    def test_a_mode_that_the_game_has_not_is_refused_by_every_rank(self) -> None:
        for indices in ([0], []):
            with pytest.raises(
                ConfigError, match="'mode=3': breakout has no such mode; use one of"
            ):
                make("atari:Breakout", indices, "mode=3")
            with pytest.raises(
                ConfigError, match="pong has no such difficulty; use one of 0, 1, 2"
            ):
                make("atari:Pong", indices, "difficulty=9")

    def test_envpool_refuses_what_it_cannot_do(self) -> None:
        pytest.importorskip("envpool")
        with pytest.raises(ConfigError, match="envpool does not know env_kwargs mode=0; use atari"):
            make("atari:Pong", [0], "mode=0", atari_engine="envpool")

    def test_every_argument_of_the_packages_is_known(self) -> None:
        import inspect

        import ale_py.env

        taken = set(inspect.signature(ale_py.env.AtariEnv.__init__).parameters) - {"self"}
        known = {*ATARI.own, *ATARI.settings, *(ATARI.renamed or {})}
        assert taken <= known
        envpool = pytest.importorskip("envpool")
        fields = set(envpool.make_spec("Pong-v5").config._fields)
        of_the_pool = {"batch_size", "max_num_players", "thread_affinity_offset", "base_path",
                       "gym_reset_return_info"}  # fmt: skip
        assert fields - of_the_pool <= known

    def test_gym_in_front_takes_gymnasiums_environment_with_its_own_arguments(self) -> None:
        """As the messages for arguments say that are not known here."""
        code = (
            "from ppo_mpi.config import TrainConfig, with_values\n"
            "from ppo_mpi.suites import make_envs\n"
            "given = {'env': 'gym:ALE/Pong-v5', 'env_kwargs': ('continuous=true', 'frameskip=2')}\n"
            "envs = make_envs(with_values(TrainConfig(), given), [0], 3, 'train')\n"
            "print(envs.reset().shape, len(envs.action_spec.low))\n"
        )
        done = subprocess.run(  # where nothing has registered the games yet
            [sys.executable, "-c", code], text=True, capture_output=True, check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert done.stdout == "(1, 210, 160, 3) 3\n"

    def test_a_run_keeps_them_and_what_goes_on_checks_them(self, tmp_path: Path) -> None:
        train = ["train", "atari:Breakout", "--num-envs", "2", "--rollout-timesteps", "16",
                 "--num-minibatches", "2", "--display", "off", "--checkpoint-dir", "runs",
                 "--run", "b", "--total-timesteps"]  # fmt: skip
        kwargs = ["--env-kwargs", "mode=4", "difficulty=1"]
        run_job(0, *train, "16", *kwargs, cwd=tmp_path)
        run_job(2, *train, "32", *kwargs, cwd=tmp_path)
        other = run_job(0, *train, "48", "--env-kwargs", "mode=8", cwd=tmp_path, status=2)
        assert "env_kwargs" in other.stderr
        where = ["--run", "b", "--checkpoint-dir", "runs"]
        run_job(0, "evaluate", "--episodes", "1", *where, cwd=tmp_path)
        code = (
            "from ppo_mpi.agent import load_agent\n"
            "agent = load_agent('b', 'runs', 'cpu')\n"
            "envs = agent.make_envs(1, 0, stream='watch', levels='train', render=True)\n"
            "print(envs._games[0].ale.cloneState().getCurrentMode())\n"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert shown.stdout.splitlines()[-1:] == ["4"], shown.stderr


@pytest.mark.parametrize("task", ["match", "box", "image", "corridor"])
def test_probes_take_the_length_of_their_episodes(task: str) -> None:
    envs = make(f"probe:{task}", [0, 1], "max_steps=3")
    envs.reset()
    cuts = []
    for _ in range(9):
        zeros = np.zeros((2,) if task != "box" else (2, 1), np.int64 if task != "box" else float)
        cuts.append(envs.step(zeros.astype(np.float32) if task == "box" else zeros).truncated.all())
    assert cuts == [False, False, True] * 3


def test_a_probes_state_after_its_limit_is_refused() -> None:
    envs = make("probe:corridor", [0], "max_steps=3")
    state = json.dumps({"probe": "corridor", "room": 1, "steps": 5}).encode()
    with pytest.raises(CheckpointError, match="room 1 after 5 steps"):
        envs.set_states([state])


SETTING = "options are settings of their own; use "


@pytest.mark.parametrize(
    ("env", "kwarg", "message"),
    [
        ("coinrun", "center_agent=false", f"Procgen's {SETTING}--center-agent false"),
        ("coinrun", "use_sequential_levels=true", f"{SETTING}--use-sequential-levels true"),
        ("coinrun", "rand_seed=3", "rand_seed is the setting seed"),
        ("coinrun", "resource_root=/x", "resource_root is the folder of the installed package"),
        ("coinrun", "debug_mode=1.5", "debug_mode must be a whole number within"),
        ("coinrun", "debug_mode=99999999999", "debug_mode must be a whole number within"),
        ("coinrun", "debug_mode=true", "debug_mode must be a whole number within"),
        ("coinrun", "debug_mod=1", "unknown Procgen argument 'debug_mod'; did you mean debug_mode"),
        ("coinrun", "debug_mod=1", "known: debug_mode, and as settings num_levels, "),
        ("coinrun", "xyz=1", "unknown Procgen argument 'xyz'; known: debug_mode, and as settings"),
        ("coinrun", "debug_mode", "env_kwargs='debug_mode' is not of the form key=value"),
        ("atari:Pong", "full_action_space=true", f"Atari's {SETTING}--full-action-space true"),
        ("atari:Pong", "frameskip=2", "frameskip is the setting frame_skip"),
        ("atari:Pong", "obs_type=ram", "obs_type is the settings atari_obs"),
        ("atari:Pong", "stack_num=2", "stack_num is the setting frame_stack"),
        ("atari:Pong", "continuous=true", "gym:ALE/Pong-v5 --env-kwargs continuous=true has it"),
        ("atari:Pong", "mode=-1", "mode must be a whole number from 0"),
        ("atari:Pong", "dificulty=1", "unknown Atari argument 'dificulty'; did you mean di"),
        ("probe:match", "a=1", "unknown probe argument 'a'; known: max_steps"),
        ("probe:match", "max_steps=0", "max_steps must be a whole number from 1"),
        ("probe:terminal", "max_steps=4", "every step ends an episode"),
    ],
)  # fmt: skip
def test_what_is_no_argument_is_one_clear_message(env: str, kwarg: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(env, [0], kwarg)
    assert message in str(caught.value)
