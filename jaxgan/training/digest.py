"""States compared: a digest of all arrays, and where two States differ most."""

import dataclasses
import hashlib
from collections.abc import Iterator

import jax
import numpy as np

from jaxgan.errors import UserError
from jaxgan.parallel.sharding import whole
from jaxgan.state import State


def state_sha256(state: State) -> str:
    """A digest over every array of a State, with its name, type and shape, in order of names.

    It is the same however the arrays lie on devices. Arrays that are split over processes are
    gathered one at a time, so all processes call it.
    """
    digest = hashlib.sha256()
    for name, value in _named_arrays(state):
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def saved_sha256(state: State) -> str:
    """The digest of what a checkpoint holds of a State: all but the pretrained networks."""
    return state_sha256(dataclasses.replace(state, pretrained={}))


def _named_arrays(state: State) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a State on the host, in order of names."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    for name, leaf in sorted(named, key=lambda pair: pair[0]):
        yield name, np.ascontiguousarray(jax.device_get(whole(leaf)))


def largest_difference(state: State, other: State) -> tuple[float, str]:
    """The largest absolute difference between arrays of two States, and which array has it.

    NaN counts as the largest of all where the other State has a number; the name is empty where
    nothing differs.

    Raises:
        UserError: the States are not of one system.
    """
    ours, theirs = (dict(_named_arrays(each)) for each in (state, other))
    if {n: x.shape for n, x in ours.items()} != {n: x.shape for n, x in theirs.items()}:
        raise UserError("the runs hold arrays of other names or shapes: compare runs of one system")
    largest, where = 0.0, ""
    for name, value in ours.items():
        mine, its = (np.asarray(x, np.float64) for x in (value, theirs[name]))
        apart = np.where(np.isnan(mine) & np.isnan(its), 0.0, np.abs(mine - its))
        most = float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))
        if most > largest:
            largest, where = most, name
    return largest, where
