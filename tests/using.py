"""Calling a use of a system on a view, as `jaxgan.training.apply` does, but without a State."""

import jax.numpy as jnp

from jaxgan.fields import Number
from jaxgan.system import taken_by, use_of
from jaxgan.training.apply import call_keys


def call(system, view, use="generate", **given):
    """What a use gives of arrays [n, ...]; numbers that are not given have their defaults."""
    chosen = use_of(system, use)
    count = len(next(iter(given.values())))
    for name, taken in taken_by(system, chosen, None, view.resolution).items():
        if isinstance(taken.field, Number) and name not in given:
            given[name] = jnp.full(count, taken.field.default)
    keys = call_keys(0, jnp.arange(count, dtype=jnp.uint32))
    return chosen.call(view, given, keys, chosen.options)
