"""Minibatch standard deviation: how much samples differ, as a channel for discriminators."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.errors import UserError


def minibatch_stddev(
    x: Float[Array, "b h w c"], group: int = 4, epsilon: float = 1e-8, maps: int = 1
) -> Float[Array, "b h w c+{maps}"]:
    """Appends a map with the standard deviation over groups of samples (ProGAN, section 3).

    In groups of `group` samples, or all of a smaller batch, or where it is 0: the deviation of each
    channel at each place over the group (biased, sqrt(var + epsilon)), averaged over channels and
    places. Several `maps` average over as many parts of the channels. A group's members are
    strided, as in the authors' code: sample i is in group i mod (b / group). Computed in float32;
    the groups are those of the whole batch, however it is split over devices.

    Raises:
      UserError: the batch is not a multiple of the group, or channels not of the maps.
    """
    b, h, w, c = x.shape
    group = min(group or b, b)
    if b % group:
        raise UserError(
            f"batch is {b}, but minibatch standard deviation takes groups of {group}: choose a "
            "multiple of it for every micro-batch"
        )
    if c % maps:
        raise UserError(f"{c} channels have no {maps} equal parts for maps of deviation")
    y = x.astype(jnp.float32).reshape(group, b // group, h, w, maps, c // maps)
    deviation = jnp.sqrt(y.var(0) + epsilon).mean((1, 2, 4))
    channels = jnp.tile(deviation, (group, 1)).reshape(b, 1, 1, maps)
    return jnp.concatenate([x, jnp.broadcast_to(channels, (b, h, w, maps)).astype(x.dtype)], -1)
