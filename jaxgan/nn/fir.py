"""Low-pass filters of images, with up- and downsampling by 2: each axis in turn, as shifted sums.

A filter acts on every channel alone. As grouped convolutions such filters are slow on CPUs, and
their gradients slower; sums of slices fuse everywhere.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

BINOMIAL3 = (1.0, 2.0, 1.0)
"""StyleGAN's blur."""
BINOMIAL4 = (1.0, 3.0, 3.0, 1.0)
"""StyleGAN2's filter of resampling."""


def fir(
    x: Float[Array, "b h w c"],
    taps: Sequence[float],
    padding: tuple[int, int],
    *,
    up: int = 1,
    down: int = 1,
) -> Float[Array, "b y x c"]:
    """Correlates both axes with `taps`, which are scaled to sum to `up`.

    The image is dilated with zeros by `up`, padded with zeros at either end of each axis (a
    negative number cuts), filtered, and every `down`-th place is kept:
    y = (h up + padding - len(taps)) // down + 1.
    """
    total = sum(taps)
    kernel = [up * tap / total for tap in taps]
    for axis in (1, 2):
        # The last place of a dilated axis is followed by zeros, too: h up places, not h up - 1.
        low, high = padding[0], padding[1] + up - 1
        config = [(0, 0, 0)] * 4
        config[axis] = (low, high, up - 1)
        wide = lax.pad(x, jnp.zeros((), x.dtype), config)
        count = (wide.shape[axis] - len(taps)) // down + 1
        x = sum(
            (
                tap * lax.slice_in_dim(wide, k, k + (count - 1) * down + 1, down, axis)
                for k, tap in enumerate(kernel)
            ),
            start=jnp.zeros((), x.dtype),
        )
    return x


def blur(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """[1, 2, 1] x [1, 2, 1] / 16, zeros around (StyleGAN, section 2 and appendix B)."""
    return fir(x, BINOMIAL3, (1, 1))


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """To twice the size by [1, 3, 3, 1] (StyleGAN2, appendix B)."""
    return fir(x, BINOMIAL4, (2, 1), up=2)


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """To half the size by [1, 3, 3, 1] (StyleGAN2, appendix B)."""
    return fir(x, BINOMIAL4, (1, 1), down=2)
