"""presets: lists the published settings, or prints one."""

from __future__ import annotations

from ppo_mpi.cli_sources import preset_base, preset_names, preset_text
from ppo_mpi.mode_config import PresetsConfig


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
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {description(preset_text(name))}")
    print(
        "\nuse one: python -m ppo_mpi train --preset NAME; see one: python -m ppo_mpi presets NAME"
    )
    return 0


def description(text: str) -> str:
    """Return what a preset is: its first line, which is a comment."""
    return text.splitlines()[0].removeprefix("#").strip()
