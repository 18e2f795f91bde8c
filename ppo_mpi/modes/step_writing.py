"""Writing the steps of all ranks into one file .npz, which is the same for any number of ranks.

Rank 0 writes array by array and gets what it writes piece by piece, so that no rank ever holds more
than a few of them. Axes: N steps; n of a piece.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.modes.evaluation_tables import PlayedEpisode
from ppo_mpi.modes.saved_steps import episode_table
from ppo_mpi.modes.step_store import FINALS, KNOWN, OBSERVATIONS, StepStore
from ppo_mpi.storage.durable import HALF_WRITTEN, explained

PIECE_BYTES = 2**23
"""What rank 0 gets at once."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of all members, so that the same steps make the same file."""


@dataclass(frozen=True)
class StepSet:
    """What was played on one set of levels in one game."""

    game: str
    levels: str
    episodes: Sequence[PlayedEpisode]
    """Of the whole job, in their order."""
    store: StepStore
    """Those of this rank."""


def write_steps(
    path: Path, sets: Sequence[StepSet], metadata: Mapping[str, Any], comm: Communicator
) -> None:
    """Write the steps of all episodes of all ranks. Collective.

    Args:
        path: of the file, which is replaced.
        sets: the same on every rank but for their stores.
        metadata: JSON.
        comm: the job.

    Raises:
        StorageError: on rank 0, the file cannot be written.
    """
    kinds: dict[str, tuple[tuple[int, ...], str]] = {}
    for own in comm.gather_all(sets[0].store.kinds):  # collective
        kinds = kinds or own
    for other in sets[1:]:
        for own in comm.gather_all(other.store.kinds):  # collective
            kinds = kinds or own
    with contextlib.ExitStack() as cleanup:
        file = None
        if comm.is_root:
            file = cleanup.enter_context(_new_archive(path))
        for name, (shape, dtype) in kinds.items():
            _write_array(file, name, sets, shape, np.dtype(dtype), comm)  # collective
        shape, dtype = kinds[OBSERVATIONS]
        known = _write_finals(file, sets, shape, np.dtype(dtype), comm)  # collective
        if file is None:
            return
        _write_small(file, KNOWN, np.array(known, bool))
        for name, array in _table(sets).items():
            _write_small(file, name, array)
        _write_small(file, "metadata", np.array(json.dumps(metadata, sort_keys=True)))


def _write_array(
    file: zipfile.ZipFile | None,
    name: str,
    sets: Sequence[StepSet],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    comm: Communicator,
) -> None:
    """Write one array [N, ...] from what all ranks hold of it. Collective."""
    total = sum(episode.length for own in sets for episode in own.episodes)
    most = max(1, PIECE_BYTES // max(1, math.prod(shape) * dtype.itemsize))
    with contextlib.ExitStack() as cleanup:
        member = None
        if file is not None:
            member = cleanup.enter_context(file.open(_member(name), "w", force_zip64=True))
            _write_header(member, (total, *shape), dtype)
        for message in _messages(sets, most):
            own = [_read(sets[place].store, name, *where) for place, *where in message]
            found = comm.gather_objects(own)  # collective
            if member is None or found is None:
                continue
            for pieces in zip(*found, strict=True):
                (piece,) = [part for part in pieces if part is not None]
                member.write(np.ascontiguousarray(piece, dtype).tobytes())


def _write_finals(
    file: zipfile.ZipFile | None,
    sets: Sequence[StepSet],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    comm: Communicator,
) -> list[bool]:
    """Write what E episodes ended in, zeros where that is not known. Collective.

    Returns:
        on rank 0, of which it is known.
    """
    every = [(own.store, episode.episode) for own in sets for episode in own.episodes]
    most = max(1, PIECE_BYTES // max(1, math.prod(shape) * dtype.itemsize))
    known: list[bool] = []
    with contextlib.ExitStack() as cleanup:
        member = None
        if file is not None:
            member = cleanup.enter_context(file.open(_member(FINALS), "w", force_zip64=True))
            _write_header(member, (len(every), *shape), dtype)
        for start in range(0, len(every), most):
            own = [store.final(episode) for store, episode in every[start : start + most]]
            found = comm.gather_objects(own)  # collective
            if member is None or found is None:
                continue
            for parts in zip(*found, strict=True):
                final = next((part for part in parts if part is not None), None)
                known.append(final is not None)
                final = np.zeros(shape, dtype) if final is None else final
                member.write(np.ascontiguousarray(final, dtype).tobytes())
    return known


def _messages(sets: Sequence[StepSet], most: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """Yield lists of (set, episode, start, stop) with at most ``most`` steps together."""
    message: list[tuple[int, int, int, int]] = []
    room = most
    for place, own in enumerate(sets):
        for episode in own.episodes:
            start = 0
            while start < episode.length:
                stop = min(episode.length, start + room)
                message.append((place, episode.episode, start, stop))
                room -= stop - start
                start = stop
                if not room:
                    yield message
                    message, room = [], most
    if message:
        yield message


def _read(store: StepStore, name: str, episode: int, start: int, stop: int) -> np.ndarray | None:
    return store.read(name, episode, start, stop) if episode in store.levels else None


def _table(sets: Sequence[StepSet]) -> dict[str, np.ndarray]:
    all_of = [(own, episode) for own in sets for episode in own.episodes]
    return episode_table(
        [episode.length for _, episode in all_of],
        [episode.episode for _, episode in all_of],
        [episode.level for _, episode in all_of],
        [episode.episode_return for _, episode in all_of],
        [own.levels for own, _ in all_of],
        [own.game for own, _ in all_of],
    )


@contextlib.contextmanager
def _new_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a file that takes its place only when it is whole."""
    half_written = path.with_name(f"{HALF_WRITTEN}{path.name}-{os.getpid()}")
    try:
        with explained("write the steps", path.parent):
            with zipfile.ZipFile(half_written, "w", zipfile.ZIP_DEFLATED) as file:
                yield file
            half_written.rename(path)
    except BaseException:
        half_written.unlink(missing_ok=True)
        raise


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy", LONG_AGO)
    info.compress_type = zipfile.ZIP_DEFLATED
    info._compresslevel = 1  # type: ignore[attr-defined]  # the archive's own is not looked at
    return info


def _write_header(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)


def _write_small(file: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with file.open(_member(name), "w") as member:
        _write_header(member, array.shape, array.dtype)
        member.write(array.tobytes())
