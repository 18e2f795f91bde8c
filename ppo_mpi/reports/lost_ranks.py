"""The ranks that a run lost while it trained, as its newest checkpoint remembers them."""

from __future__ import annotations

from pathlib import Path

from ppo_mpi.storage.manifest import MAX_STATE_BYTES, STATE
from ppo_mpi.storage.run_folder import checkpoints_of
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.untrusted_files import read_regular_file


def lost_ranks(folder: Path) -> list[list[str]]:
    """Return (iteration, ranks lost, environments begun afresh) of each loss; none if not known."""
    for checkpoint in checkpoints_of(folder)[:1]:
        try:
            state = parse_json(read_regular_file(checkpoint / STATE, MAX_STATE_BYTES))
        except (OSError, ValueError):
            return []
        losses = state.get("losses") if isinstance(state, dict) else None
        known = [own for own in losses if isinstance(own, dict)] if isinstance(losses, list) else []
        return [[str(own.get(key, "-")) for key in ("iteration", "ranks", "fresh")]
                for own in known]  # fmt: skip
    return []
