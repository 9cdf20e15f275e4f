"""Beginning from another run: what its State lends to a new one, and what it cannot lend.

Weights, statistics (batch norm's and spectral norm's) and averages are taken by name. Of tables
with a row a class, rows are taken by the names of classes, for numbers mean something else in other
data. The step, optimisers and what a system keeps in memory start anew.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxgan.errors import UserError, listed
from jaxgan.fields import Label
from jaxgan.state import State
from jaxgan.system import System, data_fields
from jaxgan.training.step import state_shapes, undrawn

_PARTS = ("params", "stats", "ema")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classes:
    """Names of a run's classes, here and there.

    Attributes:
        here: of the run that begins; (): unknown.
        there: of the run that lends; (): unknown.
        alike: the data are the same, so numbers mean the same without names.
    """

    here: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    alike: bool = False

    @property
    def same(self) -> bool:
        """Whether a number means the same class on both sides."""
        return self.alike or (bool(self.here) and self.here == self.there)

    def common(self) -> list[tuple[int, int]]:
        """Numbers here and there of the classes that both have."""
        there = {name: number for number, name in enumerate(self.there)}
        return [(mine, there[name]) for mine, name in enumerate(self.here) if name in there]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transferred:
    """A State that begins from another one.

    Attributes:
        state: at step 0.
        taken: how many arrays were taken, whole or in rows.
        of: how many there are to take.
        left: what was not taken, a line each.
    """

    state: State
    taken: int
    of: int
    left: tuple[str, ...]


def transfer(
    system: System, state: State, lender: State, classes: Mapping[str, Classes]
) -> Transferred:
    """Takes over what a State of another run has of the same name and shape.

    Args:
        system: of the State that begins.
        state: it, as `init` made it on a mesh; it is not to be used any more.
        lender: the other State, of any system; it is not to be used any more.
        classes: of each label in the data of `system`, by its name.

    Raises:
        UserError: nothing can be taken.
    """
    mine, theirs = _parts(state), _named(_known(lender))
    mine["ema"] = {name: tree for name, tree in state.ema.items() if name in lender.ema}
    axes = _class_axes(system)
    taken: list[str] = []
    left: list[str] = []
    rows: set[str] = set()

    def take(path: Any, x: jax.Array) -> jax.Array:
        name = _name(path)
        found, (axis, label) = theirs.pop(name, None), axes.get(name, (None, ""))
        known = classes.get(label, Classes())
        if found is not None and found.shape == x.shape and (axis is None or known.same):
            taken.append(name)
            return jax.device_put(found, x.sharding)
        reason = _reason(x, found, axis, known)
        if reason:
            left.append(f"{_shown(name)}: {reason}")
            return x
        assert axis is not None
        taken.append(name)
        rows.add(label)
        here, there = (np.array(each) for each in zip(*known.common(), strict=True))
        assert isinstance(x.sharding, NamedSharding)
        found = jax.device_put(found, NamedSharding(x.sharding.mesh, PartitionSpec()))
        return jax.jit(partial(_rows, axis, here, there), out_shardings=x.sharding)(x, found)

    made = jax.tree_util.tree_map_with_path(take, mine)
    for name in set(state.ema) - set(lender.ema):
        made["ema"][name] = _average(made, name, state.ema[name])
    if not taken:
        raise UserError("it has no array of the same name and shape")
    left += [f"{_shown(name)}: {found.shape} there, nothing here" for name, found in theirs.items()]
    left.sort(key=lambda line: line.startswith(("stats ", "ema ")))  # parameters first
    left += [_of_rows(label, classes[label]) for label in sorted(rows)]
    if lender.memory:
        left.append(f"memory ({', '.join(lender.memory)}): it starts anew")
    return Transferred(
        state=dataclasses.replace(state, **made),
        taken=len(taken),
        of=len(jax.tree.leaves(mine)),
        left=tuple(left),
    )


def _reason(x: jax.Array, found: jax.Array | None, axis: int | None, known: Classes) -> str:
    """Why an array is not taken; "": rows of it are."""
    if found is None:
        return f"{x.shape} here, nothing there"
    differ = f"{x.shape} here, {found.shape} there"
    if axis is None or x.ndim != found.ndim:
        return differ
    if not (known.here and known.there):
        where = "here" if known.there else "there" if known.here else "on both sides"
        return f"{differ}; the names of its classes are not known {where}"
    rest = [tuple(np.delete(each.shape, axis)) for each in (x, found)]
    if rest[0] != rest[1] or x.shape[axis] != len(known.here):
        return f"{differ}, in which classes are mixed with others"
    if found.shape[axis] != len(known.there) or not known.common():
        return f"{differ}, without a class in common"
    return ""


def _rows(
    axis: int, here: np.ndarray, there: np.ndarray, x: jax.Array, found: jax.Array
) -> jax.Array:
    mine, its = jnp.moveaxis(x, axis, 0), jnp.moveaxis(found, axis, 0)
    return jnp.moveaxis(mine.at[here].set(its[there]), 0, axis)


def _of_rows(label: str, known: Classes) -> str:
    """What of the tables of classes was taken."""
    have = {number for number, _ in known.common()}
    anew = [name for number, name in enumerate(known.here) if number not in have]
    text = f"{label}: {len(have)} of {len(known.here)} classes taken, by their names"
    if anew:
        text += f"; anew: {listed(anew)}"
    return text


def _average(made: dict[str, PyTree], name: str, like: PyTree) -> PyTree:
    """The average of a network that the other run did not average: what was taken of it."""
    now = {"params": made["params"][name], **made["stats"][name]}
    copied = {key: now[key] for key in like}
    # Copies: training donates the State, in which no array may stand twice.
    layout = jax.tree.map(lambda x: x.sharding, like)
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=layout)(copied)


def _class_axes(system: System) -> dict[str, tuple[int, str]]:
    """{name of an array: (its axis with classes, the label)}: those that grow with a class more.

    Sizes alone do not say it: a layer of ten channels has nothing to do with ten digits.
    """
    found: dict[str, tuple[int, str]] = {}
    shapes = _named(_parts(state_shapes(system)))
    for label, classes in _labels(system).items():
        for field in dataclasses.fields(system):
            if field.init and vars(system)[field.name] == classes:
                more = _with_more(system, field.name, label)
                for name, x in _named(_parts(more)).items() if more else ():
                    here = shapes[name].shape if name in shapes else x.shape
                    if len(here) == len(x.shape) and here != x.shape:
                        pairs = zip(here, x.shape, strict=True)
                        axis = next(n for n, (a, b) in enumerate(pairs) if a != b)
                        found[name] = (axis, label)
    return found


def _with_more(system: System, name: str, label: str) -> State | None:
    """Shapes of the system with a class more, if this setting is their number."""
    classes = _labels(system)[label]
    try:
        changed: dict[str, Any] = {name: classes + 1}
        more = dataclasses.replace(system, **changed)
        return state_shapes(more) if _labels(more).get(label) == classes + 1 else None
    except (TypeError, ValueError):  # a setting of another meaning that happens to be as large
        return None


def _labels(system: System) -> dict[str, int]:
    """{name: number of classes} of what the system learns from."""
    fields = data_fields(system)
    return {n: field.classes for n, field in fields.items() if isinstance(field, Label)}


def _parts(state: State) -> dict[str, PyTree]:
    return {part: getattr(state, part) for part in _PARTS}


def _known(lender: State) -> dict[str, PyTree]:
    """Its parts without networks that have no start: an imported run's, which no file held."""
    blank = undrawn(lender)
    return {
        part: {name: tree for name, tree in trees.items() if name not in blank}
        for part, trees in _parts(lender).items()
    }


def _named(tree: PyTree) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _shown(name: str) -> str:
    """A parameter by network and path, others with what they are in front."""
    part, _, path = name.partition("/")
    return path if part == "params" else f"{part} {path}"
