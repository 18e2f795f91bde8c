"""What an Atari environment's name and the settings come to, and the packages that it needs.

Axes: H, W, C image; F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ppo_mpi.envs.arguments import ATARI, own_arguments
from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.settings.atari import AtariConfig
from ppo_mpi.settings.atari_names import parse_name

RAM_BYTES = 128


@dataclass(frozen=True)
class AtariOptions:
    """How a game is shown and played; nothing in it depends on the name any more."""

    rom: str
    """The game as the emulator calls it."""
    shows_ram: bool
    frame_skip: tuple[int, int]
    """Fewest and most frames of a step."""
    sticky_actions: float
    config: AtariConfig
    """The other settings."""
    mode: int | None = None
    """The variant of the game that the console's switches choose; None = the game's first."""
    difficulty: int | None = None
    """Of the game, by the console's switches; None = the game's own."""

    @property
    def arguments(self) -> dict[str, int]:
        """Those of ``env_kwargs`` that were given."""
        own = {name: getattr(self, name) for name in ATARI.own}
        return {name: value for name, value in own.items() if value is not None}

    @property
    def obs_spec(self) -> ObservationSpec:
        """What is shown: [H, W, C] uint8, or [F] float32 in [0, 1]."""
        stack, size = self.config.frame_stack, self.config.screen_size
        if self.shows_ram:
            return ObservationSpec((RAM_BYTES * stack,), "float32")
        return ObservationSpec((size, size, stack * (1 if self.config.grayscale else 3)), "uint8")


def resolve(
    task: str, config: AtariConfig, arguments: Mapping[str, Any] | None = None
) -> AtariOptions:
    """Return what the name and the settings come to; settings win where they are set.

    Args:
        task: an environment's name, as ``registry.split_env_name`` gives it.
        config: the settings.
        arguments: of the game itself, by name; see ``arguments.ATARI``.

    Raises:
        ConfigError: the name says -ram and the settings say frames.
    """
    name = parse_name(task)
    assert name is not None, "split_env_name has refused other names"
    if name.obs == "ram" and config.atari_obs == "frames":
        raise ConfigError(
            f"atari_obs=frames does not fit the environment {task}, whose name says ram; use the "
            "name without -ram, or leave atari_obs out"
        )
    skip = name.frame_skip if config.frame_skip == 0 else (config.frame_skip,) * 2
    sticky = name.sticky_actions if config.sticky_actions is None else config.sticky_actions
    return AtariOptions(
        name.rom, "ram" in (name.obs, config.atari_obs), skip, sticky, config, **(arguments or {})
    )


def parse_options(task: str, options: Mapping[str, Any]) -> tuple[AtariOptions, int]:
    """Return what ``make_envs`` was given: how to play, and the threads to step games with.

    Args:
        task: an environment's name.
        options: the fields of ``AtariConfig``, ``env_kwargs`` as "key=value" strings, and
            ``num_threads`` (0: the calling thread).

    Raises:
        ConfigError: a value is out of its range, or contradicts the name.
    """
    beside = ("num_threads", "env_kwargs")
    fields = {name: value for name, value in options.items() if name not in beside}
    config = AtariConfig(**fields)
    config.check()
    arguments = own_arguments(ATARI, options)
    return resolve(task, config, arguments), int(options.get("num_threads", 0))


def import_ale() -> Any:
    """Return the emulator's module, which says only errors from then on.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import ale_py
        import ale_py.roms
    except ImportError as error:
        raise MissingPackageError(
            f'Atari needs ale-py ({error}): pip install "ppo_mpi[atari]"'
        ) from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    return ale_py


def import_cv2() -> Any:
    """Return OpenCV, which scales the frames.

    Raises:
        MissingPackageError: it is not installed, or lacks a library of the system.
    """
    try:
        import cv2
    except ImportError as error:
        remedy = 'pip install "ppo_mpi[atari]"'
        if "libGL" in str(error):
            remedy = (
                "opencv needs libGL: apt install libgl1, or pip uninstall opencv-python && "
                "pip install 'opencv-python-headless<4.12'"
            )
        raise MissingPackageError(f"Atari's frames need opencv ({error}): {remedy}") from error
    cv2.setNumThreads(1)  # a frame is too small to be shared, and ranks share the cores
    return cv2
