"""3x3 convolutions on CPUs with a quarter to two fifths of the multiplications.

Winograd's way: tiles of the image and the kernel are transformed by sums of few terms; what is left
is one matrix product for each place of the transformed tile; sums of its results are the output.
Along each axis:

same: 4 outputs from 6 inputs by 6 products instead of 12, Lavin's F(4, 3).
up: 4 outputs of nearest-neighbour upsampling and a convolution, from 4 inputs by 5 products; as two
    phases of a kernel of 2 it takes 8. It is Toom and Cook's for the places 0, 1, -1, the roots of
    x^2 + 1, and infinity: an upsampled image is zero at -1 and real at the roots.
down: 2 outputs of a convolution and the sum of pairs, from 6 inputs by 5 products instead of 8: odd
    and even inputs each by Karatsuba's 3, of which one is shared.

Their gradients are such convolutions, too (`up` and `down` are adjoint), and so is the gradient of
the kernel, taken in the transformed domain. Beside XLA's float32 convolution of 256
channels the largest difference is 1e-6 of the largest value in `up` and `down`, and 1.5e-5 in
`same`, whose coefficients reach 8.

No layer uses it yet. CPU time (both cores together, jaxlib 0.10.2, loaded machine, medians of 5) of
result, images' gradient and kernel's gradient, 256 channels: `same`, 4 of 32x32: 172 ms as
`jaxgan.nn.resample` has it and 106 so; 8 of 16x16: 80 and 65; `up`, 8 of 16x16: 156 and 111;
`down`, 8 of 16x16: 53 and 46. With a product for each place instead of a batched one it was faster
still, but took 2 to 3 s to compile, for every convolution, instead of 0.3.
"""

import functools
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

Kind = Literal["same", "up", "down"]

_TILES = 256
"""Tiles that are transformed at once, at most, where an image has not more."""


class _Algorithm(NamedTuple):
    """y = A [(G w) * (B x)] along one axis; every tile begins `step` after the last."""

    step: int
    image: np.ndarray
    kernel: np.ndarray
    output: np.ndarray


_ALGORITHMS = {
    "same": _Algorithm(
        4,
        np.array(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
        np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        np.array(
            [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
        ),
    ),
    "up": _Algorithm(
        2,
        np.array([[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
        np.array([[2, 0, 0], [1, 1, 1], [1, -1, -1], [1, 1, -1], [0, 0, 2]]) / 2,
        np.array([[-1, 1, 1, 0, 0], [0, 1, 0, -1, 0], [0, 1, -1, 0, 0], [0, 1, 0, 1, 1]]),
    ),
    "down": _Algorithm(
        4,
        np.array(
            [
                [1, 0, -1, 0, 0, 0],
                [0, 1, 0, -1, 0, 0],
                [0, 0, 1, 1, 0, 0],
                [0, 0, 1, 0, -1, 0],
                [0, 0, 0, 1, 0, -1],
            ]
        ),
        np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]]),
        np.array([[1, 1, 1, 0, 0], [0, 0, 1, -1, -1]]),
    ),
}
_ADJOINT: dict[Kind, Kind] = {"same": "same", "up": "down", "down": "up"}


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], kind: Kind = "same"
) -> Float[Array, "b y x o"]:
    """A 3x3 convolution with zeros around the images, in float32.

    Differentiable as often as a convolution is, forwards and backwards. Keeps nothing for its
    gradient but `x` and `kernel`.

    Args:
      x: images; of even height and width for "down".
      kernel: HWIO.
      kind: "same"; "up": of the images upsampled by 2 to their nearest neighbours; "down": summed
        over 2x2 cells.
    """
    return _convolve.bind(x, kernel, kind=kind, adjoint=False)


def _size(kind: Kind, size: int) -> int:
    return {"same": size, "up": 2 * size, "down": size // 2}[kind]


def _combine(rows: Sequence[Array], matrix: np.ndarray, axis: int) -> Array:
    """Products of a small matrix and a column of arrays, along a new axis."""
    # Not a stack of sums: XLA's CPU compiler has slow code for those, and much of it.
    shape = [1] * (rows[0].ndim + 1)
    shape[axis] = len(matrix)
    terms = [
        jnp.expand_dims(x, axis) * np.float32(column.reshape(shape))
        for x, column in zip(rows, matrix.T, strict=True)
    ]
    return functools.reduce(jnp.add, terms)


def _grid(kind: Kind, height: int, width: int) -> tuple[int, int]:
    """Tiles of an image, down and across."""
    step = _ALGORITHMS[kind].step
    return -(-height // step), -(-width // step)


def _tiles(x: Array, kind: Kind) -> Array:
    """Transformed tiles of images, [places, tiles, i]."""
    b, height, width, inputs = x.shape
    down, across = _grid(kind, height, width)
    step, matrix, _, _ = _ALGORITHMS[kind]
    reach = matrix.shape[1]
    edges = [
        (1, n * step - size + reach - step - 1) for n, size in ((down, height), (across, width))
    ]
    x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
    x = _combine([x[:, i : i + step * (down - 1) + 1 : step] for i in range(reach)], matrix, 0)
    ends = [i + step * (across - 1) + 1 for i in range(reach)]
    x = _combine([x[:, :, :, i:end:step] for i, end in enumerate(ends)], matrix, 1)
    return x.reshape(-1, b * down * across, inputs)


def _kernels(kernel: Array, kind: Kind) -> Array:
    """The transformed kernel, [places, i, o]."""
    matrix = _ALGORITHMS[kind].kernel
    kernel = _combine(list(kernel), matrix, 0)
    kernel = _combine([kernel[:, i] for i in range(3)], matrix, 1)
    return kernel.reshape(-1, *kernel.shape[2:])


def _assemble(places: Array, kind: Kind, size: tuple[int, ...]) -> Array:
    """Images [b, y, x, o] from products of tiles and kernels, [places, tiles, o]."""
    b, height, width, outputs = size
    matrix = _ALGORITHMS[kind].output
    high, count = matrix.shape
    down, across = -(-height // high), -(-width // high)
    y = places.reshape(count, count, b, down, across, outputs)
    y = _combine([y[i] for i in range(count)], matrix, 0)
    y = _combine([y[:, i] for i in range(count)], matrix, 0)
    y = y.transpose(2, 3, 1, 4, 0, 5)
    return y.reshape(b, down * high, across * high, outputs)[:, :height, :width]


def _spread(y: Array, kind: Kind) -> Array:
    """The adjoint of `_assemble`: [places, tiles, o]."""
    _, height, width, outputs = y.shape
    matrix = _ALGORITHMS[kind].output.T
    high = matrix.shape[1]
    y = jnp.pad(y, ((0, 0), (0, -height % high), (0, -width % high), (0, 0)))
    y = _combine([y[:, i::high] for i in range(high)], matrix, 0)
    y = _combine([y[:, :, :, i::high] for i in range(high)], matrix, 1)
    return y.reshape(len(matrix) ** 2, -1, outputs)


def _piece(x: Array, kind: Kind) -> int:
    """How many images are transformed at once."""
    down, across = _grid(kind, *x.shape[1:3])
    most = max(1, _TILES // (down * across))
    return max(n for n in range(1, len(x) + 1) if n <= most and len(x) % n == 0)


def _forward(x: Array, kernel: Array, *, kind: Kind, adjoint: bool) -> Array:
    """The convolution; `adjoint`: with the kernel turned by 180 degrees, its channels exchanged."""
    kernels = _kernels(kernel[::-1, ::-1] if adjoint else kernel, kind)
    size = _result(x, kernel, kind=kind, adjoint=adjoint)[1:]

    def one(x: Array) -> Array:
        # Not of exchanged channels: XLA's CPU compiler would move that to before `_kernels`.
        over = (((2,), (2 if adjoint else 1,)), ((0,), (0,)))
        return _assemble(lax.dot_general(_tiles(x, kind), kernels, over), kind, (len(x), *size))

    piece = _piece(x, kind)
    if piece == len(x):
        return one(x)
    return lax.map(one, x.reshape(-1, piece, *x.shape[1:])).reshape(len(x), *size)


def _backward(x: Array, y: Array, *, kind: Kind) -> Array:
    """The kernel's gradient, of images and the gradient of the convolution's result."""

    def one(x: Array, y: Array) -> Array:
        pair = _tiles(x, kind), _spread(y, kind)
        return lax.dot_general(*pair, (((1,), (1,)), ((0,), (0,))))

    piece = _piece(x, kind)
    if piece == len(x):
        places = one(x, y)
    else:
        split = [a.reshape(-1, piece, *a.shape[1:]) for a in (x, y)]
        none = jnp.zeros((len(_ALGORITHMS[kind].kernel) ** 2, x.shape[-1], y.shape[-1]), x.dtype)
        places, _ = lax.scan(lambda total, pair: (total + one(*pair), None), none, split)
    matrix = _ALGORITHMS[kind].kernel.T
    count = matrix.shape[1]
    places = places.reshape(count, count, *places.shape[1:])
    rows = _combine([places[:, i] for i in range(count)], matrix, 1)
    return _combine([rows[i] for i in range(count)], matrix, 0)


def _primitive(name: str, compute: Any, shape: Any) -> Primitive:
    """A bilinear function of two arrays, as JAX's own convolution is one."""
    primitive = Primitive(name)
    primitive.def_impl(lambda a, b, **kind: jax.jit(partial(compute, **kind))(a, b))
    primitive.def_abstract_eval(lambda a, b, **kind: a.update(shape=shape(a, b, **kind)))
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))

    def batch(arrays: Any, axes: Any, **kind: Any) -> tuple[Array, int]:
        size = next(a.shape[i] for a, i in zip(arrays, axes, strict=True) if i is not None)
        whole = [
            jnp.broadcast_to(a, (size, *a.shape)) if i is None else jnp.moveaxis(a, i, 0)
            for a, i in zip(arrays, axes, strict=True)
        ]
        return lax.map(lambda pair: primitive.bind(*pair, **kind), whole), 0

    batching.primitive_batchers[primitive] = batch
    return primitive


def _result(x: Any, kernel: Any, *, kind: Kind, adjoint: bool) -> tuple[int, ...]:
    sides = (_size(kind, n) for n in x.shape[1:3])
    return (x.shape[0], *sides, kernel.shape[2 if adjoint else 3])


_convolve = _primitive("winograd", _forward, _result)
_gradient = _primitive(
    "winograd_gradient", _backward, lambda x, y, *, kind: (3, 3, x.shape[3], y.shape[3])
)


def _to_image(ct: Array, x: Any, kernel: Array, *, kind: Kind, adjoint: bool) -> Array:
    return _convolve.bind(ct, kernel, kind=_ADJOINT[kind], adjoint=not adjoint)


def _to_kernel(ct: Array, x: Array, kernel: Any, *, kind: Kind, adjoint: bool) -> Array:
    if adjoint:
        return _gradient.bind(ct, x, kind=_ADJOINT[kind])
    return _gradient.bind(x, ct, kind=kind)


def _to_first(ct: Array, x: Any, y: Array, *, kind: Kind) -> Array:
    return _convolve.bind(y, ct, kind=_ADJOINT[kind], adjoint=True)


def _to_second(ct: Array, x: Array, y: Any, *, kind: Kind) -> Array:
    return _convolve.bind(x, ct, kind=kind, adjoint=False)


ad.defbilinear(_convolve, _to_image, _to_kernel)
ad.defbilinear(_gradient, _to_first, _to_second)
