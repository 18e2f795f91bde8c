"""What a new run takes over from another one, and what of it stays as it is."""

from __future__ import annotations

from dataclasses import dataclass

from ppo_mpi.errors import ConfigError


@dataclass(frozen=True)
class TransferConfig:
    """What a new run takes over from another one, and what of it stays as it is."""

    borrow_from: str = ""
    """Run whose parameters a new run begins with, as --run names it: a name, gallery/NAME, a path,
    name:best or name:TIMESTEPS. Read once, when the run begins: one that goes on does not need it
    any more."""
    borrow_layers: tuple[str, ...] = ()
    """Which of them: layers by the beginning of their name (torso, torso.layers.0, policy_head),
    by a pattern (torso.*.weight), or a number: so many layers, the first ones. Empty = all that
    are there in both runs with the same shape."""
    frozen_layers: tuple[str, ...] = ()
    """Layers that are not changed by learning, named in the same way."""

    def unread(self) -> list[tuple[tuple[str, ...], str]]:
        """Return names of settings that nothing reads beside the others, and what would."""
        return [] if self.borrow_from else [(("borrow_layers",), "borrow_from")]

    def check(self) -> None:
        """Refuse empty names."""
        for setting in ("borrow_layers", "frozen_layers"):
            if "" in getattr(self, setting):
                raise ConfigError(f"{setting} has an empty name in it; leave it out")
