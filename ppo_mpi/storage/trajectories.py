"""Whole episodes of an agent in one file: what it saw, did and got.

Axes: N steps, episode after episode; K episodes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.envs.spaces import ActionSpec, Composite, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.array_files import arrays_bytes, read_arrays
from ppo_mpi.storage.durable import explained, write_atomically
from ppo_mpi.storage.strict_json import parse_json

FORMAT = "ppo_mpi trajectories"
VERSION = 1
METADATA = "metadata"
MAX_METADATA = 2**20
"""Letters of a file's facts."""


@dataclass(frozen=True)
class Trajectories:
    """K whole episodes of N steps together, each step with what led to it."""

    observations: np.ndarray
    """[N, ...] uint8 images, float32 vectors or uint8 rows of both, raw: before any normalizer."""
    actions: np.ndarray
    """[N, ...] as the environment takes them, within its bounds."""
    rewards: np.ndarray
    """[N] float32, raw."""
    terminated: np.ndarray
    """[N] bool, whether the episode ended for good with this step."""
    truncated: np.ndarray
    """[N] bool, whether it was cut short with this step."""
    episode_bounds: np.ndarray
    """[K + 1] int64: episode k has the steps bounds[k] up to, but without, bounds[k + 1]."""
    final_observations: np.ndarray
    """[K, ...] what the last step led to; zeros where not known."""
    final_known: np.ndarray
    """[K] bool, whether it is known."""
    metadata: dict[str, Any]
    """Where they come from: environment, spaces, run, checkpoint, seed."""

    @property
    def num_episodes(self) -> int:
        """K."""
        return len(self.episode_bounds) - 1

    @property
    def returns(self) -> np.ndarray:
        """[K] float64, the episodes' returns."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.episode_bounds[:-1])


ARRAYS = (
    "observations", "actions", "rewards", "terminated", "truncated", "episode_bounds",
    "final_observations", "final_known",
)  # fmt: skip
"""The arrays of a file, by name."""


def describe_observations(spec: ObservationSpec) -> dict[str, Any]:
    """Return an observation space as JSON has it."""
    parts = [asdict(part) | {"shape": list(part.shape)} for part in spec.parts]
    return {"shape": list(spec.shape), "dtype": spec.dtype, "parts": parts}


def describe_actions(spec: ActionSpec) -> dict[str, Any]:
    """Return an action space as JSON has it."""
    if isinstance(spec, Composite):
        return {"kind": "Composite", "parts": [describe_actions(part) for part in spec.parts]}
    fields = {
        name: [str(x) if x in (float("inf"), -float("inf")) else x for x in value]
        if isinstance(value, tuple)
        else value
        for name, value in asdict(spec).items()
    }
    return {"kind": type(spec).__name__, **fields}


def trajectories_bytes(found: Trajectories) -> bytes:
    """Return the file; equal trajectories have equal bytes."""
    facts = {"format": FORMAT, "version": VERSION, **found.metadata}
    text = json.dumps(facts, sort_keys=True, allow_nan=False)
    arrays = {name: getattr(found, name) for name in ARRAYS}
    return arrays_bytes({METADATA: np.array(text), **arrays})


def write_trajectories(path: Path, found: Trajectories, clobber: bool) -> None:
    """Write the file, whole or not at all.

    Raises:
        ConfigError: it exists and is not to be replaced.
        StorageError: it cannot be written.
    """
    check_free(path, clobber)
    with explained("write trajectories", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, trajectories_bytes(found))


def check_free(path: Path, clobber: bool) -> None:
    """Refuse a name that is taken.

    Raises:
        ConfigError: it is, and not to be replaced.
    """
    if path.exists() and (not clobber or path.is_dir()):
        raise ConfigError(f"{path} exists; use another --output, or --clobber to replace the file")


def read_trajectories(path: Path) -> Trajectories:
    """Read a file, which may come from a stranger; each array is checked against the others.

    Raises:
        ConfigError: it is not such a file.
    """
    arrays = read_arrays(path, {METADATA, *ARRAYS})
    try:
        if missing := {METADATA, *ARRAYS} - arrays.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        metadata = _metadata_of(arrays.pop(METADATA))
        _check_shapes(arrays)
    except ValueError as error:
        raise ConfigError(
            f"{path} holds no trajectories of ppo_mpi: {error}; write it with `record "
            "--trajectories`"
        ) from error
    return Trajectories(**arrays, metadata=metadata)


def _metadata_of(array: np.ndarray) -> dict[str, Any]:
    if array.shape != () or array.dtype.kind != "U" or array.dtype.itemsize > 4 * MAX_METADATA:
        raise ValueError("its metadata are no text")
    metadata = parse_json(str(array).encode())
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are no object")
    found = metadata.pop("format", None), metadata.pop("version", None)
    if found != (FORMAT, VERSION):
        shown = " ".join(repr(x)[:80] for x in found)
        raise ValueError(f"it has the format {shown}; known is {FORMAT!r} {VERSION}")
    return metadata


def _check_shapes(arrays: dict[str, np.ndarray]) -> None:
    """Compare the arrays with each other.

    Raises:
        ValueError: two do not fit, or one is of the wrong kind.
    """
    for name, kind in (
        ("rewards", "f"), ("terminated", "b"), ("truncated", "b"), ("episode_bounds", "i"),
        ("final_known", "b"),
    ):  # fmt: skip
        if arrays[name].ndim != 1 or arrays[name].dtype.kind != kind:
            raise ValueError(f"{name} is {arrays[name].ndim}-dimensional {arrays[name].dtype}")
    num, bounds = len(arrays["rewards"]), arrays["episode_bounds"]
    check_bounds(bounds, num)
    obs, final = arrays["observations"], arrays["final_observations"]
    for name in ("observations", "actions", "terminated", "truncated"):
        if not arrays[name].ndim or len(arrays[name]) != num:
            raise ValueError(f"{name} are {arrays[name].shape} for {num} steps")
    if final.shape != (len(bounds) - 1, *obs.shape[1:]) or final.dtype != obs.dtype:
        raise ValueError(f"final_observations are {final.shape} beside observations {obs.shape}")
    if len(arrays["final_known"]) != len(final):
        raise ValueError("final_known has another number of episodes")
    ended = arrays["terminated"] | arrays["truncated"]
    if not np.array_equal(np.flatnonzero(ended), bounds[1:] - 1):
        raise ValueError("its episodes do not end where terminated or truncated say so")


def check_bounds(bounds: np.ndarray, num_steps: int) -> None:
    """Refuse bounds [K + 1] that do not divide the steps into episodes of at least one.

    Raises:
        ValueError: they do not.
    """
    bounds = bounds.astype(np.int64)  # the difference of unsigned ones is never below 0
    is_whole = len(bounds) > 1 and bounds[0] == 0 and bounds[-1] == num_steps
    if not is_whole or (np.diff(bounds) < 1).any():
        raise ValueError(f"its episodes do not divide its {num_steps} steps")
