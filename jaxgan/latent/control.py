"""Codes moved by the gradient of a classifier, and watched by another one.

z <- z + rate * gradient of log p(c | G(z)), brought back to the norm sqrt(d) at which latents lie.
Such gradients also find images that fool the classifier alone. So they are means over copies of
the images with noise (Smilkov et al., "SmoothGrad", 2017), in which tricks of single pixels drown;
and what they find is shown to a guard, which learned from other images from another start.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxgan.errors import UserError
from jaxgan.latent import algebra
from jaxgan.latent.directions import Directions, check_moved, space_of
from jaxgan.latent.rows import repeat
from jaxgan.latent.scores import Attributes
from jaxgan.latent.space import Space
from jaxgan.ranges import Positive, Rate, Seed, Weight, checked
from jaxgan.run.open import Run
from jaxgan.view import View

_COPIES = 4
"""Of each image, with noise, over which gradients are averaged."""

_SPREAD = 2_000
"""Drawn codes, by whose variance steps in w are scaled."""

_CODE, _CLASS, _SAYS = "moved code", "wanted class", "log probability"
"""Names of rows that no use takes."""


class Controlled(NamedTuple):
    """What came of it.

    codes: [n, d], after the last step.
    probability: [steps + 1, n], of the wanted class, by the classifier; of images with noise
        where there is any, but at the end.
    turned: bool [n], whether the classifier says the wanted class at the end.
    agreed: bool [n], whether the guard does.
    guard: [2, n], the guard's probability of the wanted class before and after.
    """

    codes: Float[np.ndarray, "n d"]
    probability: Float[np.ndarray, "t n"]
    turned: np.ndarray
    agreed: np.ndarray
    guard: Float[np.ndarray, "2 n"]


@checked
def control(
    space: Space,
    codes: Float[np.ndarray, "n d"],
    classes: Int[np.ndarray, " n"],
    classifier: Attributes,
    guard: Attributes,
    *,
    steps: Positive = 50,
    rate: Rate = 0.3,
    noise: Weight = 1.0,
    seed: Seed = 0,
    **given: Any,
) -> Controlled:
    """Moves codes until a classifier sees a class.

    Networks are in evaluation mode. In w, which has no norm to keep, steps are scaled by the
    variance of drawn codes.

    Args:
        space: of the codes, z or w.
        codes: where to start.
        classes: that are wanted, a number for each code.
        classifier: log probabilities, pure.
        guard: another one, which takes no part.
        steps: of the gradient.
        rate: what the gradient is multiplied by.
        noise: deviation of what is added to images in [-1, 1] before the classifier sees them; 0:
            nothing.
        seed: of what else images are drawn of, and of the noise.
        given: what else images are made of, such as a label.

    Raises:
        UserError: a classifier without gradients.
    """
    if not (classifier.pure and guard.pure):
        raise UserError("a Python function has no gradients: give --scores classes")
    others, options = space.others(len(codes), seed=seed, **(given if space.name == "z" else {}))
    pace = rate
    if space.name != "z":
        pace *= float(space.draw(_SPREAD, seed, **given).var(0).mean())
    way = _Way(space, tuple(others), options, classifier, guard, np.float32(pace), noise)
    rows = {**others, _CODE: codes.astype(np.float32), _CLASS: classes.astype(np.int32)}
    first = {**rows, _SAYS: np.zeros(len(codes), np.float32)}
    history = np.zeros((steps + 1, len(codes)))
    turns = dict.fromkeys(range(len(codes)), 0)

    def note(at: int, now: dict[str, np.ndarray]) -> None:
        history[turns[at], at : at + len(now[_SAYS])] = np.exp(now[_SAYS])
        turns[at] += 1

    last = repeat(space.run, way.climb, classifier.arrays, first, steps=steps, seed=seed, each=note)
    ends = {name: np.concatenate([x, last[name]]) for name, x in rows.items()}
    arrays = {"classifier": classifier.arrays, "guard": guard.arrays}
    numbers = np.tile(np.arange(len(codes)), 2)
    found = repeat(space.run, way.look, arrays, ends, numbers=numbers, seed=seed)
    index = np.arange(len(numbers)), np.tile(classes, 2)
    seen, watched = (np.exp(found[name][index]).reshape(2, -1) for name in ("classifier", "guard"))
    history[steps] = seen[1]
    says, also = (found[name][len(codes) :].argmax(1) for name in ("classifier", "guard"))
    return Controlled(last[_CODE], history, says == classes, also == classes, watched)


@dataclasses.dataclass(frozen=True, eq=False)
class _Way:
    """Steps of the gradient, as bodies of `repeat`.

    Attributes:
        space: of the codes.
        others: names of what images are made of besides.
        options: of the space's use.
        classifier: whose gradient is followed.
        guard: that looks on.
        pace: what the gradient is multiplied by.
        noise: deviation of what is added to images.
    """

    space: Space
    others: tuple[str, ...]
    options: Any
    classifier: Attributes
    guard: Attributes
    pace: np.float32
    noise: float

    def images(self, view: View, code: Array, rows: dict[str, Array], keys: Array) -> Array:
        """Images of codes."""
        given = {name: rows[name] for name in self.others}
        return self.space.render(view, code, given, keys, self.options)

    def climb(
        self, view: View, arrays: PyTree, rows: dict[str, Array], keys: Array, turn: Array
    ) -> dict[str, Array]:
        """A step, and the log probability before it."""

        def says(images: Array) -> Array:
            found = self.classifier.function(arrays, images)
            return jnp.take_along_axis(found, rows[_CLASS][:, None], 1)[:, 0]

        def noisy(images: Array, copy: int) -> Array:
            def fresh(key: Array) -> Array:
                own = jax.random.fold_in(jax.random.fold_in(key, turn), copy)
                return jax.random.normal(own, images.shape[1:])

            return jnp.clip(images + self.noise * jax.vmap(fresh)(keys), -1, 1)

        def wanted(code: Array) -> tuple[Array, Array]:
            images = self.images(view, code, rows, keys)
            copies = [noisy(images, copy) for copy in range(_COPIES)] if self.noise else [images]
            mine = jnp.stack([says(each) for each in copies]).mean(0)
            return mine.sum(), mine

        change, now = jax.grad(wanted, has_aux=True)(rows[_CODE])
        code = rows[_CODE] + self.pace * change
        if self.space.name == "z":
            norm = jnp.linalg.norm(code, axis=-1, keepdims=True)
            code = code * (code.shape[-1] ** 0.5 / jnp.maximum(norm, 1e-12))
        return {_CODE: code, _SAYS: now}

    def look(
        self, view: View, arrays: PyTree, rows: dict[str, Array], keys: Array, turn: Array
    ) -> dict[str, Array]:
        """What both say of the codes' images."""
        del turn
        images = self.images(view, rows[_CODE], rows, keys)
        sides = {"classifier": self.classifier, "guard": self.guard}
        return {name: each.function(arrays[name], images) for name, each in sides.items()}


@checked
def class_directions(
    run: Run,
    classifier: Attributes,
    guard: Attributes,
    *,
    names: Sequence[str] = (),
    space: str | None = None,
    layers: tuple[int, int] | None = None,
    num: Positive = 64,
    steps: Positive = 50,
    rate: Rate = 0.3,
    noise: Weight = 1.0,
    seed: Seed = 0,
    **given: Any,
) -> tuple[Directions, dict[str, Controlled]]:
    """For each class, where the classifier's gradients lead samples on average; and how they went.

    Args:
        run: of any system that draws images of a latent.
        classifier: log probabilities, whose gradients are followed.
        guard: another one, which takes no part.
        names: of the classes that are wanted; empty: all.
        space: "z" or "w"; None: w where there are styles.
        layers: in w, the first and last that `sample --move` moves, from 0; None: all.
        num: samples a class.
        steps: of each.
        rate: what the gradient is multiplied by.
        noise: as `control` has it.
        seed: of the samples.
        given: what else codes are drawn of.

    Raises:
        UserError: no such space, layers or classes, or a classifier without gradients.
    """
    where = space_of(run, space)
    check_moved(where, layers)
    numbers = [classifier.index(name) for name in names] or list(range(len(classifier.names)))
    wanted = tuple(classifier.names[number] for number in numbers)
    codes = where.draw(num, seed, **given)
    went = {
        name: control(
            where,
            codes,
            np.full(num, number),
            classifier,
            guard,
            steps=steps,
            rate=rate,
            noise=noise,
            seed=seed,
            **given,
        )
        for name, number in zip(wanted, numbers, strict=True)
    }
    ways = [algebra.unit(each.codes.astype(np.float64) - codes).mean(0) for each in went.values()]
    many = where.draw(max(num, 2_000), seed, **given)
    vectors = algebra.unit(np.stack(ways))
    found = Directions(
        method="classifier",
        system=type(run.system).__name__,
        networks=run.networks_sha256,
        space=where.name,
        names=wanted,
        vectors=vectors.astype(np.float32),
        sigma=algebra.spread(many, vectors).astype(np.float32),
        strength=tuple(float((each.turned & each.agreed).mean()) for each in went.values()),
        layers=layers,
    )
    return found, went
