"""One state of the Procgen engine, open for editing: what stands where, as arrays on its bytes.

The sections are those of ``procgen_state``, which checks them; nothing is checked here.
"""

from __future__ import annotations

import struct

import numpy as np

from ppo_mpi.envs.procgen_state import AGENT_TYPE, OPTION_NAMES, WORD

EMPTY = 100
"""A cell with nothing in it."""
# Places of an entity's values.
X, Y, SPEED_X, SPEED_Y, HALF_WIDTH, HALF_HEIGHT, TYPE, IMAGE, THEME = range(9)
WILL_ERASE, COLLISION_MARGIN = 10, 12
ENTITY_WORDS = 31
# Places among the values of the present step.
LEVEL, TIME_LIMIT, TIME = 5, 4, 13
STEP_WORDS, SHARED_WORDS, VIEW_WORDS = 15, 19, 9
# An object that stands still: what is not named here is zero.
STILL = {16: -1, 17: -1, 19: -1, 24: 1}
STILL_FLOATS = {21: 1.0, 25: 1.0, 26: 1.0, 27: -100.0, 28: 1.0, 29: 1.0}


class Scene:
    """A state's parts; what is written into the arrays is in ``state()``."""

    step: np.ndarray
    """[15] int32, the present step; two of them are floats."""
    entities: np.ndarray
    """[n, 31] int32."""
    places: np.ndarray
    """[n, 31] float32, the same numbers as ``entities``."""
    grid: np.ndarray
    """[height, width] int32, the cells; y is counted upwards."""
    game: np.ndarray
    """[m] int32, what one game alone has."""

    def __init__(self, state: bytes) -> None:
        """Take a state that follows the layout."""
        self._bytes = data = bytearray(state)
        # Behind version, name, options and five more ints are two generators, of any length.
        offset = 2 * WORD + struct.unpack_from("<i", data, WORD)[0]
        offset = _behind_generator(data, offset + WORD * (len(OPTION_NAMES) + 5))
        offset = _behind_generator(data, offset)
        self.step = np.frombuffer(data, "<i4", STEP_WORDS, offset)
        offset += WORD * STEP_WORDS
        self._count_at = offset + WORD
        (count,) = struct.unpack_from("<i", data, self._count_at)
        self._entities_at = offset = offset + 2 * WORD
        size = count * ENTITY_WORDS
        self.entities = np.frombuffer(data, "<i4", size, offset).reshape(count, ENTITY_WORDS)
        self.places = np.frombuffer(data, "<f4", size, offset).reshape(count, ENTITY_WORDS)
        self._behind_entities = offset + WORD * size
        offset = _behind_generator(data, self._behind_entities + WORD * SHARED_WORDS)
        offset += WORD * VIEW_WORDS
        width, height, cells = struct.unpack_from("<3i", data, offset)
        offset += 3 * WORD
        self.grid = np.frombuffer(data, "<i4", cells, offset).reshape(height, width)
        self._game_at = offset + WORD * cells
        words = (len(data) - WORD - self._game_at) // WORD
        self.game = np.frombuffer(data, "<i4", words, self._game_at)

    @property
    def level(self) -> int:
        """The level that is played."""
        return int(self.step[LEVEL])

    @property
    def agent(self) -> int:
        """The row of the agent among the entities."""
        return int((self.entities[:, TYPE] == AGENT_TYPE).argmax())

    def agent_cell(self) -> tuple[int, int]:
        """Return (x, y) of the cell in which the agent's middle is."""
        place = self.places[self.agent]
        return int(place[X]), int(place[Y])

    def state(self) -> bytes:
        """Return the state with all that was written."""
        return bytes(self._bytes)

    def rebuilt(self, entities: np.ndarray, game: np.ndarray) -> bytes:
        """Return the state with other entities, and another number of them.

        Args:
            entities: [n, 31] int32.
            game: [m] int32, what the game alone has.
        """
        data = self._bytes
        return b"".join(
            (
                data[: self._count_at],
                struct.pack("<i", len(entities)),
                np.ascontiguousarray(entities, "<i4").tobytes(),
                data[self._behind_entities : self._game_at],
                np.ascontiguousarray(game, "<i4").tobytes(),
                data[-WORD:],
            )
        )


def objects(places: np.ndarray, half: tuple[float, float], kind: int, image: int, theme: int) -> (
    np.ndarray
):  # fmt: skip
    """Return objects that stand still and are drawn, [n, 31] int32.

    Args:
        places: [n, 2] x and y of their middles, in cells.
        half: half their width and half their height, in cells.
        kind: what the engine takes them for.
        image: whose picture they have.
        theme: which of its pictures.
    """
    made = np.zeros((len(places), ENTITY_WORDS), np.int32)
    floats = made.view(np.float32)
    for column, value in STILL.items():
        made[:, column] = value
    for column, number in STILL_FLOATS.items():
        floats[:, column] = number
    floats[:, [X, Y]] = places
    floats[:, [HALF_WIDTH, HALF_HEIGHT]] = half
    made[:, [TYPE, IMAGE, THEME]] = kind, image, theme
    return made


def _behind_generator(data: bytearray, offset: int) -> int:
    return offset + 2 * WORD + int(struct.unpack_from("<i", data, offset + WORD)[0])
