"""How a setting changes with the progress of the whole job."""

from __future__ import annotations


def scheduled(start: float, end: float, how: str, progress: float) -> float:
    """Return a setting's value.

    Args:
        start: its value at progress 0.
        end: its value at progress 1.
        how: ``"constant"`` (stays at ``start``) or ``"linear"``.
        progress: share of total_timesteps that is done, in [0, 1].

    Raises:
        ValueError: ``how`` is unknown.
    """
    if how == "constant":
        return start
    if how == "linear":
        return start + (end - start) * progress
    raise ValueError(f"unknown schedule {how!r}; known: constant, linear")


def continues_episodes(soft_resets: str, soft_resets_from: float, progress: float) -> bool:
    """Return whether a rollout continues the episodes where the last one stopped.

    Args:
        soft_resets: ``"on"``, ``"off"`` or ``"scheduled"``.
        soft_resets_from: the progress from which scheduled ones are on.
        progress: share of total_timesteps that is done, in [0, 1].
    """
    return soft_resets == "on" or (soft_resets == "scheduled" and progress >= soft_resets_from)
