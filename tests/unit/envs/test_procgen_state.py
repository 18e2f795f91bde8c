"""The bytes of a Procgen state, on a small state that is put together here."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from ppo_mpi.envs import procgen_state
from ppo_mpi.envs.procgen_state import (
    parse,
    seal,
    unseal,
    with_level_generator,
    with_level_range,
    with_slot,
)


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def text(content: bytes) -> bytes:
    return ints(len(content)) + content


def generator_section(first_word: int = 1) -> bytes:
    return ints(1) + text(" ".join(map(str, [first_word] * 624 + [3])).encode())


def entity(kind: int, theme: int = 0, x: float = 1.5) -> bytes:
    return struct.pack("<f", x) + ints(*range(5), kind, 3, theme, *range(22))


def state(
    *,
    version: int = 0,
    name: bytes = b"maze",
    levels: bytes = ints(10, 20),
    level_generator: bytes = generator_section(),
    num_entities: int = 2,
    grid_size: int = 6,
    entities: bytes = entity(0) + entity(20),
    view: bytes = ints(2, 3, *range(7)),
    cells: int = 6,
    own: bytes = ints(7, 8),
    end: bytes = struct.pack("<I", 0xCAFECAFE),
) -> bytes:
    return b"".join(
        (
            ints(version),
            text(name),
            ints(*range(100, 112)),
            ints(0) + levels + ints(0, 5),
            level_generator,
            generator_section(2),
            ints(*range(200, 215)),
            ints(grid_size, num_entities) + entities,
            ints(*range(19)),
            generator_section(3),
            view,
            ints(2, 3, cells) + ints(*range(6)),
            own,
            end,
        )
    )


def test_a_state_says_its_game_options_levels_and_slot() -> None:
    layout = parse(state())
    assert layout.game == "maze"
    assert layout.options == tuple(range(100, 112))
    assert layout.level_range == (10, 20)
    assert layout.slot == 5
    assert layout.level == 205
    assert state()[layout.generator_start : layout.generator_end] == generator_section()


def test_the_options_are_in_the_engines_order() -> None:
    named = dict(zip(procgen_state.OPTION_NAMES, parse(state()).options, strict=True))
    assert (named["paint_vel_info"], named["distribution_mode"], named["physics_mode"]) == (
        100, 107, 111,
    )  # fmt: skip


def test_an_edit_of_the_levels_changes_nothing_else() -> None:
    assert with_level_range(state(), 300, 301) == state(levels=ints(300, 301))
    assert procgen_state.level_range(with_level_range(state(), 300, 301)) == (300, 301)


def test_an_edit_of_the_slot_changes_nothing_else() -> None:
    edited = with_slot(state(), 63)
    assert parse(edited).slot == 63
    assert with_slot(edited, 5) == state()


@pytest.mark.parametrize("shorter", [generator_section(), generator_section(4_000_000_000)])
def test_an_edit_of_the_generator_changes_nothing_else_whatever_its_length(shorter: bytes) -> None:
    edited = with_level_generator(state(level_generator=shorter), 1)
    assert edited == with_level_generator(state(), 1)
    layout = parse(edited)
    assert edited[: layout.generator_start] == state()[: layout.generator_start]
    assert edited[layout.generator_end :] == state()[parse(state()).generator_end :]


def test_the_generator_is_a_freshly_seeded_mt19937() -> None:
    """The words by the recurrence that the C++ standard gives for seeding."""
    seed = 5489
    words = [seed]
    for i in range(1, 624):
        words.append((1812433253 * (words[-1] ^ (words[-1] >> 30)) + i) % 2**32)
    edited = with_level_generator(state(), seed)
    layout = parse(edited)
    section = edited[layout.generator_start : layout.generator_end]
    assert section == ints(1) + text(" ".join(map(str, [*words, 624])).encode())


def test_other_seeds_give_other_generators() -> None:
    assert with_level_generator(state(), 1) != with_level_generator(state(), 2)
    with pytest.raises(ValueError, match="Seed must be between 0 and 2"):
        with_level_generator(state(), -1)


@pytest.mark.parametrize(("low", "high"), [(5, 5), (-1, 4), (0, 2**31)])
def test_a_range_without_levels_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match=rf"levels \[{low}, {high}\) are no range; use 0 <= low"):
        with_level_range(state(), low, high)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", "it ends within the version, after 0 bytes"),
        (state(version=3), "its version is 3 instead of 0"),
        (state()[:6], "it ends within the game's name"),
        (ints(0, 10**9), "it ends within the game's name"),
        (ints(0, -4) + bytes(100), "it ends within the game's name"),
        (state()[:56], "it ends within the options"),
        (state()[:100], "it ends within the generator of the levels"),
        (state(level_generator=ints(1) + text(b"1 2 3")), "has 3 words instead of 625"),
        (state(level_generator=ints(7) + generator_section()[4:]), "the generator of the levels"),
        (
            state(level_generator=ints(1) + text(b" ".join([b"x"] * 625))),
            "the generator of the levels is not written in decimal numbers",
        ),
        (state(num_entities=10**6), "it has 1000000 entities"),
        (state(num_entities=9999), "it ends within the entities"),
        (state(entities=entity(1) * 2), "there is no agent among the entities"),
        (state(entities=entity(0) + entity(-1)), "an entity of the kinds"),
        (state(entities=entity(0) + entity(9, theme=10**6)), "and the theme 1000000"),
        (state(entities=entity(0, x=math.nan) * 2), "the entities have a number beyond"),
        (state(entities=entity(0, x=1e30) * 2), "the entities have a number beyond"),
        (state(view=ints(9, 3, *range(7))), r"its grid of 2 x 3 is not of its world, \(9, 3\)"),
        (state(view=ints(2, 3, 0) + struct.pack("<6f", 1e9, 0, 0, 0, 0, 0)), "the view have"),
        (state(grid_size=7), "its grid of 2 x 3 is not of its world"),
        (state(level_generator=generator_section(2**32)), "a number that is too large"),
        (state(level_generator=generator_section(10**11)), "not written in decimal numbers"),
        (state(level_generator=ints(0) + generator_section()[4:]), "the generator of the levels"),
        (state(num_entities=-1), "it ends within the entities"),
        (state(cells=7), "its grid of 2 x 3 has 7 cells"),
        (state(own=b"", end=b""), "its end marker is missing"),
        (state(end=ints(5)), "it ends in 0x5 instead of the end marker 0xcafecafe"),
        (state(levels=ints(20, 20)), r"its levels \[20, 20\) are no range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bytes_of_another_layout_are_refused(damaged: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(damaged)


def test_every_cut_is_noticed() -> None:
    whole = state()
    for length in np.linspace(0, len(whole) - 1, 200).astype(int):
        with pytest.raises(ValueError, match="it ends|its end marker|words instead"):
            parse(whole[:length])


def test_a_seal_is_broken_by_any_change() -> None:
    sealed = seal(state())
    assert unseal(sealed) == state()
    for place in (0, 2000, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(ValueError, match="do not have the checksum that was saved"):
            unseal(bytes(changed))
    for short in (b"", b"ab", sealed[:-1]):
        with pytest.raises(ValueError, match=f"its {len(short)} bytes do not have the checksum"):
            unseal(short)
