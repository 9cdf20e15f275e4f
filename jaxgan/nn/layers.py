"""Dense, convolution, transposed convolution and embedding, each with a hook on its weight.

Parameters are float32; `dtype` is what the multiplication runs in. `reparam` is a factory of a
Linen module that maps the stored kernel to a factor that it is multiplied by, a scalar or one for
each output, e.g. `SpectralNorm` or `functools.partial(SpectralNorm, epsilon=1e-6)`. A factor, not
a kernel: so a layer can apply it where that takes least memory traffic. Kernels are (h, w, in, out)
and (in, out).
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxgan.nn import resample
from jaxgan.nn.initializers import TORCH, Init, normal
from jaxgan.nn.reduce import add_bias
from jaxgan.nn.shares import at_use, in_shares

Reparam = Callable[[], nn.Module]


class _Layer(nn.Module):
    """What the layers share: a kernel and its factor, a bias, a compute type.

    `inert_bias` says that what follows cancels the bias: a batch norm subtracts it, a softmax over
    keys ignores it. Its gradient is zero, and computing it would give rounding noise that Adam
    scales up to full steps, different on every number of devices. So it is not computed.

    `bias_scale` is what the stored bias is multiplied by (`jaxgan.nn.equalized`).
    """

    features: int
    use_bias: bool = True
    inert_bias: bool = False
    bias_scale: float = 1.0
    initializer: Init = TORCH
    reparam: Reparam | None = None
    dtype: DTypeLike = jnp.float32

    def kernel_and_factor(
        self, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."] | float]:
        kernel = in_shares(self, "kernel", self.initializer.kernel, shape)
        return kernel, 1.0 if self.reparam is None else self.reparam()(kernel)

    def kernel(self, shape: tuple[int, ...]) -> Float[Array, "..."]:
        kernel, factor = self.kernel_and_factor(shape)
        return kernel * factor

    def add_bias(self, y: Float[Array, "..."], fan_in: int) -> Float[Array, "..."]:
        if not self.use_bias:
            return y
        bias = self.param("bias", self.initializer.bias(fan_in), (self.features,), jnp.float32)
        if self.inert_bias:
            bias = jax.lax.stop_gradient(bias)
        return add_bias(y, bias if self.bias_scale == 1 else bias * self.bias_scale)


class Dense(_Layer):
    """x W + b over the last axis."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Returns [..., features]."""
        kernel = self.kernel((x.shape[-1], self.features))
        return self.add_bias(x.astype(self.dtype) @ at_use(kernel.astype(self.dtype)), x.shape[-1])


class Conv(_Layer):
    """Cross-correlation, with zero padding.

    Attributes:
        kernel_size: taps a side, or (high, wide), plain and of stride 1.
        stride: 1 or 2.
        padding: zeros a side; None keeps the size at stride 1 (odd kernels).
        scale: "up": nearest-neighbour upsampling by two, then the convolution; "down": the
            convolution, then 2x2 mean. Both are fused, exactly (`jaxgan.nn.resample`); 3x3 and
            1x1 kernels only.
        dilation: places from tap to tap; above 1 the size is kept, and nothing is fused.
    """

    kernel_size: int | tuple[int, int] = 3
    stride: int = 1
    padding: int | None = None
    scale: Literal["up", "down"] | None = None
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, y, x, features]."""
        k, inputs = self.kernel_size, x.shape[-1]
        high, wide = k if isinstance(k, tuple) else (k, k)
        kernel, factor = self.kernel_and_factor((high, wide, inputs, self.features))
        if self.dilation > 1:
            x = resample.upsample(x) if self.scale == "up" else x
            y = resample.conv_dilated(x, kernel * factor, self.dilation, dtype=self.dtype)
            y = resample.downsample(y) if self.scale == "down" else y
        elif self.scale == "up":
            y = resample.conv_up(x, kernel, factor, dtype=self.dtype)
        elif self.scale == "down":
            y = resample.conv_down(x, kernel, factor, dtype=self.dtype)
        else:
            same = ((high - 1) // 2, (wide - 1) // 2)
            padding = same if self.padding is None else self.padding
            y = resample.conv(x, kernel * factor, self.stride, padding, dtype=self.dtype)
        return self.add_bias(y, high * wide * inputs)


class ClipConv(_Layer):
    """PyTorch's Conv3d over clips, of stride 1 and without padding in time.

    Attributes:
        kernel_size: taps a side, and frames.
        stride: of height and width.
        padding: zeros on every side of a frame.
    """

    kernel_size: int = 4
    stride: int = 1
    padding: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w i"]) -> Float[Array, "b s y x o"]:
        """[b, t, h, w, in] to [b, t - kernel_size + 1, y, x, features]."""
        k = self.kernel_size
        kernel = self.kernel((k, k, k, x.shape[-1], self.features))
        y = resample.conv_clip(x, kernel, self.stride, self.padding, dtype=self.dtype)
        return self.add_bias(y, k**3 * x.shape[-1])


class ConvTranspose(_Layer):
    """PyTorch's ConvTranspose2d: output size (size - 1) * stride - 2 * padding + kernel + extra.

    The kernel is stored (h, w, in, out), spatially flipped against PyTorch's (in, out, h, w).

    Attributes:
        kernel_size: taps a side.
        stride: upsampling factor.
        padding: as PyTorch counts it: rows cut from each side of the full output.
        output_padding: rows added below and to the right.
    """

    kernel_size: int = 4
    stride: int = 2
    padding: int = 1
    output_padding: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, y, x, features]."""
        k = self.kernel_size
        kernel = self.kernel((k, k, x.shape[-1], self.features))
        y = resample.conv_transpose(
            x,
            kernel,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dtype=self.dtype,
        )
        # PyTorch reads a transposed layer's fan-in off its output side.
        return self.add_bias(y, k * k * self.features)


class Embed(_Layer):
    """A table of `classes` rows; `reparam` sees it as (classes, features).

    Attributes:
        classes: number of rows.
    """

    use_bias: bool = False
    initializer: Init = normal(1.0)
    classes: int = 1

    @nn.compact
    def __call__(self, label: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Rows of the table: [...] integers below `classes` to [..., features]."""
        # Rows are cast, not the table: gradients of a row that many samples have are summed in
        # float32.
        return at_use(self.kernel((self.classes, self.features)))[label].astype(self.dtype)
