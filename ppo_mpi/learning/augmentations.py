"""Random changes of images that leave alone what is to be done: pure functions of images and draws.

What is random comes from outside: uniform numbers in [0, 1), so many of each sample as its
transform says. Equal draws give equal pixels, whichever samples go through together. Lengths are
shares of the image's own, as they are published for 64 x 64 pixels.

Axes: N images; H, W, C image; K draws of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PUBLISHED_SIZE = 64
"""Pixels of the side of an image that lengths are published for."""
CROP_PADDING = 12
TRANSLATION = 5
"""Pixels of 64; RAD puts an image of 100 pixels at random into a frame of 108."""
CUTOUT_SIDES = (7, 21)
JITTER = 0.4
"""Factors of contrast, brightness and saturation lie within 1 +- this."""
HUE_SHIFT = 0.5 * 255 / 360
"""Largest turn of the hue, as a share of the circle."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a gray (ITU-R BT.601)."""
KERNEL = 3
PART = 8
"""Images that a processor takes at once where numbers between are many: they stay in its cache."""


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Take an image's own size at a random place out of the image with its edges repeated.

    Args:
        images: [N, H, W, C] uint8, as in all that follow.
        draws: [N, 2] float32 in [0, 1): where, down and to the right.

    Returns:
        [N, H, W, C] uint8.

    Source:
        Raileanu et al. 2021, arXiv:2006.12862; the width of 12 from the published code (auto-drac).
    """
    rows, columns = (
        (at - pad + whole(draw, 2 * pad + 1)[:, None]).clamp_(0, at.shape[1] - 1)
        for at, pad, draw in zip(
            _places(images), _lengths(images, CROP_PADDING), draws.T, strict=True
        )
    )
    return _taken(images, rows[:, :, None], columns[:, None])


def translate(images: Tensor, draws: Tensor) -> Tensor:
    """Shift an image by a random number of pixels; what it leaves behind is black.

    Args:
        images: [N, H, W, C] uint8.
        draws: [N, 2] float32: how far, down and to the right.

    Source:
        Laskin et al. 2020, arXiv:2004.14990, "translate". There the image lies within a larger
        frame, which the network sees; here the size stays and the image leaves it.
    """
    rows, columns = (
        at - (whole(draw, 2 * most + 1) - most)[:, None]
        for at, most, draw in zip(
            _places(images), _lengths(images, TRANSLATION), draws.T, strict=True
        )
    )
    height, width = images.shape[1:3]
    inside = _box((rows >= 0) & (rows < height), (columns >= 0) & (columns < width), images)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return _taken(images, rows[:, :, None], columns[:, None]).mul_(inside)


def cutout(images: Tensor, draws: Tensor) -> Tensor:
    """Paint a random rectangle black.

    Args:
        images: [N, H, W, C] uint8.
        draws: [N, 4] float32: its height and width, its place down and to the right.

    Source:
        Cobbe et al. 2019, arXiv:1812.02341; one rectangle of 7 to 21 pixels a side as in the
        published code of arXiv:2006.12862. There its place follows from its size; here it may
        lie anywhere within the image.
    """
    return images * _cut(images, draws).logical_not_()


def cutout_color(images: Tensor, draws: Tensor) -> Tensor:
    """Paint a random rectangle in a random color.

    Args:
        images: [N, H, W, C] uint8.
        draws: [N, 4 + C] float32: as in ``cutout``, then the color.

    Source:
        as ``cutout``; the color as in arXiv:2004.14990, "cutout color".
    """
    color = whole(draws[:, 4:], 256).to(torch.uint8)
    return torch.where(_cut(images, draws), color[:, None, None], images)


def color_jitter(images: Tensor, draws: Tensor) -> Tensor:
    """Change contrast, then brightness, saturation and hue, by random factors.

        contrast    x <- m + c (x - m), m the mean of each channel
        then in HSV: V <- b V, S <- s S, H <- H + h; all clipped to [0, 1], the hue is a circle

    Args:
        images: [N, H, W, 3] uint8.
        draws: [N, 4] float32: c, b, s in 1 +- 0.4, h in +- 0.354 turns.

    Source:
        arXiv:2004.14990 and the published code of arXiv:2006.12862, where contrast comes last
        every other time.
    """
    return _in_parts(_jittered, images, draws)


def grayscale(images: Tensor, draws: Tensor) -> Tensor:
    """Give all three channels the same gray.

    Args:
        images: [N, H, W, 3] uint8.
        draws: [N, 0]; every image becomes gray, as in the published code of arXiv:2006.12862.
    """
    red, green, blue = images.float().unbind(3)
    gray = red.mul_(LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return _bytes(gray)[..., None].expand_as(images).contiguous()


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirror half of the images, left to right.

    Args:
        images: [N, H, W, C] uint8.
        draws: [N, 1] float32; below 0.5 mirrors.

    Source:
        arXiv:2004.14990. The published code of arXiv:2006.12862 turns them upside down.
    """
    rows, columns = _places(images)
    columns = torch.where(draws < 0.5, columns.flip(1), columns)
    return _taken(images, rows[:, :, None], columns[:, None])


def rotate(images: Tensor, draws: Tensor) -> Tensor:
    """Turn square images by 0, 90, 180 or 270 degrees, counterclockwise.

    Args:
        images: [N, H, H, C] uint8.
        draws: [N, 1] float32: how often by 90 degrees.

    Source:
        arXiv:2004.14990, arXiv:2006.12862.
    """
    size = images.shape[1]
    grid = torch.arange(size * size, dtype=torch.int32, device=images.device).view(size, size)
    turned = torch.stack([grid.rot90(times) for times in range(4)])
    return _taken(images, 0, turned[whole(draws[:, 0], 4)])


def random_convolution(images: Tensor, draws: Tensor) -> Tensor:
    """Filter every image with a random 3 x 3 kernel of its own from three colors to three.

        y = 255 / (1 + exp(-k * x / 255)),  k ~ normal, variance 2 / (27 + 27)

    Args:
        images: [N, H, W, 3] uint8; zeros lie around them.
        draws: [N, 81] float32: the kernel [3, 3, 3, 3] (to, from, down, right).

    Source:
        Lee et al. 2020, arXiv:1910.05396; Xavier's variance and a kernel for each image as in the
        published code of arXiv:2006.12862. The logistic function, which brings numbers without
        bounds back into those of pixels, is usual elsewhere; that code feeds them as they are.
    """
    return _in_parts(_filtered, images, draws)


@dataclass(frozen=True)
class Augmentation:
    """One kind of change."""

    transform: Callable[[Tensor, Tensor], Tensor]
    """([N, H, W, C] uint8, [N, K] float32) -> [N, H, W, C] uint8."""
    num_draws: int
    """K."""
    needs_color: bool = False
    """Whether the three channels have to be red, green and blue."""
    needs_square: bool = False

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether images [H, W, C] can be changed so."""
        height, width, channels = shape
        if self.needs_color and channels != 3:
            return False
        return height == width or not self.needs_square


AUGMENTATIONS = {
    "crop": Augmentation(crop, 2),
    "translate": Augmentation(translate, 2),
    "cutout": Augmentation(cutout, 4),
    "cutout_color": Augmentation(cutout_color, 7, needs_color=True),
    "color_jitter": Augmentation(color_jitter, 4, needs_color=True),
    "grayscale": Augmentation(grayscale, 0, needs_color=True),
    "flip": Augmentation(flip, 1),
    "rotate": Augmentation(rotate, 1, needs_square=True),
    "random_convolution": Augmentation(random_convolution, 9 * KERNEL**2, needs_color=True),
}


def whole(draws: Tensor, num: int | Tensor) -> Tensor:
    """Return whole numbers in [0, num) int32 from uniform draws, all equally likely."""
    # A draw next to 1 times num may be rounded up to num.
    return (draws * num).to(torch.int32).clamp_(max=num - 1)


def _lengths(images: Tensor, published: int) -> tuple[int, int]:
    """Return a published length as shares of height and width, in pixels; at least one."""
    height, width = images.shape[1:3]
    return (
        max(1, round(published * height / PUBLISHED_SIZE)),
        max(1, round(published * width / PUBLISHED_SIZE)),
    )


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each image's rows [N, H] and columns [N, W] are: int32, from 0."""
    rows, columns = (
        torch.arange(size, dtype=torch.int32, device=images.device).expand(len(images), size)
        for size in images.shape[1:3]
    )
    return rows, columns


def _taken(images: Tensor, rows: Tensor | int, columns: Tensor) -> Tensor:
    """Return images [N, H, W, C] of the pixels at these rows and columns.

    Args:
        images: from which.
        rows: int32, broadcast against the columns to [N, H, W].
        columns: likewise; with rows 0 the number of the pixel.
    """
    num, height, width, channels = images.shape
    first = torch.arange(num, dtype=torch.int32, device=images.device) * (height * width)
    places = (columns + rows * width + first[:, None, None]).flatten()
    return images.reshape(-1, channels).index_select(0, places).view(images.shape)


def _box(rows: Tensor, columns: Tensor, images: Tensor) -> Tensor:
    """Return the pixels [N, H, W, C] bool that lie in rows [N, H] and columns [N, W]."""
    # Along all numbers of a row, which are many: channels alone are too few for vector units.
    wide = columns.repeat_interleave(images.shape[3], 1)
    return (rows[:, :, None] & wide[:, None]).view(images.shape)


def _cut(images: Tensor, draws: Tensor) -> Tensor:
    """Return a random rectangle of each image, [N, H, W, C] bool; draws [N, 4 ...]."""
    least, most = (_lengths(images, side) for side in CUTOUT_SIDES)
    chosen = []
    for axis, at in enumerate(_places(images)):
        size = least[axis] + whole(draws[:, axis], most[axis] - least[axis] + 1)
        begin = whole(draws[:, 2 + axis], at.shape[1] - size + 1)
        chosen.append((at >= begin[:, None]) & (at < (begin + size)[:, None]))
    return _box(chosen[0], chosen[1], images)


def _bytes(numbers: Tensor) -> Tensor:
    """Return numbers in [0, 255] rounded to uint8; changes them."""
    return numbers.round_().to(torch.uint8)


def _in_parts(
    function: Callable[[Tensor, Tensor], Tensor], images: Tensor, draws: Tensor
) -> Tensor:
    """Return what a function gives for few images at a time; a GPU takes all together."""
    if not len(images):
        return images.clone()
    size = PART if images.device.type == "cpu" else len(images)
    parts = zip(images.split(size), draws.split(size), strict=True)
    return torch.cat([function(*part) for part in parts])


def _jittered(images: Tensor, draws: Tensor) -> Tensor:
    """Do what ``color_jitter`` does to all images at once."""
    contrast, brightness, saturation = ((2 * draws[:, :3] - 1) * JITTER + 1).T[:, :, None, None]
    turn = (2 * draws[:, 3] - 1)[:, None, None] * (6 * HUE_SHIFT)
    x = images.permute(3, 0, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    x = x.mul_(1 / 255)
    mean = x.mean((2, 3), keepdim=True)
    red, green, blue = x.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    slope = spread.clamp(min=1e-8).reciprocal_()
    # In sixths of the circle: which color is the largest, and where between the others.
    hue = torch.where(
        value == red,
        (green - blue).mul_(slope),
        torch.where(
            value == green,
            (blue - red).mul_(slope).add_(2),
            (red - green).mul_(slope).add_(4),
        ),
    ).add_(turn)
    hue.sub_((hue * (1 / 6)).floor_().mul_(6))
    saturated = spread.div_(value.clamp(min=1e-8)).mul_(saturation).clamp_(0, 1)
    value = value.mul_(brightness).clamp_(0, 1)
    depth = saturated.mul_(value)
    # How far each color lies below the largest one: a trapezoid around its place on the circle.
    out = torch.empty_like(x)
    torch.sub(hue, 3, out=out[0]).abs_().neg_().add_(2).clamp_(0, 1)
    torch.sub(hue, 2, out=out[1]).abs_().sub_(1).clamp_(0, 1)
    torch.sub(hue, 4, out=out[2]).abs_().sub_(1).clamp_(0, 1)
    out.mul_(depth).neg_().add_(value).mul_(255)
    return _bytes(out).permute(1, 2, 3, 0).contiguous()


def _filtered(images: Tensor, draws: Tensor) -> Tensor:
    """Do what ``random_convolution`` does to all images at once."""
    num, height, width, _ = images.shape
    inside = draws.clamp(min=2.0**-25)  # 0 stands for minus infinity
    kernels = torch.special.ndtri(inside).mul_((2 / (6 * KERNEL**2)) ** 0.5)
    x = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    edge = KERNEL // 2
    flat = F.pad(x.mul_(1 / 255), (edge,) * 4).flatten(2)
    # Pixels to the right are the next ones, and those below a row further on: copies for the one,
    # other beginnings for the other. That takes half the time of a convolution in N groups.
    row, length = width + 2 * edge, flat.shape[2]
    shifted = flat.new_zeros(num, 3, KERNEL, length)
    for right in range(KERNEL):
        shifted[:, :, right, : length - right] = flat[:, :, right:]
    inputs = shifted.flatten(1, 2)
    weights = kernels.view(num, 3, 3, KERNEL, KERNEL).permute(0, 3, 1, 2, 4).flatten(3)
    y = flat.new_zeros(num, 3, height * row)
    for down in range(KERNEL):
        y.baddbmm_(weights[:, down], inputs[:, :, down * row : (down + height) * row])
    pixels = y.view(num, 3, height, row)[..., :width].sigmoid().mul_(255)
    return _bytes(pixels).permute(0, 2, 3, 1).contiguous()
