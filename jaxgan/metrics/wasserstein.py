"""Sliced Wasserstein distance of images' patches, one scale at a time.

Karras et al. 2018, "Progressive growing of GANs", section 5: a Laplacian pyramid splits images into
bands of frequencies, from their own size down to 16 pixels. Patches of one level are compared
through their projections on random lines, where the Wasserstein distance is that of sorted numbers.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, UInt8

from jaxgan.errors import UserError
from jaxgan.metrics.base import Score, joined, warn

_SIDE = 7  # pixels of a patch
_PATCHES = 128  # of an image, at each level
_DIRECTIONS = 4 * 128
_SMALLEST = 16  # pixels a side of the last level
_BATCH = 128  # images whose pyramid is in memory
_CHUNK = 16  # lines whose projections are in memory


def sliced_wasserstein(
    real: UInt8[np.ndarray, "n h w c"], fake: UInt8[np.ndarray, "m y x k"], *, seed: int = 0
) -> tuple[dict[int, float], float]:
    """Distance at each level, by its side in pixels, and their mean; times 1000, as in the paper.

    At each level 128 patches of 7x7 pixels are taken from each image, at random, and each set's are
    brought to zero mean and unit variance per channel: overall brightness and contrast do not
    count. The distance is the mean over 512 lines. Between equal distributions it is not 0,
    but falls with the number of images. The paper has 16,384 a side; in RGB, 3 GB of memory then.

    Args:
      real: square images of at least 16 pixels a side.
      fake: as many of the same shape.
      seed: of positions and lines.

    Raises:
      UserError: shapes differ, or images are not square or smaller than 16 pixels.
    """
    if real.shape != fake.shape:
        raise UserError(
            f"real images {real.shape} and generated ones {fake.shape} (number, height, width, "
            "channels) differ: a sliced Wasserstein distance needs as many of the same shape"
        )
    _, side, width, _ = real.shape
    if side != width or side < _SMALLEST:
        raise UserError(
            f"images of {side}x{width} pixels: a sliced Wasserstein distance needs square ones of "
            f"at least {_SMALLEST}"
        )
    sides = [side]
    while (half := (sides[-1] + 1) // 2) >= _SMALLEST:
        sides.append(half)
    distances = {}
    for level, pixels in enumerate(sides):
        rng = np.random.default_rng((seed, level))
        last = level == len(sides) - 1
        distance = _distance(
            _patches(real, level, last, rng), _patches(fake, level, last, rng), rng
        )
        distances[pixels] = 1e3 * distance
    return distances, float(np.mean(list(distances.values())))


def _distance(
    a: Float32[np.ndarray, "n d"], b: Float32[np.ndarray, "n d"], rng: np.random.Generator
) -> float:
    """Mean over lines of the one-dimensional Wasserstein distance."""
    lines = rng.standard_normal((a.shape[1], _DIRECTIONS), np.float32)
    lines /= np.linalg.norm(lines, axis=0)
    distances = []
    for some in np.split(lines, range(_CHUNK, _DIRECTIONS, _CHUNK), axis=1):
        one, other = (np.sort(some.T @ side.T, axis=1) for side in (a, b))
        distances.append(np.abs(one - other).mean(dtype=np.float64))
    return float(np.mean(distances))


def _patches(
    images: UInt8[np.ndarray, "n h h c"], level: int, last: bool, rng: np.random.Generator
) -> Float32[np.ndarray, "p d"]:
    """Random patches of one level of the images' pyramid, normalised per channel, as rows."""
    patches = np.empty((len(images) * _PATCHES, images.shape[-1], _SIDE, _SIDE), np.float32)
    for start in range(0, len(images), _BATCH):
        band = np.asarray(_band(images[start : start + _BATCH], level, last))
        windows = np.lib.stride_tricks.sliding_window_view(band, (_SIDE, _SIDE), axis=(1, 2))
        index = np.arange(len(band)).repeat(_PATCHES)
        top, left = rng.integers(0, windows.shape[1:3], (len(index), 2)).T
        end = (start + len(band)) * _PATCHES
        patches[start * _PATCHES : end] = windows[index, top, left]
    for channel in range(patches.shape[1]):
        values = patches[:, channel]
        values -= values.mean(dtype=np.float64)
        deviation = np.sqrt(np.square(values).mean(dtype=np.float64))
        values /= deviation or 1  # a constant channel stays zero
    return patches.reshape(len(patches), -1)


@partial(jax.jit, static_argnames=("level", "last"))
def _band(images: UInt8[Array, "b h h c"], level: int, last: bool) -> Float[Array, "b s s c"]:
    """One level of the Laplacian pyramid (Burt & Adelson 1983): what the next halving would lose.

    The last level is what is left, low frequencies and all.
    """
    x = images.astype(jnp.float32)
    for _ in range(level):
        x = _halve(x)
    return x if last else x - _double(_halve(x), x.shape[1])


def _halve(x: Float[Array, "b h h c"]) -> Float[Array, "b s s c"]:
    return _blur(x)[:, ::2, ::2]


def _double(x: Float[Array, "b h h c"], side: int) -> Float[Array, "b side side c"]:
    """To twice the side, or one less, by zeros between the pixels and a blur."""
    spread = jnp.zeros((len(x), side, side, x.shape[-1]), x.dtype).at[:, ::2, ::2].set(x)
    return 4 * _blur(spread)


def _blur(x: Float[Array, "b h h c"]) -> Float[Array, "b h h c"]:
    """Binomial filter of 5x5 taps, mirrored about the outermost pixels."""
    for axis in (1, 2):
        padded = jnp.pad(x, [(2, 2) if a == axis else (0, 0) for a in range(4)], mode="reflect")
        taps = [lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i in range(5)]
        x = (taps[0] + taps[4] + 4 * (taps[1] + taps[3]) + 6 * taps[2]) / 16
    return x


class SWD(Score):
    """Sliced Wasserstein distance of as many generated images as real ones: mean of all levels."""

    name = "swd"
    needs = needs_real = frozenset({"image"})
    better = "lower"
    of = "pixels"
    summary = "sliced Wasserstein distance of patches, x 1000"
    published_as = (
        "mean over the levels of a Laplacian pyramid, x 1000; 16,384 images a side, 128 patches of "
        "7x7 pixels of each at each level (Karras et al. 2018)"
    )
    published_with = "pixels"

    def result(self) -> dict[str, float]:
        """{"swd": mean over levels, times 1000}."""
        fake, real = joined(self.generated, "image"), joined(self.real, "image")
        count = min(len(fake), len(real))
        if len(fake) != len(real):
            warn(
                f"{self.name} takes as many of both: {count:,} of {len(fake):,} generated and "
                f"{len(real):,} real images"
            )
        return {self.name: sliced_wasserstein(real[:count], fake[:count], seed=self.seed)[1]}
