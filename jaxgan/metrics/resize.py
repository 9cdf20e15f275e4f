"""How images are brought to the size a network was trained on; part of every score's protocol."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from jaxgan.errors import UserError


def rgb(images: Real[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Float32 images, 0..255, of three channels: grey is repeated.

    Raises:
        UserError: they have neither one channel nor three.
    """
    if images.shape[-1] not in (1, 3):
        raise UserError(
            f"images of {images.shape[-1]} channels cannot be scored: "
            "expected grey or RGB, give images of 1 or 3 channels"
        )
    return jnp.broadcast_to(images.astype(jnp.float32), (*images.shape[:-1], 3))


def bilinear_tf1(images: Float[Array, "b h w c"], side: int) -> Float[Array, "b side side c"]:
    """TensorFlow 1's `resize_bilinear(align_corners=False)`.

    Pixel i of the result is interpolated at i * h / side of the original: pixels are points at
    their upper left corner, the last row is repeated, and nothing is smoothed on the way down.
    """
    for axis in (2, 1):
        size = images.shape[axis]
        place = np.arange(side, dtype=np.float32) * np.float32(size / side)
        low = place.astype(np.int32)
        high = np.minimum(low + 1, size - 1)
        shape = [1] * 4
        shape[axis] = side
        weight = (place - low).reshape(shape)
        below, above = jnp.take(images, low, axis), jnp.take(images, high, axis)
        images = below + (above - below) * weight
    return images


def bicubic(images: Float[Array, "b h w c"], side: int) -> Float[Array, "b side side c"]:
    """Keys' cubic filter (a = -1/2), widened with the reduction so that nothing aliases.

    Pillow's BICUBIC, in floats: the filter that Parmar et al. 2022 ("On aliased resizing and
    surprising subtleties in GAN evaluation") recommend.
    """
    b, _, _, c = images.shape
    return jax.image.resize(images, (b, side, side, c), "cubic", antialias=True)
