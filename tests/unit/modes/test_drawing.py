"""Pictures for people have the geometry and the colors they should."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ppo_mpi.modes.drawing import (
    INK,
    PAPER,
    as_picture,
    beside,
    caption,
    fit,
    grid,
    half_blocks,
    resize,
)
from ppo_mpi.modes.pixel_font import text_mask


def noise_image(height: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def terminal_pixels(lines: list[str]) -> np.ndarray:
    """Read half blocks as a terminal does; return [2 * lines, columns, 3] uint8."""
    rows = []
    for line in lines:
        upper: list[list[int]] = []
        lower: list[list[int]] = []
        colors = {38: [0, 0, 0], 48: [0, 0, 0]}
        for token in re.findall(r"\x1b\[([\d;]*)m|(\u2580)", line):
            if token[1]:
                upper.append(colors[38])
                lower.append(colors[48])
            elif token[0] != "0":
                kind, mode, *rgb = map(int, token[0].split(";"))
                assert mode == 2
                colors[kind] = rgb
        rows += [upper, lower]
    return np.array(rows, np.uint8)


def test_half_blocks_reproduce_every_color_exactly():
    image = noise_image(64, 64)
    image[10:30, 5:40] = (7, 8, 9)  # a flat part, where colors are not set again
    lines = half_blocks(image)
    assert len(lines) == 32
    assert all(line.count("\u2580") == 64 and line.endswith("\x1b[0m") for line in lines)
    np.testing.assert_array_equal(terminal_pixels(lines), image)


def test_half_blocks_put_black_below_an_odd_last_row():
    image = noise_image(5, 3)
    pixels = terminal_pixels(half_blocks(image))
    np.testing.assert_array_equal(pixels[:5], image)
    assert not pixels[5].any()


def test_half_blocks_of_one_color_set_it_once_a_line():
    (line,) = half_blocks(np.full((2, 50, 3), 9, np.uint8))
    assert line == "\x1b[38;2;9;9;9m\x1b[48;2;9;9;9m" + "\u2580" * 50 + "\x1b[0m"


def test_resize_keeps_the_same_size_to_the_bit_and_repeats_pixels_when_it_grows():
    image = noise_image(6, 4)
    np.testing.assert_array_equal(resize(image, 6, 4), image)
    np.testing.assert_array_equal(resize(image, 18, 12), image.repeat(3, 0).repeat(3, 1))
    assert resize(image, 7, 9).shape == (7, 9, 3)


def test_resize_takes_the_mean_over_the_area_when_it_shrinks():
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, :2, 0] = [[10, 20], [30, 40]]
    image[:, 2:] = 200
    small = resize(image, 1, 2)
    assert small.tolist() == [[[25, 0, 0], [200, 200, 200]]]
    assert resize(np.full((512, 512, 3), 255, np.uint8), 45, 45).min() == 255


def test_fit_shrinks_within_both_bounds_and_never_enlarges():
    assert fit(noise_image(64, 64), 44, 80).shape == (44, 44, 3)
    assert fit(noise_image(400, 600), 100, 60).shape == (40, 60, 3)
    image = noise_image(64, 64)
    np.testing.assert_array_equal(fit(image, 200, 200), image)


def test_a_grid_is_filled_row_by_row_and_the_rest_is_paper():
    frames = [np.full((4, 6, 3), 10 * (n + 1), np.uint8) for n in range(5)]
    picture = grid(frames, 2, 3)
    assert picture.shape == (8, 18, 3)
    for place in range(5):
        row, column = divmod(place, 3)
        tile = picture[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
        assert (tile == 10 * (place + 1)).all()
    assert (picture[4:, 12:] == PAPER).all()
    with pytest.raises(ValueError, match="5 frames do not go into a 2x2 grid"):
        grid(frames, 2, 2)


def test_frames_of_several_sizes_share_a_grid_of_the_largest():
    picture = grid([noise_image(4, 6), noise_image(2, 8)], 1, 2)
    assert picture.shape == (4, 16, 3)
    np.testing.assert_array_equal(picture[:2, 8:], noise_image(2, 8))
    assert (picture[2:, 8:] == PAPER).all()
    assert (picture[:, 6:8] == PAPER).all()


def test_two_frames_stand_beside_each_other_at_the_height_of_the_taller():
    picture = beside(noise_image(4, 6), noise_image(2, 3))
    assert picture.shape == (4, 9, 3)
    np.testing.assert_array_equal(picture[:2, 6:], noise_image(2, 3))


def test_a_stack_of_gray_frames_is_shown_by_its_newest():
    stack = np.arange(4, dtype=np.uint8) * np.ones((2, 2, 1), np.uint8)
    assert (as_picture(stack) == 3).all()
    assert as_picture(stack).shape == (2, 2, 3)
    color = noise_image(2, 2)
    assert as_picture(color) is color


@pytest.mark.parametrize("width", [64, 100, 210, 512, 600, 1024, 1111])
def test_a_caption_has_one_height_whatever_it_says_and_is_even(width):
    fields = [("return 0.0", "level 3"), ("return -1234.5", "level 2147483647")]
    heights = {caption(width, texts).shape[0] for texts in fields}
    assert len(heights) == 1
    assert heights.pop() % 2 == 0
    assert caption(width, fields[0]).shape[1] == width


def test_a_caption_of_procgens_view_shows_both_fields_whole_in_large_letters():
    strip = caption(512, ("return 10.0", "level 2147483647"))
    ink = (strip == INK).all(axis=2)
    expected = text_mask("return 10.0  level 2147483647", 2)
    assert ink.sum() == expected.sum()
    rows, columns = np.nonzero(ink)
    top, left = rows.min(), columns.min()
    inked = ink[top : top + 14, left : left + expected.shape[1]]
    np.testing.assert_array_equal(inked, expected)


def test_a_narrow_caption_has_a_line_for_each_field():
    wide, narrow = caption(512, ("a", "b")), caption(130, ("a", "b"))
    assert wide.shape[0] == 28
    assert narrow.shape[0] == 2 * 14
    ink = (narrow == INK).all(axis=2)
    np.testing.assert_array_equal(ink[3:10, 3:9], text_mask("a"))
    np.testing.assert_array_equal(ink[17:24, 3:9], text_mask("b"))


def test_letters_are_drawn_as_capitals_seven_rows_high_and_unknown_ones_as_question_marks():
    np.testing.assert_array_equal(text_mask("ab"), text_mask("AB"))
    np.testing.assert_array_equal(text_mask("é"), text_mask("?"))
    assert text_mask("level 12", 3).shape == (21, 6 * 3 * 8)
    rows = ["".join("#" if bit else "." for bit in row) for row in text_mask("L")]
    assert rows == ["#....."] * 6 + ["#####."]


def test_no_two_characters_look_the_same():
    characters = " 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.,:-+=/_()%?"
    pictures = {text_mask(character).tobytes() for character in characters}
    assert len(pictures) == len(characters)
