"""Dropout whose masks follow from a key for each item."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout(
    x: Float[Array, "b *s c"], keys: Key[Array, " b"], rate: float
) -> Float[Array, "b *s c"]:
    """Zeroes a share `rate` of the numbers, and scales up the others."""
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)
