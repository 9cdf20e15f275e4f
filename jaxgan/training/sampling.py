"""Drawing from a generator: the one way that training, evaluation and the command line share."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jaxtyping import Int, PyTree

from jaxgan.system import State, System, View


def evaluation_view(system: System, state: State) -> View:
    """Networks in evaluation mode, with averaged weights and buffers where an average is kept."""
    params, stats = dict(state.params), dict(state.stats)
    for name, average in state.ema.items():
        params[name] = average["params"]
        if "batch_stats" in average:
            stats[name] = {**stats[name], "batch_stats": average["batch_stats"]}
    return View(system.networks(), params, stats, train=False)


Use = Callable[[View, jax.Array, jax.Array | None], PyTree]
"""What to do with latents and labels: `System.generate`, or another such method."""


def make_sampler(
    system: System, use: Use | None = None, *, chunk: int = 100
) -> Callable[..., tuple[PyTree, Int[np.ndarray, " n"] | None]]:
    """Compiles-on-first-use `sample(state, num, labels=None, truncation=None, seed=0)`.

    Sample i is a function of (state, labels[i], truncation, seed, i) alone: asking for more, or
    drawing in chunks, changes none of those before. Without `labels` a conditional system draws
    uniform ones. Returns (what `use` makes of them, labels [num] or None), on the host.

    Args:
        system: whose latents and networks.
        use: `system.generate` if None.
        chunk: samples a call of the compiled program; the last ones are filled up to it.
    """
    use = use or system.generate

    @partial(jax.jit, static_argnames="truncation")
    def draw(
        state: State,
        index: jax.Array,
        labels: jax.Array,
        seed: jax.Array,
        truncation: float | None,
    ) -> tuple[PyTree, jax.Array]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), index)
        z_keys, y_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        latents = jax.vmap(lambda key: system.draw_latents(key, 1, truncation)[0])(z_keys)
        view = evaluation_view(system, state)
        if not system.classes:
            return use(view, latents, None), labels
        random = jax.vmap(lambda key: jax.random.randint(key, (), 0, system.classes))(y_keys)
        labels = jnp.where(labels < 0, random, labels)
        return use(view, latents, labels), labels

    def sample(
        state: State,
        num: int,
        labels: Int[np.ndarray, " num"] | None = None,
        truncation: float | None = None,
        seed: int = 0,
    ) -> tuple[PyTree, Int[np.ndarray, " num"] | None]:
        padded = -(-num // chunk) * chunk
        wanted = np.full(padded, -1, np.int32)  # -1: draw one
        if labels is not None:
            wanted[:num] = labels
        parts = []
        for start in range(0, padded, chunk):
            index = np.arange(start, start + chunk, dtype=np.uint32)
            part = draw(state, index, wanted[start : start + chunk], np.uint32(seed), truncation)
            parts.append(process_allgather(part, tiled=True))
        samples, drawn = jax.tree.map(lambda *xs: np.concatenate(xs)[:num], *parts)
        return samples, drawn if system.classes else None

    return sample
