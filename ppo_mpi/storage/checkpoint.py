"""Checkpoints: atomic save, verified load. Tensors in safetensors, all else JSON, no pickle.

A checkpoint is the folder ``<run>/step-000000123456``. The save writes it under another name and
renames it when every byte is on the disk, so that a folder with the final name is always whole;
``manifest.json`` holds the size and SHA-256 of each file, so that later damage is found as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.durable import HALF_WRITTEN, on_root, sync_folder, write_durably
from ppo_mpi.storage.run_folder import (
    BEING_REPLACED,
    MANIFEST,
    checkpoints_of,
    remove_folder,
    step_name,
)

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator

FORMAT = "ppo_mpi checkpoint"
VERSION = 1
STATE = "state.json"
ENVIRONMENTS = "environments"
UNREADABLE = "unreadable-"

# The only names that a manifest may hold: a checkpoint from a stranger must not reach elsewhere.
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.safetensors|state\.json")


@dataclass(frozen=True)
class Checkpoint:
    """All that shapes the future of a run, as it was read from the disk."""

    path: Path
    """Its folder."""
    tensors: dict[str, dict[str, Tensor]]
    """File (``model``, ``optimizer``, ``normalizers``) -> name -> tensor, on the CPU."""
    environments: dict[str, bytes]
    """Key with the whole-job index, for example ``train/000012`` -> the environment's state."""
    state: dict[str, Any]
    """Everything else, as JSON gives it back: tuples are lists, keys are strings."""


def save_checkpoint(
    run_dir: Path,
    timesteps: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    local_environments: Mapping[str, bytes],
    state: Mapping[str, Any],
    comm: Communicator,
) -> Path:
    """Save a checkpoint; it exists under its name only once it is whole. Collective.

    Args:
        run_dir: the run's folder, which exists.
        timesteps: of the whole job; names the checkpoint. One of that name is replaced.
        tensors: file -> name -> tensor on any device; rank 0's are written.
        local_environments: this rank's environments, by keys that are unique in the job.
        state: everything else, as JSON can hold it; rank 0's is written.
        comm: the ranks.

    Returns:
        the checkpoint's folder.

    Raises:
        CheckpointError: it cannot be written (disk full, no permission); on every rank.
            Older checkpoints are untouched.
    """
    shares = comm.gather_objects(dict(local_environments))  # collective

    def write() -> str:
        assert shares is not None, "rank 0 gathers the environments"
        environments = {key: value for share in shares for key, value in share.items()}
        num_environments = sum(len(share) for share in shares)
        assert len(environments) == num_environments, "two ranks hold one environment's key"
        files = {f"{stem}.safetensors": _tensor_bytes(group) for stem, group in tensors.items()}
        blobs = {key: _blob(value) for key, value in sorted(environments.items())}
        files[f"{ENVIRONMENTS}.safetensors"] = safetensors.save(blobs)
        files[STATE] = json.dumps(state, indent=1).encode()
        return str(_write_folder(run_dir, timesteps, files))

    return Path(on_root(comm, write))  # collective


def _tensor_bytes(group: Mapping[str, Tensor]) -> bytes:
    # Cloned: safetensors refuses tensors that share memory, as views of one flat buffer do.
    return safetensors.save(
        {name: value.detach().cpu().contiguous().clone() for name, value in group.items()}
    )


def _blob(content: bytes) -> Tensor:
    if not content:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _write_folder(run_dir: Path, timesteps: int, files: dict[str, bytes]) -> Path:
    final = run_dir / step_name(timesteps)
    half_written = run_dir / f"{HALF_WRITTEN}{final.name}-{os.getpid()}"
    for name in files:
        assert _FILE_NAME.fullmatch(name), f"{name} is no name for a checkpoint's file"
    sums = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    manifest = {"format": FORMAT, "version": VERSION, "timesteps": timesteps, "files": sums}
    try:
        half_written.mkdir()
        for name, content in files.items():
            write_durably(half_written / name, content)
        write_durably(half_written / MANIFEST, json.dumps(manifest, indent=1).encode())
        sync_folder(half_written)
        _commit(half_written, final)
    except OSError as error:
        raise CheckpointError(
            f"cannot save the checkpoint {final} ({error.strerror}); make room or make the folder "
            "writable, then start the same command again: the run goes on from its last checkpoint"
        ) from error
    finally:
        shutil.rmtree(half_written, ignore_errors=True)
    return final


def _commit(half_written: Path, final: Path) -> None:
    replaced = final.with_name(BEING_REPLACED + final.name)
    if final.exists():
        if replaced.exists():
            remove_folder(replaced)
        os.rename(final, replaced)  # clean_leftovers puts it back if we die right here
    os.rename(half_written, final)
    sync_folder(final.parent)
    if replaced.exists():
        remove_folder(replaced)


def load_checkpoint(path: Path) -> Checkpoint:
    """Verify a checkpoint's files and read them; nothing in them is ever executed.

    Raises:
        CheckpointError: a file is missing, changed or of another format; the message names it.
    """
    try:
        return _read_folder(path)
    except OSError as error:
        file = error.filename or path
        raise _damaged(path, f"{Path(file).name} cannot be read ({error.strerror})") from error


def _read_folder(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint {path}; look for its run with --run NAME")
    files = _read_files(path, _read_manifest(path))
    tensors: dict[str, dict[str, Tensor]] = {}
    state: Any = None
    for name, content in files.items():
        try:
            if name == STATE:
                state = json.loads(content)
            else:
                tensors[Path(name).stem] = safetensors.load(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise _damaged(path, f"{name} is not in its format ({error})") from error
    if not isinstance(state, dict):
        raise _damaged(path, f"{STATE} is missing or not an object")
    blobs = tensors.pop(ENVIRONMENTS, {})
    environments = {key: blob.numpy().tobytes() for key, blob in blobs.items()}
    return Checkpoint(path, tensors, environments, state)


def _read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    if not (path / MANIFEST).is_file():
        raise _damaged(path, f"{MANIFEST} is missing")
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        is_ours = manifest["format"] == FORMAT
        version = int(manifest["version"])
        files = {str(name): dict(entry) for name, entry in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{MANIFEST} is not a manifest ({error!r})") from error
    if not is_ours or version != VERSION:
        raise CheckpointError(
            f"{path} has format {manifest['format']!r} version {version}, expected {FORMAT!r} "
            f"version {VERSION}; read it with the version of ppo_mpi that wrote it"
        )
    return files


def _read_files(path: Path, entries: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    files = {}
    for name, entry in entries.items():
        if not _FILE_NAME.fullmatch(name):
            raise _damaged(path, f"{MANIFEST} names {name!r}, which is no file of a checkpoint")
        if not (path / name).is_file():
            raise _damaged(path, f"{name} is missing")
        size, expected_size = (path / name).stat().st_size, entry.get("size")
        if size != expected_size:
            raise _damaged(path, f"{name} has {size} bytes, expected {expected_size}")
        content = (path / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
            raise _damaged(path, f"{name} was changed (its SHA-256 differs from {MANIFEST})")
        files[name] = content
    return files


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint {path} is damaged: {what}; use an older one (--run {path.parent} takes "
        "the newest whole one) or restore it from a copy"
    )


def load_newest(run_dir: Path) -> tuple[Checkpoint, list[str]]:
    """Read a run's newest whole checkpoint.

    Returns:
        the checkpoint, and a warning for each newer one that is damaged: show them.

    Raises:
        CheckpointError: there is no checkpoint, or none is whole.
    """
    checkpoint, failures = _newest_whole(run_dir)
    return checkpoint, [_fallback(failure, checkpoint) for failure in failures.values()]


def _newest_whole(run_dir: Path) -> tuple[Checkpoint, dict[Path, CheckpointError]]:
    failures: dict[Path, CheckpointError] = {}
    for path in checkpoints_of(run_dir):
        try:
            return load_checkpoint(path), failures
        except CheckpointError as error:
            failures[path] = error
    if not failures:
        raise CheckpointError(f"there is no checkpoint in {run_dir}; train the run first")
    reasons = "\n".join(f"  {error}" for error in failures.values())
    raise CheckpointError(
        f"no checkpoint in {run_dir} is whole; restore one from a copy, or start over with "
        f"--clobber:\n{reasons}"
    )


def _fallback(failure: CheckpointError, checkpoint: Checkpoint) -> str:
    return f"warning: {failure}; using {checkpoint.path.name} instead"


def load_newest_everywhere(run_dir: Path, comm: Communicator) -> tuple[Checkpoint, list[str]]:
    """Read the newest whole checkpoint of a run that goes on, on every rank. Collective.

    Rank 0 reads and the others are sent the content. A damaged newer checkpoint is renamed, so
    that it cannot count as the newest when old checkpoints are removed.

    Returns:
        as ``load_newest``.

    Raises:
        CheckpointError: as ``load_newest``, on every rank.
    """

    def read() -> tuple[Checkpoint, list[str]]:
        checkpoint, failures = _newest_whole(run_dir)
        warnings = []
        for path, failure in failures.items():
            aside = path.with_name(f"{UNREADABLE}{path.name}-{os.getpid()}")
            try:
                os.rename(path, aside)
            except OSError as error:
                raise CheckpointError(
                    f"{failure}; it cannot be moved aside ({error.strerror}); make {run_dir} "
                    "writable"
                ) from error
            warnings.append(f"{_fallback(failure, checkpoint)}; it was renamed to {aside.name}")
        return checkpoint, warnings

    return on_root(comm, read)  # collective


def load_checkpoint_everywhere(path: Path, comm: Communicator) -> Checkpoint:
    """Read one checkpoint on rank 0 and send it to every rank. Collective.

    Raises:
        CheckpointError: as ``load_checkpoint``, on every rank.
    """
    return on_root(comm, lambda: load_checkpoint(path))  # collective
