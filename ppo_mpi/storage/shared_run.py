"""Runs that were exported to be shared: their checkpoint holds the policy and nothing to train on.

It is a checkpoint like others, verified and compared with its config in the same way, without
optimizer, environments and random streams. ``state.json`` says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.storage.manifest import STATE, read_file, read_manifest
from ppo_mpi.storage.run_folder import checkpoints_of
from ppo_mpi.storage.strict_json import parse_json

HOLDS, POLICY = "holds", "policy"
"""The entry of ``state.json``, and its value in a run that is shared."""
_KEPT = ("iteration", "timesteps", "best_return", "torch")
_STATISTICS = ("observation/", "reward/")
"""Of normalizers: what acting needs, and the unit in which values are predicted, which a run that
borrows them takes over."""

T = TypeVar("T")


def holds_only_policy(state: Mapping[str, Any]) -> bool:
    """Return whether the checkpoint with this state has nothing to train on with."""
    return state.get(HOLDS) == POLICY


def policy_part(tensors: Mapping[str, Mapping[str, T]]) -> dict[str, dict[str, T]]:
    """Return of a checkpoint's tensors the model, and what its inputs and its values refer to.

    Args:
        tensors: file -> name -> tensor, or what is expected of it.
    """
    statistics = tensors.get("normalizers", {})
    own = {name: value for name, value in statistics.items() if name.startswith(_STATISTICS)}
    return {"model": dict(tensors.get("model", {})), "normalizers": own}


def policy_state(state: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a checkpoint that holds a policy only.

    Args:
        state: of the whole checkpoint.
        config: the settings, by name.
    """
    kept = {name: state[name] for name in _KEPT if name in state}
    return {HOLDS: POLICY, **kept, "config": dict(config)}


def is_shared(run_dir: Path) -> bool:
    """Return whether a run's newest checkpoint holds a policy only; False if it is damaged."""
    for path in checkpoints_of(run_dir)[:1]:
        try:
            state = parse_json(read_file(path, STATE, read_manifest(path)[STATE]))
        except (CheckpointError, OSError, ValueError, KeyError):
            return False
        return isinstance(state, dict) and holds_only_policy(state)
    return False


def refuse_to_train(run_dir: Path) -> None:
    """Refuse to train on in a run that is shared, before anything is written there.

    Raises:
        ConfigError: it holds a policy only.
    """
    if is_shared(run_dir):
        # With a slash in it, and so no name under checkpoint_dir.
        named = str(run_dir) if "/" in str(run_dir) else f"./{run_dir}"
        raise ConfigError(
            f"the run {run_dir} was exported: it has its policy, but neither the optimizer nor the "
            "environments, and cannot be trained on; begin a new run with its layers: --run NAME "
            f"--borrow-from {shlex.quote(named)}"
        )
