"""presets: lists the published settings, or prints one."""

from __future__ import annotations

from collections.abc import Sequence

from ppo_mpi.cli_sources import preset_base, preset_names, preset_text
from ppo_mpi.mode_config import PresetsConfig

ORIGINAL = "-original"
"""How the names of presets end that only repeat another one with its one environment."""


def presets_command(config: PresetsConfig) -> int:
    """Print all presets with one line each, or the file of one and of those it builds on.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if config.name:
        name = config.name
        while name:
            text = preset_text(name)
            print(text, end="")
            name = preset_base(text, f"preset {name}")
            if name:
                print(f"\n# What {name} says, on which it builds:\n#")
        return 0
    names = preset_names()
    hidden = [] if config.all else [name for name in names if is_variant(name, names)]
    shown = [name for name in names if name not in hidden]
    width = max(map(len, shown))
    for name in shown:
        print(f"{name:{width}}  {description(preset_text(name))}")
    if hidden:
        print(
            f"\n{len(hidden)} more by these names with {ORIGINAL} behind them, with the one "
            "environment that they were published with: presets --all"
        )
    print(
        "\nuse one: python -m ppo_mpi train --preset NAME; see one: python -m ppo_mpi presets NAME"
    )
    return 0


def is_variant(name: str, names: Sequence[str]) -> bool:
    """Return whether a preset is another one of ``names`` as it was published."""
    return name.endswith(ORIGINAL) and name.removesuffix(ORIGINAL) in names


def description(text: str) -> str:
    """Return what a preset is: its first line, which is a comment."""
    return text.splitlines()[0].removeprefix("#").strip()
