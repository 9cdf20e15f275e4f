"""Residual blocks of the ResNet GANs; papers differ in their arguments alone.

Batch norm subtracts what the last biases of a generator's blocks have become, so in the residual
stream they are inert (`jaxgan.nn.layers`). But attention reads the stream before a batch norm does,
and for it alone they matter. So a vector `shift` [c] goes beside the stream: always zero, with the
gradient that a constant added to every place of the stream has.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.nn.initializers import TORCH, Init
from jaxgan.nn.layers import Conv, Reparam
from jaxgan.nn.resample import downsample


def lift(v: Float[Array, " c"]) -> Float[Array, " c"]:
    """Zero, with the gradient of v."""
    return v - jax.lax.stop_gradient(v)


def lift_bias(layer: nn.Module) -> Float[Array, " c"]:
    """Zero, with the gradient of the bias of a layer that has been applied."""
    return lift(layer.variables["params"]["bias"])


def carry(layer: Conv, shift: Float[Array, " i"]) -> Float[Array, " o"]:
    """What a 1x1 convolution that has been applied makes of a shift of its input."""
    # Its spectral norm must not iterate once more, so it is applied from outside, with its values.
    still = layer.clone(parent=None, dtype=jnp.float32)
    place: Any = still.apply(layer.variables, shift[None, None, None])
    return lift(place[0, 0, 0])


class GeneratorBlock(nn.Module):
    """Norm-ReLU-up-conv3-norm-ReLU-conv3, plus up-conv1 of the input.

    Attributes:
        features: output channels, of both convolutions.
        norm: factory of a norm whose `__call__` takes (x, *condition, train).
        up: doubles the size; otherwise a shortcut of equal channels is the identity.
        initializer: initialiser of the 3x3 convolutions.
        shortcut_init: initialiser of the shortcut.
        reparam: reparametrisation of all kernels.
        dilation: places from tap to tap of the 3x3 convolutions.
        dtype: compute type.
    """

    features: int
    norm: Callable[..., nn.Module]
    up: bool = True
    initializer: Init = TORCH
    shortcut_init: Init = TORCH
    reparam: Reparam | None = None
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w i"],
        *condition: Array,
        train: bool,
        shift: Float[Array, " i"] | None = None,
    ) -> Any:
        """[b, h, w, i] to [b, y, x, o]; with `shift`, a pair of that and the shift [o] after it.

        `condition` (labels, or class and latent vectors) goes to both norms.
        """
        scale = "up" if self.up else None
        conv = partial(_conv(self), inert_bias=True)
        h = nn.relu(self.norm(name="norm1")(x, *condition, train=train))
        h = conv(3, self.features, "conv1", self.initializer, scale)(h)
        h = nn.relu(self.norm(name="norm2")(h, *condition, train=train))
        last = conv(3, self.features, "conv2", self.initializer)
        h, side = last(h), None
        if self.up or x.shape[-1] != self.features:
            side = conv(1, self.features, "shortcut", self.shortcut_init, scale)
            x = side(x)
        h = h + x.astype(h.dtype)
        if shift is None:
            return h
        if side is not None:
            shift = carry(side, shift) + lift_bias(side)
        return h, shift + lift_bias(last)


class DiscriminatorBlock(nn.Module):
    """ReLU-conv3-ReLU-conv3-down, plus conv1-down of the input.

    Attributes:
        features: output channels.
        hidden: channels between the convolutions; None: as many as come in (SNGAN's code).
        first: the block that sees the image: no ReLU before its first convolution.
        down: halves the size; otherwise a shortcut of equal channels is the identity.
        project: a convolution in the shortcut wherever the size is halved; False: only where the
            number of channels changes.
        norm: factory of a norm before each ReLU, whose `__call__` takes (x, *condition, train);
            None: no norms.
        initializer: initialiser of the 3x3 convolutions.
        shortcut_init: initialiser of the shortcut.
        reparam: reparametrisation of all kernels.
        dilation: places from tap to tap of the 3x3 convolutions.
        dtype: compute type.
    """

    features: int
    hidden: int | None = None
    first: bool = False
    down: bool = True
    project: bool = True
    norm: Callable[..., nn.Module] | None = None
    initializer: Init = TORCH
    shortcut_init: Init = TORCH
    reparam: Reparam | None = None
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], *condition: Array, train: bool = False
    ) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, h, w, features], or half of h and w.

        `condition` (labels) and `train` go to the norms.
        """

        def activate(h: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
            if self.norm is not None:
                h = self.norm(name=name)(h, *condition, train=train)
            return nn.relu(h)

        scale = "down" if self.down else None
        conv = _conv(self)
        hidden = x.shape[-1] if self.hidden is None else self.hidden
        h = x if self.first else activate(x, "norm1")
        inert = self.norm is not None
        h = activate(conv(3, hidden, "conv1", self.initializer, inert_bias=inert)(h), "norm2")
        h = conv(3, self.features, "conv2", self.initializer, scale)(h)
        if x.shape[-1] != self.features or (self.down and self.project):
            x = conv(1, self.features, "shortcut", self.shortcut_init, scale)(x)
        elif self.down:
            x = downsample(x)
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
            dilation=block.dilation if size > 1 else 1,
            dtype=block.dtype,
            name=name,
        )

    return conv
