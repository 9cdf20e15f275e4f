"""The one training step: every player moves in turn, then the averages, then the clock."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from jaxgan import backend
from jaxgan.augment import DIFF_NUMBERS, diff_augment, parse_policy
from jaxgan.errors import UserError
from jaxgan.fields import Image, Resolution
from jaxgan.parallel.sharding import kept, replicated, shared_out, state_shardings
from jaxgan.ranges import Positive, Seed, checked
from jaxgan.state import State
from jaxgan.system import (
    Decay,
    Examples,
    Metrics,
    Player,
    Pretrained,
    Stage,
    System,
    data_fields,
    stages_of,
)
from jaxgan.training.frozen import check_frozen, held, without_frozen
from jaxgan.training.spectral import power_iteration
from jaxgan.view import View

Step = Callable[[State, Examples], tuple[State, dict[str, Metrics]]]

_Start = tuple[dict[str, PyTree], dict[str, PyTree]]

_INIT = 0xFFFFFFFF  # what the seed's key is folded with at the start; steps never reach it
_AUGMENT = 0xA06  # what a turn's key is folded with, which losses split


@checked
def init(system: System, seed: Seed = 0, *, mesh: Mesh | None = None) -> State:
    """The State before the first iteration, made by one compiled program straight into place.

    With a mesh, its arrays are laid out by `jaxgan.parallel.sharding`. The same seed gives the same
    State on any number of devices. Pretrained networks are read from their files.
    """
    layout = _state_shardings(system, mesh)
    build = jax.jit(
        _beginning(system),
        out_shardings=None if layout is None else dataclasses.replace(layout, pretrained={}),
        compiler_options=backend.init_options(),
    )
    return with_pretrained(system, build(np.uint32(seed)), mesh)


def init_around(
    system: System,
    params: dict[str, PyTree],
    stats: dict[str, PyTree],
    averages: dict[str, PyTree],
    seed: int = 0,
) -> State:
    """The State before the first iteration, of networks that are there; all others are zeros.

    Nothing is drawn: a generator is sampled without its discriminator, whose orthogonal start takes
    longer than all else. `drawn` draws it, once it is needed.

    Args:
        system: whose State.
        params: {network: parameters} of some networks.
        stats: {network: {collection: ...}} of the same.
        averages: {network: parameters}, of those in `System.ema`; else they begin as `params`.
        seed: of the system's memory.
    """
    shapes = state_shapes(system)
    blank = partial(jax.tree.map, lambda like: np.zeros(like.shape, like.dtype))
    params, stats = blank(shapes.params) | params, blank(shapes.stats) | stats
    start = jax.jit(partial(_start, system, seed))(params)
    return _at_step_0(system, params, stats, start, params | averages)


def undrawn(state: State) -> tuple[str, ...]:
    """Networks that have no start yet: at step 0, with parameters that are all zero."""
    if int(state.step):
        return ()
    return tuple(
        name
        for name, tree in state.params.items()
        if tree and not any(jnp.any(leaf) for leaf in jax.tree.leaves(tree))
    )


def drawn(system: System, state: State, seed: int = 0, *, mesh: Mesh | None = None) -> State:
    """The State with a start for networks that have none (`undrawn`), which `init` gives them."""
    names = undrawn(state)
    if not names:
        return state

    def parts(whole: State) -> tuple[dict[str, PyTree], ...]:
        three = (whole.params, whole.stats, whole.ema)
        return tuple({n: part[n] for n in names if n in part} for part in three)

    layout = _state_shardings(system, mesh)
    params, stats, ema = jax.jit(
        lambda: parts(_first_state(system, seed)),
        out_shardings=None if layout is None else parts(layout),
        compiler_options=backend.init_options(),
    )()
    params = state.params | params
    opt = jax.jit(
        lambda params: _start(system, seed, params)[0],
        out_shardings=None if layout is None else layout.opt,
    )(params)
    return dataclasses.replace(
        state, params=params, stats=state.stats | stats, ema=state.ema | ema, opt=opt
    )


def with_pretrained(system: System, state: State, mesh: Mesh | None = None) -> State:
    """The State with the system's pretrained networks, whole on every device, as copies of its own.

    Raises:
        UserError: a file of weights is missing, or not the one that the system names.
    """
    variables = {name: each.load() for name, each in system.pretrained().items()}
    if mesh is not None:
        variables = jax.device_put(variables, replicated(mesh))
    return dataclasses.replace(state, pretrained=jax.tree.map(jnp.array, variables))


def state_shapes(system: System, mesh: Mesh | None = None) -> State:
    """Shapes and types of a system's State (`jax.ShapeDtypeStruct`), computing none of it.

    With a mesh, also how it is laid out: what restoring a checkpoint needs.
    """
    shapes = jax.eval_shape(_beginning(system), np.uint32(0))
    inputs = system.inputs()
    published = {
        name: jax.eval_shape(
            partial(each.module.init, train=False), jax.random.key(0), *inputs[name]
        )
        for name, each in system.pretrained().items()
    }
    shapes = dataclasses.replace(shapes, pretrained=published)
    if mesh is None:
        return shapes
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        state_shardings(mesh, shapes),
    )


@lru_cache(maxsize=8)
def _beginning(system: System) -> Callable[[np.uint32], State]:
    """The first State of a seed; one function a system, which JAX then traces but once."""
    return partial(_first_state, system)


def _first_state(system: System, seed: Seed | np.uint32) -> State:
    params, stats = system.init(_init_key(seed))
    return _at_step_0(system, params, stats, _start(system, seed, params), params)


def _at_step_0(
    system: System,
    params: dict[str, PyTree],
    stats: dict[str, PyTree],
    start: _Start,
    averages: dict[str, PyTree],
) -> State:
    opt, memory = start
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        memory=memory,
        opt=opt,
        ema={name: _averaged(name, averages, stats) for name in system.ema()},
    )


def _start(system: System, seed: Seed | np.uint32, params: dict[str, PyTree]) -> _Start:
    """(optimisers' state, memory) at the start."""
    players = {player.slot: player for stage in stages_of(system) for player in stage.players}
    opt = {
        slot: player.optimizer.init({name: params[name] for name in player.owns})
        for slot, player in players.items()
    }
    return opt, system.memory(_init_key(seed))


def _init_key(seed: Seed | np.uint32) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.key(seed), _INIT)


@checked
def make_step(
    system: System,
    stage: Stage | None = None,
    *,
    seed: Seed = 0,
    micro: Positive = 1,
    mesh: Mesh | None = None,
    augment: str = "",
    freeze: Sequence[str] = (),
) -> Step:
    """Compiles-on-first-use `step(state, batch) -> (state, {player: {metric: scalar}})`.

    The state is donated: keep the one that comes back. `batch` holds the fields of
    `System.data()` by name, as networks see them (images float32 in [-1, 1]), with leading axes
    [draws, micro, b], of which those that are 1 are left out: draws is `stage.draws`, the fresh
    batches that one iteration consumes (1 + n_critic and the like). Each update averages its
    gradient over `micro` micro-batches. A batch that is anything else is refused (UserError), but
    for the range of its numbers, which is not looked at.

    Metrics of a player that moves lazily are zeros in the iterations in which it rests.

    Args:
        system: the GAN.
        stage: one of `stages_of(system)`; the first if None.
        seed: with `state.step` the only source of randomness.
        micro: micro-batches an update.
        mesh: devices, over which `jaxgan.parallel.sharding` says how `state` is laid out.
        augment: what discriminators see augmented by: some of `jaxgan.augment.POLICIES`, with
            commas; "": nothing.
        freeze: parameters that stay as they are, bit for bit (`jaxgan.training.frozen`).
    """
    if freeze:
        check_frozen(freeze, state_shapes(system).params)
    stage = stages_of(system)[0] if stage is None else stage
    networks, averages, policy = system.networks(), system.ema(), parse_policy(augment)
    turn_of = partial(
        _Turn,
        networks=networks,
        pretrained=system.pretrained(),
        inputs=system.inputs(),
        micro=micro,
        mesh=mesh,
        resolution=stage.resolution,
        freeze=tuple(freeze),
    )

    def step(state: State, batch: Examples) -> tuple[State, dict[str, Metrics]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        _check_examples(system, stage, micro, batch)
        draws = _with_all_axes(batch, stage, micro)
        augmentation = Augmentation(policy) if policy else None
        emitted: dict[str, Array] = {}
        metrics: dict[str, Metrics] = {}
        used = 0
        for index, player in enumerate(stage.players):
            seen = _batches_for(player, draws, used)
            used += 0 if player.reuse else player.repeats
            move = partial(turn_of, player=player, emitted=emitted, earlier=metrics)
            turn = partial(move, key=jax.random.fold_in(key, index), augmentation=augmentation)
            state, metrics[player.name], out = _lazily(player, turn, state, seen)
            emitted = {**emitted, **out}
            key = backend.after(key, metrics[player.name]["gradient_norm"])
        _check_applied(augmentation, augment, system)
        ema = {name: _decay(name, state, rate, mesh) for name, rate in averages.items()}
        return dataclasses.replace(state, step=state.step + 1, ema=ema), metrics

    out = None if mesh is None else (_state_shardings(system, mesh), replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out)


def _check_applied(augmentation: "Augmentation | None", augment: str, system: System) -> None:
    if augmentation is not None and not augmentation.applied:
        raise UserError(
            f"--augment is {augment}, but no loss of {type(system).__name__} augments what it "
            "scores: leave it out"
        )


def compile_step(step: Step, state: State, batch: Examples) -> Step:
    """Compiles a step for a state and a batch of these shapes and layouts, before it first runs.

    Memory that compiling took and does not need any more is then free for the step's maps.
    """
    compiled = step.lower(state, batch).compile()  # type: ignore[attr-defined]
    backend.return_freed_memory()
    return compiled


def _state_shardings(system: System, mesh: Mesh | None) -> State | None:
    return None if mesh is None else state_shardings(mesh, state_shapes(system))


def _check_examples(system: System, stage: Stage, micro: int, batch: Any) -> None:
    """Refuses a batch that would train on something else than was meant."""
    fields = data_fields(system, stage.resolution)
    names = ", ".join(fields)
    if not isinstance(batch, Mapping):
        raise UserError(f"the batch is not a dict: give one of arrays with {names}")
    if set(batch) != set(fields):
        raise UserError(
            f"the batch has {', '.join(batch) or 'nothing'}, but {type(system).__name__} learns "
            f"from {names}: give these by name"
        )
    lead = stage.lead(micro)
    for name, field in fields.items():
        found, wanted = batch[name], np.dtype(field.dtype)
        if not hasattr(found, "dtype"):
            raise UserError(f"batch[{name!r}] is no array: give one of {wanted}")
        if jnp.issubdtype(found.dtype, jnp.integer) != jnp.issubdtype(wanted, jnp.integer):
            hint = " in [-1, 1]: x / 127.5 - 1 of bytes" if isinstance(field, Image) else ""
            raise UserError(f"batch[{name!r}] is {found.dtype}, expected {wanted}{hint}")
        begins, ends = found.shape[: len(lead)], found.shape[len(lead) + 1 :]
        if begins != lead:
            raise UserError(
                f"batch[{name!r}] has shape {found.shape}; this step takes leading axes {lead} for "
                f"{stage.draws} draws and {micro} micro-batches, and then the batch"
            )
        if ends != field.shape or len(found.shape) == len(lead):
            raise UserError(
                f"batch[{name!r}] has shape {found.shape}, expected "
                f"[{', '.join(map(str, (*lead, 'b')))}, ...] of {field.text()}"
            )


def _with_all_axes(batch: Examples, stage: Stage, micro: int) -> Examples:
    """Puts back the axes `draws` and `micro` where they were left out for being 1."""
    skip = len(stage.lead(micro))
    return {name: x.reshape(stage.draws, micro, *x.shape[skip:]) for name, x in batch.items()}


def _batches_for(player: Player, draws: Examples, used: int) -> Examples:
    """The next `repeats` draws, or the last one `repeats` times: [repeats, micro, b, ...]."""
    if not player.reuse:
        return {name: x[used : used + player.repeats] for name, x in draws.items()}
    last = max(used - 1, 0)
    return {name: jnp.repeat(x[last : last + 1], player.repeats, 0) for name, x in draws.items()}


def _lazily(
    player: Player, turn: Callable[..., "_Turn"], state: State, batches: Examples
) -> tuple[State, Metrics, dict[str, Array]]:
    """Lets a lazy player move on every n-th iteration only."""

    def move(state: State, batches: Examples) -> tuple[State, Metrics, dict[str, Array]]:
        return turn(state=state)(batches)

    if player.every == 1:
        return move(state, batches)
    moved = jax.eval_shape(move, state, batches)
    if moved[2]:
        raise ValueError(f"player {player.name!r} rests at times, so it cannot emit {[*moved[2]]}")
    rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), moved[1])
    return backend.cond(
        state.step % player.every == 0, move, lambda state, _: (state, rest, {}), state, batches
    )


class Augmentation:
    """Augments what losses judge, with other numbers in every application (`View.augment`).

    Attributes:
        applied: how often it has been, in the tracing of this step.
    """

    def __init__(self, policy: tuple[str, ...]):
        self._policy, self.applied = policy, 0

    def of(self, key: PRNGKeyArray) -> Callable[[View, Array], Array]:
        """What an update of that key augments by."""
        applications = itertools.count()

        def change(view: View, images: Array) -> Array:
            if images.ndim != 4:
                raise UserError(
                    f"--augment changes images, but what is judged here has shape {images.shape}: "
                    "leave it out"
                )
            self.applied += 1
            own = jax.random.fold_in(jax.random.fold_in(key, _AUGMENT), next(applications))
            numbers = jax.vmap(lambda key: jax.random.uniform(key, (DIFF_NUMBERS,)))(
                view.keys(own, len(images))
            )
            return diff_augment(images, numbers, self._policy)

        return change


class _Moving(NamedTuple):
    """What an update moves, and the next one starts from."""

    owned: dict[str, PyTree]
    stats: dict[str, PyTree]
    memory: dict[str, PyTree]
    opt: PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Turn:
    """A player's turn in an iteration.

    Attributes:
        player: who moves.
        state: before the turn.
        key: of the turn.
        emitted: what earlier players left for this one.
        earlier: their metrics.
        augmentation: of what is judged; None: there is none.
        networks: of the system; and its `pretrained` ones, and their `inputs`.
        micro: micro-batches an update.
        mesh: devices.
        resolution: of the stage.
        freeze: patterns of parameters that stay as they are.
    """

    player: Player
    state: State
    key: PRNGKeyArray
    emitted: dict[str, Array]
    earlier: dict[str, Metrics]
    augmentation: Augmentation | None
    networks: dict[str, nn.Module]
    pretrained: dict[str, Pretrained]
    inputs: dict[str, tuple]
    micro: int
    mesh: Mesh | None
    resolution: Resolution | None
    freeze: tuple[str, ...]

    def __call__(self, batches: Examples) -> tuple[State, Metrics, dict[str, Array]]:
        """`repeats` updates on batches [repeats, micro, b, ...]."""
        player, state = self.player, self.state
        moving = _Moving(
            {name: state.params[name] for name in player.owns},
            state.stats,
            state.memory,
            state.opt[player.slot],
        )
        others = {name: p for name, p in state.params.items() if name not in player.owns}
        update: _Update = partial(self._update, others)
        if player.repeats == 1:
            first = jax.tree.map(lambda x: x[0], batches)
            moving, (metrics, out) = update(moving, (first, 0))
        else:
            if player.updates is not None:
                update = _from(player.repeats - player.updates(self.earlier), update)
            moving, outputs = backend.scan(update, moving, (batches, jnp.arange(player.repeats)))
            metrics, out = jax.tree.map(lambda x: x[-1], outputs)
        state = dataclasses.replace(
            state,
            params={**state.params, **moving.owned},
            stats=moving.stats,
            memory=moving.memory,
            opt={**state.opt, player.slot: moving.opt},
        )
        return state, metrics, out

    def _update(
        self, others: dict[str, PyTree], moving: _Moving, seen: tuple[Examples, Any]
    ) -> tuple[_Moving, Any]:
        """One update on a batch [micro, b, ...], by its number in the turn."""
        batch, repeat = seen
        player, mesh = self.player, self.mesh
        stats = moving.stats
        for name in player.writes:
            shared = shared_out(mesh, {**self.state.params, **moving.owned})
            stats = power_iteration(name, self.networks, self.inputs, shared, stats)
        moving = moving._replace(stats=stats)
        grads, moving, metrics, out = self._gradient(others, moving, batch, repeat)
        grads = without_frozen(self.freeze, grads)
        share = shared_out(mesh, moving.owned)
        updates, opt = player.optimizer.update(grads, moving.opt, share)
        share = optax.apply_updates(share, updates)
        if player.project is not None:
            share = player.project(share)
        metrics = {**metrics, "gradient_norm": optax.tree.norm(grads)}
        owned = held(self.freeze, moving.owned, kept(mesh, share))
        return moving._replace(owned=owned, opt=opt), (metrics, out)

    def _gradient(
        self, others: dict[str, PyTree], moving: _Moving, batch: Examples, repeat: Any
    ) -> tuple[PyTree, _Moving, Metrics, dict[str, Array]]:
        """The mean gradient over micro-batches, and what their losses wrote, said and emitted."""
        differentiate = jax.grad(partial(self._objective, others, repeat), has_aux=True)

        def gradient(written: Any, batch: Examples, part: Any) -> Any:
            grads, (written, metrics, out) = differentiate(moving.owned, written, batch, part)
            return shared_out(self.mesh, grads), written, metrics, out

        def accumulate(carry: Any, seen: Any) -> Any:
            grads, written = carry
            more, written, metrics, out = gradient(written, *seen)
            return (jax.tree.map(jnp.add, grads, more), written), (metrics, out)

        written = (moving.stats, moving.memory)
        if self.micro == 1:
            first = {**{name: x[0] for name, x in batch.items()}, **self.emitted}
            grads, written, metrics, out = gradient(written, first, 0)
        else:
            zeros = shared_out(self.mesh, jax.tree.map(jnp.zeros_like, moving.owned))
            (grads, written), (metrics, out) = backend.scan(
                accumulate, (zeros, written), ({**batch, **self.emitted}, jnp.arange(self.micro))
            )
            grads = jax.tree.map(lambda g: g / self.micro, grads)
            metrics = jax.tree.map(lambda m: m.mean(0), metrics)
        stats, memory = written
        return grads, moving._replace(stats=stats, memory=memory), metrics, out

    def _objective(
        self,
        others: dict[str, PyTree],
        repeat: Any,
        owned: dict[str, PyTree],
        written: Any,
        batch: Examples,
        part: Any,
    ) -> Any:
        """The player's loss on a micro-batch, and what it wrote, said and emitted."""
        stats, memory = written
        key = jax.random.fold_in(self.key, repeat)
        view = View(
            self.networks,
            {**others, **owned},
            stats,
            train=True,
            memory=memory,
            pretrained={
                name: (each.module, self.state.pretrained[name])
                for name, each in self.pretrained.items()
            },
            mesh=self.mesh,
            micro=(self.micro, part),
            step=self.state.step,
            resolution=self.resolution,
            augment=None if self.augmentation is None else self.augmentation.of(key),
        )
        loss, metrics = self.player.loss(view, batch, key)
        writes = self.player.writes
        stats = {**stats, **{name: view.stats[name] for name in writes if name in stats}}
        memory = {**memory, **{name: view.memory[name] for name in writes if name in memory}}
        return loss, ((stats, memory), {"loss": loss, **metrics}, view.out)


_Update = Callable[[_Moving, tuple[Examples, Any]], tuple[_Moving, Any]]


def _from(first: Int[Array, ""], update: _Update) -> _Update:
    """The update where its number is at least `first`; before that nothing moves.

    The last updates are made, not the first: their metrics are those of the turn.
    """

    def late(moving: _Moving, seen: tuple[Examples, Any]) -> tuple[_Moving, Any]:
        shapes = jax.eval_shape(update, moving, seen)[1]
        rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return backend.cond(
            seen[1] >= first, update, lambda moving, _: (moving, rest), moving, seen
        )

    return late


def _averaged(name: str, params: dict[str, PyTree], stats: dict[str, PyTree]) -> dict[str, PyTree]:
    """What the averages of a network cover: parameters and batch norm's buffers."""
    buffers = {k: v for k, v in stats[name].items() if k == "batch_stats"}
    return {"params": params[name], **buffers}


def _decay(name: str, state: State, rate: Decay, mesh: Mesh | None) -> PyTree:
    """A network's average after an iteration."""
    current = shared_out(mesh, _averaged(name, state.params, state.stats))
    decay = rate(state.step) if callable(rate) else rate
    # In this form a decay of 0 is a copy, to the last bit.
    return jax.tree.map(lambda a, c: decay * a + (1 - decay) * c, state.ema[name], current)
