"""presets: lists the published settings, or prints one."""

from __future__ import annotations

from ppo_mpi.cli_sources import preset_names, preset_text
from ppo_mpi.mode_config import PresetsConfig


def presets_command(config: PresetsConfig) -> int:
    """Print all presets with one line each, or the file of one.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if config.name:
        print(preset_text(config.name), end="")
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
