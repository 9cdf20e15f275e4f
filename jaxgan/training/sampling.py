"""Drawing from a generator: the one way that training, evaluation and the command line share."""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.module import InterceptorContext
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Int, PyTree

from jaxgan.errors import UserError
from jaxgan.parallel.mesh import batch_sharding
from jaxgan.parallel.sharding import gathered
from jaxgan.system import Batch, Resolution, State, System, View, sides

_STANDING = 0xFFFFFFFF  # no sample has this number


def resolution_at(system: System, state: State) -> Resolution | None:
    """Size of the images that a State's last iteration saw; None for systems that do not grow.

    Raises:
        ValueError: the system grows, and the State is being traced.
    """
    stages = system.stages()
    if all(stage.resolution is None for stage in stages):
        return None
    if isinstance(state.step, jax.core.Tracer):
        raise ValueError(
            f"{type(system).__name__} grows, so its programs need to know the resolution before "
            "they are traced: give it, by resolution_at"
        )
    # A State on the border of two stages is of the one that ends there.
    last = max(int(state.step) - 1, 0)
    ends = itertools.accumulate(stage.steps or last + 1 for stage in stages)
    return next(
        (stage.resolution for stage, end in zip(stages, ends, strict=True) if last < end),
        stages[-1].resolution,
    )


def shape_at(system: System, state: State) -> tuple[int, ...]:
    """Shape of a sample: the system's, or while it grows, that of the State's stage."""
    size = resolution_at(system, state)
    return system.shape if size is None else (*sides(size), system.shape[-1])


def evaluation_view(system: System, state: State, resolution: Resolution | None = None) -> View:
    """Networks in evaluation mode, with averaged weights and buffers where an average is kept.

    `resolution` of a system that grows is that of the State's stage, which follows from its step
    unless the State is traced.
    """
    if resolution is None:
        resolution = resolution_at(system, state)
    params, stats = dict(state.params), dict(state.stats)
    for name, average in state.ema.items():
        params[name] = average["params"]
        if "batch_stats" in average:
            stats[name] = {**stats[name], "batch_stats": average["batch_stats"]}
    return View(
        system.networks(), params, stats, train=False, step=state.step, resolution=resolution
    )


def standing_statistics(
    system: System,
    state: State,
    passes: int,
    *,
    truncation: float | None = None,
    seed: int = 0,
    batch: int = 100,
) -> State:
    """A State whose generators' running statistics suit the latents that they are to be drawn from.

    They become the mean, over `passes` passes in training mode with fresh latents and labels, of
    each batch's means and biased variances (BigGAN, appendix B: "standing statistics"). Running
    ones are those of the weights of some iterations ago, and of latents without truncation.

    Args:
        system: whose networks; those that `generate` applies are meant.
        state: not changed.
        passes: how many batches.
        truncation: of their latents.
        seed: of their latents and labels.
        batch: samples a pass.

    Raises:
        UserError: fewer than one pass, or the networks have no batch norm.
    """
    if passes < 1:
        raise UserError(f"standing statistics of {passes} passes: ask for at least 1")
    resolution = resolution_at(system, state)

    @jax.jit
    def measure(state: State, index: jax.Array) -> dict[str, PyTree]:
        view = evaluation_view(system, state, resolution)
        zeros = {
            name: {**stats, "batch_stats": jax.tree.map(jnp.zeros_like, stats["batch_stats"])}
            for name, stats in view.stats.items()
            if name in system.networks() and "batch_stats" in stats
        }
        view.stats.update(zeros)
        view.train = True
        stream = jax.random.fold_in(jax.random.key(seed), _STANDING)
        z_key, y_key = jax.random.split(jax.random.fold_in(stream, index))
        labels = system.draw_labels(y_key, batch) if system.classes else None
        with nn.intercept_methods(_replace_by_batch):
            system.generate(view, system.draw_latents(z_key, batch, truncation), labels)
        return {
            name: view.stats[name]["batch_stats"]
            for name, before in zeros.items()
            if view.stats[name] is not before
        }

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


def _replace_by_batch(
    method: Callable[..., Any], args: Any, options: Any, context: InterceptorContext
) -> Any:
    """Running statistics that start from zero become the batch's; the layers know nothing of it."""
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


Use = Callable[[View, jax.Array, jax.Array | None], PyTree]
"""What to do with latents and labels: `System.generate`, or another such method."""


def make_sampler(
    system: System, use: Use | None = None, *, chunk: int = 100
) -> Callable[..., tuple[PyTree, Int[np.ndarray, " n"] | None]]:
    """Compiles-on-first-use `sample(state, num, labels=None, truncation=None, seed=0, start=0)`.

    Samples `start` to `start + num` of a stream, of which sample i is a function of (state, its
    label, truncation, seed, i) alone: asking for more, or drawing in chunks, changes none. Without
    `labels` a conditional system draws uniform ones. Returns (what `use` makes of them, labels
    [num] or None), on the host.

    Args:
        system: whose latents and networks.
        use: `system.generate` if None.
        chunk: samples a call of the compiled program, rounded up to a multiple of the devices that
            the state lies on, which share them; the last ones are filled up to it.
    """
    use = use or system.generate

    @partial(jax.jit, static_argnames=("truncation", "mesh", "resolution"))
    def draw(
        state: State,
        index: jax.Array,
        labels: jax.Array,
        seed: jax.Array,
        truncation: float | None,
        mesh: Mesh | None,
        resolution: Resolution | None,
    ) -> tuple[PyTree, jax.Array]:
        if mesh is not None:  # every device has all weights and draws its share of the samples
            state = gathered(mesh, state)
            index = jax.lax.with_sharding_constraint(index, batch_sharding(mesh, leading=0))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), index)
        z_keys, y_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        latents = jax.vmap(lambda key: system.draw_latents(key, 1, truncation)[0])(z_keys)
        view = evaluation_view(system, state, resolution)
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
        start: int = 0,
    ) -> tuple[PyTree, Int[np.ndarray, " num"] | None]:
        mesh, step = _mesh_and_step(state, chunk)
        resolution = resolution_at(system, state)
        padded = -(-num // step) * step
        wanted = np.full(padded, -1, np.int32)  # -1: draw one
        if labels is not None:
            wanted[:num] = labels
        parts = []
        for first in range(0, padded, step):
            index = np.arange(start + first, start + first + step, dtype=np.uint32)
            labelled = wanted[first : first + step]
            part = draw(state, index, labelled, np.uint32(seed), truncation, mesh, resolution)
            parts.append(process_allgather(part, tiled=True))
        samples, drawn = jax.tree.map(lambda *xs: np.concatenate(xs)[:num], *parts)
        return samples, drawn if system.classes else None

    return sample


Translation = Callable[[View, Batch, jax.Array], PyTree]
"""What to do with examples {name: [b, ...]} and a key for each: `System.preview`, or a part of
`System.translate`."""


def make_translator(
    system: System, use: Translation, *, chunk: int = 16
) -> Callable[[State, dict[str, np.ndarray], Int[np.ndarray, " n"], int], PyTree]:
    """Compiles-on-first-use `apply(state, examples, numbers, seed)` for systems that translate.

    What `use` makes of an example is a function of (state, the example, its number, seed) alone:
    the number says which of the outputs that it may have. Returns [n, ...] on the host.

    Args:
        system: whose networks.
        use: what to do with examples.
        chunk: examples a call of the compiled program, as in `make_sampler`.
    """

    @partial(jax.jit, static_argnames="mesh")
    def part(
        state: State, examples: Batch, numbers: jax.Array, seed: jax.Array, mesh: Mesh | None
    ) -> PyTree:
        if mesh is not None:
            state = gathered(mesh, state)
            rows = batch_sharding(mesh, leading=0)
            examples, numbers = jax.lax.with_sharding_constraint((examples, numbers), rows)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)
        return use(evaluation_view(system, state), examples, keys)

    def apply(
        state: State,
        examples: dict[str, np.ndarray],
        numbers: Int[np.ndarray, " n"],
        seed: int = 0,
    ) -> PyTree:
        mesh, step = _mesh_and_step(state, chunk)
        parts = []
        for first in range(0, len(numbers), step):
            rows = np.minimum(np.arange(first, first + step), len(numbers) - 1)
            seen = {name: x[rows] for name, x in examples.items()}
            made = part(state, seen, numbers[rows].astype(np.uint32), np.uint32(seed), mesh)
            parts.append(process_allgather(made, tiled=True))
        return jax.tree.map(lambda *xs: np.concatenate(xs)[: len(numbers)], *parts)

    return apply


def _mesh_and_step(state: State, chunk: int) -> tuple[Any, int]:
    """The devices that a state lies on, if several, and `chunk` as a multiple of them."""
    layout = getattr(state.step, "sharding", None)
    mesh = layout.mesh if isinstance(layout, NamedSharding) and layout.mesh.size > 1 else None
    return mesh, -(-chunk // mesh.size) * mesh.size if mesh else chunk
