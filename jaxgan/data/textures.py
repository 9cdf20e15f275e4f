"""Cut-out pictures on real textures: images whose masks are known to the pixel.

Behind a picture goes a cut of one of three grey textures that scikit-image ships (grass, gravel,
bricks), each grey a colour between two that are drawn, or in `PHOTOGRAPHS_SHARE` of the cases a cut
of a photograph with its colour channels in a drawn order. Which one, from where, how much reduced
and in which colours are functions of a number alone, the same on every machine.
"""

import functools

import numpy as np
from jaxtyping import UInt8

from jaxgan.data.order import random_words
from jaxgan.data.photographs import path
from jaxgan.fields.pixels import channels, read

TEXTURES = ("grass.png", "gravel.png", "brick.png")
"""Grey, 512 pixels a side; coloured here."""

PHOTOGRAPHS = ("china.jpg", "flower.jpg", "chelsea.png", "coffee.png", "color.png")
"""Coloured ones."""

PHOTOGRAPHS_SHARE = 0.25
"""How many of the grounds are cuts of photographs."""

_STREAM = 0x7E
_MOST_REDUCED = 3
"""Pixels of a texture that are averaged to one, a side, at most."""


def on_texture(picture: UInt8[np.ndarray, "h w 4"], number: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture [h, w, 4] on the ground of a number, weighted by its alpha.

    Raises:
      UserError: scikit-image or scikit-learn is not installed.
    """
    under = ground(number, *picture.shape[:2]).astype(np.uint32)
    alpha = picture[..., 3:].astype(np.uint32)
    mixed = picture[..., :3] * alpha + under * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def ground(number: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """The ground of a number, at most 100 pixels a side."""
    words = random_words(number, _STREAM, 0, 12)
    shares = (words >> np.uint64(11)) * 2.0**-53  # in [0, 1)
    photograph = shares[0] < PHOTOGRAPHS_SHARE
    files = PHOTOGRAPHS if photograph else TEXTURES
    image = _opened(files[int(shares[1] * len(files))])
    times = 1 + int(shares[2] * _MOST_REDUCED)
    top, left = (
        int(share * (side - times * wanted + 1))
        for share, side, wanted in zip(shares[3:5], image.shape, (height, width), strict=False)
    )
    cut = image[top : top + times * height, left : left + times * width].astype(np.uint32)
    small = cut.reshape(height, times, width, times, 3).sum((1, 3)) // times**2
    if photograph:
        return small[..., np.argsort(shares[5:8], kind="stable")].astype(np.uint8)
    dark, light = (255 * shares[5:11]).astype(np.uint32).reshape(2, 3)
    return ((dark * (255 - small) + light * small) // 255).astype(np.uint8)


@functools.lru_cache(maxsize=len(TEXTURES) + len(PHOTOGRAPHS))
def _opened(file: str) -> UInt8[np.ndarray, "h w 3"]:
    return channels(read(path(file)), 3)
