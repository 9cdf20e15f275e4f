"""A use of a run as a pure function of arrays, for programs that run without jaxgan."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.fields import Field
from jaxgan.run.open import Run
from jaxgan.system import use_of
from jaxgan.training.apply import call_keys, evaluation_view

Rows = dict[str, jax.Array]


def function_of(
    run: Run, use: str
) -> tuple[dict[str, Field], Callable[[Mapping[str, jax.Array], jax.Array], Rows]]:
    """What a use takes, and the evaluated networks' function of it, weights inside.

    The function is of ({name: [b, ...]}, numbers [b] uint32), as networks see them, and gives
    {name: [b, ...]}. The numbers say which noise a row has.

    Raises:
        UserError: the system has no such use, it takes something of no fixed size, or it applies
            networks that have no weights.
    """
    system, chosen, takes = run.system, use_of(run.system, use), run.takes(use)
    for name, field in takes.items():
        if None in field.shape:
            raise UserError(
                f"{use} takes {name} of any size: only uses of fixed sizes are exported"
            )
    run.applied(use)  # refuses networks without weights
    state = jax.tree.map(jnp.asarray, jax.device_get(run.stored))  # on one device
    resolution = run.resolution

    def call(taken: Mapping[str, jax.Array], numbers: jax.Array) -> Rows:
        view = evaluation_view(system, state, resolution)
        return chosen.call(view, dict(taken), call_keys(0, numbers), chosen.options)

    return takes, call
