"""Atari games as bytes: a header in JSON, the emulator's state, frames, a checksum. No pickles.

The emulator's own bytes can only be checked by the emulator; see ``AtariEnvs.set_states``.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_mpi.errors import CheckpointError

MAGIC = b"ppo_mpi atari 1\n"
MOST_HEADER_BYTES = 2**16
MOST_EMULATOR_BYTES = 2**20
"""They are 7 to 20 kB."""
NUM_ACTIONS = 18
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class SavedGame:
    """Everything that shapes what comes in one game."""

    emulator: bytes
    frames: np.ndarray
    """uint8, the stack, the oldest first."""
    screen: np.ndarray
    """uint8, the last screen as it was drawn, where the next frame needs it; else empty."""
    random: Mapping[str, Any]
    """State of numpy's bit generator."""
    lives: int
    held: int
    """The emulator's number of the action that the console has read last."""


def pack(
    saved: SavedGame, rom: str, next_seed: int | None, arguments: Mapping[str, int] | None = None
) -> bytes:
    """Return one environment's state as bytes.

    Args:
        saved: its game.
        rom: the game's name.
        next_seed: the seed with which its next episode begins, if one was assigned.
        arguments: ``AtariOptions.arguments``, the console's switches.
    """
    header = {
        "rom": rom,
        "arguments": dict(arguments or {}),
        "frames": saved.frames.shape,
        "screen": saved.screen.shape,
        "emulator": len(saved.emulator),
        "random": _as_json(saved.random),
        "lives": saved.lives,
        "held": saved.held,
        "next_seed": next_seed,
    }
    text = json.dumps(header).encode("ascii")
    parts = (saved.emulator, saved.frames.tobytes(), saved.screen.tobytes())
    body = MAGIC + _LENGTH.pack(len(text)) + text + b"".join(parts)
    return body + _LENGTH.pack(zlib.crc32(body))


def unpack(
    state: bytes,
    expected: SavedGame,
    rom: str,
    index: int,
    arguments: Mapping[str, int] | None = None,
) -> tuple[SavedGame, int | None]:
    """Read what ``pack`` gave and check all of it but the emulator's bytes.

    Args:
        state: from a checkpoint.
        expected: a game of this kind, with the shapes of its arrays.
        rom: the game's name.
        index: the environment's whole-job index, for messages.
        arguments: as in ``pack``.

    Returns:
        the game, and the seed with which its next episode begins.

    Raises:
        CheckpointError: it is damaged, or belongs to another game or other settings.
    """
    whose = f"the saved state of environment {index}"
    try:
        header, rest = _split(state)
        _check_settings(header, expected, rom, dict(arguments or {}), whose)
        size = _count("emulator", header["emulator"], MOST_EMULATOR_BYTES)
        if len(rest) != size + expected.frames.size + expected.screen.size:
            raise ValueError(f"it has {len(rest)} bytes behind its header")
        frames, screen = rest[size : size + expected.frames.size], rest[size:]
        screen = screen[expected.frames.size :]
        random = _generator_state(header["random"])
        saved = SavedGame(
            rest[:size],
            np.frombuffer(frames, np.uint8).reshape(expected.frames.shape),
            np.frombuffer(screen, np.uint8).reshape(expected.screen.shape),
            random,
            _count("lives", header["lives"], 2**31),
            _count("held", header["held"], NUM_ACTIONS),
        )
        seed = header["next_seed"]
        return saved, None if seed is None else _count("next_seed", seed, 2**62)
    except RecursionError as error:
        raise CheckpointError(f"{whose} is damaged: it is nested too deeply") from error
    except (ValueError, KeyError, TypeError, OverflowError, struct.error) as error:
        if isinstance(error, CheckpointError):
            raise
        what = f"{type(error).__name__} {error}"[:200]
        raise CheckpointError(f"{whose} is damaged: {what}") from error


def _check_settings(
    header: Mapping[str, Any], expected: SavedGame, rom: str, own: Mapping[str, int], whose: str
) -> None:
    """Refuse a game of another kind; the arguments are those of ``unpack``."""
    if header["rom"] != rom:
        shown = repr(header["rom"])[:40]
        raise CheckpointError(f"{whose} is one of the game {shown}, not of {rom!r}")
    switches = header.get("arguments", {})
    if switches != own:
        raise CheckpointError(
            f"{whose} has env_kwargs {str(switches)[:80]}, these environments {own}; use those "
            "that the run began with"
        )
    for name, array in (("frames", expected.frames), ("screen", expected.screen)):
        if header[name] != list(array.shape):
            raise CheckpointError(
                f"{whose} has {name} {str(header[name])[:60]}, these environments "
                f"{list(array.shape)}; use the settings of atari that the run began with"
            )


def _split(state: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and what is behind it, once the checksum is right."""
    start = len(MAGIC) + _LENGTH.size
    if not state.startswith(MAGIC) or len(state) < start + _LENGTH.size:
        raise ValueError(f"its {len(state)} bytes do not begin as a game's state does")
    body, checksum = state[: -_LENGTH.size], state[-_LENGTH.size :]
    if _LENGTH.unpack(checksum)[0] != zlib.crc32(body):
        raise ValueError(f"its {len(state)} bytes do not have the checksum that was saved")
    length = _LENGTH.unpack_from(body, len(MAGIC))[0]
    if length > min(MOST_HEADER_BYTES, len(body) - start):
        raise ValueError(f"its header claims {length} bytes")
    header = json.loads(body[start : start + length])
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    return header, body[start + length :]


def _count(name: str, value: Any, end: int) -> int:
    if not (type(value) is int and 0 <= value < end):
        raise ValueError(f"{name} is not a count below {end}")
    return value


def _as_json(value: Any) -> Any:
    """Return a generator's state with lists in place of arrays."""
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _generator_state(saved: Any) -> dict[str, Any]:
    """Return a state that numpy's Philox takes.

    Raises:
        ValueError: it is none; so may KeyError, TypeError and OverflowError say.
    """
    if saved["bit_generator"] != "Philox":
        raise ValueError("its random stream is not of the kind Philox")
    counter, key, buffer = saved["state"]["counter"], saved["state"]["key"], saved["buffer"]
    if (len(counter), len(key), len(buffer)) != (4, 2, 4):
        raise ValueError("its random stream has other sizes")
    return {
        "bit_generator": "Philox",
        "state": {
            "counter": np.array([_count("counter", x, 2**64) for x in counter], np.uint64),
            "key": np.array([_count("key", x, 2**64) for x in key], np.uint64),
        },
        "buffer": np.array([_count("buffer", x, 2**64) for x in buffer], np.uint64),
        # Beyond its end numpy would read what is not the buffer's.
        "buffer_pos": _count("buffer_pos", saved["buffer_pos"], 5),
        "has_uint32": _count("has_uint32", saved["has_uint32"], 2),
        "uinteger": _count("uinteger", saved["uinteger"], 2**32),
    }
