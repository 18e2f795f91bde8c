"""Experts' data of other systems, and Minari's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expert import trajectories

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.expert_data import read_expert
from ppo_mpi.storage.trajectories import write_trajectories

OBS = np.arange(18, dtype=np.float64).reshape(6, 3)
ACTIONS = np.arange(6)


def saved(folder: Path, **arrays: np.ndarray) -> str:
    np.savez(folder / "e.npz", **arrays)
    return str(folder / "e.npz")


def test_the_own_format_is_read_with_its_facts(tmp_path: Path):
    own = trajectories()
    write_trajectories(tmp_path / "e.npz", own, clobber=False)
    read = read_expert(str(tmp_path / "e.npz"))
    assert np.array_equal(read.observations, own.observations)
    assert np.array_equal(read.bounds, [0, 4, 5, 11])
    assert read.metadata["env"] == "made"
    assert read.rewards is not None


@pytest.mark.parametrize(
    "ends",
    [
        {"dones": np.array([0, 1, 0, 0, 0, 1], bool)},
        {"dones": np.array([0, 1, 0, 0, 0, 0], bool)},  # the last one was cut by the writing
        {"terminals": np.array([0, 1, 0, 0, 0, 0]), "timeouts": np.array([0, 0, 0, 0, 0, 1])},
        {"episode_starts": np.array([1, 0, 1, 0, 0, 0], bool)},
        {"episode_bounds": np.array([0, 2, 6])},
    ],
)
@pytest.mark.parametrize("names", [("obs", "acts"), ("observations", "actions")])
def test_steps_with_their_ends_are_read(tmp_path: Path, ends: dict, names: tuple[str, str]):
    infos = np.array([{"a": 1}] * 6, object)  # imitation's files have such; nobody opens them
    arrays = {names[0]: OBS, names[1]: ACTIONS, "infos": infos, **ends}
    read = read_expert(saved(tmp_path, **arrays))
    assert read.bounds.tolist() == [0, 2, 6]
    assert np.array_equal(read.observations, OBS)
    assert np.array_equal(read.actions, ACTIONS)
    assert read.rewards is None


def test_padded_episodes_are_read_as_far_as_they_are_long(tmp_path: Path):
    states = np.arange(2 * 4 * 3.0).reshape(2, 4, 3)
    actions, rewards = states[..., :1] + 100, states[..., 0] + 200
    name = saved(
        tmp_path, states=states, actions=actions, rewards=rewards, lengths=np.array([3, 2])
    )
    read = read_expert(name)
    assert read.bounds.tolist() == [0, 3, 5]
    assert read.rewards is not None
    for found, padded in ((read.observations, states), (read.actions, actions),
                          (read.rewards, rewards)):  # fmt: skip
        assert np.array_equal(found, np.concatenate([padded[0, :3], padded[1, :2]]))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"obs": OBS}, "it has no acts or actions"),
        ({"obs": OBS, "acts": ACTIONS}, "does not say where episodes end"),
        ({"obs": OBS, "acts": ACTIONS[:3], "dones": ACTIONS > 0}, r"actions \(3,\)"),
        ({"obs": OBS, "acts": ACTIONS, "dones": OBS > 0}, r"dones are \(6, 3\) for 6 steps"),
        ({"obs": OBS, "acts": ACTIONS, "episode_starts": ACTIONS > 0}, "do not divide"),
        ({"obs": OBS[:0], "acts": ACTIONS[:0], "dones": ACTIONS[:0]}, "observations are"),
        ({"states": OBS[None], "actions": OBS[None], "lengths": np.array([7])}, "do not fit"),
        ({"states": OBS[None], "actions": OBS[None], "lengths": np.array([0])}, "do not fit"),
        ({"states": OBS[None], "actions": OBS[None, :3], "lengths": np.array([2])}, "beside"),
        ({"states": OBS[None], "actions": OBS[None], "lengths": OBS}, "lengths are"),
        (  # where these are subtracted from each other, 3 - 4 is 2 ** 64 - 1
            {"obs": OBS, "acts": ACTIONS, "episode_bounds": np.array([0, 4, 3, 6], np.uint64)},
            "do not divide",
        ),
        (
            {"obs": OBS, "acts": ACTIONS, "dones": ACTIONS > 4, "rewards": np.array(["a"] * 6)},
            "rewards are <U1, no numbers",
        ),
        (
            {
                "states": OBS[None],
                "actions": OBS[None],
                "lengths": np.array([6]),
                "rewards": np.full((1, 6), "a"),
            },
            "rewards are <U1, no numbers",
        ),
        (
            {
                "states": OBS[None],
                "actions": OBS[None],
                "lengths": np.array([6]),
                "rewards": OBS[None],
            },
            r"rewards are \(1, 6, 3\), not one of each step",
        ),
    ],
)
def test_files_that_are_not_whole_are_refused(tmp_path: Path, arrays: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        read_expert(saved(tmp_path, **arrays))


def test_a_minari_data_set_is_read_by_id_and_by_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    minari = pytest.importorskip("minari")
    import gymnasium
    import h5py
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    random, buffers = np.random.default_rng(0), []
    for number, length in enumerate((3, 5)):  # and an observation behind the last action
        obs = random.normal(size=(length + 1, 4)).astype(np.float32)
        no, yes = [False] * length, [False] * (length - 1) + [True]
        acts = random.integers(0, 2, length)
        buffers.append(EpisodeBuffer(id=number, seed=0, observations=obs, actions=acts,
                                     rewards=[1.0] * length, terminations=yes, truncations=no,
                                     infos={}))  # fmt: skip
    minari.create_dataset_from_buffers(
        "cartpole/made-v0", buffers, env=gymnasium.make("CartPole-v1"), algorithm_name="none",
        author="a", author_email="a@example.org", code_permalink="none",
    )  # fmt: skip
    seen = np.concatenate([own.observations[:-1] for own in buffers])
    done = np.concatenate([own.actions for own in buffers])
    for name in ("minari:cartpole/made-v0", str(tmp_path / "cartpole" / "made-v0")):
        read = read_expert(name)
        assert np.array_equal(read.observations, seen)
        assert np.array_equal(read.actions, done)
        assert read.bounds.tolist() == [0, 3, 8]
        assert read.rewards is not None
        assert read.rewards.tolist() == [1.0] * 8
    with pytest.raises(ConfigError, match="expert_data=cartpole/nothing-v0 is no Minari data"):
        read_expert("minari:cartpole/nothing-v0")
    file = tmp_path / "cartpole" / "made-v0" / "data" / "main_data.hdf5"
    with h5py.File(file, "r+") as content:  # nothing is stored of it: what was not written is 0
        del content["episode_1/observations"]
        content["episode_1"].create_dataset(
            "observations", (2**40, 4), np.float32, chunks=(2**16, 4), compression="gzip"
        )
    with pytest.raises(ConfigError, match="its arrays claim 17,592,186,044,.* bytes, more than"):
        read_expert("minari:cartpole/made-v0")
    with h5py.File(file, "r+") as content:
        del content["episode_1/observations"]
        content["episode_1/observations"] = h5py.ExternalLink("other.hdf5", "/secret")
    with pytest.raises(ConfigError, match="its observations is in another file"):
        read_expert("minari:cartpole/made-v0")
    file.write_bytes(b"no HDF5")
    with pytest.raises(ConfigError, match="is no Minari data set that can be read"):
        read_expert(str(tmp_path / "cartpole" / "made-v0"))
    with pytest.raises(ConfigError, match="is a folder without data/main_data.hdf5"):
        read_expert(str(tmp_path))
