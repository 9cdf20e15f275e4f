"""The residual generator of Johnson et al. 2016, as CycleGAN has it: images to images."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.nn.initializers import normal
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import InstanceNorm


def reflect(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b h+2*{size} w+2*{size} c"]:
    """Mirrors `size` rows and columns outwards; those of the edge are not repeated."""
    return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


class Translator(nn.Module):
    """Images to images of the same size, in [-1, 1] (Zhu et al. 2017, appendix 7.2).

    A 7x7 convolution, two 3x3 ones of stride two, residual blocks at a quarter of the size, two
    transposed ones back, a 7x7 one; instance norm without gains after all but the last. Reflection
    padding wherever the size stays. Works at any height and width that are multiples of four.

    Attributes:
        features: channels of the result.
        width: channels at full size; a half has twice, a quarter four times as many.
        blocks: residual ones: nine for 256 pixels, six for 128.
        dtype: compute type.
    """

    features: int
    width: int = 64
    blocks: int = 9
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], *, train: bool) -> Float[Array, "b h w o"]:
        """[b, h, w, in] to [b, h, w, features]."""
        del train
        weights = normal(0.02)
        conv = partial(Conv, initializer=weights, dtype=self.dtype)
        up = partial(
            ConvTranspose,
            kernel_size=3,
            output_padding=1,
            inert_bias=True,
            initializer=weights,
            dtype=self.dtype,
        )
        normed = partial(conv, inert_bias=True)  # every norm takes the bias away

        def norm(h: Float[Array, "b y x c"]) -> Float[Array, "b y x c"]:
            return InstanceNorm()(h)

        h = normed(self.width, kernel_size=7, padding=0, name="first")(reflect(x, 3))
        h = nn.relu(norm(h))
        for level in (1, 2):
            h = normed(self.width << level, stride=2, padding=1, name=f"down{level}")(h)
            h = nn.relu(norm(h))
        for index in range(1, self.blocks + 1):
            wide = partial(normed, self.width << 2, padding=0)
            r = nn.relu(norm(wide(name=f"block{index}_conv1")(reflect(h, 1))))
            h = h + norm(wide(name=f"block{index}_conv2")(reflect(r, 1)))
        for level in (1, 0):
            h = nn.relu(norm(up(self.width << level, name=f"up{level + 1}")(h)))
        h = conv(self.features, kernel_size=7, padding=0, name="last")(reflect(h, 3))
        return jnp.tanh(h.astype(jnp.float32))
