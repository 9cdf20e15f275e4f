"""Applying a use of a trained system: the one way, for training, scores, commands and export.

Draw, then call: what is given and what is drawn share one compilation of the call. What comes of
row i is a function of (state, what is given for it, its number, the seed, options) alone: asking
for more rows, or applying in chunks, changes none.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int, PyTree

from jaxgan.ahead import one_behind
from jaxgan.data.order import random_words
from jaxgan.errors import UserError
from jaxgan.fields import Drawable, Field, Resolution, draw_items, named_key
from jaxgan.nn.shares import gathered
from jaxgan.parallel.mesh import batch_sharding
from jaxgan.ranges import Positive, Rate, Seed, checked
from jaxgan.state import State
from jaxgan.system import System, Taken, given_by, stages_of, taken_by, use_of
from jaxgan.training.spectral import averages_own
from jaxgan.view import Edit, Place, View

_FROM_DATA = 2**62
"""The stream of random words that says which item of the data is drawn, of the first group."""

CHUNK = 100
"""Rows a call of the compiled program, rounded up to a multiple of the devices that share them."""


class Table(Protocol):
    """Data whose items a use can be given."""

    def count(self, name: str) -> int:
        """Items that a field of `System.data()` has."""
        ...

    def items(self, name: str, indices: Int[np.ndarray, " n"]) -> np.ndarray:
        """Such items as networks see them, neither mirrored nor cut at random: [n, ...].

        They are counted round; the second time round, the second sentences of items follow.
        """
        ...


class Applied(NamedTuple):
    """What came of a use, on the host: [n, ...] by name, lists where items differ in shape.

    Attributes:
        made: what the use gives.
        taken: all that it took, given or drawn.
        captured: outputs of the modules that were asked for, by place.
    """

    made: dict[str, Any]
    taken: dict[str, Any]
    captured: dict[Place, Any]


def resolution_at(system: System, state: State) -> Resolution | None:
    """Size of the images that a State's last iteration saw; None for systems that do not grow.

    Raises:
        ValueError: the system grows, and the State is being traced.
    """
    stages = stages_of(system)
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


def evaluated(
    system: System, state: State
) -> tuple[dict[str, PyTree], dict[str, dict[str, PyTree]]]:
    """(params, stats) by network, as they are evaluated: averages where they are kept."""
    params, stats = dict(state.params), dict(state.stats)
    for name, average in state.ema.items():
        params[name] = average["params"]
        if "batch_stats" in average:
            stats[name] = {**stats[name], "batch_stats": average["batch_stats"]}
        if "spectral" in stats[name]:
            stats[name] = averages_own(
                state.params[name], params[name], stats[name], system=system, name=name
            )
    return params, stats


def evaluation_view(
    system: System,
    state: State,
    resolution: Resolution | None = None,
    *,
    captures: Sequence[Place] = (),
    edits: Sequence[tuple[Place, Edit, Any]] = (),
) -> View:
    """Networks in evaluation mode, with what they are evaluated with (`evaluated`).

    `resolution` of a system that grows is that of the State's stage, which follows from its step
    unless the State is traced. `captures` and `edits` are those of `apply`.
    """
    if resolution is None:
        resolution = resolution_at(system, state)
    params, stats = evaluated(system, state)
    published = system.pretrained()
    return View(
        system.networks(),
        params,
        stats,
        train=False,
        memory=state.memory,
        pretrained={
            name: (each.module, state.pretrained[name]) for name, each in published.items()
        },
        step=state.step,
        resolution=resolution,
        captures=captures,
        edits=edits,
    )


@checked
def draw(
    system: System,
    state: State,
    use: str,
    given: Mapping[str, Any] | None = None,
    *,
    numbers: Positive | Int[np.ndarray, " n"] | None = None,
    seed: Seed = 0,
    options: Any = None,
    truncation: Rate | None = None,
    data: Table | None = None,
    chunk: Positive = CHUNK,
) -> dict[str, Any]:
    """All that a use takes: what is given, and what is drawn where it is not.

    Arguments and errors are those of `apply`.
    """
    plan = _Plan.of(system, state, use, given, numbers, seed, options, data)
    parts = ((rows, taken) for rows, _, taken, _ in plan.chunks(state, truncation, chunk))
    return _collected(parts)


@checked
def apply(
    system: System,
    state: State,
    use: str,
    given: Mapping[str, Any] | None = None,
    *,
    numbers: Positive | Int[np.ndarray, " n"] | None = None,
    seed: Seed = 0,
    options: Any = None,
    truncation: Rate | None = None,
    data: Table | None = None,
    chunk: Positive = CHUNK,
    captures: Sequence[Place] = (),
    edits: Mapping[tuple[Place, Edit], Any] | None = None,
) -> Applied:
    """Applies a use to as many rows as are asked for.

    Args:
        system: the GAN.
        state: its State, laid out on any devices.
        use: name of one of its uses.
        given: {name: [n, ...]} of what the use takes, as networks see it; a single item serves all
            rows. Lists may hold items of several sizes, where the use takes such.
        numbers: of the rows, or how many there are, which are then numbered from 0: what is drawn
            for a row depends on its number. None: as many as are given.
        seed: of what is drawn.
        options: of the use; None: its defaults.
        truncation: for fields that can be truncated; None: they are not.
        data: where to draw from what the use takes from data.
        chunk: rows a call of the compiled program.
        captures: modules whose outputs are wanted, as (network, path).
        edits: {((network, path), function): arrays}: the module's output becomes
            function(output, arrays). Other arrays of the same shape compile nothing.

    Raises:
        UserError: no such use or module; something is missing, unknown, or of the wrong shape or
            number.
    """
    plan = _Plan.of(system, state, use, given, numbers, seed, options, data)
    edits = edits or {}
    weights = dataclasses.replace(state, opt={})
    call = partial(
        _call,
        system=system,
        use=use,
        options=plan.options,
        resolution=plan.resolution,
        functions=tuple(edits),
        captures=tuple(captures),
    )

    def parts() -> Iterator[tuple[list[int], tuple[Any, Any, Any]]]:
        for rows, mine, taken, mesh in plan.chunks(state, truncation, chunk):
            made, captured = call(
                weights, taken, mine, np.uint32(seed), tuple(edits.values()), mesh=mesh
            )
            yield rows, (made, taken, captured)

    return Applied(*_collected(parts()))


@partial(jax.jit, static_argnames=("fields", "mesh"))
def _draw(
    numbers: Array,
    seed: Array,
    truncation: Array | None,
    *,
    fields: tuple[tuple[str, Field], ...],
    mesh: Mesh | None,
) -> dict[str, Array]:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)
    items = draw_items(dict(fields), keys, truncation)
    if mesh is None:
        return items
    return jax.lax.with_sharding_constraint(items, batch_sharding(mesh, leading=0))


@partial(
    jax.jit,
    static_argnames=("system", "use", "options", "resolution", "mesh", "functions", "captures"),
)
def _call(
    state: State,
    taken: dict[str, Array],
    numbers: Array,
    seed: Array,
    arrays: tuple[Any, ...],
    *,
    system: System,
    use: str,
    options: Any,
    resolution: Resolution | None,
    mesh: Mesh | None,
    functions: tuple[tuple[Place, Edit], ...],
    captures: tuple[Place, ...],
) -> tuple[dict[str, Array], dict[Place, Array]]:
    # Found by its name: `uses()` makes new closures each time, which would be new compilations.
    if mesh is not None:  # every device has all weights and its share of the rows
        state = gathered(mesh, state)
        taken, numbers = jax.lax.with_sharding_constraint(
            (taken, numbers), batch_sharding(mesh, leading=0)
        )
    chosen = use_of(system, use)
    edits = [(at, edit, given) for (at, edit), given in zip(functions, arrays, strict=True)]
    view = evaluation_view(system, state, resolution, captures=captures, edits=edits)
    keys = call_keys(seed, numbers)
    made = chosen.call(view, taken, keys, options)
    for network, path in (*captures, *(at for at, _ in functions)):
        if network not in view.applied:
            raise UserError(f"{use} does not apply {network}, so nothing happens at {path!r} in it")
    view.check_places()
    gives = given_by(chosen, options, resolution)
    if set(made) != set(gives):
        raise ValueError(f"{use} makes {sorted(made)}, but declares that it gives {sorted(gives)}")
    for name, x in made.items():
        want = (len(numbers), *gives[name].shape)
        if len(x.shape) != len(want) or any(
            w is not None and w != h for w, h in zip(want, x.shape, strict=True)
        ):
            raise ValueError(f"{use} makes {name} of {x.shape}, but declares {want}")
    return made, dict(view.captured)


def call_keys(seed: Array | int, numbers: Array) -> Array:
    """The key that a use's call gets for each row."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)
    return jax.vmap(lambda key: named_key(key, "call"))(keys)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A use with all that its rows are given from the host.

    Attributes:
        takes: by name.
        given: by name, one item for all rows or one for each.
        numbers: of the rows.
        seed: of what is drawn.
        options: of the use.
        resolution: of the State's stage.
    """

    takes: dict[str, Taken]
    given: dict[str, Any]
    numbers: Int[np.ndarray, " n"]
    seed: int
    options: Any
    resolution: Resolution | None

    @classmethod
    def of(
        cls,
        system: System,
        state: State,
        use: str,
        given: Mapping[str, Any] | None,
        numbers: int | Int[np.ndarray, " n"] | None,
        seed: int,
        options: Any,
        data: Table | None,
    ) -> "_Plan":
        """Checks what is given, and draws from the data what is not."""
        chosen, given = use_of(system, use), dict(given or {})
        options = chosen.options if options is None else options
        resolution = resolution_at(system, state)
        takes = taken_by(system, chosen, options, resolution)
        if unknown := set(given) - set(takes):
            raise UserError(f"{use} takes {', '.join(takes)}, not {', '.join(sorted(unknown))}")
        for name, items in given.items():
            if isinstance(items, list):
                continue
            given[name] = np.asarray(items)  # rows of device arrays are slow to pick one by one
            if not given[name].ndim:
                raise UserError(f"{name} is one item alone: give items [n, ...], or [item] for all")
        if numbers is None:
            numbers = max((len(items) for items in given.values()), default=1)
        if isinstance(numbers, int | np.integer):
            numbers = np.arange(numbers)
        numbers = np.asarray(numbers)
        if not len(numbers):
            raise UserError(f"asked for 0 rows of {use}: ask for at least 1")
        for name, items in given.items():
            _check_given(use, name, takes[name].field, items, len(numbers))
        for name, taken in takes.items():
            drawable = isinstance(taken.field, Drawable) and not taken.origin
            if name in given or drawable:
                continue
            if not taken.origin:
                raise UserError(f"{use} needs {name} ({taken.field.text()}): give it")
            if data is None:
                raise UserError(f"{use} draws {name} from the data, which are not at hand: give it")
            group = next(i for i, each in enumerate(system.data()) if taken.origin in each)
            words = random_words(seed, _FROM_DATA + group, 0, int(numbers.max(initial=0)) + 1)
            count = data.count(taken.origin)
            rows = (words[numbers] % np.uint64(count)).astype(int)
            # Of several sentences of an item, each row has that of its turn.
            given[name] = data.items(taken.origin, rows + numbers.astype(int) * count)
        return cls(takes, given, numbers.astype(np.uint32), seed, options, resolution)

    def chunks(
        self, state: State, truncation: float | None, chunk: int
    ) -> Iterator[tuple[list[int], Array, dict[str, Array], Mesh | None]]:
        """Rows of one shape and a fixed count at a time: rows, numbers, all taken, the mesh."""
        mesh = mesh_of(state)
        size = 1 if mesh is None else mesh.size
        step = -(-chunk // size) * size
        fields = tuple((n, t.field) for n, t in self.takes.items() if n not in self.given)
        level = None if truncation is None else np.float32(truncation)
        for rows in self._rows_by_shape():
            for first in range(0, len(rows), step):
                part = rows[first : first + step]
                padded = part + part[-1:] * (step - len(part))
                taken = {name: self._given(name, padded) for name in self.given}
                # Laid out like what is drawn: host arrays in one call and device arrays in another
                # would be two compilations.
                numbers, taken = placed((self.numbers[padded], taken), mesh)
                drawn = _draw(numbers, np.uint32(self.seed), level, fields=fields, mesh=mesh)
                yield part, numbers, {**taken, **drawn}, mesh

    def _given(self, name: str, rows: list[int]) -> np.ndarray:
        """What is given for these rows, stacked."""
        items, dtype = self.given[name], self.takes[name].field.dtype
        return np.stack([np.asarray(items[0 if len(items) == 1 else row], dtype) for row in rows])

    def _rows_by_shape(self) -> list[list[int]]:
        groups: dict[tuple[Any, ...], list[int]] = {}
        varied = [x for x in self.given.values() if isinstance(x, list)]
        for row in range(len(self.numbers)):
            shapes = tuple(np.shape(x[0 if len(x) == 1 else row]) for x in varied)
            groups.setdefault(shapes, []).append(row)
        return list(groups.values())


def _check_given(use: str, name: str, field: Field, items: Any, count: int) -> None:
    if len(items) not in (1, count):
        raise UserError(f"{name} has {len(items)} items for {count} rows: give {count}, or one")
    for item in items if isinstance(items, list) else items[:1]:
        found, want = np.shape(item), field.shape
        if len(found) != len(want) or any(
            w is not None and w != f for w, f in zip(want, found, strict=True)
        ):
            raise UserError(f"{use} takes {name} of {field.text()}, not of shape {found}")
    for item in items if isinstance(items, list) else [items]:
        if np.issubdtype(np.asarray(item).dtype, np.inexact) and not np.isfinite(item).all():
            raise UserError(f"{name} has numbers that are not finite: {use} needs finite ones")


def mesh_of(state: State) -> Mesh | None:
    """The devices that a state lies on, if several."""
    layout = getattr(state.step, "sharding", None)
    several = isinstance(layout, NamedSharding) and layout.mesh.size > 1
    return layout.mesh if several else None  # type: ignore[union-attr]


def placed(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Host arrays [n, ...] on the devices, split over them; the same on every process."""
    if mesh is None:
        return jax.device_put(tree)
    rows = batch_sharding(mesh, leading=0)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, rows, lambda index: x[index]), tree
    )


def _collected(parts: Iterator[tuple[list[int], PyTree]]) -> Any:
    """Rows in order, on the host. Arrays where all items have one shape, lists elsewhere."""
    rows, trees = [], []
    for part, tree in one_behind(parts):
        rows.append(part)
        trees.append(on_host(tree, len(part)))
    order = np.argsort(np.concatenate([np.asarray(part, int) for part in rows]), kind="stable")

    def joined(*arrays: np.ndarray) -> Any:
        if len({array.shape[1:] for array in arrays}) == 1:
            whole = np.concatenate(arrays)
            return whole if (np.diff(order) == 1).all() else whole[order]
        items = [item for array in arrays for item in array]
        return [items[index] for index in order]

    return jax.tree.map(joined, *trees)


def on_host(tree: PyTree, count: int) -> PyTree:
    """The first rows of arrays [n, ...] that lie on the devices, on the host of every process."""
    whole = process_allgather(tree, tiled=True)
    return jax.tree.map(lambda x: np.asarray(x)[:count], whole)
