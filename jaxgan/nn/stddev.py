"""Minibatch standard deviation: how much samples differ, as a channel for discriminators."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.errors import UserError


def minibatch_stddev(
    x: Float[Array, "b h w c"], group: int = 4, epsilon: float = 1e-8
) -> Float[Array, "b h w c+1"]:
    """Appends a map with the standard deviation over groups of samples (ProGAN, section 3).

    In groups of `group` samples, or all of a smaller batch: the deviation of each channel at each
    place over the group (biased, sqrt(var + epsilon)), averaged over channels and places. A group's
    members are strided, as in the authors' code: sample i is in group i mod (b / group). Computed
    in float32; the groups are those of the whole batch, however it is split over devices.

    Raises:
      UserError: the batch is not a multiple of the group.
    """
    b, h, w, c = x.shape
    group = min(group, b)
    if b % group:
        raise UserError(
            f"batch is {b}, but minibatch standard deviation takes groups of {group}: choose a "
            "multiple of it for every micro-batch"
        )
    y = x.astype(jnp.float32).reshape(group, b // group, h, w, c)
    deviation = jnp.sqrt(y.var(0) + epsilon).mean((1, 2, 3))
    channel = jnp.tile(deviation, group).reshape(b, 1, 1, 1)
    return jnp.concatenate([x, jnp.broadcast_to(channel, (b, h, w, 1)).astype(x.dtype)], -1)
