"""Files of trajectories: the same after reading, the same bytes each time, hostile ones refused."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expert import trajectories

from ppo_mpi.envs.spaces import Box, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage import array_files
from ppo_mpi.storage.trajectories import (
    ARRAYS,
    METADATA,
    Trajectories,
    read_trajectories,
    trajectories_bytes,
    write_trajectories,
)


@pytest.mark.parametrize("image", [True, False])
def test_what_was_written_is_read(tmp_path: Path, image: bool):
    spec = ObservationSpec((4, 5, 3), "uint8") if image else ObservationSpec((3,), "float32")
    written = trajectories(obs_spec=spec, action_spec=Box((-1.0, 0.0), (1.0, float("inf"))))
    write_trajectories(tmp_path / "t.npz", written, clobber=False)
    read = read_trajectories(tmp_path / "t.npz")
    for name in ARRAYS:
        one, other = getattr(read, name), getattr(written, name)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    assert read.metadata == written.metadata
    assert read.observations.dtype == (np.uint8 if image else np.float32)
    expected = [written.rewards[a:b].sum() for a, b in ((0, 4), (4, 5), (5, 11))]
    np.testing.assert_allclose(read.returns, expected, rtol=1e-6)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as plain:  # as the documentation says
        assert set(plain) == {METADATA, *ARRAYS}
        assert json.loads(str(plain[METADATA]))["version"] == 1


def test_equal_trajectories_have_equal_bytes_and_no_clock():
    assert trajectories_bytes(trajectories()) == trajectories_bytes(trajectories())
    with zipfile.ZipFile(io.BytesIO(trajectories_bytes(trajectories()))) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_a_file_is_replaced_only_if_that_is_wished(tmp_path: Path):
    path = tmp_path / "deep" / "t.npz"
    write_trajectories(path, trajectories(), clobber=False)
    with pytest.raises(ConfigError, match="exists; use another --output, or --clobber"):
        write_trajectories(path, trajectories(seed=1), clobber=False)
    assert np.array_equal(read_trajectories(path).actions, trajectories().actions)
    write_trajectories(path, trajectories(seed=1), clobber=True)
    assert np.array_equal(read_trajectories(path).actions, trajectories(seed=1).actions)
    assert os.listdir(path.parent) == ["t.npz"]


def changed(**fields: Any) -> Trajectories:
    return replace(trajectories(), **fields)


OK = trajectories()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (changed(episode_bounds=np.array([0, 4, 4, 11])), "do not divide its 11 steps"),
        (changed(episode_bounds=np.array([0, 4, 5, 99])), "do not divide its 11 steps"),
        (changed(episode_bounds=np.array([0])), "do not divide its 11 steps"),
        (changed(episode_bounds=np.array([0, 4, 6, 11])), "do not end where terminated"),
        (changed(episode_bounds=OK.episode_bounds.astype(float)), "episode_bounds is 1-dim"),
        (changed(rewards=OK.rewards[:5]), "do not divide its 5 steps"),
        (changed(rewards=OK.rewards[:, None]), "rewards is 2-dimensional"),
        (changed(actions=OK.actions[:5]), r"actions are \(5,\) for 11 steps"),
        (changed(actions=np.array(3)), r"actions are \(\) for 11 steps"),
        (changed(terminated=OK.terminated[:-1]), "terminated are"),
        (changed(final_observations=OK.final_observations[:2]), "final_observations are"),
        (changed(final_known=OK.final_known[:2]), "another number of episodes"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(
    found: Trajectories, message: str, tmp_path: Path
):
    (tmp_path / "t.npz").write_bytes(trajectories_bytes(found))
    with pytest.raises(ConfigError, match=message):
        read_trajectories(tmp_path / "t.npz")


def rewritten(change: Callable[[str, bytes], bytes | None], method: int = 0) -> bytes:
    """Return a good file with its members changed; None leaves one out."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(trajectories_bytes(OK))) as old,
        zipfile.ZipFile(content, "w", method) as new,
    ):
        for entry in old.infolist():
            member = change(entry.filename, old.read(entry))
            if member is not None:
                new.writestr(entry.filename, member)
    return content.getvalue()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def member(name: str, content: bytes | None) -> bytes:
    return rewritten(lambda found, old: content if found == f"{name}.npy" else old)


HUGE = npy(np.zeros(11, np.int64)).replace(b"(11,)", b"(1099511627776,)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no .npz of plain arrays"),
        (b"no zip at all" * 9, "is no .npz of plain arrays"),
        (trajectories_bytes(OK)[:-300], "is no .npz of plain arrays"),
        (member("actions", npy(np.array([print], object), True)), "no plain numbers"),
        (member("actions", b"cos\nsystem\n(S'true'\ntR."), "is no .npz of plain arrays"),
        (member("actions", HUGE), "claims 8,796,093,022,208 bytes for"),
        (member("actions", npy(np.zeros(11))[:-8]), "claims 88 bytes for .* there are 80"),
        (member("actions", npy(np.zeros(11, [("a", "i4")]))), "which are no plain numbers"),
        (member("actions", None), "it lacks actions"),
        (member("metadata", npy(np.array("{}"))), "has the format None None"),
        (member("metadata", npy(np.array("[1]"))), "its metadata are no object"),
        (member("metadata", npy(np.array('{"format": 1, "format": 2}'))), "stands twice"),
        (member("metadata", npy(np.zeros(3))), "its metadata are no text"),
        (rewritten(lambda _, old: old, zipfile.ZIP_BZIP2), "packed in a way"),
    ],
)
def test_hostile_files_are_refused(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_trajectories(path)


def test_what_would_fill_the_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bomb = npy(np.zeros(10**6, np.int64))
    content = rewritten(lambda name, old: bomb if name == "actions.npy" else old, 8)
    assert len(content) < 20_000
    (tmp_path / "t.npz").write_bytes(content)
    monkeypatch.setattr(array_files, "memory_bytes", lambda: 16 * 10**6)
    with pytest.raises(ConfigError, match="its arrays claim 8,00.* bytes, more than 4,000,000"):
        read_trajectories(tmp_path / "t.npz")
    monkeypatch.setattr(array_files, "memory_bytes", lambda: 16 * 1000)
    with pytest.raises(ConfigError, match="bytes, more than 1000"):
        read_trajectories(tmp_path / "t.npz")


def test_links_pipes_and_nothing_are_refused(tmp_path: Path):
    (tmp_path / "real.npz").write_bytes(trajectories_bytes(OK))
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    for name, message in (
        ("link", "is a symbolic link"), ("pipe", "is not a regular file"), ("none", "cannot read"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            read_trajectories(tmp_path / f"{name}.npz")
