"""The manifest of a checkpoint: which files it has, their sizes and their SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.run_folder import MANIFEST, step_timesteps
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.untrusted_files import memory_bytes, read_regular_file

FORMAT = "ppo_mpi checkpoint"
VERSION = 1
STATE = "state.json"
MAX_STATE_BYTES = 2**25
"""Largest ``state.json``; it has about a hundred bytes for each environment."""
MAX_MANIFEST_BYTES = 2**20
MAX_FILES = 32

# Of a tensor file while it is read: its bytes, its tensors, and what they are copied to.
_COPIES_IN_MEMORY = 3
# The only names that a manifest may hold: a checkpoint from a stranger must not reach elsewhere.
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.safetensors|state\.json")


def manifest_bytes(timesteps: int, files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of a checkpoint with these files."""
    for name in files:
        assert _FILE_NAME.fullmatch(name), f"{name} is no name for a checkpoint's file"
    sums = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    manifest = {"format": FORMAT, "version": VERSION, "timesteps": timesteps, "files": sums}
    return json.dumps(manifest, indent=1).encode()


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Read a checkpoint's manifest; return name of a file -> its ``size`` and ``sha256``.

    Raises:
        CheckpointError: it is missing, of another format, or claims what cannot be.
    """
    if not os.path.lexists(path / MANIFEST):
        raise damaged(path, f"{MANIFEST} is missing")
    try:
        manifest = parse_json(read_regular_file(path / MANIFEST, MAX_MANIFEST_BYTES))
        found = manifest["format"], manifest["version"]
        files = {name: dict(entry) for name, entry in manifest["files"].items()}
        timesteps = manifest.get("timesteps")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"{MANIFEST} is not a manifest ({repr(error)[:200]})") from error
    if found != (FORMAT, VERSION):
        shown = [repr(value)[:80] for value in found]
        raise CheckpointError(
            f"{path} has format {shown[0]} version {shown[1]}, expected {FORMAT!r} "
            f"version {VERSION}; read it with the version of ppo_mpi that wrote it"
        )
    if len(files) > MAX_FILES:
        raise damaged(path, f"{MANIFEST} names {len(files)} files")
    for name, entry in files.items():
        if not _FILE_NAME.fullmatch(name):
            raise damaged(path, f"{MANIFEST} names {name[:80]!r}, which is no file of a checkpoint")
        size = entry.get("size")
        if type(size) is not int or size < 0 or not isinstance(entry.get("sha256"), str):
            raise damaged(path, f"{MANIFEST} has no size and sha256 of {name}")
    if step_timesteps(path) not in (None, timesteps):
        shown_timesteps = repr(timesteps)[:80]
        raise damaged(path, f"{MANIFEST} is of {shown_timesteps} timesteps, unlike the folder")
    total = sum(entry["size"] for entry in files.values())
    if total * _COPIES_IN_MEMORY > memory_bytes():
        raise damaged(path, f"its {total} bytes do not fit into this machine's memory")
    return files


def read_file(path: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    """Read a checkpoint's file and compare it with its entry of the manifest.

    Raises:
        OSError: it cannot be read.
        CheckpointError: it is missing, changed, or not a file.
    """
    if not os.path.lexists(path / name):
        raise damaged(path, f"{name} is missing")
    size = entry["size"]
    if name == STATE and size > MAX_STATE_BYTES:
        raise damaged(path, f"{name} has {size} bytes, more than {MAX_STATE_BYTES}")
    try:
        content = read_regular_file(path / name, size)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    except MemoryError as error:
        raise damaged(path, f"the {size} bytes of {name} do not fit into the memory") from error
    if len(content) != size:
        raise damaged(path, f"{name} has {len(content)} bytes, expected {size}")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise damaged(path, f"{name} was changed (its SHA-256 differs from {MANIFEST})")
    return content


def damaged(path: Path, what: str) -> CheckpointError:
    """Return the error for a checkpoint in which something is not as it was written."""
    return CheckpointError(
        f"the checkpoint {path} is damaged: {what}; use an older one (--run {path.parent} takes "
        "the newest whole one) or restore it from a copy"
    )
