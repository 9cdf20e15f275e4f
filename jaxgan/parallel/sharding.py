"""Where the arrays of a State live on a mesh: one rule for every system.

An array is split along its last axis, over as many devices as divide that axis; arrays of less than
64 KB stay whole on every device, and so do the networks' statistics. Parameters are split over the
axis `fsdp`, which by default holds all devices; optimiser states and averages are split over all
devices in any case. So every device updates and averages its share: gradients arrive reduced and
scattered. (Rajbhandari et al. 2020, "ZeRO"; Xu et al. 2020, "Automatic Cross-Replica Sharding of
Weight Update in Data-Parallel Training".)

How networks use what lies in shares: `jaxgan.nn.shares`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxgan.state import State

_WHOLE_BELOW = 2**14  # elements

_MOST_WAYS = {"TPU v5": 64}
"""By the kind of device, over how many an array is split at most. Over 128 chips of v5p the
compiler makes all-reduces of padded pieces of what should be gathered (libtpu 0.0.42, 2026-11)."""


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def whole(x: Any) -> Any:
    """An array that this process can read: itself, or its copy where it is split over processes."""
    if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
        return x
    assert isinstance(x.sharding, NamedSharding)
    return _gather(x, NamedSharding(x.sharding.mesh, PartitionSpec()))


@functools.partial(jax.jit, static_argnums=1)
def _gather(x: jax.Array, layout: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(x, layout)


def state_shardings(mesh: Mesh, state: State) -> State:
    """A State of shardings for a State of arrays or shapes."""
    return State(
        step=replicated(mesh),  # type: ignore[arg-type]
        params=_kept(mesh, state.params),
        stats=jax.tree.map(lambda _: replicated(mesh), state.stats),
        memory=jax.tree.map(lambda _: replicated(mesh), state.memory),
        opt=_shared_out(mesh, state.opt),
        ema=_shared_out(mesh, state.ema),
        pretrained=jax.tree.map(lambda _: replicated(mesh), state.pretrained),
    )


def kept(mesh: Mesh | None, params: PyTree) -> PyTree:
    """Parameters as they are kept between updates: split over `fsdp`."""
    return _lay(params, mesh, _kept)


def shared_out(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """Gradients, parameters and averages as an update sees them: split over all devices.

    Each device's share is a part of what it holds of the parameters, so that no weight travels to
    be updated.
    """
    return _lay(tree, mesh, _shared_out)


def _lay(tree: PyTree, mesh: Mesh | None, rule: Callable[[Mesh, PyTree], PyTree]) -> PyTree:
    if mesh is None or mesh.size == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, rule(mesh, tree))


def _kept(mesh: Mesh, tree: PyTree) -> PyTree:
    fine = _fine(mesh)
    axes = [name for name in fine.axis_names if name.startswith("fsdp")]
    return jax.tree.map(lambda x: _split(fine, x, axes), tree)


def _shared_out(mesh: Mesh, tree: PyTree) -> PyTree:
    fine = _fine(mesh)
    axes = sorted(fine.axis_names, key=lambda name: name.startswith("data"))
    return jax.tree.map(lambda x: _split(fine, x, axes), tree)


def _fine(mesh: Mesh) -> Mesh:
    """The same devices in the same order, with both axes taken apart into their prime factors.

    So 768 channels can be split 256 ways on 512 devices.
    """
    sizes = {
        f"{axis}_{index}": factor
        for axis, size in zip(mesh.axis_names, mesh.devices.shape, strict=True)
        for index, factor in enumerate(_factors(size))
    }
    return Mesh(mesh.devices.reshape(*sizes.values()), tuple(sizes))


def _factors(size: int) -> list[int]:
    """Prime factors, the smallest first; 1 of 1."""
    found, divisor = [], 2
    while size > 1:
        if size % divisor:
            divisor += 1
        else:
            found.append(divisor)
            size //= divisor
    return found or [1]


def _split(mesh: Mesh, x: Any, axes: list[str]) -> NamedSharding:
    """Splits the last axis of x over those of `axes` that divide it, in order."""
    used: list[str] = []
    if x.ndim and np.prod(x.shape) >= _WHOLE_BELOW:
        rest, ways = x.shape[-1], _MOST_WAYS.get(mesh.devices.flat[0].device_kind, mesh.size)
        for axis in axes:
            size = mesh.shape[axis]
            if 1 < size <= ways and rest % size == 0:
                used.append(axis)
                rest, ways = rest // size, ways // size
    if not used:
        return replicated(mesh)
    return NamedSharding(mesh, PartitionSpec(*[None] * (x.ndim - 1), tuple(used)))
