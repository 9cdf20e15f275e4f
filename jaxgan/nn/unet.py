"""U-Net of pix2pix: an encoder, a decoder, and skips between maps of equal size.

A generator as it is; its encoder alone makes one vector of an image; and as a discriminator it
scores both the whole image, by that vector, and each of its pixels.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxgan.errors import UserError
from jaxgan.nn.dropout import dropout
from jaxgan.nn.initializers import normal, shifted_normal
from jaxgan.nn.layers import Conv, ConvTranspose, Dense
from jaxgan.nn.norm import InstanceNorm


def halvings(shape: tuple[int, ...]) -> int:
    """How often an image is halved to a single pixel: n for 2^n pixels a side.

    Raises:
        UserError: the image is not square, or its side not 8, 16, 32, ...
    """
    side = shape[0]
    count = side.bit_length() - 1
    if len(shape) != 3 or shape[1] != side or count < 3 or side != 1 << count:
        raise UserError(
            f"image shape {shape}: a U-Net takes (side, side, channels) with side 8, 16, 32, 64, "
            "...; set `shape` to one of these and resize the data"
        )
    return count


WEIGHTS = normal(0.02)  # of every layer
GAINS = shifted_normal(1.0, 0.02)  # of every norm

Map = Float[Array, "b _ _ _"]


def _encode(
    x: Float[Array, "b h w i"],
    width: int,
    norm: Callable[[Map, str], Map],
    dtype: DTypeLike,
    depth: int = 0,
) -> list[Map]:
    """The maps of half the side, a quarter, ..., a single pixel, or as many as `depth` says.

    To be called inside of a network, as is `_decode`: they make its layers "down1", "up1", ...
    """
    depth, maps = depth or halvings(x.shape[1:]), [x]
    for index in range(depth):
        h = nn.leaky_relu(maps[-1], 0.2) if index else x
        h = Conv(
            width << min(index, 3),
            kernel_size=4,
            stride=2,
            padding=1,
            use_bias=False,
            initializer=WEIGHTS,
            dtype=dtype,
            name=f"down{index + 1}",
        )(h)
        maps.append(norm(h, f"down_norm{index + 1}") if 0 < index < depth - 1 else h)
    return maps[1:]


def _decode(
    maps: list[Map],
    features: int,
    width: int,
    norm: Callable[[Map, str], Map],
    dtype: DTypeLike,
    drop: Callable[[Map, int], Map] = lambda h, index: h,
) -> Map:
    """What is made of an encoder's maps, each joined with what comes up to its size.

    `drop` sees what comes up before it is joined with `maps[index - 1]`.
    """
    up = partial(ConvTranspose, initializer=WEIGHTS, dtype=dtype)
    h = maps[-1]
    for index in reversed(range(1, len(maps))):
        name = f"{index + 1}"
        h = up(width << min(index - 1, 3), use_bias=False, name=f"up{name}")(nn.relu(h))
        h = drop(norm(h, f"up_norm{name}"), index)
        h = jnp.concatenate([maps[index - 1], h], -1)
    return up(features, name="up1")(nn.relu(h))


def _norm(running: bool, train: bool) -> Callable[[Map, str], Map]:
    """Norms by name, those of single images."""

    def norm(h: Map, name: str) -> Map:
        layer = InstanceNorm(affine=True, running=running, scale_init=GAINS, name=name)
        return layer(h, train=train)

    return norm


class UNet(nn.Module):
    """Images to images of the same size, in [-1, 1] (Isola et al. 2017, appendix 6.1).

    4x4 convolutions of stride two halve the image to a single pixel, transposed ones double it
    back; each map of the decoder is joined with the encoder's of that size. Norms are those of
    single images, which is what the paper's batch norm is with its batches of one.

    Attributes:
        features: channels of the result.
        width: channels of the first map; they double with each halving, up to eightfold.
        rate: of the dropout that follows the first maps of the decoder but one, as many as there
            are halvings beyond five, at least one: its masks are the generator's noise.
        running: keep running statistics, as batch norm does of batches of one; after training they
            take the place of the image's, and there is no dropout.
        dtype: compute type.
        depth: halvings, for images whose sides are multiples of 2^depth; 0: to a single pixel.
    """

    features: int
    width: int = 64
    rate: float = 0.5
    running: bool = False
    dtype: DTypeLike = jnp.float32
    depth: int = 0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], noise: Key[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w o"]:
        """[b, h, w, in] to [b, h, w, features]; h = w = 2^n, or multiples of 2^depth.

        `noise` holds a key for each image, from which its dropout masks are drawn, while training
        and after; None: no dropout.
        """
        if self.running and not train:
            noise = None
        norm = _norm(self.running, train)
        maps = _encode(x, self.width, norm, self.dtype, self.depth)
        depth = len(maps)

        def drop(h: Map, index: int) -> Map:
            if noise is None or not depth - 1 - max(depth - 5, 1) <= index < depth - 1:
                return h
            return dropout(h, jax.vmap(jax.random.fold_in, (0, None))(noise, index), self.rate)

        h = _decode(maps, self.features, self.width, norm, self.dtype, drop)
        return jnp.tanh(h.astype(jnp.float32))


class UNetEncoder(nn.Module):
    """Images to one vector each: a U-Net's encoder alone, a backbone for heads of one's own.

    Attributes:
        width: channels of the first map; they double with each halving, up to eightfold.
        running: keep running statistics in the norms, and use them after training.
        dtype: compute type.
    """

    width: int = 64
    running: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b features"]:
        """[b, side, side, c] to [b, 8 width], or [b, 4 width] from 8x8 pixels."""
        maps = _encode(x, self.width, _norm(self.running, train), self.dtype)
        return maps[-1][:, 0, 0]


class UNetDiscriminator(nn.Module):
    """Images to a logit each, and to one a pixel (Schoenfeld, Schiele, Khoreva 2020, section 3.1).

    The encoder scores the whole, the decoder each pixel with the encoder's skips; a loss takes the
    mean over both. The paper has BigGAN's blocks in place of pix2pix's convolutions.

    Attributes:
        width: channels of the first map; they double with each halving, up to eightfold.
        dtype: compute type.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, " b"], Float[Array, "b h w"]]:
        """[b, side, side, c] to float32 logits [b] and [b, side, side]."""
        norm = _norm(False, train)
        maps = _encode(x, self.width, norm, self.dtype)
        whole = nn.leaky_relu(maps[-1][:, 0, 0].astype(jnp.float32), 0.2)
        logits = Dense(1, initializer=WEIGHTS, name="dense")(whole)[:, 0]
        pixels = _decode(maps, 1, self.width, norm, self.dtype)[..., 0]
        return logits, pixels.astype(jnp.float32)
