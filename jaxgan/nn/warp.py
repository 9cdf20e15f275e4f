"""Warping: an image read at places that a flow points to."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def warp(images: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"]) -> Float[Array, "b h w c"]:
    """What lies at p + flow(p) of each image, for each place p; between pixels bilinear; float32.

    A flow is in pixels, to the right and down. Beyond the edges lie the pixels of the edges, where
    the gradient by the flow is 0. Whole numbers give the very pixels.
    """
    images, flow = images.astype(jnp.float32), flow.astype(jnp.float32)
    count, height, width, channels = images.shape
    flat = images.reshape(count, height * width, channels)
    x = _within(jnp.arange(width) + flow[..., 0], width)
    y = _within(jnp.arange(height)[:, None] + flow[..., 1], height)
    left, top = jnp.floor(x), jnp.floor(y)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]

    def at(row: Array, column: Array) -> Array:
        rows = jnp.clip(row.astype(jnp.int32), 0, height - 1)
        columns = jnp.clip(column.astype(jnp.int32), 0, width - 1)
        index = (rows * width + columns).reshape(count, -1, 1)
        return jnp.take_along_axis(flat, index, 1).reshape(images.shape)

    above = (1 - right_share) * at(top, left) + right_share * at(top, left + 1)
    below = (1 - right_share) * at(top + 1, left) + right_share * at(top + 1, left + 1)
    return (1 - low_share) * above + low_share * below


def _within(place: Float[Array, "..."], size: int) -> Float[Array, "..."]:
    """Places at most one pixel beyond the edges: further out nothing changes."""
    return jnp.clip(place, -1, size)
