"""U-Net generator of pix2pix: an encoder, a decoder, and skips between maps of equal size."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxgan.errors import UserError
from jaxgan.nn.initializers import normal, shifted_normal
from jaxgan.nn.layers import Conv, ConvTranspose
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
    """

    features: int
    width: int = 64
    rate: float = 0.5
    running: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], noise: Key[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w o"]:
        """[b, side, side, in] to [b, side, side, features].

        `noise` holds a key for each image, from which its dropout masks are drawn, while training
        and after; None: no dropout.
        """
        if self.running and not train:
            noise = None
        depth = halvings(x.shape[1:])
        weights = normal(0.02)
        down = partial(Conv, kernel_size=4, stride=2, padding=1, use_bias=False)
        up = partial(ConvTranspose, initializer=weights, dtype=self.dtype)
        gains = shifted_normal(1.0, 0.02)

        def norm(h: Float[Array, "b y x c"], name: str) -> Float[Array, "b y x c"]:
            layer = InstanceNorm(affine=True, running=self.running, scale_init=gains, name=name)
            return layer(h, train=train)

        h, skips = x, []
        for index in range(depth):
            if index:
                skips.append(h)
                h = nn.leaky_relu(h, 0.2)
            features = self.width << min(index, 3)
            name = f"down{index + 1}"
            h = down(features, initializer=weights, dtype=self.dtype, name=name)(h)
            if 0 < index < depth - 1:
                h = norm(h, f"down_norm{index + 1}")
        for index in reversed(range(1, depth)):  # by the skip that it meets
            name = f"{index + 1}"
            h = up(self.width << min(index - 1, 3), use_bias=False, name=f"up{name}")(nn.relu(h))
            h = norm(h, f"up_norm{name}")
            if noise is not None and depth - 1 - max(depth - 5, 1) <= index < depth - 1:
                h = _dropout(h, jax.vmap(jax.random.fold_in, (0, None))(noise, index), self.rate)
            h = jnp.concatenate([skips.pop(), h], -1)
        h = up(self.features, name="up1")(nn.relu(h))
        return jnp.tanh(h.astype(jnp.float32))


def _dropout(
    x: Float[Array, "b h w c"], keys: Key[Array, " b"], rate: float
) -> Float[Array, "b h w c"]:
    """Zeroes a share `rate` of the numbers, and scales up the others."""
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)
