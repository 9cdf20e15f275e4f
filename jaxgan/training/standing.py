"""Batch norm's statistics, measured anew for what is to be drawn."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.module import InterceptorContext
from jaxtyping import PyTree

from jaxgan.errors import UserError
from jaxgan.fields import Drawable, Resolution, draw_items, named_key
from jaxgan.ranges import Positive, Rate, Seed, checked
from jaxgan.state import State
from jaxgan.system import System, taken_by, use_of
from jaxgan.training.apply import evaluation_view, resolution_at

_STANDING = 0xFFFFFFFF  # no sample has this number


@checked
def standing_statistics(
    system: System,
    state: State,
    passes: Positive,
    *,
    use: str = "generate",
    truncation: Rate | None = None,
    seed: Seed = 0,
    batch: Positive = 100,
) -> State:
    """Re-estimates batch-norm statistics for the latents being sampled.

    They become the mean, over `passes` passes in training mode with fresh latents and labels, of
    each batch's means and biased variances (BigGAN, appendix B: "standing statistics"). Running
    ones are those of the weights of some iterations ago, and of latents without truncation.

    Args:
        system: whose networks; those that the use applies are meant.
        state: not changed.
        passes: how many batches.
        use: what is sampled.
        truncation: of the latents.
        seed: of latents and labels.
        batch: samples a pass.

    Raises:
        UserError: fewer than one pass, a use that cannot be drawn for, or networks without batch
            norm.
    """
    resolution, chosen = resolution_at(system, state), use_of(system, use)
    fields = {name: t.field for name, t in taken_by(system, chosen, None, resolution).items()}
    if missing := [name for name, field in fields.items() if not isinstance(field, Drawable)]:
        raise UserError(
            f"{use} takes {missing[0]}, which is not drawn: leave out standing statistics"
        )

    measure = jax.jit(partial(_measured, system, use, resolution, seed, truncation, batch))
    total = measure(state, np.uint32(0))
    if not total:
        raise UserError(f"{type(system).__name__} has no batch norm: leave out standing statistics")
    for index in range(1, passes):
        total = jax.tree.map(jnp.add, total, measure(state, np.uint32(index)))
    stats, ema = dict(state.stats), dict(state.ema)
    for name, tree in jax.tree.map(lambda x: x / passes, total).items():
        stats[name] = {**stats[name], "batch_stats": tree}
        if name in ema:
            ema[name] = {**ema[name], "batch_stats": tree}
    return dataclasses.replace(state, stats=stats, ema=ema)


def _measured(
    system: System,
    use: str,
    resolution: Resolution | None,
    seed: int,
    truncation: float | None,
    batch: int,
    state: State,
    index: jax.Array,
) -> dict[str, PyTree]:
    """{network: batch norm's statistics} of one pass, by its number."""
    chosen = use_of(system, use)
    fields = {name: t.field for name, t in taken_by(system, chosen, None, resolution).items()}
    view = evaluation_view(system, state, resolution)
    zeros = {
        name: {**stats, "batch_stats": jax.tree.map(jnp.zeros_like, stats["batch_stats"])}
        for name, stats in view.stats.items()
        if "batch_stats" in stats
    }
    view.stats.update(zeros)
    view.train = True
    stream = jax.random.fold_in(jax.random.key(seed), _STANDING)
    keys = jax.random.split(jax.random.fold_in(stream, index), batch)
    level = None if truncation is None else jnp.float32(truncation)
    calls = jax.vmap(lambda key: named_key(key, "call"))(keys)
    with nn.intercept_methods(_replace_by_batch):
        chosen.call(view, draw_items(fields, keys, level), calls, chosen.options)
    return {
        name: view.stats[name]["batch_stats"]
        for name, before in zeros.items()
        if view.stats[name] is not before
    }


def _replace_by_batch(
    method: Callable[..., Any], args: Any, options: Any, context: InterceptorContext
) -> Any:
    """Running statistics that start from zero become the batch's; layers need no mode for it."""
    out = method(*args, **options)
    layer: Any = context.module
    moving = layer.has_variable("batch_stats", "mean") and layer.is_mutable_collection(
        "batch_stats"
    )
    if moving and context.method_name == "__call__":
        for name in ("mean", "var"):
            moved = layer.get_variable("batch_stats", name)
            layer.put_variable("batch_stats", name, moved / (1 - layer.momentum))
    return out
