"""The one training step: every player moves in turn, then the averages, then the clock."""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxgan import backend
from jaxgan.augment import DIFF_NUMBERS, diff_augment, parse_policy
from jaxgan.parallel.sharding import gathered, replicated, shared_out, state_shardings, stored
from jaxgan.system import (
    Batch,
    Metrics,
    Player,
    Resolution,
    Stage,
    State,
    System,
    View,
    check,
)

Step = Callable[[State, Batch], tuple[State, dict[str, Metrics]]]

_INIT = 0xFFFFFFFF  # what the seed's key is folded with at the start; steps never reach it
_AUGMENT = 0xA06  # what a turn's key is folded with, which losses split


def init(system: System, seed: int = 0, *, mesh: Mesh | None = None) -> State:
    """The State before the first iteration, made by one compiled program straight into place.

    With a mesh, its arrays are laid out by `jaxgan.parallel.sharding`. The same seed gives the same
    State on any number of devices.
    """
    build = jax.jit(
        partial(_first_state, system, seed),
        out_shardings=_state_shardings(system, mesh),
        compiler_options=backend.init_options(),
    )
    return build()


def state_shapes(system: System, mesh: Mesh | None = None) -> State:
    """Shapes and types of a system's State (`jax.ShapeDtypeStruct`), computing none of it.

    With a mesh, also how it is laid out: what restoring a checkpoint needs.
    """
    shapes = jax.eval_shape(partial(_first_state, system, 0))
    if mesh is None:
        return shapes
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        state_shardings(mesh, shapes),
    )


def _first_state(system: System, seed: int) -> State:
    stages = system.stages()
    check(system, stages)
    params, stats = system.init(jax.random.fold_in(jax.random.key(seed), _INIT))
    players = {player.slot: player for stage in stages for player in stage.players}
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt={
            slot: player.optimizer.init({name: params[name] for name in player.owns})
            for slot, player in players.items()
        },
        ema={name: _averaged(name, params, stats) for name in system.ema()},
    )


def make_step(
    system: System,
    stage: Stage | None = None,
    *,
    seed: int = 0,
    micro: int = 1,
    mesh: Mesh | None = None,
    augment: str = "",
) -> Step:
    """Compiles-on-first-use `step(state, batch) -> (state, {player: {metric: scalar}})`.

    The state is donated: keep the one that comes back. `batch` is {"image": ..., "label": ...}
    with leading axes [draws, micro, b], of which those that are 1 are left out: draws is
    `stage.draws`, the fresh batches that one iteration consumes (1 + n_critic and the like). Each
    update averages its gradient over `micro` micro-batches.

    Metrics of a player that moves lazily are zeros in the iterations in which it rests.

    Args:
        system: the GAN.
        stage: one of `system.stages()`; the first if None.
        seed: with `state.step` the only source of randomness.
        micro: micro-batches an update.
        mesh: devices, over which `jaxgan.parallel.sharding` says how `state` is laid out.
        augment: what discriminators see augmented by: some of `jaxgan.augment.POLICIES`, with
            commas; "": nothing.
    """
    stages = system.stages() if stage is None else (stage,)
    check(system, stages)
    stage = stages[0]
    networks = system.networks()
    policy = parse_policy(augment)
    if policy and (unknown := set(system.judges) - set(networks)):
        raise ValueError(f"judges names {sorted(unknown)}; networks are {sorted(networks)}")
    averages = system.ema()
    move = partial(
        _move,
        networks=networks,
        inputs=system.inputs(),
        micro=micro,
        mesh=mesh,
        resolution=stage.resolution,
        augment=partial(_augmentation, system.judges, policy),
    )

    def step(state: State, batch: Batch) -> tuple[State, dict[str, Metrics]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        draws = _leading_axes(batch, stage.draws, micro)
        emitted: dict[str, Array] = {}
        metrics: dict[str, Metrics] = {}
        used = 0
        for index, player in enumerate(stage.players):
            seen = _batches_for(player, draws, used)
            used += 0 if player.reuse else player.repeats
            turn = partial(move, player, key=jax.random.fold_in(key, index), emitted=emitted)
            state, metrics[player.name], out = _lazily(player, turn, state, seen)
            emitted = {**emitted, **out}
            key = backend.after(key, metrics[player.name]["gradient_norm"])
        ema = {
            name: _decay(
                state.ema[name],
                shared_out(mesh, _averaged(name, state.params, state.stats)),
                rate,
                state,
            )
            for name, rate in averages.items()
        }
        return dataclasses.replace(state, step=state.step + 1, ema=ema), metrics

    out = None if mesh is None else (_state_shardings(system, mesh), replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out)


def compile_step(step: Step, state: State, batch: Batch) -> Step:
    """Compiles a step for a state and a batch of these shapes and layouts, before it first runs.

    Memory that compiling took and does not need any more is then free for the step's maps.
    """
    compiled = step.lower(state, batch).compile()  # type: ignore[attr-defined]
    backend.return_freed_memory()
    return compiled


def _state_shardings(system: System, mesh: Mesh | None) -> State | None:
    return None if mesh is None else state_shardings(mesh, state_shapes(system))


def _leading_axes(batch: Batch, draws: int, micro: int) -> Batch:
    """Puts back the axes `draws` and `micro` where they were left out for being 1."""
    lead = tuple(n for n in (draws, micro) if n > 1)
    for name, x in batch.items():
        if x.shape[: len(lead)] != lead:
            raise ValueError(
                f"batch[{name!r}] has shape {x.shape}; this step takes leading axes {lead} for "
                f"{draws} draws and {micro} micro-batches, and then the batch"
            )
    return {name: x.reshape(draws, micro, *x.shape[len(lead) :]) for name, x in batch.items()}


def _batches_for(player: Player, draws: Batch, used: int) -> Batch:
    """The next `repeats` draws, or the last one `repeats` times: [repeats, micro, b, ...]."""
    if not player.reuse:
        return {name: x[used : used + player.repeats] for name, x in draws.items()}
    last = max(used - 1, 0)
    return {name: jnp.repeat(x[last : last + 1], player.repeats, 0) for name, x in draws.items()}


def _lazily(
    player: Player, turn: Callable, state: State, batches: Batch
) -> tuple[State, Metrics, dict[str, Array]]:
    """Lets a lazy player move on every n-th iteration only."""
    if player.every == 1:
        return turn(state, batches)
    moved = jax.eval_shape(turn, state, batches)
    if moved[2]:
        raise ValueError(f"player {player.name!r} rests at times, so it cannot emit {[*moved[2]]}")
    rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), moved[1])
    return backend.cond(
        state.step % player.every == 0, turn, lambda state, _: (state, rest, {}), state, batches
    )


def _move(
    player: Player,
    state: State,
    batches: Batch,
    *,
    key: PRNGKeyArray,
    emitted: dict[str, Array],
    networks: dict[str, nn.Module],
    inputs: dict[str, tuple],
    micro: int,
    mesh: Mesh | None,
    resolution: Resolution | None,
    augment: Callable[[PRNGKeyArray], dict[str, Callable[[View, Array], Array]]],
) -> tuple[State, Metrics, dict[str, Array]]:
    """A player's turn: `repeats` updates on batches [repeats, micro, b, ...]."""

    others = gathered(mesh, {n: p for n, p in state.params.items() if n not in player.owns})

    def update(carry: Any, seen: Any) -> Any:
        owned, stats, opt = carry
        batch, repeat = seen
        for name in player.writes:
            stats = _power_iteration(
                name, networks, inputs, shared_out(mesh, {**state.params, **owned}), stats
            )
        whole = gathered(mesh, owned)

        def objective(whole: Any, stats: Any, batch: Batch, part: Any) -> Any:
            turn = jax.random.fold_in(key, repeat)
            view = View(
                networks,
                {**others, **whole},
                stats,
                train=True,
                mesh=mesh,
                micro=(micro, part),
                step=state.step,
                resolution=resolution,
                augment=augment(turn),
            )
            loss, metrics = player.loss(view, batch, turn)
            written = {name: view.stats[name] for name in player.writes}
            return loss, ({**stats, **written}, {"loss": loss, **metrics}, view.out)

        def gradient(stats: Any, batch: Batch, part: Any) -> Any:
            grads, out = jax.grad(objective, has_aux=True)(whole, stats, batch, part)
            return shared_out(mesh, grads), out

        def accumulate(carry: Any, seen: Any) -> Any:
            grads, stats = carry
            more, (stats, metrics, out) = gradient(stats, *seen)
            return (jax.tree.map(jnp.add, grads, more), stats), (metrics, out)

        if micro == 1:
            batch = {**{name: x[0] for name, x in batch.items()}, **emitted}
            grads, (stats, metrics, out) = gradient(stats, batch, 0)
        else:
            zeros = shared_out(mesh, jax.tree.map(jnp.zeros_like, owned))
            (grads, stats), (metrics, out) = backend.scan(
                accumulate, (zeros, stats), ({**batch, **emitted}, jnp.arange(micro))
            )
            grads = jax.tree.map(lambda g: g / micro, grads)
            metrics = jax.tree.map(lambda m: m.mean(0), metrics)
        share = shared_out(mesh, owned)
        updates, opt = player.optimizer.update(grads, opt, share)
        share = optax.apply_updates(share, updates)
        if player.project is not None:
            share = player.project(share)
        owned = stored(mesh, share)
        metrics = {**metrics, "gradient_norm": optax.tree.norm(grads)}
        return (owned, stats, opt), (metrics, out)

    owned = {name: state.params[name] for name in player.owns}
    carry = (owned, state.stats, state.opt[player.slot])
    if player.repeats == 1:
        carry, (metrics, out) = update(carry, (jax.tree.map(lambda x: x[0], batches), 0))
    else:
        carry, outputs = backend.scan(update, carry, (batches, jnp.arange(player.repeats)))
        metrics, out = jax.tree.map(lambda x: x[-1], outputs)
    owned, stats, opt = carry
    state = dataclasses.replace(
        state, params={**state.params, **owned}, stats=stats, opt={**state.opt, player.slot: opt}
    )
    return state, metrics, out


def _augmentation(
    judges: tuple[str, ...], policy: tuple[str, ...], key: PRNGKeyArray
) -> dict[str, Callable[[View, Array], Array]]:
    """{network: what its images go through}, with other numbers in every application."""
    if not policy:
        return {}
    applications = itertools.count()

    def change(view: View, images: Array) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(key, _AUGMENT), next(applications))
        numbers = view.draw(len(images), lambda n: jax.random.uniform(own, (n, DIFF_NUMBERS)))
        return diff_augment(images, numbers, policy)

    return dict.fromkeys(judges, change)


def _power_iteration(
    name: str,
    networks: dict[str, nn.Module],
    inputs: dict[str, tuple],
    params: dict[str, PyTree],
    stats: dict[str, PyTree],
) -> dict[str, PyTree]:
    """Advances a network's spectral state once.

    It depends on the weights alone. Applying the network to zeros and keeping nothing but the
    collection "spectral" leaves the compiler just the iterations: the rest is dead code.
    """
    if name not in networks or "spectral" not in stats[name]:
        return stats
    _, written = networks[name].apply(
        {"params": params[name], **stats[name]}, *inputs[name], train=False, mutable=["spectral"]
    )
    return {**stats, name: {**stats[name], **written}}


def _averaged(name: str, params: dict[str, PyTree], stats: dict[str, PyTree]) -> dict[str, PyTree]:
    """What the averages of a network cover: parameters and batch norm's buffers."""
    buffers = {k: v for k, v in stats[name].items() if k == "batch_stats"}
    return {"params": params[name], **buffers}


def _decay(average: PyTree, current: PyTree, rate: Any, state: State) -> PyTree:
    decay: Float[Array, ""] = rate(state.step) if callable(rate) else rate
    # In this form a decay of 0 is a copy, to the last bit.
    return jax.tree.map(lambda a, c: decay * a + (1 - decay) * c, average, current)
