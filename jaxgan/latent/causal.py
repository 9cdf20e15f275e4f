"""What units cause: the average causal effect of a set of units on a concept.

Bau et al., "GAN Dissection", ICLR 2019, section 3.2: units are set to 0 where the concept is, and
to their level where it is not but may be; the effect is how much more of it the second gives:
ACE = E[s(inserted)] - E[s(ablated)], read where the units were set, half of it where the concept is
and half where it may be; so units that do nothing have 0, and the most is 1. How strongly each unit
is set, from 0 to 1, is optimised to make the effect large, with a penalty on the squares.

Follows the authors' code in what the paper leaves open: a place is one cell; units are ablated
where the concept is and inserted where it is not; the start is the overlap (IoU); Adam, and
strengths are clipped after every step. That code reads what was inserted at the cells of ablation;
here it is read where it was inserted, as the paper has it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxgan.errors import UserError
from jaxgan.fields import Resolution
from jaxgan.latent.concepts import Concepts
from jaxgan.latent.dissection import Dissection, check_about
from jaxgan.latent.layers import Layer, intervene, pooled
from jaxgan.nn.shares import gathered
from jaxgan.ranges import Count, Positive, Rate, Weight, checked
from jaxgan.run.open import Run
from jaxgan.state import State
from jaxgan.system import System, use_of
from jaxgan.training.apply import call_keys, evaluation_view, mesh_of
from jaxgan.view import Place, split_over_devices

_TRIED = 5
"""Cells of an image in which an insertion is tried."""

_UNIFORM = 0.1
"""Share of those that are drawn from all cells alike."""

_BATCH = 20


class Cells(NamedTuple):
    """A cell of each of n images.

    Attributes:
        numbers: of the images [n].
        places: row and column [n, 2].
        scores: how much of the concept is there, or came there, from 0 to 1 [n].
    """

    numbers: Int[np.ndarray, " n"]
    places: Int[np.ndarray, "n 2"]
    scores: Float[np.ndarray, " n"]

    def best(self, count: int) -> "Cells":
        """Those with the highest scores."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return Cells(*(each[order] for each in self))

    def part(self, rows: slice | np.ndarray) -> "Cells":
        """Some of them."""
        return Cells(*(each[rows] for each in self))


@dataclasses.dataclass(frozen=True, eq=False)
class Effect:
    """What the units of a layer cause of a concept.

    Attributes:
        concept: its name.
        strength: of each unit, optimised, from 0 to 1 [u].
        ace: average causal effect of that, on held-out images.
        curve: the objective at each step of the optimisation.
        measure: strengths [u] -> their average causal effect on held-out images.
    """

    concept: str
    strength: Float[np.ndarray, " u"]
    ace: float
    curve: Float[np.ndarray, " s"]
    measure: Callable[[Float[np.ndarray, " u"]], float]

    def of(self, units: Any) -> float:
        """The effect of some units at full strength, the others left alone."""
        strength = np.zeros(len(self.strength), np.float32)
        strength[np.asarray(units, int)] = 1
        return self.measure(strength)


@checked
def effect(
    run: Run,
    found: Dissection,
    concepts: Concepts,
    concept: str,
    *,
    steps: Count = 200,
    learning_rate: Rate = 0.01,
    penalty: Weight = 0.005,
    batch: Positive = _BATCH,
    **given: Any,
) -> Effect:
    """Finds how strongly units should be set to cause a concept, and what they then cause.

    Images are those of the dissection, and as many others for insertions: of each the best tenth is
    optimised on and the best fiftieth of the rest held out (the paper's 1,000 and 200 of 10,000).

    Args:
        run: that was dissected.
        found: its dissection.
        concepts: with which it was.
        concept: whose effect is asked for.
        steps: of Adam; the paper's 10 epochs are 500. 0: the overlaps are the strengths.
        learning_rate: of Adam.
        penalty: on the squares of strengths.
        batch: images of either kind a step.
        given: as the dissection was given.

    Raises:
        UserError: no such concept; it is in no image; or concepts without gradients.
    """
    layer = Layer.of(run, found.about.layer, found.about.use, **given)
    check_about(found, layer)
    index, overlap = concepts.index(concept), found.iou[:, found.index(concept)]
    if steps and not concepts.traced:
        raise UserError(
            f"{concepts.word} is no function of JAX, so it has no gradients: write it in "
            "jax.numpy, or leave its strengths at the overlaps (steps 0)"
        )
    bench = _Bench(layer, concepts, index, found.level[index], found.about.seed)
    present, candidates = bench.cells(found.about.num)
    if not len(present.numbers) or not len(candidates.numbers):
        raise UserError(
            f"{concept} has no place in {found.about.num} images, or cannot be inserted in any: "
            "give more images, or another layer"
        )
    strength = jnp.asarray(overlap / max(float(overlap.max()), 1e-6))
    adam, curve = optax.adam(learning_rate), []
    state = adam.init(strength)
    train = (_training(present), _training(candidates))
    rows = zip(*(_turns(each, batch) for each in train), strict=False)
    for _, (there, elsewhere) in zip(range(steps), rows, strict=False):
        value, slope = bench.gradient(strength, there, elsewhere, penalty)
        updates, state = adam.update(slope, state)
        strength = jnp.clip(strength + updates, 0, 1)
        curve.append(float(value))
    held = (_held(present), _held(candidates))
    measure = partial(bench.measure, held)
    strengths = np.asarray(strength)
    return Effect(concept, strengths, measure(strengths), np.asarray(curve, np.float32), measure)


def _training(cells: Cells) -> Cells:
    """The best five sixths."""
    return cells.part(slice(0, max(1, len(cells.numbers) * 5 // 6)))


def _held(cells: Cells) -> Cells:
    """The rest, which is never optimised on; of a single one, that."""
    return cells.part(slice(min(len(cells.numbers) * 5 // 6, len(cells.numbers) - 1), None))


def _turns(cells: Cells, batch: int) -> Iterator[Cells]:
    """Batches of equal size, round and round."""
    start, count = 0, len(cells.numbers)
    while True:
        yield cells.part(np.arange(start, start + batch) % count)
        start = (start + batch) % count


@dataclasses.dataclass(frozen=True, eq=False)
class _Bench:
    """Scores of a concept at cells under interventions."""

    layer: Layer
    concepts: Concepts
    index: int
    level: Float[np.ndarray, " u"]
    seed: int

    def cells(self, num: int) -> tuple[Cells, Cells]:
        """Where the concept is most, of `num` images, and where it comes most, of others.

        As many as are optimised on and held out, the best first.
        """
        count = max(2, num // 10 + num // 50)
        total = np.zeros(self.layer.shape[:2])
        seen = []
        for numbers, images, _ in self.layer.drawn(num, self.seed):
            shares = self._pooled(images)
            total += shares.sum(0)
            seen.append(_most(numbers, shares))
        present = Cells(*map(np.concatenate, zip(*seen, strict=True))).best(count)
        present = present.part(np.flatnonzero(present.scores > 0.05))
        if not len(present.numbers):
            return present, present
        tried = []
        odds = (1 - _UNIFORM) * total.ravel() / total.sum() + _UNIFORM / total.size
        rng = np.random.default_rng(self.seed)
        for numbers, images, _ in self.layer.drawn(num, self.seed, first=num):
            before = self._pooled(images)
            flat = rng.choice(total.size, (_TRIED, len(numbers)), p=odds)
            gains = []
            for cells in flat:
                places = np.stack(np.unravel_index(cells, total.shape), 1)
                rows = np.arange(len(numbers)), *places.T
                after = self.scores(np.ones(len(self.level)), 1.0, Cells(numbers, places, rows[0]))
                gains.append((after - before[rows]) * (before[rows] < 0.5))
            best = np.argmax(gains, 0)
            columns = np.arange(len(numbers))
            places = np.stack(np.unravel_index(flat[best, columns], total.shape), 1)
            tried.append((numbers, places, np.asarray(gains)[best, columns]))
        candidates = Cells(*map(np.concatenate, zip(*tried, strict=True))).best(count)
        return _mixed(present), _mixed(candidates.part(np.flatnonzero(candidates.scores > 0)))

    def _pooled(self, images: Any) -> Float[np.ndarray, "b h w"]:
        masks = self.concepts(images)[..., self.index, None]
        return np.asarray(pooled(masks, self.layer.shape[:2])[..., 0])

    def _rows(self, cells: Cells) -> tuple[dict[str, Any], Any, Any]:
        """All that the use takes for the images of cells, keys, and the cells as masks."""
        layer = self.layer
        taken = layer.run.draw(
            layer.use, layer.given, numbers=cells.numbers, seed=self.seed, options=layer.options
        )
        where = np.zeros((len(cells.numbers), *layer.shape[:2]), np.float32)
        where[np.arange(len(where)), *cells.places.T] = 1
        keys = call_keys(self.seed, jnp.asarray(cells.numbers, jnp.uint32))
        return taken, keys, where

    def _program(self) -> dict[str, Any]:
        """What is static in programs."""
        layer, state = self.layer, self.layer.run.stored
        return {
            "system": layer.run.system,
            "use": layer.use,
            "options": layer.options,
            "resolution": layer.run.resolution,
            "place": layer.place,
            "name": layer.image[0],
            "function": self.concepts.function,
            "index": self.index,
            "mesh": mesh_of(state),
        }

    @property
    def _state(self) -> State:
        return dataclasses.replace(self.layer.run.stored, opt={})

    def scores(self, strength: Any, inserted: float, cells: Cells) -> Float[np.ndarray, " n"]:
        """How much of the concept is at cells after units there were set: to 0, or their level."""
        level = np.asarray(self.level * inserted, np.float32)
        strength = np.asarray(strength, np.float32)
        found = []
        # Batches are of one size, so that they are one program.
        for start in range(0, len(cells.numbers), _BATCH):
            rows = np.arange(start, start + _BATCH) % len(cells.numbers)
            taken, keys, where = self._rows(cells.part(rows))
            if self.concepts.traced:
                arrays = self.concepts.arrays
                program = self._program()
                part = _scores(self._state, arrays, taken, keys, where, strength, level, **program)
            else:
                program = {
                    k: v for k, v in self._program().items() if k not in ("function", "index")
                }
                images = _images(self._state, taken, keys, where, strength, level, **program)
                part = (self._pooled(images) * where).sum((1, 2))
            found.append(np.asarray(part))
        return np.concatenate(found)[: len(cells.numbers)]

    def measure(self, held: tuple[Cells, Cells], strength: Any) -> float:
        """Average causal effect on some cells, half of which have the concept."""
        effects = [
            self.scores(strength, 1.0, cells) - self.scores(strength, 0.0, cells) for cells in held
        ]
        return float(np.mean([each.mean() for each in effects]))

    def gradient(
        self, strength: Array, there: Cells, elsewhere: Cells, penalty: float
    ) -> tuple[Array, Array]:
        """The objective, minus the effect plus the penalty, and its gradient."""
        return _gradient(
            strength,
            self._state,
            self.concepts.arrays,
            self._rows(there),
            self._rows(elsewhere),
            jnp.asarray(self.level),
            jnp.float32(penalty),
            **self._program(),
        )


def _most(
    numbers: Int[np.ndarray, " n"], shares: Float[np.ndarray, "n h w"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cell of each image with most of a concept: numbers, places, shares."""
    flat = shares.reshape(len(shares), -1)
    cell = flat.argmax(1)
    return numbers, np.stack(np.unravel_index(cell, shares.shape[1:]), 1), flat.max(1)


def _mixed(cells: Cells) -> Cells:
    """In order of their images' numbers, so that what is held out is as good as the rest."""
    return cells.part(np.argsort(cells.numbers, kind="stable"))


STATIC = ("system", "use", "options", "resolution", "place", "name", "mesh")


@partial(jax.jit, static_argnames=STATIC)
def _images(
    state: State,
    taken: dict[str, Array],
    keys: Array,
    where: Float[Array, "b h w"],
    strength: Float[Array, " u"],
    level: Float[Array, " u"],
    *,
    system: System,
    use: str,
    options: Any,
    resolution: Resolution | None,
    place: Place,
    name: str,
    mesh: Mesh | None,
) -> Float[Array, "b y x c"]:
    """Images with an intervention of its own in each."""
    if mesh is not None:
        state = gathered(mesh, state)
        taken, keys, where = split_over_devices((taken, keys, where), mesh)
    edits = [(place, intervene, ((where, strength, level),))]
    view = evaluation_view(system, state, resolution, edits=edits)
    made: Array = use_of(system, use).call(view, taken, keys, options)[name]
    return made


@partial(jax.jit, static_argnames=(*STATIC, "function", "index"))
def _scores(
    state: State,
    arrays: Any,
    taken: dict[str, Array],
    keys: Array,
    where: Float[Array, "b h w"],
    strength: Float[Array, " u"],
    level: Float[Array, " u"],
    *,
    function: Callable[[Array, Any], Array],
    index: int,
    **program: Any,
) -> Float[Array, " b"]:
    """How much of a concept is in the cells of an intervention."""
    images = _images(state, taken, keys, where, strength, level, **program)
    masks = function(images, arrays)[..., index, None]
    return (pooled(masks, (where.shape[1], where.shape[2]))[..., 0] * where).sum((1, 2))


@partial(jax.jit, static_argnames=(*STATIC, "function", "index"))
def _gradient(
    strength: Float[Array, " u"],
    state: State,
    arrays: Any,
    there: tuple[Any, Any, Any],
    elsewhere: tuple[Any, Any, Any],
    level: Float[Array, " u"],
    penalty: Float[Array, ""],
    **program: Any,
) -> tuple[Float[Array, ""], Float[Array, " u"]]:
    def objective(strength: Float[Array, " u"]) -> Float[Array, ""]:
        erased = _scores(state, arrays, *there, strength, jnp.zeros_like(level), **program)
        inserted = _scores(state, arrays, *elsewhere, strength, level, **program)
        return erased.mean() - inserted.mean() + penalty * jnp.square(strength).sum()

    return jax.value_and_grad(objective)(strength)
