"""Luma and chroma of colours: YCbCr of ITU-R BT.601 in full range, as JPEG files have it.

In whole numbers, so that every machine and every batch has the same. Of NumPy's arrays and of
JAX's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

Whole = Any
"""An array of NumPy or of JAX of whole numbers, 0 to 255."""

_MILLION = 1_000_000


def _of(x: Any) -> Any:
    return jnp if isinstance(x, jax.Array) else np


def luma(rgb: Whole) -> Int[Any, "*s 1"]:
    """[..., 3] to [..., 1]: (299 R + 587 G + 114 B) / 1000, rounded; int32."""
    r, g, b = (rgb[..., index : index + 1].astype(np.int32) for index in range(3))
    return (299 * r + 587 * g + 114 * b + 500) // 1000


def chroma(rgb: Whole) -> Int[Any, "*s 2"]:
    """[..., 3] to Cb and Cr [..., 2], rounded, 128 where there is no colour; int32."""
    r, g, b = (rgb[..., index].astype(np.int32) for index in range(3))
    blue = 128 * _MILLION - 168_736 * r - 331_264 * g + 500_000 * b
    red = 128 * _MILLION + 500_000 * r - 418_688 * g - 81_312 * b
    stacked = _of(rgb).stack([blue, red], -1)
    return ((stacked + _MILLION // 2) // _MILLION).clip(0, 255)  # 255.5 would be 256


def rgb_of(y: Whole, found: Float[Any, "*s 2"]) -> Int[Any, "*s 3"]:
    """Luma [..., 1], and chroma [..., 2] of any numbers, to int32 RGB of exactly that luma.

    Red and blue are rounded and clipped; green is then the nearest whole number that gives the
    luma. Where none does, the colour is first brought towards grey until an RGB has it: rounding
    then leaves green half a level at most from what it should be. Of rounded chroma of any RGB no
    channel is more than one level off.
    """
    xp = _of(found)
    y = y[..., 0].astype(np.int32)
    grey = y.astype(np.float32)
    cb, cr = (found[..., index].astype(np.float32) - 128 for index in range(2))
    offsets = (1.402 * cr, -0.344136 * cb - 0.714136 * cr, 1.772 * cb)

    def green(r: Any, b: Any) -> Any:
        return (2 * (1000 * y - 299 * r - 114 * b) + 587) // 1174

    def coloured(share: Any, *, yields: bool = False) -> Any:
        r, b = (
            xp.round(grey + share * offset).clip(0, 255).astype(np.int32) for offset in offsets[::2]
        )
        if yields:  # blue, by a level, where green would lie beyond its range
            beyond = green(r, b)
            b = (b - (beyond < 0) + (beyond > 255)).clip(0, 255)
        return xp.stack([r, green(r, b).clip(0, 255), b], -1)

    share = xp.ones_like(grey)
    for offset in offsets:
        room = xp.where(offset > 0, 255 - grey, grey)
        share = xp.minimum(share, room / xp.maximum(xp.abs(offset), 1e-6))
    best = coloured(share)
    for other in (coloured(1.0, yields=True), coloured(1.0)):
        best = xp.where(luma(other) == y[..., None], other, best)
    return best


def subsampled(found: Int[np.ndarray, "n h w 2"]) -> Int[np.ndarray, "n h w 2"]:
    """Chroma as 4:2:0 leaves it: means of 2x2 pixels, rounded, each for all four."""
    height, width = found.shape[1:3]
    rest = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    whole = np.pad(found, rest, mode="edge").astype(np.int32)
    n, h, w, c = whole.shape
    means = (whole.reshape(n, h // 2, 2, w // 2, 2, c).sum((2, 4)) + 2) // 4
    return means.repeat(2, 1).repeat(2, 2)[:, :height, :width]
