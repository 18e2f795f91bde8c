"""Checkpoints: atomic save, verified load. Tensors in safetensors, all else JSON, no pickle.

A checkpoint is the folder ``<run>/step-000000123456``. The save writes it under another name and
renames it when every byte is on the disk, so that a folder with the final name is always whole;
``manifest.json`` holds the size and SHA-256 of each file, so that later damage is found as well.
"""

from __future__ import annotations

import json
import os
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
from ppo_mpi.storage.durable import HALF_WRITTEN, explained, on_root, sync_folder, write_durably
from ppo_mpi.storage.manifest import STATE, damaged, manifest_bytes, read_file, read_manifest
from ppo_mpi.storage.run_folder import (
    BEING_REPLACED,
    MANIFEST,
    UNREADABLE,
    checkpoints_of,
    newest_saved,
    remove_folder,
    step_name,
    write_newest,
)
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.untrusted_files import check_tensor_file

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator

ENVIRONMENTS = "environments"


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
    manifest = manifest_bytes(timesteps, files)
    try:
        with explained(f"save the checkpoint {final.name}", run_dir):
            half_written.mkdir()
            for name, content in files.items():
                write_durably(half_written / name, content)
            write_durably(half_written / MANIFEST, manifest)
            sync_folder(half_written)
            _commit(half_written, final)
            write_newest(run_dir, final.name)
    finally:
        shutil.rmtree(half_written, ignore_errors=True)
    return final


def _commit(half_written: Path, final: Path) -> None:
    replaced = final.with_name(BEING_REPLACED + final.name)
    if final.exists():
        if replaced.exists():
            remove_folder(replaced)
        os.rename(final, replaced)  # clean_leftovers puts it back if we die right here
    try:
        os.rename(half_written, final)
    except OSError:
        if replaced.exists():
            os.rename(replaced, final)
        raise
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
        raise damaged(path, f"{Path(file).name} cannot be read ({error.strerror})") from error


def _read_folder(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint {path}; look for its run with --run NAME")
    entries = read_manifest(path)
    tensors: dict[str, dict[str, Tensor]] = {}
    state: Any = None
    # The state first: it is small, and without it the others are of no use.
    for name in sorted(entries, key=lambda name: name != STATE):
        content = read_file(path, name, entries[name])
        try:
            if name == STATE:
                state = parse_json(content)
            else:
                check_tensor_file(content)
                tensors[Path(name).stem] = safetensors.load(content)
        except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise damaged(path, f"{name} is not in its format ({error})") from error
        except MemoryError as error:
            raise damaged(path, f"{name} does not fit into the memory") from error
    if not isinstance(state, dict):
        raise damaged(path, f"{STATE} is missing or not an object")
    return Checkpoint(path, tensors, _environments(path, tensors.pop(ENVIRONMENTS, {})), state)


def _environments(path: Path, blobs: dict[str, Tensor]) -> dict[str, bytes]:
    for key, blob in blobs.items():
        if blob.dtype != torch.uint8 or blob.dim() != 1:
            raise damaged(path, f"the environment {key[:80]!r} is not a row of bytes")
    return {key: blob.numpy().tobytes() for key, blob in blobs.items()}


def load_newest(run_dir: Path) -> tuple[Checkpoint, list[str]]:
    """Read a run's newest whole checkpoint.

    Returns:
        the checkpoint, and a warning for each newer one that is damaged: show them.

    Raises:
        CheckpointError: there is no checkpoint, or none is whole.
    """
    checkpoint, failures = _newest_whole(run_dir)
    warnings = [_fallback(failure, checkpoint) for failure in failures.values()]
    return checkpoint, warnings + _missing_newest(run_dir, checkpoint, failures)


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


def _missing_newest(
    run_dir: Path, checkpoint: Checkpoint, failures: dict[Path, CheckpointError]
) -> list[str]:
    """Return a warning if the checkpoint that was saved last is not there any more."""
    name = newest_saved(run_dir)
    if not name or name <= checkpoint.path.name or run_dir / name in failures:
        return []
    return [
        f"warning: the checkpoint {run_dir / name}, which was saved last, is missing; using "
        f"{checkpoint.path.name} instead"
    ]


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
        return checkpoint, warnings + _missing_newest(run_dir, checkpoint, failures)

    return on_root(comm, read)  # collective


def load_checkpoint_everywhere(path: Path, comm: Communicator) -> Checkpoint:
    """Read one checkpoint on rank 0 and send it to every rank. Collective.

    Raises:
        CheckpointError: as ``load_checkpoint``, on every rank.
    """
    return on_root(comm, lambda: load_checkpoint(path))  # collective
