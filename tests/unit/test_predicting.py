"""A trained agent used from Python: predict, and its environment as Gymnasium has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.suites import make_envs


def make_agent(env: str, **values: object) -> Agent:
    """Return an agent with fresh weights and a will of its own."""
    small = {"env": env, "precision": "float32", "channel_multiplier": 0.25, "feature_size": 16}
    config = with_values(TrainConfig(), small | values)
    envs = make_envs(config, range(1), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    with torch.no_grad():
        model.policy_head.weight.mul_(50)
    return Agent(config, Path("runs/r"), 1000, model, None, Path("runs/r/x"))


def play(agent: Agent, env: Any, deterministic: bool = True) -> tuple[float, int]:
    """Play an episode; return its return and its length."""
    obs, _ = env.reset()
    state, total, length, done = None, 0.0, 0, False
    while not done:
        action, state = agent.predict(obs, state, deterministic=deterministic)
        assert action in env.action_space
        obs, reward, terminated, truncated, _ = env.step(action)
        assert obs in env.observation_space
        total, length, done = total + reward, length + 1, terminated or truncated
    return total, length


@pytest.mark.parametrize(
    ("env", "values"),
    [
        ("CartPole-v1", {}),
        ("probe:box", {"box_actions": "squash"}),
        ("probe:memory", {"recurrent": "lstm", "recurrent_size": 8}),
        ("probe:dict", {}),
        ("probe:picture_and_vector", {}),
    ],
)
def test_episodes_of_make_env_are_those_of_an_evaluation(env: str, values: dict[str, Any]):
    agent = make_agent(env, **values)
    wanted = evaluate_agent(agent, "train", 4, 7, True, 2, Communicator()).episodes
    own = agent.make_env(seed=7)
    played = [play(agent, own) for _ in range(4)]
    assert played == [(pytest.approx(e.episode_return), e.length) for e in wanted]
    own.reset(seed=1)
    own.reset(seed=7)  # amid an episode: begins with its first one again
    own.reset()
    third = play(agent, own)
    assert third == (pytest.approx(wanted[2].episode_return), wanted[2].length)


def test_it_is_an_environment_as_gymnasium_wants_it():
    agent = make_agent("probe:image")
    env = agent.make_env(render_mode="rgb_array")
    assert isinstance(env, gymnasium.Env)
    check_env(env, skip_render_check=True)
    env.reset()
    assert env.render().shape[-1] == 3
    with pytest.raises(ConfigError, match="there is one option, level"):
        env.reset(options={"level": 3})
    with pytest.raises(ConfigError, match="render_mode='human'"):
        agent.make_env(render_mode="human")
    with pytest.raises(ConfigError, match=r"levels='all'"):
        agent.make_env(levels="all")


def test_a_step_behind_the_end_of_an_episode_is_refused():
    env = make_agent("probe:terminal").make_env()
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(0)
    env.reset()
    assert env.step(0)[2]
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(0)


@pytest.mark.parametrize("action", [2, -1, 0.5, None, "a", [0, 1]])
def test_an_action_that_is_none_is_refused(action: Any):
    env = make_agent("CartPole-v1").make_env()
    env.reset()
    with pytest.raises(ValueError, match="is none of Discrete"):
        env.step(action)
    env.step(1)


def test_numbers_beyond_their_bounds_are_for_the_environment_to_clip():
    env = make_agent("probe:box").make_env()
    env.reset()
    high = env.action_space.high
    env.step(2 * high)
    for wrong in (high[:-1], np.full_like(high, np.nan), "a"):
        with pytest.raises(ValueError, match="is none of Box"):
            env.step(wrong)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_batch_gets_what_each_of_it_gets(deterministic: bool):
    agent = make_agent("probe:memory", recurrent="gru", recurrent_size=8)
    random = np.random.default_rng(0)
    obs = random.standard_normal((20, 4)).astype(np.float32)
    state = random.standard_normal((20, 8)).astype(np.float32)
    starts = random.random(20) < 0.3
    agent.seed(4)
    actions, after = agent.predict(obs, state, starts, deterministic)
    agent.seed(4)
    for i in range(20):
        begun = state[i] * (not starts[i])
        action, own = agent.predict(obs[i], begun, deterministic=deterministic)
        assert action == actions[i]
        assert own.tolist() == after[i].tolist()
    assert not np.array_equal(agent.predict(obs, state, deterministic=True)[1], after)


def test_drawn_actions_are_those_of_the_seed_and_of_the_policy():
    agent = make_agent("CartPole-v1")
    obs = np.zeros((4000, 4), np.float32) + np.float32(0.3)
    agent.seed(1)
    first, _ = agent.predict(obs)
    second, _ = agent.predict(obs)
    agent.seed(1)
    assert agent.predict(obs)[0].tolist() == first.tolist() != second.tolist()
    share = agent.act(obs[:1], None).probabilities[0, 1]
    assert first.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5 + 1e-6)


def test_what_does_not_fit_is_refused():
    agent = make_agent("probe:memory", recurrent="gru", recurrent_size=8)
    with pytest.raises(ValueError, match=r"observation float64\[3\] is neither one of Box"):
        agent.predict(np.zeros(3))
    with pytest.raises(ValueError, match=r"state has the shape \[7\]"):
        agent.predict(np.zeros(4), np.zeros(7))
    with pytest.raises(ValueError, match="episode_start has 3 flags for 2"):
        agent.predict(np.zeros((2, 4)), episode_start=[True] * 3)
    with pytest.raises(ConfigError, match="seed=-1"):
        agent.seed(-1)


NESTED = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (6, 5, 3), np.uint8),
        "inner": spaces.Tuple((spaces.Discrete(3, start=1), spaces.Box(-1, 1, (2, 2), np.float64))),
        "switches": spaces.MultiBinary(2),
    }
)
ACTIONS = spaces.Dict(
    {
        "arm": spaces.Box(-2, 1, (2, 1), np.float64),
        "eye": spaces.Tuple((spaces.Discrete(3, start=5), spaces.MultiDiscrete([2, 4]))),
    }
)


class Nested(gymnasium.Env[Any, Any]):
    """Shows and takes nested values, and says if they are none of its spaces."""

    observation_space, action_space = NESTED, ACTIONS

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert action in ACTIONS, action
        reward = float(action["arm"].sum() + action["eye"][0])
        return self.observation_space.sample(), reward, self.np_random.random() < 0.2, False, {}


@pytest.fixture
def nested_agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    monkeypatch.setitem(gymnasium.registry, "Nested-v0", gymnasium.envs.registration.EnvSpec(
        "Nested-v0", entry_point=Nested, max_episode_steps=20, disable_env_checker=True
    ))  # fmt: skip
    return make_agent("Nested-v0")


def test_nested_observations_and_actions_are_those_of_the_environment(nested_agent: Agent):
    env = nested_agent.make_env(seed=3)
    wanted = evaluate_agent(nested_agent, "train", 2, 3, True, 1, Communicator()).episodes
    assert [play(nested_agent, env) for _ in range(2)] == [
        (pytest.approx(e.episode_return), e.length) for e in wanted
    ]
    own = [NESTED.sample() for _ in range(3)]
    each = [nested_agent.predict(obs, deterministic=True)[0] for obs in own]
    batch = {
        "camera": np.stack([obs["camera"] for obs in own]),
        "inner": tuple(np.stack([obs["inner"][k] for obs in own]) for k in range(2)),
        "switches": np.stack([obs["switches"] for obs in own]),
    }
    together, _ = nested_agent.predict(batch, deterministic=True)
    for i, action in enumerate(each):
        assert together["arm"][i].tolist() == action["arm"].tolist()
        assert together["eye"][0][i] == action["eye"][0]
        assert together["eye"][1][i].tolist() == action["eye"][1].tolist()
    rows = np.stack([nested_agent.spaces.rows(obs)[0][0] for obs in own])
    again, _ = nested_agent.predict(rows, deterministic=True)
    assert again["arm"].tolist() == together["arm"].tolist()


def test_actions_go_back_and_forth(nested_agent: Agent):
    sampled = [ACTIONS.sample() for _ in range(5)]
    rows = nested_agent.spaces.taken(sampled)
    for action, found in zip(sampled, nested_agent.spaces.actions_of(rows), strict=True):
        np.testing.assert_allclose(found["arm"], action["arm"], rtol=1e-6)
        of_other_kind = action | {"arm": action["arm"].astype(np.float64)}
        assert nested_agent.spaces.checked(of_other_kind).shape == rows[0].shape
        assert found["eye"][0] == action["eye"][0]
        assert found["eye"][1].tolist() == action["eye"][1].tolist()


@pytest.mark.parametrize("env", ["CartPole-v1", "probe:dict", "probe:picture_and_vector"])
def test_no_observations_have_no_action(env: str):
    agent = make_agent(env)
    space = agent.spaces.observations
    one = space.sample()
    none = (
        {k: np.asarray(v)[None][:0] for k, v in one.items()}
        if isinstance(one, dict)
        else one[None][:0]
    )
    with pytest.raises(ValueError, match="there are no observations in .* hand over one at least"):
        agent.predict(none)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_is_refused(bad: float):
    agent = make_agent("CartPole-v1")
    obs = np.zeros((3, 4), np.float32)
    agent.predict(obs)
    obs[2, 1] = bad
    with pytest.raises(ValueError, match=f"number 1 of observation 2 is {bad}, of which"):
        agent.predict(obs)
    with pytest.raises(ValueError, match=f"number 1 is {bad}, of which"):
        agent.predict(obs[2])
