"""Looking into training: the first operation that gives NaN, and what moves each parameter."""

import dataclasses
import site
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree
from rich.table import Table

import jaxgan
from jaxgan.state import State
from jaxgan.system import Examples, Metrics, Player, Stage, System
from jaxgan.training.checkpoint import Diverged
from jaxgan.training.step import Step, make_step


def debugged_step(
    system: System,
    stage: Stage,
    *,
    eager: bool = False,
    tell: Callable[[Table], None],
    **how: Any,
) -> Step:
    """A step for one device that looks at everything it makes, and keeps the state it is given.

    It is the same step, so it trains the same. Where something that it made is not finite, it is
    done again operation by operation.

    Args:
        system: the GAN.
        stage: one of its stages.
        eager: run operation by operation throughout, so that `print` and `breakpoint()` in a
            system's code see numbers.
        tell: takes the table of parameters of the first step (`parameters`).
        how: what `make_step` takes: seed, micro, augment, freeze.

    Raises:
        Diverged: when it is called, with the operation and the place in the code.
    """
    players = tuple(_recorded(player) for player in stage.players)
    step = make_step(system, dataclasses.replace(stage, players=players), **how)

    def traced(state: State, batch: Examples) -> tuple[State, dict[str, Metrics], PyTree]:
        owned = {p.slot: {name: state.params[name] for name in p.owns} for p in players}
        seen = {
            p.slot: p.optimizer.init(owned[p.slot])._replace(inner=state.opt[p.slot])  # type: ignore[attr-defined]
            for p in players
        }
        state = dataclasses.replace(state, opt={**state.opt, **seen})
        state, metrics = step(state, batch)
        opt = {k: v.inner if isinstance(v, _Seen) else v for k, v in state.opt.items()}
        grads = {name: g for slot in seen for name, g in state.opt[slot].gradient.items()}
        return dataclasses.replace(state, opt=opt), metrics, grads

    compiled, told = jax.jit(traced), False

    def call(state: State, batch: Examples) -> tuple[State, dict[str, Metrics]]:
        nonlocal told
        # The loop refuses implicit transfers, which operations without jit are full of.
        with jax.transfer_guard("allow"), jax.disable_jit(eager):
            after, metrics, grads = compiled(state, batch)
            if bad := _not_finite(metrics, after):
                raise Diverged(
                    f"step {int(after.step)}: {bad[0]} is {bad[1]}; "
                    f"{_origin(step_of=partial(traced, state, batch), kind=bad[1])}"
                )
            if not told:
                tell(parameters(state, after, grads))
                told = True
        return after, metrics

    return call


def parameters(before: State, after: State, grads: PyTree) -> Table:
    """A table of all parameters: root mean squares of each, of its gradient, and of its change.

    Args:
        before: the State before an iteration.
        after: the same after it.
        grads: of its last updates, {network: gradient}.
    """
    table = Table(
        "parameter",
        "shape",
        "rms",
        "gradient",
        "change / rms",
        box=None,
        title=f"step {int(after.step)}: parameters and their gradients (root mean squares)",
    )
    table.columns[0].overflow = "fold"  # not an ellipsis: of a layer its end says which
    for path, gradient in jax.tree_util.tree_leaves_with_path(grads):
        old, new = (_at(state.params, path) for state in (before, after))
        size, change = _rms(old), _rms(new - old)
        table.add_row(
            "/".join(str(entry.key) for entry in path),
            "x".join(map(str, old.shape)) or "1",
            f"{size:.3g}",
            f"{_rms(gradient):.3g}",
            f"{change / size:.2g}" if size else f"{change:.2g} of 0",
        )
    return table


# --- the gradients of a step


class _Seen(NamedTuple):
    """An optimizer's state, and the gradient that it was last given."""

    inner: Any
    gradient: Any


def _recorded(player: Player) -> Player:
    """The same player, whose optimizer keeps the gradient that it is given."""
    inner = player.optimizer

    def init(params: PyTree) -> _Seen:
        return _Seen(inner.init(params), jax.tree.map(jnp.zeros_like, params))

    def update(grads: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, _Seen]:
        updates, moved = inner.update(grads, state.inner, params)
        return updates, _Seen(moved, grads)

    return dataclasses.replace(player, optimizer=optax.GradientTransformation(init, update))  # type: ignore[arg-type]


def _at(tree: PyTree, path: tuple[Any, ...]) -> jax.Array:
    for entry in path:
        tree = tree[entry.key]
    return tree


def _rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


# --- where NaN is from


def _not_finite(metrics: dict[str, Metrics], state: State) -> tuple[str, str] | None:
    """The first metric or array of the State that is not finite, and what it is instead."""
    trees = {"": metrics, "params/": state.params, "stats/": state.stats, "ema/": state.ema}
    for prefix, tree in trees.items():
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        for path, x in sorted(leaves, key=lambda leaf: "loss" not in str(leaf[0])):
            values = np.asarray(x)
            if jnp.issubdtype(values.dtype, jnp.floating) and not np.isfinite(values).all():
                name = prefix + "/".join(str(entry.key) for entry in path)
                return name, "nan" if np.isnan(values).any() else "inf"
    return None


def _origin(step_of: Callable[[], Any], kind: str) -> str:
    """The first operation that gives NaN, or infinity, and where it stands in the code."""
    watch = jax.debug_nans if kind == "nan" else jax.debug_infs
    try:
        with jax.disable_jit(), watch(True):
            jax.block_until_ready(step_of())
    except FloatingPointError as error:
        operation = str(error).splitlines()[0].rpartition(" ")[2]
        return f"the first {kind} comes from {operation}, at {_place(error)}"
    return f"operation by operation, without jit, nothing gives {kind}: it is a matter of rounding"


def _place(error: BaseException) -> str:
    """File, line and function of what a person wrote that led to an error, the innermost last.

    Of a gradient's operation JAX tells the place of the operation that was differentiated, as the
    cause of the error.
    """
    frames = list(_frames(error.__cause__ or error)) or list(_frames(error))
    package = Path(jaxgan.__file__).parent
    engine = [package / room for room in ("training", "cli", "run", "view.py", "system.py")]
    # The line of the loss, and of the layer that it led to, where that is another.
    written = [f for f in frames if not any(Path(f.filename).is_relative_to(e) for e in engine)]
    ours = [frame for frame in written if not Path(frame.filename).is_relative_to(package / "nn")]
    chosen = [*ours[-1:], *[frame for frame in written[-1:] if frame not in ours]] or frames[-1:]
    return ", in ".join(f"{f.filename}:{f.lineno} ({f.name})" for f in chosen)


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    """Those outside of installed packages and of Python's own library."""
    installed = [*site.getsitepackages(), sysconfig.get_path("purelib")]
    known = [Path(path) for path in (*installed, sysconfig.get_path("stdlib"))]
    own = Path(jaxgan.__file__).parent
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        inside = any(path.is_relative_to(folder) for folder in known)
        if path.is_relative_to(own) or not (inside or frame.filename.startswith("<")):
            yield frame
