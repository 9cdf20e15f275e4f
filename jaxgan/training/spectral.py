"""Power iterations of a network's spectral norms, which depend on its weights alone."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import PyTree

from jaxgan.system import System


def power_iteration(
    name: str,
    networks: Mapping[str, nn.Module],
    inputs: Mapping[str, tuple],
    params: Mapping[str, PyTree],
    stats: dict[str, PyTree],
) -> dict[str, PyTree]:
    """Advances a network's spectral state once.

    Applying the network to zeros and keeping nothing but the collection "spectral" leaves the
    compiler just the iterations: the rest is dead code.
    """
    if name not in networks or "spectral" not in stats[name]:
        return stats
    _, written = networks[name].apply(
        {"params": params[name], **stats[name]}, *inputs[name], train=False, mutable=["spectral"]
    )
    return {**stats, name: {**stats[name], **written}}


@partial(jax.jit, static_argnames=("system", "name"))
def averages_own(
    params: PyTree, average: PyTree, stats: dict[str, PyTree], *, system: System, name: str
) -> dict[str, PyTree]:
    """A network's statistics, where its averaged parameters are to be applied.

    Singular vectors of the parameters are iterated once on the average, as in code that iterates in
    every pass: after 300 steps sigma of the worst layer is then 0.989 of the true one, not 0.976.
    Those of a mere copy are what they are for the parameters themselves.
    """
    networks, inputs = system.networks(), system.inputs()
    moved = power_iteration(name, networks, inputs, {name: average}, {name: stats})[name]
    same = jax.tree.map(lambda a, b: (a == b).all(), params, average)
    copied = jnp.stack(jax.tree.leaves(same)).all()
    return jax.tree.map(lambda new, old: jnp.where(copied, old, new), moved, stats)
