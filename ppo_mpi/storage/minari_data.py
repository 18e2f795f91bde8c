"""Minari's data sets of episodes (HDF5), read from the disk only.

Axes: N steps, episode after episode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.untrusted_files import memory_bytes

_UNPACKED_SHARE = 4
"""What is read may be one part in so many of the memory."""


def is_minari_folder(path: Path) -> bool:
    """Return whether a folder is that of a Minari data set."""
    return (path / "data" / "main_data.hdf5").is_file()


def read_minari(
    name: str, folder: Path | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Read all episodes of a data set.

    Nothing is downloaded, and no environment is made.

    Args:
        name: its id, or its folder; for messages.
        folder: where it lies; None looks the id up where Minari keeps its data sets.

    Returns:
        observations [N, ...], actions [N, ...], rewards [N] and the episodes' lengths.

    Raises:
        ConfigError: Minari is not installed, or has no such data set, or its observations or
            actions are no plain arrays.
    """
    try:
        import minari
    except ImportError:
        raise ConfigError(
            f"expert_data={name} is a Minari data set, but minari is not installed; use "
            "pip install 'ppo_mpi[minari]'"
        ) from None
    with _explained(name):
        if folder is None:
            if name not in minari.list_local_datasets():
                raise ValueError(f"it is not on this disk, `minari download {name}` brings it")
            data = minari.load_dataset(name, download=False)
        else:
            data = minari.MinariDataset(folder / "data")
        _check_size(Path(data.storage.data_path))
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for episode in data.iterate_episodes():
            obs, actions = episode.observations, episode.actions
            if not isinstance(obs, np.ndarray) or not isinstance(actions, np.ndarray):
                raise ValueError(
                    "its observations or actions are dictionaries or tuples, not arrays"
                )
            if len(actions):  # the observation behind the last action is not acted on
                parts.append((obs[: len(actions)], actions, np.asarray(episode.rewards)))
        if not parts:
            raise ValueError("it has no episode")
        obs, actions, rewards = (np.concatenate(own) for own in zip(*parts, strict=True))
    return obs, actions, rewards, [len(actions) for _, actions, _ in parts]


def _check_size(path: Path) -> None:
    """Refuse what would not fit into the memory, packed or not, and what lies elsewhere.

    Raises:
        ValueError: it would not, or does.
    """
    files = [file for file in path.rglob("*") if file.is_file()]
    packed = sum(file.stat().st_size for file in files)
    claimed = sum(_claimed(file) for file in files if file.suffix == ".hdf5")
    most = memory_bytes() // _UNPACKED_SHARE
    if max(packed, claimed) > most:
        raise ValueError(
            f"its arrays claim {max(packed, claimed):,} bytes, more than {most:,} here"
        )


def _claimed(path: Path) -> int:
    """Return the bytes of all arrays of an HDF5 file, of which a few may be all that is stored.

    Raises:
        ValueError: a part of it is in another file, of which it would have to be trusted.
    """
    import h5py

    sizes: list[int] = []

    def look(name: str, found: object) -> None:
        elsewhere = []
        if isinstance(found, h5py.Group):
            links = {own: found.get(own, getlink=True) for own in found}
            elsewhere = [own for own, link in links.items() if isinstance(link, h5py.ExternalLink)]
        elif isinstance(found, h5py.Dataset):
            sizes.append(found.size * found.dtype.itemsize)
            if found.external or found.is_virtual:
                elsewhere = [name]
        if elsewhere:
            raise ValueError(f"its {elsewhere[0][:80]} is in another file")

    with h5py.File(path, "r") as file:
        look("", file)
        file.visititems(look)
    return sum(sizes)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what Minari raises over a missing or damaged data set into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"expert_data={name} is no Minari data set that can be read: "
            f"{str(error).splitlines()[0][:200] if str(error) else repr(error)}; `minari list "
            "local` shows those that are here"
        ) from error
