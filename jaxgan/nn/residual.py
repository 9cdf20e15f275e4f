"""Residual blocks of the ResNet GANs, which differ in their arguments alone."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.nn.initializers import TORCH, Init
from jaxgan.nn.layers import Conv, Reparam


class GeneratorBlock(nn.Module):
    """Norm-ReLU-up-conv3-norm-ReLU-conv3, plus up-conv1 of the input.

    Attributes:
        features: output channels, of both convolutions.
        norm: factory of a norm whose `__call__` takes (x, *condition, train).
        up: doubles the size; otherwise a shortcut of equal channels is the identity.
        inert_bias: nothing but such blocks and a batch norm follow, which add, scale and repeat the
            last biases and then subtract what they became; False where attention sees them.
        initializer: initialiser of the 3x3 convolutions.
        shortcut_init: initialiser of the shortcut.
        reparam: reparametrisation of all kernels.
        dtype: compute type.
    """

    features: int
    norm: Callable[..., nn.Module]
    up: bool = True
    inert_bias: bool = True
    initializer: Init = TORCH
    shortcut_init: Init = TORCH
    reparam: Reparam | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], *condition: Array, train: bool
    ) -> Float[Array, "b y x o"]:
        """`condition` (labels, or class and latent vectors) goes to both norms."""
        scale = "up" if self.up else None
        conv = partial(_conv(self), inert_bias=self.inert_bias)
        h = nn.relu(self.norm(name="norm1")(x, *condition, train=train))
        h = conv(3, self.features, "conv1", self.initializer, scale, inert_bias=True)(h)
        h = nn.relu(self.norm(name="norm2")(h, *condition, train=train))
        h = conv(3, self.features, "conv2", self.initializer)(h)
        if self.up or x.shape[-1] != self.features:
            x = conv(1, self.features, "shortcut", self.shortcut_init, scale)(x)
        return h + x.astype(h.dtype)


class DiscriminatorBlock(nn.Module):
    """ReLU-conv3-ReLU-conv3-down, plus conv1-down of the input.

    Attributes:
        features: output channels.
        hidden: channels between the convolutions; None: as many as come in (SNGAN's code).
        first: the block that sees the image: no ReLU before its first convolution.
        down: halves the size; otherwise a shortcut of equal channels is the identity.
        initializer: initialiser of the 3x3 convolutions.
        shortcut_init: initialiser of the shortcut.
        reparam: reparametrisation of all kernels.
        dtype: compute type.
    """

    features: int
    hidden: int | None = None
    first: bool = False
    down: bool = True
    initializer: Init = TORCH
    shortcut_init: Init = TORCH
    reparam: Reparam | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, h, w, features], or half of h and w."""
        scale = "down" if self.down else None
        conv = _conv(self)
        hidden = x.shape[-1] if self.hidden is None else self.hidden
        h = x if self.first else nn.relu(x)
        h = nn.relu(conv(3, hidden, "conv1", self.initializer)(h))
        h = conv(3, self.features, "conv2", self.initializer, scale)(h)
        if self.down or x.shape[-1] != self.features:
            x = conv(1, self.features, "shortcut", self.shortcut_init, scale)(x)
        return h + x.astype(h.dtype)


def _conv(block: GeneratorBlock | DiscriminatorBlock) -> Callable[..., Conv]:
    def conv(
        size: int,
        features: int,
        name: str,
        initializer: Init,
        scale: Literal["up", "down"] | None = None,
        inert_bias: bool = False,
    ) -> Conv:
        return Conv(
            features,
            kernel_size=size,
            scale=scale,
            inert_bias=inert_bias,
            initializer=initializer,
            reparam=block.reparam,
            dtype=block.dtype,
            name=name,
        )

    return conv
