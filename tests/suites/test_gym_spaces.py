"""Gymnasium's spaces, there and back: what an environment shows, and what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")

import gymnasium
from gymnasium import spaces
from spaces import random_actions

from ppo_mpi import api
from ppo_mpi.envs.base import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    ObservationSpec,
)
from ppo_mpi.envs.gym_control import make_envs
from ppo_mpi.envs.gym_spaces import action_spec, flat_observation, gym_actions, observation_spec
from ppo_mpi.envs.spaces import ObservationPart
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.modes.record import record
from ppo_mpi.settings.record import RecordConfig

INF = np.inf
SHIFTED = spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[10, 20], [30, -5]])
NESTED = spaces.Dict(
    {
        "arm": spaces.Tuple((spaces.Box(-1, 1, (2, 1), np.float64), spaces.Discrete(4, start=-2))),
        "eyes": spaces.Dict({"left": spaces.MultiBinary((2, 2)), "right": SHIFTED}),
    }
)
NESTED_SPEC = Composite(
    (Box((-1, -1), (1, 1)), Discrete(4), MultiBinary(4), MultiDiscrete((2, 3, 4, 5)))
)


@pytest.mark.parametrize(
    ("space", "spec"),
    [
        (spaces.Discrete(3, start=5), Discrete(3)),
        (SHIFTED, MultiDiscrete((2, 3, 4, 5))),
        (spaces.MultiBinary(3), MultiBinary(3)),
        (spaces.MultiBinary((2, 3)), MultiBinary(6)),
        (spaces.Box(-INF, INF, (2, 1), np.float16), Box((-INF,) * 2, (INF,) * 2)),
        (spaces.Box(np.array([-1, -INF]), np.array([0, 3]), dtype=np.float64),
         Box((-1, -INF), (0, 3))),
        (spaces.Tuple((spaces.Discrete(2),)), Composite((Discrete(2),))),
        (NESTED, NESTED_SPEC),
    ],
)  # fmt: skip
def test_every_action_arrives_in_its_space_with_shape_type_and_start(
    space: spaces.Space[Any], spec: ActionSpec
):
    assert action_spec("X-v0", space) == spec
    actions = random_actions(spec, np.random.default_rng(0), 200)
    taken = gym_actions(space, actions)
    assert len(taken) == 200
    assert all(action in space for action in taken)
    assert gym_actions(space, actions[:0]) == []


def test_actions_of_nested_spaces_by_hand():
    row = [5, -0.5, 3, 0, 1, 1, 0, 1, 2, 0, 4]
    (action,) = gym_actions(NESTED, np.array([row], np.float32))
    (box, discrete), eyes = action["arm"], action["eyes"]
    assert box.tolist() == [[1], [-0.5]]
    assert box.dtype == np.float64
    assert (discrete, type(discrete)) == (1, int)
    assert eyes["left"].tolist() == [[0, 1], [1, 0]]
    assert eyes["left"].dtype == np.int8
    assert eyes["right"].tolist() == [[11, 22], [30, -1]]
    (action,) = gym_actions(SHIFTED, np.array([[1, 0, 3, 4]]))
    assert action.tolist() == [[11, 20], [33, -1]]
    assert action.dtype == SHIFTED.dtype


def test_whole_numbers_of_composites_are_exact_in_float32():
    space = spaces.Tuple((spaces.Discrete(2**24 + 1), spaces.Discrete(2)))
    (action,) = gym_actions(space, np.array([[2**24 - 1, 1]], np.float32))
    assert action == (2**24 - 1, 1)


MIXED = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (6, 5, 3), np.uint8),
        "inner": spaces.Tuple(
            (spaces.Discrete(3), spaces.Box(0, 255, (4, 7), np.uint8),
             spaces.Box(-INF, INF, (2, 2), np.float64))
        ),
        "ram": spaces.Box(0, 255, (3,), np.uint8),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("space", "spec"),
    [
        (spaces.Box(0, 255, (4, 5), np.uint8), ObservationSpec((4, 5, 1), "uint8")),
        (spaces.Box(0, 255, (9,), np.uint8), ObservationSpec((9,), "float32")),
        (
            spaces.Tuple((spaces.Box(0, 255, (4, 5), np.uint8),)),
            ObservationSpec((4, 5, 1), "uint8"),
        ),
        (spaces.Box(-1, 1, (4, 5, 3), np.float32), ObservationSpec((60,), "float32")),
        (spaces.MultiDiscrete([2, 3]), ObservationSpec((5,), "float32")),
        (NESTED, ObservationSpec((2 + 4 + 4 + 14,), "float32")),
    ],
)
def test_images_stay_images_and_all_else_is_one_vector(
    space: spaces.Space[Any], spec: ObservationSpec
):
    assert observation_spec("X-v0", space) == spec
    space.seed(1)
    sample = space.sample()
    flat = flat_observation(space, spec, sample)
    assert (flat.shape, flat.dtype) == (spec.shape, spec.dtype)
    expected = spaces.utils.flatten(space, sample).astype(spec.dtype)
    np.testing.assert_array_equal(flat.ravel(), expected)


def test_images_and_vectors_together_are_packed_in_the_spaces_order():
    spec = observation_spec("X-v0", MIXED)
    assert spec.parts == (
        ObservationPart("camera", (6, 5, 3), "uint8"),
        ObservationPart("inner/0", (3,), "float32"),
        ObservationPart("inner/1", (4, 7, 1), "uint8"),
        ObservationPart("inner/2", (4,), "float32"),
        ObservationPart("ram", (3,), "float32"),
    )
    MIXED.seed(2)
    sample = MIXED.sample()
    row = flat_observation(MIXED, spec, sample)
    assert (row.shape, row.dtype) == (spec.shape, np.uint8)
    found = {name: part[0] for name, part in spec.unpack(row[None]).items()}
    np.testing.assert_array_equal(found["camera"], sample["camera"])
    assert found["inner/0"].tolist() == np.eye(3)[sample["inner"][0]].tolist()
    np.testing.assert_array_equal(found["inner/1"][:, :, 0], sample["inner"][1])
    np.testing.assert_array_equal(found["inner/2"], sample["inner"][2].ravel().astype(np.float32))
    np.testing.assert_array_equal(found["ram"], sample["ram"])


def test_spaces_without_anything_in_them_are_refused():
    with pytest.raises(ConfigError, match=r"X-v0 has the action space Tuple\(\); use an env"):
        action_spec("X-v0", spaces.Tuple(()))
    with pytest.raises(
        ConfigError, match=r"X-v0 has the observation space Dict\(\), which shows n"
    ):
        observation_spec("X-v0", spaces.Dict({}))


class Parts(gymnasium.Env[Any, Any]):
    """Shows an image and numbers, takes a dict, and pays if all of it was answered right.

    The light of the image (dark or bright) and the sign of the number are drawn anew for every
    step; ``press`` has to tell the first, ``turn`` the second.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Dict(
            {
                "camera": spaces.Box(0, 255, (8, 8), np.uint8),
                "place": spaces.Box(-1, 1, (1,), np.float32),
            }
        )
        self.action_space = spaces.Dict(
            {
                "press": spaces.MultiDiscrete([2], start=[7]),
                "turn": spaces.Tuple((spaces.Discrete(2, start=1), spaces.Box(-1, 1, (1,)))),
            }
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        turn, force = action["turn"]
        is_right = action["press"][0] == 7 + self._light and turn == 1 + self._sign
        reward = float(is_right) * (1 - abs(float(force[0]) - 0.5))
        self._steps += 1
        return self._draw(), reward, False, self._steps == 8, {}

    def render(self) -> Any:
        return np.full((64, 64, 3), 250 * self._light, np.uint8)

    def _draw(self) -> dict[str, Any]:
        self._light, self._sign = (int(x) for x in self.np_random.integers(2, size=2))
        place = np.array([2.0 * self._sign - 1], np.float32)
        return {"camera": np.full((8, 8), 250 * self._light, np.uint8), "place": place}


@pytest.fixture
def parts_env() -> Iterator[str]:
    gymnasium.register("Parts-v0", entry_point=f"{__name__}:Parts")
    yield "Parts-v0"
    del gymnasium.registry["Parts-v0"]


def test_an_environment_of_parts_shows_and_takes_them(parts_env: str):
    envs = make_envs(parts_env, [0, 1], 3, options={})
    obs = envs.reset()
    final = 0
    for _ in range(20):
        parts = envs.obs_spec.unpack(obs)
        light = (parts["camera"][:, 0, 0, 0] > 0).astype(np.float32)
        sign = (parts["place"][:, 0] > 0).astype(np.float32)
        result = envs.step(np.stack([light, sign, np.full(2, 0.5, np.float32)], 1))
        assert result.rewards.tolist() == [1, 1]
        obs = result.obs
        final += len(result.final_obs)
        for row in result.final_obs.values():
            assert set(envs.obs_spec.unpack(row[None])["place"].ravel()) <= {-1, 1}
    assert final == 4
    envs.close()


def test_an_agent_learns_an_environment_of_parts_and_is_evaluated_recorded_and_asked(
    parts_env: str, tmp_path: Path
):
    settings = {
        "num_envs": 8, "rollout_timesteps": 512, "total_timesteps": 20_480, "network": "mlp",
        "hidden_sizes": (32,), "feature_size": 32, "learning_rate": 3e-3, "discount": 0.5,
        "num_epochs": 4, "num_minibatches": 4, "box_actions": "squash", "initial_log_std": -0.5,
        "normalize_observations": True, "normalize_rewards": False, "entropy_coef": 0.0,
    }  # fmt: skip
    folder = str(tmp_path)
    done = api.train(parts_env, seed=1, checkpoint_dir=folder, display="off", run="r", **settings)
    assert done.status == 0
    agent = api.load_agent("r", checkpoint_dir=folder)
    result = evaluate_agent(agent, "train", 20, 5, True, 8, api.Communicator())
    assert result.summary()["mean_return"] > 7.5, "8 is the most"
    envs = agent.make_envs(3, 1, stream="play")
    acted = agent.act(envs.reset(), agent.noise_block(1, 0, 3))
    assert (acted.actions.shape, acted.values.shape, acted.probabilities) == ((3, 3), (3,), None)
    assert (np.abs(acted.actions[:, 2]) <= 1).all()
    config = RecordConfig(
        episodes=2, size=64, agent_view=True, output=str(tmp_path / "videos"), seed=5, fps=10
    )
    (video,) = record(agent, config)
    assert video.num_frames >= 16
    assert (video.width, video.height) == (128, 64)


def test_spaces_that_do_not_fit_are_named() -> None:
    for space in (
        spaces.Box(0, 9, (2,), np.int32),
        spaces.Tuple((spaces.Discrete(2), spaces.Text(3))),
        spaces.Dict({"a": spaces.Dict({"b": spaces.Sequence(spaces.Discrete(2))})}),
        spaces.Graph(spaces.Discrete(2), None),
    ):
        with pytest.raises(ConfigError) as caught:
            action_spec("Echo-v0", space)
        assert str(caught.value) == (
            f"Echo-v0 has the action space {space}; use an environment with actions that are "
            "Discrete, MultiDiscrete, MultiBinary, a Box of real numbers, or a Dict or Tuple of "
            "them"
        )
    for space, name in (
        (spaces.Sequence(spaces.Discrete(3)), "Sequence"),
        (spaces.Dict({"mission": spaces.Text(3), "x": spaces.Discrete(2)}), "Dict"),
    ):
        message = f"Echo-v0 has the observation space {name}.* no vector of fixed length; use"
        with pytest.raises(ConfigError, match=message):
            observation_spec("Echo-v0", space)
