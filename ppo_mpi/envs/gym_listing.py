"""Which environments Gymnasium knows."""

from __future__ import annotations


def registered_ids(package: str) -> list[str]:
    """Return the ids whose environments lie below a package, in Gymnasium's order.

    Ids that Gymnasium keeps only to say where their environments have gone are left out.
    """
    import gymnasium

    return [
        name
        for name, spec in gymnasium.registry.items()
        if isinstance(spec.entry_point, str) and spec.entry_point.startswith(package)
    ]
