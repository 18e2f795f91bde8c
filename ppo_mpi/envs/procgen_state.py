"""The bytes in which the Procgen engine hands out one environment's state: read, check, edit.

Everything is little endian and four bytes wide: int32, float32, or a bool as an int32 that is 0
or 1. A string is its length and its bytes, a vector is its count and its items. In order:

1. head: version (0), name of the game
2. options: 12 ints (``OPTION_NAMES``)
3. grid step, lowest level seed, highest level seed + 1, game type, slot of the engine
4. two generators, levels and game: whether seeded, then a std::mt19937 as decimal text
5. the present step: 15 values, among them the level that is played
6. entities: size of the grid, count, 31 values each
7. what all games share: 19 values
8. the generator of the assets
9. the view: 9 values
10. the grid: width, height, count, cells
11. what one game alone has
12. an end marker

Sections 1 to 10 are walked through here; 11 differs from game to game and is left alone. The
engine believes what it reads, so whatever it takes as a size, a place in a table or a number to
compute with has to lie in the range that is told here.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

VERSION = 0
END_MARKER = 0xCAFECAFE
WORD = 4
OPTION_NAMES = (
    "paint_vel_info", "use_generated_assets", "use_monochrome_assets", "restrict_themes",
    "use_backgrounds", "center_agent", "debug_mode", "distribution_mode",
    "use_sequential_levels", "use_easy_jump", "plain_assets", "physics_mode",
)  # fmt: skip
CURRENT_LEVEL = 5
"""Place of the level that is played among the values of section 5."""
GENERATOR_WORDS = 625
"""Numbers in a generator's text: the 624 words of MT19937 and the position among them."""
# The floats (f) and ints (i) of sections 5, 6, 7 and 9.
STEP_FORMAT = "<f9if4i"
ENTITY_FORMAT = "<6f6i3f6if3i6f"
SHARED_FORMAT = "<2i3f3i8f3i"
VIEW_FORMAT = "<3i6f"
# Bounds, each some times what the sixteen games were seen to have.
MAX_GRID = 256
MAX_ENTITIES = 10_000
MAX_TYPE = 2000
"""Kinds of objects and cells lie below; most of them below 100."""
MAX_THEME = 100
LARGEST_FLOAT = 1e4
LARGEST_VIEW = 1e3
"""The engine draws as many cells, in both directions."""
ENTITY_TYPE, ENTITY_IMAGE, ENTITY_THEME = 6, 7, 8
AGENT_TYPE = 0
LAST_LEVEL_SEED = 2**31 - 2
"""The largest level seed: the engine draws below the largest int32."""


@dataclass(frozen=True)
class StateLayout:
    """What one state says, and where its generator of levels stands."""

    game: str
    options: tuple[int, ...]
    """The engine's options, in the order of ``OPTION_NAMES``."""
    level_range: tuple[int, int]
    """The next level is drawn from [first, second)."""
    slot: int
    """Position in the engine's vector."""
    level: int
    """The level that is played."""
    generator_start: int
    generator_end: int


class _Reader:
    """Walks through the bytes; every method returns what stood there and moves on."""

    def __init__(self, state: bytes) -> None:
        self.state = state
        self.offset = 0

    def values(self, count: int, what: str) -> tuple[int, ...]:
        end = self.offset + WORD * count
        if count < 0 or end > len(self.state):
            raise ValueError(f"it ends within {what}, after {len(self.state)} bytes")
        found = struct.unpack_from(f"<{count}i", self.state, self.offset)
        self.offset = end
        return found

    def value(self, what: str) -> int:
        return self.values(1, what)[0]

    def text(self, what: str) -> bytes:
        length = self.value(what)
        end = self.offset + length
        if length < 0 or end > len(self.state):
            raise ValueError(f"it ends within {what}, after {len(self.state)} bytes")
        found = self.state[self.offset : end]
        self.offset = end
        return found

    def records(self, format_: str, count: int, limit: float, what: str) -> list[Any]:
        """Return ``count`` tuples of ints and of floats that are within +- ``limit``."""
        start = self.offset
        self.values(count * (struct.calcsize(format_) // WORD), what)
        found = list(struct.iter_unpack(format_, self.state[start : self.offset]))
        for values in found:
            # The comparison is false for NaN.
            if not all(abs(v) <= limit for v in values if isinstance(v, float)):
                raise ValueError(f"{what} have a number beyond +-{limit:g}")
        return found

    def generator(self, what: str, must_be_seeded: bool) -> None:
        seeded = self.value(what)
        text = self.text(what)
        words = text.split()
        if seeded not in ((1,) if must_be_seeded else (0, 1)) or len(words) != GENERATOR_WORDS:
            raise ValueError(f"{what} has {len(words)} words instead of {GENERATOR_WORDS}")
        if not all(word.isdigit() and len(word) <= 10 for word in words):
            raise ValueError(f"{what} is not written in decimal numbers")
        if max(map(int, words)) >= 2**32 or int(words[-1]) >= GENERATOR_WORDS:
            raise ValueError(f"{what} has a number that is too large")


def parse(state: bytes) -> StateLayout:
    """Walk through a state and return what it says.

    Args:
        state: the bytes of one environment, as the engine gives them.

    Raises:
        ValueError: the bytes do not follow the layout; the message says where.
    """
    reader = _Reader(state)
    version = reader.value("the version")
    if version != VERSION:
        raise ValueError(f"its version is {version} instead of {VERSION}")
    game = reader.text("the game's name").decode("ascii", "replace")
    options = reader.values(len(OPTION_NAMES), "the options")
    reader.value("the grid step")
    low, high, _ = reader.values(3, "the level seeds")
    slot = reader.value("the slot")
    generator_start = reader.offset
    reader.generator("the generator of the levels", must_be_seeded=True)
    generator_end = reader.offset
    reader.generator("the generator of the game", must_be_seeded=True)
    level = reader.records(STEP_FORMAT, 1, LARGEST_FLOAT, "the present step")[0][CURRENT_LEVEL]
    grid_size, num_entities = reader.values(2, "the count of entities")
    if num_entities > MAX_ENTITIES:
        raise ValueError(f"it has {num_entities} entities")
    _check_entities(reader.records(ENTITY_FORMAT, num_entities, LARGEST_FLOAT, "the entities"))
    what = "the values that all games share"
    background = reader.records(SHARED_FORMAT, 1, LARGEST_FLOAT, what)[0][1]
    reader.generator("the generator of the assets", must_be_seeded=False)
    view = reader.records(VIEW_FORMAT, 1, LARGEST_VIEW, "the view")[0]
    _check_grid(reader, grid_size, view[:2])
    if not 0 <= background < MAX_TYPE or not 0 <= level <= LAST_LEVEL_SEED + 1:
        raise ValueError(f"it has the background {background} and the level {level}")
    if len(state) < reader.offset + WORD:
        raise ValueError("its end marker is missing")
    marker = struct.unpack_from("<I", state, len(state) - WORD)[0]
    if marker != END_MARKER:
        raise ValueError(f"it ends in {marker:#x} instead of the end marker {END_MARKER:#x}")
    if not 0 <= low < high:
        raise ValueError(f"its levels [{low}, {high}) are no range")
    return StateLayout(
        game, options, (low, high), slot, level, generator_start, generator_end
    )  # fmt: skip


def contents(state: bytes) -> tuple[list[Any], tuple[int, ...]]:
    """Return what is in a state's world: its objects, and its grid as (width, height, cells).

    Args:
        state: one that the engine itself gave: it is walked through, not checked.

    Raises:
        ValueError: the bytes do not follow the layout.
    """
    reader = _Reader(state)
    reader.offset = _range_offset(state) + 4 * WORD
    reader.generator("the generator of the levels", must_be_seeded=True)
    reader.generator("the generator of the game", must_be_seeded=True)
    reader.records(STEP_FORMAT, 1, LARGEST_FLOAT, "the present step")
    _, num_entities = reader.values(2, "the count of entities")
    entities = reader.records(ENTITY_FORMAT, num_entities, LARGEST_FLOAT, "the entities")
    reader.records(SHARED_FORMAT, 1, LARGEST_FLOAT, "the values that all games share")
    reader.generator("the generator of the assets", must_be_seeded=False)
    reader.records(VIEW_FORMAT, 1, LARGEST_VIEW, "the view")
    width, height, num_cells = reader.values(3, "the size of the grid")
    return entities, (width, height, *reader.values(num_cells, "the grid"))


def _check_entities(entities: list[Any]) -> None:
    if not any(entity[ENTITY_TYPE] == AGENT_TYPE for entity in entities):
        raise ValueError("there is no agent among the entities")
    for entity in entities:
        kinds, theme = (entity[ENTITY_TYPE], entity[ENTITY_IMAGE]), entity[ENTITY_THEME]
        if not all(0 <= kind < MAX_TYPE for kind in kinds) or not 0 <= theme < MAX_THEME:
            raise ValueError(f"there is an entity of the kinds {kinds} and the theme {theme}")


def _check_grid(reader: _Reader, grid_size: int, world: tuple[int, int]) -> None:
    width, height, num_cells = reader.values(3, "the size of the grid")
    if num_cells != width * height:
        raise ValueError(f"its grid of {width} x {height} has {num_cells} cells")
    if not (0 < width <= MAX_GRID and 0 < height <= MAX_GRID):
        raise ValueError(f"its grid is of {width} x {height}")
    if world != (width, height) or grid_size != num_cells:
        raise ValueError(f"its grid of {width} x {height} is not of its world, {world}")
    cells = reader.values(num_cells, "the grid")
    if not -1 <= min(cells) <= max(cells) < MAX_TYPE:
        raise ValueError(f"its grid has cells from {min(cells)} to {max(cells)}")


def level_range(state: bytes) -> tuple[int, int]:
    """Return (low, high): the state's next level is drawn from [low, high).

    Unlike ``parse`` it looks at the head alone, and is a hundred times as fast.
    """
    low, high = struct.unpack_from("<2i", state, _range_offset(state))
    return low, high


def with_level_range(state: bytes, low: int, high: int) -> bytes:
    """Return the state with its next levels drawn from [low, high).

    Raises:
        ValueError: the range is empty or too large.
    """
    if not 0 <= low < high <= LAST_LEVEL_SEED + 1:
        raise ValueError(
            f"levels [{low}, {high}) are no range; use 0 <= low < high <= {LAST_LEVEL_SEED + 1}"
        )
    offset = _range_offset(state)
    return state[:offset] + struct.pack("<2i", low, high) + state[offset + 2 * WORD :]


def slot_of(state: bytes) -> int:
    """Return the position in the engine's vector that a state says it has."""
    return int(struct.unpack_from("<i", state, _range_offset(state) + 3 * WORD)[0])


def with_slot(state: bytes, slot: int) -> bytes:
    """Return the state as it stands in another slot of a vector."""
    offset = _range_offset(state) + 3 * WORD
    return state[:offset] + struct.pack("<i", slot) + state[offset + WORD :]


def with_level_generator(state: bytes, seed: int) -> bytes:
    """Return the state with its level seeds drawn from a generator of their own.

    Args:
        state: the bytes of one environment.
        seed: 0 <= seed < 2**32; seeds the generator as ``std::mt19937(seed)`` does.

    Raises:
        ValueError: the bytes do not follow the layout, or the seed is out of its range.
    """
    layout = parse(state)
    text = _mt19937_text(seed)
    generator = struct.pack("<2i", 1, len(text)) + text
    return state[: layout.generator_start] + generator + state[layout.generator_end :]


def seal(state: bytes) -> bytes:
    """Return the state with its CRC-32 behind it, to be kept outside the engine."""
    return state + struct.pack("<I", zlib.crc32(state))


def unseal(sealed: bytes) -> bytes:
    """Return the state that ``seal`` was given.

    Raises:
        ValueError: the bytes were changed since.
    """
    state, checksum = sealed[:-WORD], sealed[-WORD:]
    if len(checksum) != WORD or struct.unpack("<I", checksum)[0] != zlib.crc32(state):
        raise ValueError(f"its {len(sealed)} bytes do not have the checksum that was saved")
    return state


def _range_offset(state: bytes) -> int:
    """Return where the lowest level seed stands: behind version, name, options and grid step."""
    name_length = struct.unpack_from("<i", state, WORD)[0]
    return 2 * WORD + name_length + WORD * (len(OPTION_NAMES) + 1)


def _mt19937_text(seed: int) -> bytes:
    """Return a freshly seeded MT19937 in the form that ``std::mt19937`` is written to a stream.

    The reference seeding of numpy's ``RandomState`` is that of the C++ library.
    """
    words = np.random.RandomState(seed).get_state(legacy=False)["state"]
    numbers = [*words["key"].tolist(), words["pos"]]
    return " ".join(map(str, numbers)).encode("ascii")
