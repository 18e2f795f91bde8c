"""Steps of episodes: callbacks, forced actions, arrays, files and activations."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes import step_store, step_writing
from ppo_mpi.modes.collecting import collect
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.modes.run_handle import evaluate_alone
from ppo_mpi.modes.saved_steps import Steps, load_steps
from ppo_mpi.modes.step_store import StepStore
from ppo_mpi.modes.step_writing import StepSet, write_steps
from ppo_mpi.modes.steps import Step, Watcher
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.suites import make_envs

COMM = Communicator()


def make_agent(env: str = "CartPole-v1", **values: object) -> Agent:
    """Return an agent with fresh weights and a will of its own."""
    small = {"env": env, "precision": "float32", "channel_multiplier": 0.25, "feature_size": 16}
    config = with_values(TrainConfig(), small | {"hidden_sizes": (8,)} | values)
    envs = make_envs(config, range(1), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    with torch.no_grad():
        model.policy_head.weight.mul_(50)
    return Agent(config, Path("runs/r"), 1000, model, None, Path("runs/r/x"))


MEMORY = {"env": "probe:memory", "recurrent": "lstm", "recurrent_size": 8}


def test_a_callback_sees_every_step_and_is_told_what_the_agent_thought():
    agent = make_agent(**MEMORY)
    seen: list[Step] = []
    result = evaluate_alone(agent, 3, seed=5, callback=seen.append)
    assert [(s.episode, s.step) for s in seen] == [
        (e.episode, k) for e in result.episodes for k in range(e.length)
    ]
    assert [s.episode_return for s in seen if s.done] == [e.episode_return for e in result.episodes]
    memory = agent.no_memory(1)
    for step in seen:
        if step.step == 0:
            memory[:] = 0
        acted = agent.act(step.observation[None], None, memory)
        assert step.memory.tolist() == memory[0].tolist()
        assert step.value == pytest.approx(float(acted.values[0]), rel=1e-5, abs=1e-6)
        assert step.probabilities == pytest.approx(acted.probabilities[0], rel=1e-5, abs=1e-6)
        memory = agent.act(np.repeat(step.observation[None], 16, 0), None,
                           np.repeat(memory, 16, 0)).memory[:1]  # fmt: skip
    assert len({s.step for s in seen}) > 3


def test_a_callback_changes_nothing_and_ends_it_when_it_has_seen_enough():
    agent = make_agent()
    wanted = evaluate_agent(agent, "train", 6, 5, False, 3, COMM).episodes
    assert evaluate_alone(agent, 6, seed=5, callback=lambda step: False).episodes == wanted
    stopped = evaluate_alone(agent, 6, seed=5, callback=lambda step: step.episode == 2)
    assert stopped.episodes == wanted[:2]
    none = evaluate_alone(agent, 6, callback=lambda step: True)
    assert none.episodes == []
    assert none.summary()["episodes"] == 0
    assert set(none.summary()) == set(stopped.summary())


def test_an_evaluation_that_cannot_be_is_refused():
    for wrong, message in (
        ({"episodes": 0}, "episodes=0 is too small"),
        ({"num_envs": -1}, "num_envs=-1 is too small"),
        ({"seed": -1}, "seed=-1 is too small"),
        ({"levels": "both"}, "levels='both'"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate_alone(make_agent(), **wrong)


def test_collected_steps_are_those_of_the_evaluation():
    agent = make_agent()
    wanted = evaluate_agent(agent, "train", 3, 5, False, 2, COMM).episodes
    steps = collect(agent, episodes=3, seed=5)
    assert steps["episode_lengths"].tolist() == [e.length for e in wanted]
    assert steps["episode_returns"].tolist() == [e.episode_return for e in wanted]
    assert len(steps) == sum(e.length for e in wanted)
    ends = np.flatnonzero(steps["terminated"] | steps["truncated"])
    assert ends.tolist() == (np.cumsum(steps["episode_lengths"]) - 1).tolist()
    second = steps.episode(1)
    assert second["observations"].shape == (wanted[1].length, 4)
    assert set(second["episodes"].tolist()) == {1}
    assert second["steps"].tolist() == list(range(wanted[1].length))
    assert int(second["episode_numbers"]) == 1
    assert [len(own["rewards"]) for own in steps] == [e.length for e in wanted]
    with pytest.raises(IndexError):
        steps.episode(3)


def test_so_many_timesteps_are_collected_the_last_episode_unfinished():
    steps = collect(make_agent("probe:match"), timesteps=25)
    assert steps["episode_lengths"].tolist() == [10, 10, 5]
    assert steps["truncated"].sum() == 2
    for wrong in ({}, {"episodes": 1, "timesteps": 1}):
        with pytest.raises(ConfigError, match="use one of the two"):
            collect(make_agent("probe:match"), **wrong)


@pytest.mark.parametrize(
    ("forced", "wanted"),
    [
        (2, [2] * 10),
        ([0, None, 1], [0, None, 1] + [None] * 7),
        (lambda obs, step: 1 if step % 2 else None, [None, 1] * 5),
    ],
)
def test_actions_can_be_forced(forced: Any, wanted: list[int | None]):
    agent = make_agent("probe:match")
    steps = collect(agent, episodes=2, forced=forced, seed=1, greedy=True)
    free = agent.act(steps["observations"], None).actions
    for start in (0, 10):
        own = steps["actions"][start : start + 10].tolist()
        asked = [free[start + k] if a is None else a for k, a in enumerate(wanted)]
        assert own == asked
    # What is paid is paid for the forced actions, and values are still the agent's.
    hits = steps["observations"].argmax(1) == steps["actions"]
    assert steps["rewards"].tolist() == hits.tolist()


def test_forced_numbers_may_be_of_any_kind_but_not_out_of_bounds():
    agent = make_agent("probe:box")
    steps = collect(agent, timesteps=3, forced=np.array([0.5]))
    assert steps["actions"].tolist() == [[0.5]] * 3
    with pytest.raises(ValueError, match="is none of Box"):
        collect(agent, timesteps=3, forced=np.array([1.5]))
    with pytest.raises(ValueError, match=r"the action 3 is none of Discrete\(3\)"):
        collect(make_agent("probe:match"), timesteps=3, forced=3)


def test_activations_are_what_the_layers_gave_for_each_step():
    agent = make_agent("probe:image", network="nature", conv_channels=(8,), recurrent="gru")
    steps = collect(agent, episodes=1, activations=True, greedy=True)
    own, model = steps.arrays, agent.model
    recurrent = own["activations/shared.memory"]
    assert recurrent.tolist()[:-1] == own["memories"].tolist()[1:]
    torch.testing.assert_close(
        model.policy_head(torch.from_numpy(recurrent)),
        torch.from_numpy(own["activations/policy"]),
    )
    assert own["activations/value"].tolist() == own["values"].tolist()
    assert "activations/policy" in collect(agent, timesteps=1, activations="policy").arrays
    few = collect(agent, timesteps=2, activations=["polic?", "shared.1"])
    assert sorted(n for n in few.arrays if n.startswith("activations/")) == [
        "activations/policy", "activations/shared.1",
    ]  # fmt: skip
    assert few["activations/shared.1"].shape == (2, 2, 1, 1)
    with pytest.raises(ConfigError, match=r"activation_layers=torso is no layer.*shared\.memory"):
        collect(agent, timesteps=2, activations=["torso"])


def save(path: Path, agent: Agent, num_envs: int, episodes: int = 5) -> None:
    with StepStore() as store:
        watcher = Watcher(store.add, layers=("shared.*", "policy"))
        result = evaluate_agent(agent, "train", episodes, 5, False, num_envs, COMM, watcher)
        write_steps(path, [StepSet("g", "train", result.episodes, store)], {"seed": 5}, COMM)


def test_a_file_holds_what_was_collected_however_it_was_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    agent = make_agent()
    save(tmp_path / "a.npz", agent, 1)
    monkeypatch.setattr(step_store, "BUFFER_BYTES", 300)
    monkeypatch.setattr(step_writing, "PIECE_BYTES", 100)
    save(tmp_path / "b.npz", agent, 4)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.npz", "b.npz"]
    read, wanted = (
        load_steps(tmp_path / "a.npz"),
        collect(agent, 5, seed=5, activations=["shared.*", "policy"]),
    )
    assert read.arrays.keys() == wanted.arrays.keys()
    for name in set(wanted.arrays) - {"episode_games"}:
        assert read[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(read[name], wanted[name])
    assert read.metadata == {"seed": 5}
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        for name in file.namelist():  # none is a pickle
            np.lib.format.read_array(io.BytesIO(file.read(name)), allow_pickle=False)


@pytest.mark.parametrize("env", ["probe:match", "probe:terminal", "CartPole-v1"])
def test_what_an_episode_ended_in_is_kept_where_it_is_known(env: str, tmp_path: Path):
    agent, finals = make_agent(env), []

    def note(step: Step) -> None:
        if step.done:
            finals.append(step.final_observation)

    evaluate_alone(agent, 5, seed=5, callback=note)
    save(tmp_path / "a.npz", agent, 4)
    for steps in (load_steps(tmp_path / "a.npz"), collect(agent, 5, seed=5)):
        assert steps["final_known"].tolist() == [final is not None for final in finals]
        assert steps["final_observations"].dtype == steps["observations"].dtype
        for final, episode in zip(finals, steps, strict=True):
            assert episode["final_known"] == (final is not None)
            wanted = np.zeros_like(episode["observations"][0]) if final is None else final
            np.testing.assert_array_equal(episode["final_observations"], wanted)
    unfinished = collect(agent, timesteps=1)
    assert unfinished["final_known"].tolist() == [bool(unfinished["truncated"][0])]


def test_an_episode_in_which_the_environment_raised_is_not_saved(tmp_path: Path):
    agent = make_agent(
        "gym:broken_env:Broken-v0", env_kwargs=("how=raise", "step=30"), restart_failed_envs=True
    )
    save(tmp_path / "a.npz", agent, 4, episodes=12)
    numbers = load_steps(tmp_path / "a.npz")["episode_numbers"].tolist()
    assert 0 < len(numbers) < 12
    assert 0 < collect(agent, episodes=12, seed=5).num_episodes < 12


def test_what_is_no_file_of_steps_and_what_saves_nothing_is_said(tmp_path: Path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "told.npz", metadata=np.array("{}"))
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "empty.npz").touch()
    save(tmp_path / "steps.npz", make_agent(), 1, episodes=1)
    whole = (tmp_path / "steps.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.npz").write_bytes(whole[:90] + bytes(4) + whole[94:])
    names = ("other.npz", "told.npz", "array.npy", "empty.npz", "cut.npz", "damaged.npz")
    for name in (*names, "missing.npz"):
        with pytest.raises(ConfigError, match=f"{name} holds no saved steps"):
            load_steps(tmp_path / name)
    for wrong, message in (
        ({"save_steps": "steps.csv"}, r"use a name in \.npz"),
        ({"activations": True}, "writes nothing without save_steps"),
        ({"activation_layers": ("torso",), "save_steps": "a.npz"}, "needs activations=true"),
    ):
        with pytest.raises(ConfigError, match=message):
            EvaluateConfig(**wrong).validate(1)


def test_steps_are_arrays_by_name():
    steps = Steps({"episodes": np.zeros(3)}, {})
    assert len(steps) == 3
    assert steps["episodes"].tolist() == [0, 0, 0]
