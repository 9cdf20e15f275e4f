"""Parameters that training leaves as they are, by network and path (Mo et al. 2020, "FreezeD").

A pattern is NETWORK, or NETWORK:PATH, where PATH begins the parameter's path (`block_0`,
`block_0/conv`) or is a glob for it (`block_*`, `*/bias`). What is not a parameter goes on: running
statistics of batch norm, power iterations of spectral norm, averages.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxgan.errors import UserError, listed, nearest


def check_frozen(patterns: Sequence[str], params: Mapping[str, PyTree]) -> None:
    """Refuses patterns of nothing, and of all.

    Args:
        patterns: what is frozen.
        params: {network: parameters}, or their shapes.

    Raises:
        UserError: no such network or path; nothing is left to train.
    """
    paths = {name: [_path(path) for path, _ in _leaves(tree)] for name, tree in params.items()}
    for pattern in patterns:
        network, _, where = pattern.partition(":")
        if network not in paths:
            raise UserError(
                f"--freeze {pattern}: there is no network {network!r}; there are "
                f"{', '.join(paths)}{nearest(network, paths)}"
            )
        if not any(_is_frozen([pattern], network, path) for path in paths[network]):
            begins = {"/".join(p.split("/")[: n + 1]) for p in paths[network] for n in range(9)}
            first = list(dict.fromkeys(path.split("/")[0] for path in paths[network]))
            raise UserError(
                f"--freeze {pattern}: {network} has no parameters {where!r}"
                f"{nearest(where, sorted(begins), hint=f'; it has {listed(first, 12)}')}"
            )
    if patterns and all(_is_frozen(patterns, name, p) for name in paths for p in paths[name]):
        raise UserError("--freeze names all parameters: leave some to train")


def held(patterns: Sequence[str], before: PyTree, after: PyTree) -> PyTree:
    """{network: parameters} after a change, in which those that are frozen are as before."""
    if not patterns:
        return after
    return jax.tree_util.tree_map_with_path(
        lambda path, was, now: was if _is_frozen(patterns, *_split(path)) else now, before, after
    )


def without_frozen(patterns: Sequence[str], grads: PyTree) -> PyTree:
    """{network: gradients} with zeros where nothing moves, for norms and optimisers."""
    return held(patterns, jax.tree.map(jnp.zeros_like, grads), grads) if patterns else grads


def _is_frozen(patterns: Sequence[str], network: str, path: str) -> bool:
    for pattern in patterns:
        name, _, where = pattern.partition(":")
        if name == network and any(fnmatchcase(path, w) for w in (where or "*", f"{where}/*")):
            return True
    return False


def _split(path: Any) -> tuple[str, str]:
    network, _, rest = _path(path).partition("/")
    return network, rest


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _leaves(tree: PyTree) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)
