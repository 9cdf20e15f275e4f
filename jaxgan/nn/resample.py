"""Convolutions that change resolution, each in several exactly equal forms.

Nearest-neighbour upsampling followed by a 3x3 convolution is a transposed 4x4 convolution of
stride 2, and a 3x3 convolution followed by 2x2 average pooling is a 4x4 convolution of stride 2.
Both 4x4 kernels are the 3x3 one convolved with a 2x2 box (`widen`), so that one pair of routines,
`conv_transpose` and `conv`, serves DCGAN's layers and the residual blocks alike, with
16/36 of the multiplications of the plain order of operations.

Compilers disagree about which form of a transposed convolution is fast. `_choose` is the only place
that picks one, by the backend that will run the program.
"""

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgan.backend import on_cpu
from jaxgan.errors import UserError
from jaxgan.nn.shares import at_use

Form = Literal["plain", "native", "phases", "spread", "matmul", "folded", "unrolled"]
"""How a convolution is computed.

plain: resample and convolve one after the other (`conv_up` and `conv_down` only).
native: one convolution with `lhs_dilation` or `window_strides`.
phases: going up, stride-1 convolutions on the small grid, one for each place in a cell.
spread: one matrix product from each place to all that it reaches, and their sum.
matmul: one matrix product: 1x1 kernels, or where kernel and image meet at a single place.
folded: a kernel's columns as channels, inputs or outputs, of a kernel of one column (`conv` only).
unrolled: the frames that a kernel spans as channels of one image (`conv_clip` only).
"""


def _choose() -> Form:
    """The fastest form of a dilated convolution on the backend that will run it.

    CPU (jaxlib 0.10.2, 2 cores, forward and backward, batch 16): a transposed 4x4 convolution of
    stride 2, 16x16x128 to 64, takes 590 ms native and 26 ms as phases. As one 2x2 convolution with
    four times the outputs, instead of four, it was 27 and 100 times slower. Strided convolutions
    gain nothing on the whole from space-to-depth. TPU has both natively, and phases cost it memory
    traffic. GPU is as TPU, but not measured.
    """
    return "phases" if on_cpu() else "native"


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Nearest-neighbour upsampling by 2."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Mean over 2x2 cells.

    Raises:
      UserError: height or width is odd.
    """
    _check_even(x)
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """The largest of 2x2 cells.

    Flax's has a gradient that takes CPUs five times as long.

    Raises:
      UserError: height or width is odd.
    """
    _check_even(x)
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def _check_even(x: Array) -> None:
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise UserError(
            f"cannot halve a {x.shape[1]}x{x.shape[2]} image: height and width must be even; "
            "choose another resolution"
        )


@jax.custom_jvp
def widen(
    kernel: Float[Array, "k k i o"], factor: Float[Array, "..."] | float = 1.0
) -> Float[Array, "k+1 k+1 i o"]:
    """The kernel convolved with a 2x2 box of ones, in float32, times a factor."""
    kernel = kernel.astype(jnp.float32)
    k = jnp.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return (k[:-1, :-1] + k[:-1, 1:] + k[1:, :-1] + k[1:, 1:]) * factor


@widen.defjvp
def _widen_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The same in another order, for the factor's gradient: that is a product of the kernel with
    # its gradient, of which every device holds a share. With the wide kernel in that product, each
    # device would also compute a share of the wide kernel, and gather it for every convolution.
    (kernel, factor), (d_kernel, d_factor) = primals, tangents
    return widen(kernel, factor), widen(d_kernel * factor + kernel * d_factor)


def conv_up(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    factor: Float[Array, "..."] | float = 1.0,
    *,
    dtype: Any = None,
    form: Form | None = None,
) -> Float[Array, "b 2*h 2*w o"]:
    """Nearest-neighbour upsampling by 2, then a 1x1 or 3x3 convolution of the same size.

    Args:
      x: images.
      kernel: HWIO; sums of its taps are taken in float32.
      factor: what the kernel is multiplied by, a scalar or one for each output. XLA joins it with
        the sums of taps only if it comes after them.
      dtype: of the computation and the result; that of `x` by default.
      form: "plain", "native" or "phases"; by default the fastest on the current backend.
    """
    dtype = dtype or x.dtype
    if kernel.shape[0] == 1:  # commutes with upsampling
        return upsample(conv(x, kernel * factor, dtype=dtype))
    form = form or _choose()
    if form == "plain":
        return _convolve(upsample(x), kernel * factor, dtype, 1)
    return conv_transpose(x, widen(kernel, factor), stride=2, padding=1, dtype=dtype, form=form)


def conv_down(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    factor: Float[Array, "..."] | float = 1.0,
    *,
    dtype: Any = None,
    form: Form = "native",
) -> Float[Array, "b h//2 w//2 o"]:
    """A 1x1 or 3x3 convolution of the same size, then the mean over 2x2 cells.

    Args:
      x: images of even height and width.
      kernel: HWIO; sums of its taps are taken in float32.
      factor: what the kernel is multiplied by, a scalar or one for each output. XLA joins it with
        the sums of taps only if it comes after them.
      dtype: of the computation and the result; that of `x` by default.
      form: "plain" or "native", the default.

    Raises:
      UserError: height or width is odd.
    """
    dtype = dtype or x.dtype
    if kernel.shape[0] == 1:  # commutes with the mean
        return conv(downsample(x), kernel * factor, dtype=dtype)
    _check_even(x)
    if form == "plain":
        return downsample(_convolve(x, kernel * factor, dtype, 1))
    return conv(x, widen(kernel, factor / 4), stride=2, padding=1, dtype=dtype)


def conv(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k l i o"],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    *,
    dtype: Any = None,
    form: Form | None = None,
) -> Float[Array, "b hs ws o"]:
    """Convolution as `torch.nn.functional.conv2d`: hs = (h + 2 padding - k) // stride + 1.

    Args:
      x: images.
      kernel: HWIO.
      stride: of both axes.
      padding: zeros on every side, or above and below and at the left and right.
      dtype: of the computation and the result; that of `x` by default.
      form: "native", "folded" at stride 1, "matmul" for 1x1 kernels and images of the kernel's
        size; by default "matmul" where that is possible, else the fastest on the current backend.
    """
    dtype = dtype or x.dtype
    taps, bare = kernel.shape[:2], padding in (0, (0, 0))
    whole = x.shape[1:3] == taps and bare
    if form is None:
        one = taps == (1, 1) and stride == 1
        folded = stride == 1 and dtype == jnp.float32 and _folds(kernel.shape)
        form = "matmul" if bare and (whole or one) else "folded" if folded else "native"
    if form == "native":
        return _convolve(x, kernel, dtype, padding, stride)
    x, kernel = x.astype(dtype), at_use(kernel.astype(dtype))
    if form == "folded":
        return _folded(x, kernel, padding if isinstance(padding, tuple) else (padding, padding))
    if whole:
        return jnp.einsum("bhwi,hwio->bo", x, kernel)[:, None, None]
    return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])


def _folds(kernel: tuple[int, ...]) -> bool:
    """Whether a convolution from or to images is faster as "folded" on the current backend.

    XLA for CPUs copies all that a kernel spans, for as little work as three channels are. Forward
    and both gradients, CPU time (jaxlib 0.10.2, two cores, 2026-11): 70x70x64 to 3 channels by 7x7,
    batch 4, 67 ms native and 23 folded; 3 to 64 44 and 17, without the images' gradient 9 and 10.
    """
    _, wide, inputs, outputs = kernel
    few = outputs <= 4 or (inputs <= 4 and wide >= 5)
    return few and wide > 1 and max(inputs, outputs) >= 16 and on_cpu()


def _folded(x: Array, kernel: Array, padding: tuple[int, int]) -> Array:
    """A convolution of stride 1 by a kernel of one column; what it has fewer of becomes more."""
    high, wide, inputs, outputs = kernel.shape
    above, before = padding
    if inputs < outputs:
        x = jnp.pad(x, ((0, 0), (0, 0), (before, before), (0, 0)))
        size = x.shape[2] - wide + 1
        x = jnp.concatenate([x[:, :, t : t + size] for t in range(wide)], -1)
        return _convolve(x, kernel.reshape(high, 1, -1, outputs), x.dtype, (above, 0))
    column = kernel.transpose(0, 2, 1, 3).reshape(high, 1, inputs, -1)
    y = _convolve(x, column, x.dtype, padding)
    y = y.reshape(*y.shape[:3], wide, outputs)
    size = y.shape[2] - wide + 1
    return functools.reduce(jnp.add, (y[:, :, t : t + size, t] for t in range(wide)))


def conv_dilated(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    dilation: int,
    *,
    dtype: Any = None,
) -> Float[Array, "b h w o"]:
    """Convolution of the same size with `dilation` places from tap to tap (odd kernels).

    Every dilation-th place of both axes makes a smaller image: they are convolved as such, which is
    exactly equal, and on CPUs, which lack fast dilated convolutions, several times faster.

    Args:
      x: images.
      kernel: HWIO.
      dilation: of both axes; 1 is a plain convolution.
      dtype: of the computation and the result; that of `x` by default.
    """
    b, h, w, i = x.shape
    d, padding = dilation, (kernel.shape[0] - 1) // 2
    rows, columns = -(-h // d), -(-w // d)
    x = jnp.pad(x, ((0, 0), (0, rows * d - h), (0, columns * d - w), (0, 0)))
    x = x.reshape(b, rows, d, columns, d, i).transpose(0, 2, 4, 1, 3, 5)
    y = conv(x.reshape(b * d * d, rows, columns, i), kernel, 1, padding, dtype=dtype)
    y = y.reshape(b, d, d, rows, columns, -1).transpose(0, 3, 1, 4, 2, 5)
    return y.reshape(b, rows * d, columns * d, -1)[:, :h, :w]


def conv_clip(
    x: Float[Array, "b t h w i"],
    kernel: Float[Array, "d k l i o"],
    stride: int = 1,
    padding: int = 0,
    *,
    dtype: Any = None,
    form: Form | None = None,
) -> Float[Array, "b ts hs ws o"]:
    """Convolution as `torch.nn.functional.conv3d`, of stride 1 and without padding in time.

    ts = t - d + 1, hs = (h + 2 padding - k) // stride + 1.

    Args:
      x: clips.
      kernel: DHWIO; d frames.
      stride: of height and width.
      padding: zeros on every side of a frame.
      dtype: of the computation and the result; that of `x` by default.
      form: "native" or "unrolled"; by default the fastest on the current backend: on two CPU cores
        (jaxlib 0.10.2) the gradient of a native one, 16x32x32x1 to 16 channels, batch 16, took
        minutes, unrolled 0.16 s.
    """
    dtype = dtype or x.dtype
    form = form or ("unrolled" if on_cpu() else "native")
    if form == "native":
        return lax.conv_general_dilated(
            x.astype(dtype),
            at_use(kernel.astype(dtype)),
            (1, stride, stride),
            [(0, 0), (padding, padding), (padding, padding)],
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )
    b, depth = x.shape[0], kernel.shape[0]
    count = x.shape[1] - depth + 1
    spans = jnp.concatenate([x[:, i : i + count] for i in range(depth)], -1)
    taps = kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    y = conv(spans.reshape(b * count, *spans.shape[2:]), taps, stride, padding, dtype=dtype)
    return y.reshape(b, count, *y.shape[1:])


def conv_transpose(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    *,
    dtype: Any = None,
    form: Form | None = None,
) -> Float[Array, "b hs ws o"]:
    """Transposed convolution as `torch.nn.functional.conv_transpose2d`.

    hs = (h - 1) stride - 2 padding + k + output_padding. Dilates the images by `stride` and
    correlates them with `kernel`.

    Args:
      x: images.
      kernel: HWIO and flipped: torch's (i, o, k, k) weight with both spatial axes reversed.
      stride: factor of the resolution.
      padding: as torch's, what is cut from every side of the full result.
      output_padding: rows and columns added at the bottom and right.
      dtype: of the computation and the result; that of `x` by default.
      form: "native", "phases", "spread" or, where the image is one pixel, "matmul"; by default the
        fastest on the current backend.
    """
    dtype = dtype or x.dtype
    k = kernel.shape[0]
    if form is None:
        if x.shape[1:3] == (1, 1) and output_padding == 0:
            form = "matmul"
        elif kernel.shape[3] == 1 and on_cpu():
            # To grey images of 28x28 from 32 channels, batch 64, forward and backward (jaxlib
            # 0.10.2, 2 cores): 28 ms native and 4 ms spread from 25x25 by 6x6 of stride 1, 4.4 ms
            # as phases and 0.7 ms spread from 14x14 by 4x4 of stride 2.
            form = "spread"
        else:
            form = "native" if stride == 1 else _choose()
    if form == "matmul":
        kernel = kernel[::-1, ::-1][padding : k - padding, padding : k - padding]
        return jnp.einsum("bi,hwio->bhwo", x[:, 0, 0].astype(dtype), at_use(kernel.astype(dtype)))
    low = k - 1 - padding
    if form == "native":
        return lax.conv_general_dilated(
            x.astype(dtype),
            at_use(kernel.astype(dtype)),
            (1, 1),
            [(low, low + output_padding)] * 2,
            lhs_dilation=(stride, stride),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    out = [(n - 1) * stride - 2 * padding + k + output_padding for n in x.shape[1:3]]
    compute = _spread if form == "spread" else _in_phases
    return compute(x.astype(dtype), at_use(kernel.astype(dtype)), stride, low, out)


def _spread(x: Array, kernel: Array, stride: int, low: int, out: list[int]) -> Array:
    """A transposed convolution with `low` zeros before the images, as a product and a sum.

    Place i reaches output s*i + low - t by tap t.
    """
    k, _, inputs, outputs = kernel.shape
    # In two dimensions: XLA's CPU has a slow loop for the gradient of a product in four.
    taps = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    exact = jnp.promote_types(x.dtype, jnp.float32)
    y = jnp.matmul(x.reshape(-1, inputs), taps, preferred_element_type=exact)
    y = y.reshape(*x.shape[:3], k, k, outputs)
    for axis, size in enumerate(out, 1):
        reach = (x.shape[axis] - 1) * stride + 1
        total = jnp.zeros((), y.dtype)
        for tap in range(k):
            edges = [(0, 0, 0)] * (y.ndim - 1)
            edges[axis] = (low - tap, size - reach - (low - tap), stride - 1)
            total += lax.pad(y[:, :, :, tap], jnp.zeros((), y.dtype), edges)
        y = total
    return y.astype(x.dtype)


def _in_phases(x: Array, kernel: Array, stride: int, low: int, out: list[int]) -> Array:
    """A transposed convolution with `low` zeros before the images, as stride^2 small ones.

    Sub-pixel: output s*m + r sees the taps t with r + t - low = 0 mod s, on inputs m + (...) / s.
    """
    k = kernel.shape[0]
    rows = [math.ceil(n / stride) for n in out]
    phases = []
    for r in range(stride):
        first = (low - r) % stride
        taps = len(range(first, k, stride))
        before = (low - r - first) // stride
        phases.append((first, before, taps))
    planes = []
    for top, above, high in phases:
        for left, before, wide in phases:
            after = [
                m - n - p + t - 1
                for m, n, p, t in zip(
                    rows, x.shape[1:3], (above, before), (high, wide), strict=True
                )
            ]
            planes.append(
                lax.conv_general_dilated(
                    x,
                    kernel[top::stride, left::stride],
                    (1, 1),
                    [(above, after[0]), (before, after[1])],
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            )
    y = jnp.stack(planes, 3).reshape(x.shape[0], *rows, stride, stride, -1)
    y = y.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape[0], rows[0] * stride, rows[1] * stride, -1)
    return y[:, : out[0], : out[1]]


def _convolve(
    x: Array, kernel: Array, dtype: Any, padding: int | tuple[int, int], stride: int = 1
) -> Array:
    high, wide = padding if isinstance(padding, tuple) else (padding, padding)
    return lax.conv_general_dilated(
        x.astype(dtype),
        at_use(kernel.astype(dtype)),
        (stride, stride),
        [(high, high), (wide, wide)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
