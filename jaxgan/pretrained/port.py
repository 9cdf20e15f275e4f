"""Weights of PyTorch networks for Linen networks whose submodules carry the same names.

A number in a name joins what precedes it, and underscores in front are dropped: `_blocks.3._bn1`
is the submodule `bn1` of `blocks_3`, as Linen itself names the third of a list.
"""

import re
from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from jaxtyping import PyTree

from jaxgan.errors import UserError

_BATCH_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def variables(
    state: Mapping[str, np.ndarray],
    network: nn.Module,
    shape: tuple[int, ...],
    unused: Collection[str] = (),
) -> PyTree:
    """Collections "params" and "batch_stats" of an inference network, from a state_dict.

    Args:
        state: arrays by PyTorch's names. Convolutions (o, i, h, w) become (h, w, i, o), matrices
            (o, i) become (i, o).
        network: what they are for.
        shape: of an input of the network.
        unused: names in `state` that the network leaves out.

    Raises:
        UserError: the arrays are not those of the network; names the first that differs.
    """
    expected = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape))
    wanted = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(expected).items()}
    found = {}
    for name, array in state.items():
        if name not in unused and not name.endswith(".num_batches_tracked"):
            path, value = _leaf(name, np.asarray(array), state)
            found[path] = value.astype(np.float32)
            if wanted.get(path) != value.shape:
                raise UserError(
                    f"the weights' {name} of shape {array.shape} is none of "
                    f"{type(network).__name__}'s: give the file of this network"
                )
    if missing := sorted(wanted.keys() - found.keys()):
        raise UserError(
            f"the weights lack {'/'.join(missing[0][1:])} of {type(network).__name__}: "
            "give the file of this network"
        )
    return traverse_util.unflatten_dict(found)


def _leaf(
    name: str, array: np.ndarray, state: Mapping[str, np.ndarray]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Path and value in Flax."""
    module, _, kind = name.rpartition(".")
    path = tuple(part.lstrip("_") for part in re.sub(r"\.(\d+)", r"_\1", module).split("."))
    if f"{module}.running_mean" in state:
        collection = "batch_stats" if kind.startswith("running") else "params"
        return (collection, *path, _BATCH_NORM.get(kind, kind)), array
    if kind == "weight":
        axes = (2, 3, 1, 0) if array.ndim == 4 else (1, 0)
        return ("params", *path, "kernel"), array.transpose(axes)
    return ("params", *path, kind), array
