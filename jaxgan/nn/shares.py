"""Parameters that lie in shares over devices, and are gathered where they are used.

A layer gathers its kernel where it multiplies by it (`at_use`), after all that is done to the
kernel alone: spectral norm's factor, sums of taps, the cast to the compute type. Each device does
that to its share, and what travels is of the compute type: half the bytes in bfloat16, and no
number differs, for the product rounds the kernel in any case. Other parameters, and kernels of
modules that are not `jaxgan.nn`'s, are gathered as they are stored. Which arrays are split, and
how: `jaxgan.parallel.sharding`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from jaxgan.nn.initializers import Initializer

_SHARES = "shares"
"""The collection of Flax in which layers find parameters as they are stored."""

# A jit cache key: what is traced for one mesh is traced anew for another.
_used_on = jax.make_user_context(None)


def used_on(mesh: Mesh | None) -> Any:
    """Context manager: networks that are applied in it gather over this mesh what they use."""
    return _used_on(mesh)


def variables(mesh: Mesh | None, params: PyTree) -> dict[str, PyTree]:
    """Flax's collections of a network's parameters, for an application in `used_on(mesh)`.

    All parameters are whole for any module that asks for them. Layers that gather at their use take
    their own as they are stored, and what is whole of those is then never computed.
    """
    if mesh is None or mesh.size == 1:
        return {"params": params}
    return {"params": gathered(mesh, params), _SHARES: params}


def in_shares(
    module: nn.Module, name: str, start: Initializer, shape: tuple[int, ...]
) -> Float[Array, "..."]:
    """A float32 parameter of a module that gathers it `at_use`."""
    value = module.param(name, start, shape, jnp.float32)
    return module.get_variable(_SHARES, name) if module.has_variable(_SHARES, name) else value


def at_use(kernel: Float[Array, "..."]) -> Float[Array, "..."]:
    """What a network multiplies by, whole on every device; the last thing done to a kernel."""
    mesh = _used_on.value
    if mesh is None or mesh.size == 1:
        return kernel
    # Without the barrier XLA for TPUs gathers first and casts then (libtpu 0.0.42, 2026-11).
    whole: Array = gathered(mesh, jax.lax.optimization_barrier(kernel))
    return whole


def gathered(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """Arrays whole, on every device."""
    if mesh is None or mesh.size == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))
