"""Named arrays in one file .npz: the same bytes each time, read without trust.

No pickles: an array is plain numbers or letters. What a file claims of its sizes is compared with
the bytes that are there, and with the memory, before anything is made of it.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.untrusted_files import memory_bytes, read_regular_file

FILE_SHARE, UNPACKED_SHARE = 16, 4
"""Of the memory: the largest file is one part in 16, what it unpacks to one in 4."""
KINDS = "biufU"
"""Kinds of numbers that an array may have: booleans, whole numbers, real numbers; and letters."""
_SUFFIX = ".npy"
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The time that a zip file has for no time: with a clock's, no two files would be the same."""


def arrays_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a compressed .npz with these arrays, which ``numpy.load`` reads."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array.copy("C"), (1, 0), False)
            entry = zipfile.ZipInfo(name + _SUFFIX, _BEGINNING)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getbuffer(), compresslevel=6)
    return file.getvalue()


def read_arrays(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Return those of the wanted arrays that a file .npz has; others are not looked at.

    Raises:
        ConfigError: the file cannot be read, or is not what it claims to be.
    """
    memory = memory_bytes()
    try:
        content = read_regular_file(path, memory // FILE_SHARE)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _arrays_of(archive, wanted, memory // UNPACKED_SHARE)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path} ({error.strerror or error}); name a file that is there"
        ) from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ConfigError(
            f"{path} is no .npz of plain arrays: {str(error)[:200]}; write it with `record "
            "--trajectories`, or with numpy.savez and arrays of numbers"
        ) from error


def _arrays_of(
    archive: zipfile.ZipFile, wanted: Collection[str], most_bytes: int
) -> dict[str, np.ndarray]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(_SUFFIX)
        if name not in wanted:
            continue
        if name in entries:
            raise ValueError(f"it has {name} twice")
        if entry.flag_bits & 1 or entry.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise ValueError(f"{name} is packed in a way that numpy does not write")
        entries[name] = entry
    claimed = sum(entry.file_size for entry in entries.values())
    if claimed > most_bytes:
        raise ValueError(f"its arrays claim {claimed:,} bytes, more than {most_bytes:,} here")
    return {name: _read_array(archive, entry, name) for name, entry in entries.items()}


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> np.ndarray:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{name} has the format version {version}")
        if dtype.hasobject or dtype.kind not in KINDS:
            raise ValueError(f"{name} holds {dtype}, which are no plain numbers")
        num_bytes = math.prod(shape) * dtype.itemsize
        there = entry.file_size - file.tell()
        if num_bytes != there or min(shape, default=0) < 0:
            raise ValueError(f"{name} claims {num_bytes:,} bytes for {shape}, there are {there:,}")
        content = file.read(num_bytes)
        if len(content) != num_bytes:
            raise ValueError(f"{name} ends after {len(content):,} of {num_bytes:,} bytes")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")
    return array.astype(dtype.newbyteorder("="), order="C")
