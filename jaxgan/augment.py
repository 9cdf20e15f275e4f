"""Differentiable augmentations of images for discriminators that have little data.

Zhao, Liu, Lin, Zhu, Han, "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS
2020 (`diff_augment`): colour, translation and cutout, each always; for every system, by --augment.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020 (ADA,
`augment`): the operations that helped the authors, pixel blitting, geometry and colour ("bgc"),
each with a probability of its own draw. Orientation and position change together in one
resampling, through the authors' low-pass filter. Beyond their edges images are reflected: here
after the filter's first half, in the authors' code before it, which shows in what comes from far
outside.

All are pure functions of images and of uniform numbers, a fixed count for each image.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float

from jaxgan.errors import UserError
from jaxgan.nn.fir import fir

POLICIES = ("color", "translation", "cutout")
"""Operations of `diff_augment`."""
DIFF_NUMBERS = 7
"""Uniform numbers in [0, 1) that it takes for an image."""

(
    _FLIP,
    _QUARTER,
    _MOVE,
    _SCALE,
    _BEFORE,
    _STRETCH,
    _AFTER,
    _DRIFT,
    _BRIGHTNESS,
    _CONTRAST,
    _LUMA,
    _HUE,
    _SATURATION,
) = range(_OPERATIONS := 13)

NUMBERS = 2 * _OPERATIONS + 2
"""Uniform numbers in [0, 1) that `augment` takes for an image: whether to apply each operation,
and how much; moves in the plane take two."""

# Daubechies' symlet of 6 vanishing moments: the low-pass filter of an orthonormal wavelet basis, so
# that down undoes up exactly.
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
_MARGIN = 6  # pixels around an image that the filters may touch
_PIVOT = 0.25  # pixels

Matrix = Float[Array, "b m m"]


def augment(
    images: Float[Array, "b h w c"],
    numbers: Float[Array, "b 28"],
    probability: float | Float[Array, ""],
) -> Float[Array, "b h w c"]:
    """Each operation with a probability: left to right, then turned, moved, coloured.

    With probability p each: mirrored or not, by fair chance; turned by 0, 90, 180 or 270 degrees;
    moved by whole pixels, up to 1/8 of the side; scaled by 2^N(0, 0.2^2); turned by any angle;
    stretched one way and shrunk the other by 2^N(0, 0.2^2); turned again; moved by N(0, 1/8^2)
    sides; brightness N(0, 0.2^2) added; contrast 2^N(0, 0.5^2); luma flipped or not, which inverts
    a grey image; and, if there are three channels, hue turned by any angle, saturation 2^N(0, 1).
    The two turns share p: that either happens has that probability.

    Args:
      images: square, in [-1, 1], of at least 8 pixels, grey or RGB.
      numbers: uniform in [0, 1).
      probability: 0 leaves the images as they are, up to rounding.
    """
    gates, values = numbers[:, :_OPERATIONS], numbers[:, _OPERATIONS:]
    gates, values = gates < probability, jnp.clip(values, 1e-6, 1 - 1e-6)
    turns = numbers[:, [_BEFORE, _AFTER]] < 1 - jnp.sqrt(1 - jnp.asarray(probability))
    out = _resample(images, _geometry(gates, turns, values, images.shape[1]))
    return _recolour(out, _colours(gates, values, images.shape[-1]))


def parse_policy(text: str) -> tuple[str, ...]:
    """Operations of `diff_augment` from their names with commas; () for an empty text.

    Raises:
      UserError: an unknown operation.
    """
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    if unknown := [name for name in names if name not in POLICIES]:
        raise UserError(
            f"--augment names {unknown[0]!r}: give some of {', '.join(POLICIES)}, with commas"
        )
    return names


def diff_augment(
    images: Float[Array, "b h w c"], numbers: Float[Array, "b 7"], policy: Sequence[str]
) -> Float[Array, "b h w c"]:
    """The operations of `policy`, in the order of `POLICIES`, on every image.

    color: U(-0.5, 0.5) is added; saturation times U(0, 2), contrast times U(0.5, 1.5).
    translation: by whole pixels, up to an eighth of each side, zeros behind.
    cutout: a square of half the sides is zero; its centre is anywhere.
    """
    u = numbers.T[:, :, None, None, None]
    if "color" in policy:
        images = images + u[0] - 0.5
        grey = images.mean(3, keepdims=True)
        images = (images - grey) * (2 * u[1]) + grey
        grey = images.mean((1, 2, 3), keepdims=True)
        images = (images - grey) * (u[2] + 0.5) + grey
    if "translation" in policy:
        for axis in (1, 2):
            images = _translated(images, numbers[:, 2 + axis], axis)
    if "cutout" in policy:
        rows, columns = (_covered(images.shape[k], numbers[:, 4 + k]) for k in (1, 2))
        images = jnp.where(rows[:, :, None, None] & columns[:, None, :, None], 0, images)
    return images


def _translated(
    images: Float[Array, "b h w c"], number: Float[Array, " b"], axis: int
) -> Float[Array, "b h w c"]:
    """Moved along an axis by a whole number of pixels, uniform up to an eighth of its length."""
    most = int(images.shape[axis] / 8 + 0.5)
    by = jnp.floor(number * (2 * most + 1)).astype(jnp.int32)
    edge = [(0, 0)] * 4
    edge[axis] = (most, most)
    wide = jnp.pad(images, edge)
    cut = jax.vmap(lambda x, by: lax.dynamic_slice_in_dim(x, by, images.shape[axis], axis - 1))
    return cut(wide, by)


def _covered(side: int, number: Float[Array, " b"]) -> Bool[Array, "b side"]:
    """Places within a quarter of the side of a random one."""
    half = int(side * 0.5 + 0.5) // 2
    centre = jnp.floor(number * (side + 1)).astype(jnp.int32)[:, None]
    place = jnp.arange(side)
    return (place >= centre - half) & (place < centre + half)


def _geometry(
    gates: Bool[Array, "b 13"], turns: Bool[Array, "b 2"], values: Float[Array, "b 15"], side: int
) -> Matrix:
    """From places (x, y, 1) of the result to places of the image, in pixels from the centre."""
    u = values.T
    mirror = jnp.where(gates[:, _FLIP], 1 - 2 * jnp.floor(2 * u[_FLIP]), 1.0)
    quarters = jnp.where(gates[:, _QUARTER], jnp.floor(4 * u[_QUARTER]), 0.0)
    blocks = jnp.round((2 * jnp.stack([u[_MOVE], u[_OPERATIONS]], 1) - 1) * side / 8)
    scale = jnp.where(gates[:, _SCALE], jnp.exp2(0.2 * ndtri(u[_SCALE])), 1.0)
    before = jnp.where(turns[:, 0], (2 * u[_BEFORE] - 1) * math.pi, 0.0)
    stretch = jnp.where(gates[:, _STRETCH], jnp.exp2(0.2 * ndtri(u[_STRETCH])), 1.0)
    after = jnp.where(turns[:, 1], (2 * u[_AFTER] - 1) * math.pi, 0.0)
    drift = ndtri(jnp.stack([u[_DRIFT], u[_OPERATIONS + 1]], 1)) * side / 8
    steps = (
        _scaling(mirror, jnp.ones_like(mirror)),
        _rotation(quarters * (math.pi / 2)),
        _translation(-blocks * gates[:, _MOVE, None]),
        _scaling(1 / scale, 1 / scale),
        _rotation(before),
        _scaling(1 / stretch, stretch),
        _rotation(after),
        _translation(-drift * gates[:, _DRIFT, None]),
    )
    return functools.reduce(_product, steps)


def _colours(gates: Bool[Array, "b 13"], values: Float[Array, "b 15"], channels: int) -> Matrix:
    """From colours (r, g, b, 1) to new ones."""
    u = values.T
    eye = jnp.eye(4)
    brightness = jnp.where(gates[:, _BRIGHTNESS], 0.2 * ndtri(u[_BRIGHTNESS]), 0.0)
    contrast = jnp.where(gates[:, _CONTRAST], jnp.exp2(0.5 * ndtri(u[_CONTRAST])), 1.0)
    matrix = jnp.broadcast_to(eye, (len(u[0]), 4, 4)).at[:, :3, 3].set(brightness[:, None])
    matrix = matrix.at[:, :3].multiply(contrast[:, None, None])
    luma = jnp.full((4, 4), 1 / 3).at[3].set(0).at[:, 3].set(0)  # projection on the grey axis
    flip = jnp.where(gates[:, _LUMA], jnp.floor(2 * u[_LUMA]), 0.0)[:, None, None]
    matrix = _product(eye - 2 * luma * flip, matrix)
    if channels == 1:
        return matrix
    hue = jnp.where(gates[:, _HUE], (2 * u[_HUE] - 1) * math.pi, 0.0)
    saturation = jnp.where(gates[:, _SATURATION], jnp.exp2(ndtri(u[_SATURATION])), 1.0)
    matrix = _product(_turned_about_luma(hue), matrix)
    return _product(luma + (eye - luma) * saturation[:, None, None], matrix)


def _recolour(images: Float[Array, "b h w c"], matrix: Matrix) -> Float[Array, "b h w c"]:
    linear, constant = matrix[:, :3, :3], matrix[:, :3, 3]
    if images.shape[-1] == 1:  # what three equal colours become, on average
        linear = linear.sum(2, keepdims=True).mean(1, keepdims=True)
        constant = constant.mean(1, keepdims=True)
    return jnp.einsum("bhwc,bdc->bhwd", images, linear) + constant[:, None, None]


def _resample(images: Float[Array, "b n n c"], matrix: Matrix) -> Float[Array, "b n n c"]:
    """The image at places that the matrix gives, bilinear on a grid of twice the resolution."""
    b, side, _, c = images.shape
    edge = [(0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)]
    fine = fir(jnp.pad(images, edge, mode="reflect"), SYM6[::-1], (6, 5), up=2)
    size = fine.shape[1]

    # Places of the result on the fine grid, with what the filter on the way down needs around it.
    count = 2 * side + 10
    place = (jnp.arange(count) + 0.5) / 2 - 2.5 - side / 2
    x, y = jnp.meshgrid(place, place)
    at = jnp.stack([x.ravel(), y.ravel(), jnp.ones(count**2)])
    # The filter's centre of mass is about a quarter of a pixel beside its middle, so the pivot is.
    at = at.at[:2].add(_PIVOT)
    source = (matrix[:, :2, :, None] * at).sum(2) - _PIVOT  # [b, 2, places], pixels from the centre
    source = _reflect(source + side / 2, side)  # from the image's corner
    index = 2 * (source + _MARGIN) - 0.5  # on the fine grid
    low = jnp.floor(index)
    share = index - low
    column, row = low.astype(jnp.int32)[:, 0], low.astype(jnp.int32)[:, 1]
    flat = fine.reshape(b, size * size, c)

    def pick(row: Array, column: Array) -> Array:
        where = jnp.clip(row, 0, size - 1) * size + jnp.clip(column, 0, size - 1)
        return jax.vmap(lambda image, where: image[where])(flat, where)

    right, below = share[:, 0, :, None], share[:, 1, :, None]
    upper = (1 - right) * pick(row, column) + right * pick(row, column + 1)
    lower = (1 - right) * pick(row + 1, column) + right * pick(row + 1, column + 1)
    moved = ((1 - below) * upper + below * lower).reshape(b, count, count, c)
    return fir(moved, SYM6, (0, 0), down=2)


def _reflect(x: Float[Array, "..."], side: int) -> Float[Array, "..."]:
    """Folds coordinates between the outermost pixels' centres; those just outside stay."""
    last = side - 1
    folded = jnp.mod(x - 0.5, 2 * last)
    folded = jnp.where(folded > last, 2 * last - folded, folded) + 0.5
    return jnp.where((x < -_MARGIN / 2) | (x > side + _MARGIN / 2), folded, x)


def _product(a: Matrix, b: Matrix) -> Matrix:
    """A matrix product in float32, also where those are rounded (TPU)."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def _scaling(x: Float[Array, " b"], y: Float[Array, " b"]) -> Matrix:
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    return _rows((x, zero, zero), (zero, y, zero), (zero, zero, one))


def _rotation(angle: Float[Array, " b"]) -> Matrix:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    zero, one = jnp.zeros_like(angle), jnp.ones_like(angle)
    return _rows((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))


def _translation(by: Float[Array, "b 2"]) -> Matrix:
    x, y = by[:, 0], by[:, 1]
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    return _rows((one, zero, x), (zero, one, y), (zero, zero, one))


def _turned_about_luma(angle: Float[Array, " b"]) -> Matrix:
    """Rodrigues' rotation of colours about the grey axis."""
    v = 1 / math.sqrt(3)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rest = (1 - cos) / 3
    a, b, c = rest + cos, rest - v * sin, rest + v * sin
    zero, one = jnp.zeros_like(a), jnp.ones_like(a)
    return _rows((a, b, c, zero), (c, a, b, zero), (b, c, a, zero), (zero, zero, zero, one))


def _rows(*rows: tuple[Array, ...]) -> Matrix:
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)
