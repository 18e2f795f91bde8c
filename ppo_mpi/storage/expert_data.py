"""An expert's episodes, from a file of this or of another system, or from a Minari data set.

Axes: N steps, episode after episode; K episodes; L steps of the longest one; F numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.array_files import read_arrays
from ppo_mpi.storage.minari_data import is_minari_folder, read_minari
from ppo_mpi.storage.trajectories import METADATA, check_bounds, read_trajectories

MINARI = "minari:"
_OBSERVATIONS, _ACTIONS = ("obs", "observations"), ("acts", "actions")
_STATES = ("states", "actions", "lengths")
"""Names in files of pytorch-a2c-ppo-acktr-gail: [K, L, F], [K, L, ...] and [K]."""
_OTHERS = ("rewards", "rews", "dones", "terminals", "timeouts", "episode_starts", "episode_bounds")


@dataclass(frozen=True)
class ExpertEpisodes:
    """K episodes of N steps together, as a file has them."""

    observations: np.ndarray
    """[N, ...] raw."""
    actions: np.ndarray
    """[N, ...] as the environment takes them."""
    bounds: np.ndarray
    """[K + 1] int64: episode k has the steps bounds[k] up to, but without, bounds[k + 1]."""
    rewards: np.ndarray | None
    """[N] raw; None where the file has none."""
    metadata: dict[str, Any]
    """What the file says of them; empty for formats that say nothing."""


def read_expert(name: str) -> ExpertEpisodes:
    """Read an expert's episodes.

    Args:
        name: a file .npz, the folder of a Minari data set, or ``minari:`` and its id.

    Raises:
        ConfigError: there is nothing of that name, or it is not what it should be.
    """
    if name.startswith(MINARI):
        episodes = read_minari(name.removeprefix(MINARI), None)
    elif is_minari_folder(Path(name)):
        episodes = read_minari(name, Path(name))
    elif Path(name).is_dir():
        raise ConfigError(
            f"expert_data={name} is a folder without data/main_data.hdf5; name a file .npz, or "
            "the folder of a Minari data set"
        )
    else:
        return _read_file(Path(name))
    obs, actions, rewards, lengths = episodes
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return ExpertEpisodes(obs, actions, bounds, rewards, {})


def _read_file(path: Path) -> ExpertEpisodes:
    names = {METADATA, *_OBSERVATIONS, *_ACTIONS, *_STATES, *_OTHERS}
    found = read_arrays(path, names)
    if METADATA in found:
        own = read_trajectories(path)
        return ExpertEpisodes(
            own.observations, own.actions, own.episode_bounds, own.rewards, own.metadata
        )
    try:
        if found.keys() >= set(_STATES):
            return _from_padded(found)
        return _from_steps(found)
    except ValueError as error:
        raise ConfigError(
            f"expert_data={path} is not understood: {error}; it has to have obs, acts and dones "
            "(or episode_starts, or episode_bounds), or states, actions and lengths, or to be "
            "written by `record --trajectories`"
        ) from error


def _from_padded(found: dict[str, np.ndarray]) -> ExpertEpisodes:
    """Take episodes [K, L, ...] of which the first ``lengths`` steps count."""
    states, actions, lengths = (found[name] for name in _STATES)
    rewards = found.get("rewards")
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not len(lengths):
        raise ValueError(f"lengths are {lengths.shape} {lengths.dtype}")
    for name, array in (("states", states), ("actions", actions), ("rewards", rewards)):
        if array is not None and (array.ndim < 2 or array.shape[:2] != states.shape[:2]):
            raise ValueError(f"{name} are {array.shape} beside states {states.shape}")
    if rewards is not None and rewards.ndim != 2:
        raise ValueError(f"rewards are {rewards.shape}, not one of each step")
    if len(states) != len(lengths) or lengths.min() < 1 or lengths.max() > states.shape[1]:
        raise ValueError(f"lengths do not fit states {states.shape}")
    is_step = np.arange(states.shape[1]) < lengths[:, None]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    own = None if rewards is None else rewards[is_step]
    _check_rewards(own)
    return ExpertEpisodes(states[is_step], actions[is_step], bounds, own, {})


def _from_steps(found: dict[str, np.ndarray]) -> ExpertEpisodes:
    """Take steps [N, ...] and where episodes end or begin."""
    obs, actions = _first(found, _OBSERVATIONS), _first(found, _ACTIONS)
    if not obs.ndim or not actions.ndim or len(obs) != len(actions) or not len(obs):
        raise ValueError(f"observations are {obs.shape}, actions {actions.shape}")
    num = len(obs)
    for name in ("dones", "terminals", "timeouts", "episode_starts", "rewards", "rews"):
        if name in found and found[name].shape != (num,):
            raise ValueError(f"{name} are {found[name].shape} for {num} steps")
    if "episode_bounds" in found:
        bounds = found["episode_bounds"]
        if bounds.ndim != 1 or bounds.dtype.kind not in "iu":
            raise ValueError(f"episode_bounds are {bounds.shape} {bounds.dtype}")
    elif "episode_starts" in found:
        bounds = np.append(np.flatnonzero(found["episode_starts"]), num)
    else:
        ends = [found[name] for name in ("dones", "terminals", "timeouts") if name in found]
        if not ends:
            raise ValueError("it does not say where episodes end")
        ended = np.any(np.stack([own.astype(bool) for own in ends]), axis=0)
        ended[-1] = True  # the last episode may have been cut when it was written
        bounds = np.concatenate([[0], np.flatnonzero(ended) + 1])
    check_bounds(bounds, num)
    rewards = found.get("rewards", found.get("rews"))
    _check_rewards(rewards)
    return ExpertEpisodes(obs, actions, bounds.astype(np.int64), rewards, {})


def _check_rewards(rewards: np.ndarray | None) -> None:
    """Refuse rewards [N] that cannot be added up.

    Raises:
        ValueError: they cannot.
    """
    if rewards is not None and rewards.dtype.kind not in "biuf":
        raise ValueError(f"rewards are {rewards.dtype}, no numbers")


def _first(found: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    for name in names:
        if name in found:
            return found[name]
    raise ValueError(f"it has no {' or '.join(names)}")
