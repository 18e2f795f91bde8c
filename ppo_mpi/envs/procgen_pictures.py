"""Which of Procgen's pictures a process loads: those of its game.

The engine loads the backgrounds of all games, once in a process: more than a second and 300 MB on
every rank. Those that a game never shows are a single pixel here. What the game shows is the same
to the bit.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ppo_mpi.envs.procgen_sprites import Sprite
from ppo_mpi.errors import ConfigError

FOLDERS = frozenset(
    f"{name}_backgrounds{number}"
    for name, number in (
        ("platform", ""), ("platform", "_2"), ("space", ""), ("topdown", ""), ("water", ""),
    )
)  # fmt: skip
"""Folders of large pictures; nearly all of the memory."""

_MIXED = ("platform_backgrounds", "platform_backgrounds_2", "space_backgrounds")
# Found by leaving each folder out in turn and comparing what hundreds of levels look like, in
# all modes.
SHOWN: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("bigfish", "plunder"), ("water_backgrounds",)),
    **dict.fromkeys(("bossfight", "caveflyer", "starpilot"), ("space_backgrounds",)),
    **dict.fromkeys(
        ("chaser", "dodgeball", "fruitbot", "heist", "leaper", "maze"), ("topdown_backgrounds",)
    ),
    **dict.fromkeys(("climber", "coinrun", "jumper", "miner", "ninja"), _MIXED),
}

# A picture of one black pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000b49"
    "44415478da636000020000050001e9fadcd80000000049454e44ae426082"
)


@dataclass
class Library:
    """One copy of the engine's library in this process."""

    folder: str
    """Where it lies; empty where the package builds it."""
    pictures: str
    """Where it takes the pictures from when its first engine is made."""
    shown: frozenset[str]
    """The folders in ``FOLDERS`` of which it loads more than a pixel."""
    replaced: Mapping[str, Sprite] = field(default_factory=dict)
    """The pictures that others have taken the place of."""
    handle: Any = None
    """Keeps it from being unloaded."""


class Libraries:
    """The copies of the engine's library in this process, each with the pictures it has loaded.

    A second game that shows other folders or other pictures gets a copy of its own.
    """

    def __init__(self) -> None:
        self._loaded: list[Library] = []
        self._copies: list[tempfile.TemporaryDirectory[str]] = []  # removed at the exit
        self._is_used = False

    @contextlib.contextmanager
    def for_game(
        self, game: str, package: Path, replaced: Mapping[str, Sprite] = MappingProxyType({})
    ) -> Iterator[Library]:
        """Yield the library to make an engine with; its ``handle`` is set by who makes one.

        Args:
            game: one of the 16 games.
            package: the folder of the package procgen.
            replaced: paths of pictures below the package's folder of assets, and what takes their
                place.

        Raises:
            ConfigError: there is no place for other pictures.
        """
        assets, prebuilt = package / "data" / "assets", package / "data" / "prebuilt"
        shown = frozenset(SHOWN[game])
        is_known = prebuilt.is_dir() and all((assets / name).is_dir() for name in FOLDERS)
        for library in self._loaded:
            if shown <= library.shown and dict(replaced) == library.replaced:
                yield library
                return
        place = ""
        if prebuilt.is_dir():
            # What a failed attempt has loaded is not known: then, too, another copy.
            place = str(self._copy(prebuilt) if self._is_used else prebuilt)
        self._is_used = True
        with contextlib.ExitStack() as cleanup:
            pictures = assets
            try:
                if is_known or replaced:
                    folder = Path(cleanup.enter_context(_temporary_folder())) / "assets"
                    slim_copy(assets, folder, FOLDERS - shown if is_known else frozenset())
                    replace_pictures(assets, folder, replaced)
                    pictures = folder
            except OSError as error:  # no room for links, or a file system without them
                if replaced:
                    raise ConfigError(
                        f"the other pictures of this variant of {game} cannot be laid out in "
                        f"{tempfile.gettempdir()} ({error}); set TMPDIR to a folder that has room "
                        "and symbolic links"
                    ) from error
                pictures = assets
            if pictures == assets or not is_known:
                shown = FOLDERS
            yield (library := Library(place, f"{pictures}{os.sep}", shown, dict(replaced)))
        self._loaded.append(library)

    def _copy(self, prebuilt: Path) -> Path:
        """Return a folder with a copy of the library: the same file would be the same library."""
        self._copies.append(_temporary_folder())
        return Path(shutil.copytree(prebuilt, Path(self._copies[-1].name) / "library"))


# Module state, as the engine's own: what a library has loaded in this process stays.
LIBRARIES = Libraries()


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that goes at the end of a block, or of the process.

    Raises:
        OSError: there is none whose name the engine understands.
    """
    folder = tempfile.TemporaryDirectory(prefix="ppo_mpi-procgen-")
    if not folder.name.isascii():  # names are handed on by their number of letters, not of bytes
        folder.cleanup()
        raise OSError(f"the name of {folder.name} is not plain ASCII")
    return folder


def slim_copy(assets: Path, target: Path, without: frozenset[str]) -> None:
    """Make a folder like ``assets``, of links, with one pixel for each picture in ``without``."""
    target.mkdir()
    (target / "pixel.png").write_bytes(PIXEL)
    for entry in sorted(assets.iterdir()):
        if entry.name not in without:
            (target / entry.name).symlink_to(entry)
            continue
        (target / entry.name).mkdir()
        for picture in entry.iterdir():
            (target / entry.name / picture.name).symlink_to(target / "pixel.png")


def replace_pictures(assets: Path, target: Path, replaced: Mapping[str, Sprite]) -> None:
    """Put other pictures into a folder that ``slim_copy`` has made of ``assets``."""
    for name, sprite in replaced.items():
        folder, picture = (target / name).parent, target / name
        if folder.is_symlink():
            original = folder.resolve()
            folder.unlink()
            folder.mkdir()
            for entry in original.iterdir():
                (folder / entry.name).symlink_to(entry)
        picture.unlink()
        sprite.write(assets, picture)
