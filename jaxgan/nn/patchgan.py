"""PatchGAN: a discriminator that scores every patch of an image, not the whole."""

from functools import partial
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.nn.initializers import normal, shifted_normal
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import InstanceNorm


def smallest_side(halvings: int, kernel_size: int = 4) -> int:
    """Pixels a side of the smallest images that a PatchGAN is of use for.

    Two convolutions of stride one and 4x4 taps take a place each from what the halvings leave. 3x3
    take none, but the norm after the first of these needs more than one place.
    """
    return (3 if kernel_size == 4 else 2) << halvings


class PatchGAN(nn.Module):
    """Images to a map of logits, one a patch (Isola et al. 2017, section 3.2.2).

    `halvings` 4x4 convolutions of stride two, and two of stride one. Three halvings see patches of
    70x70 pixels, two 34x34, one 16x16; with 3x3 convolutions 47x47, 23x23, 11x11. Norms are those
    of single images.

    Attributes:
        width: channels of the first map; they double with each layer, up to eightfold.
        halvings: convolutions of stride two.
        affine: norms have gains and biases, and their convolutions no biases (pix2pix, where they
            are batch norms of one image); otherwise the reverse (CycleGAN).
        dtype: compute type.
        kernel_size: taps a side of all convolutions; 3 gives logits at all places of the last map.
    """

    width: int = 64
    halvings: int = 3
    affine: bool = False
    dtype: DTypeLike = jnp.float32
    kernel_size: Literal[3, 4] = 4

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b y x"]:
        """[b, h, w, c] to float32 logits [b, h/8 - 2, w/8 - 2] for three halvings.

        [b, h/8, w/8] with 3x3 convolutions.
        """
        del train
        conv = partial(
            Conv,
            kernel_size=self.kernel_size,
            padding=1,
            initializer=normal(0.02),
            dtype=self.dtype,
        )
        h = nn.leaky_relu(conv(self.width, stride=2, name="conv1")(x), 0.2)
        for index in range(1, self.halvings + 1):
            h = conv(
                self.width << min(index, 3),
                stride=2 if index < self.halvings else 1,
                use_bias=not self.affine,
                inert_bias=True,  # a norm follows
                name=f"conv{index + 1}",
            )(h)
            norm = InstanceNorm(
                affine=self.affine,
                scale_init=shifted_normal(1.0, 0.02),
                name=f"norm{index + 1}",
            )
            h = nn.leaky_relu(norm(h), 0.2)
        return conv(1, name=f"conv{self.halvings + 2}")(h)[..., 0].astype(jnp.float32)
