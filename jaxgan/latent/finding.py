"""Finding directions in the codes of a trained generator.

- SeFa, of weights: Shen, Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021.
- GANSpace, of principal components: Harkonen et al., NeurIPS 2020.
- InterFaceGAN, of scores of samples: Shen et al., "InterFaceGAN", TPAMI 2020.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from jaxgan.errors import UserError
from jaxgan.latent import algebra
from jaxgan.latent.directions import (
    Directions,
    Layers,
    check_layers,
    check_moved,
    images_at,
    space_of,
)
from jaxgan.latent.entries import Entry, entries
from jaxgan.latent.layers import activations, maps_of, place_of
from jaxgan.latent.scores import Attributes
from jaxgan.latent.space import Space
from jaxgan.ranges import Positive, Rate, Seed, Within, checked
from jaxgan.run.open import Run

_LARGEST = 4 << 30
"""Bytes of activations in memory."""


def _made(
    run: Run, space: Space, method: str, vectors: np.ndarray, codes: np.ndarray, **facts: Any
) -> Directions:
    return Directions(
        method=method,
        system=type(run.system).__name__,
        networks=run.networks_sha256,
        space=space.name,
        vectors=vectors.astype(np.float32),
        sigma=algebra.spread(codes, vectors).astype(np.float32),
        **{"names": tuple(str(index + 1) for index in range(len(vectors))), **facts},
    )


@checked
def sefa(
    run: Run,
    *,
    space: str | None = None,
    layers: Layers | None = None,
    count: Positive = 10,
    unit_rows: bool = True,
    num: Positive = 2_000,
    seed: Seed = 0,
    **given: Any,
) -> Directions:
    """Directions that change the layers most that codes enter (SeFa).

    In w these are the layers of styles, of all images' scales; the authors' code leaves out those
    that make colours, but the last. In z they are those that take the latent, all of them: of
    BigGAN the first dense layer and the norms' linear layers, each of its part.

    Args:
        run: of any system whose codes enter linear layers.
        space: "z" or "w"; None: w where there are styles.
        layers: in w, the first and last whose styles count, and are moved; in z, the first and last
            of the layers that take the latent, as they are applied. From 0. None: all.
        count: directions.
        unit_rows: outputs of a layer count alike (the authors' code), not as large as they are.
        num: codes that are drawn to measure sigma.
        seed: of these.
        given: what else codes are drawn of, such as a label or psi.

    Raises:
        UserError: no such space or layers, or a first layer that is not linear.
    """
    where = space_of(run, space)
    found = entries(Space.of(run, "w+") if where.name == "w" else where)
    (size,) = where.shape
    matrix = np.concatenate([_rows(each, size) for each in _chosen(run, where, found, layers)])
    vectors, values = algebra.sefa(matrix, count, unit_rows=unit_rows)
    return _made(
        run,
        where,
        "sefa",
        vectors,
        where.draw(num, seed, **given),
        strength=tuple(values.tolist()),
        layers=layers if where.name == "w" else None,
    )


def _chosen(
    run: Run, space: Space, found: list[Entry], layers: tuple[int, int] | None
) -> list[Entry]:
    """The layers in a range."""
    if layers is None:
        return found
    (size,) = space.shape
    at = [int(each.places[0]) // size for each in found]
    if space.name == "z":
        at = list(range(len(found)))
    check_layers(run, layers, max(at) + 1)
    return [each for each, n in zip(found, at, strict=True) if layers[0] <= n <= layers[1]]


def _rows(entry: Entry, size: int) -> Float[np.ndarray, "o d"]:
    """A layer's matrix over the numbers of one code."""
    matrix = np.zeros((len(entry.matrix), size))
    np.add.at(matrix.T, entry.places % size, entry.matrix.T)
    return matrix


@checked
def ganspace(
    run: Run,
    *,
    space: str | None = None,
    layer: str | None = None,
    layers: Layers | None = None,
    count: Positive = 10,
    num: Positive = 10_000,
    seed: Seed = 0,
    **given: Any,
) -> Directions:
    """Principal directions (GANSpace): of styles, or of activations, carried back to latents.

    In w they are the principal components of drawn styles. In z those of a layer's activations are
    regressed on the latents, without an intercept, and brought to unit norm.

    Args:
        run: of any system that draws images of a latent.
        space: "z" or "w"; None: w where there are styles.
        layer: in z, path of the generator's module whose activations are taken; None: the first
            that takes the latent, as the authors do for BigGAN.
        layers: in w, the first and last that are moved, from 0; None: all.
        count: directions.
        num: samples; the authors take 300,000, and at least 10,000 for a regression.
        seed: of these.
        given: what else codes are drawn of, such as a label.

    Raises:
        UserError: no such space or layer; more activations than memory holds.
    """
    where = space_of(run, space)
    check_moved(where, layers)
    if where.name == "w" and layer is not None:
        raise UserError("--layer is for the space z: in w components are those of styles")
    codes = where.draw(num, seed, **given)
    if where.name == "w":
        found = algebra.principal(codes, count, seed)
        return _made(
            run,
            where,
            "ganspace",
            found.vectors,
            codes,
            strength=tuple(found.share.tolist()),
            layers=layers,
        )
    x = _activations(where, layer, codes, seed, given)
    found = algebra.principal(x, count, seed)
    coordinates = (x - found.mean) @ found.vectors.T / np.maximum(found.sigma, 1e-12)
    vectors = algebra.regression(coordinates, codes)
    fresh = where.draw(min(num, 5_000), (seed + 1) % 2**32, **given)
    return _made(run, where, "ganspace", vectors, fresh, strength=tuple(found.share.tolist()))


def _activations(
    space: Space, path: str | None, codes: np.ndarray, seed: int, given: Mapping[str, Any]
) -> Float[np.ndarray, "n a"]:
    """What the generator's module at a path makes of latents; None: the first that takes them."""
    options, num = space.run.split(space.use, given)[1], len(codes)
    if path is None:
        path = entries(space)[0].path
        found = activations(space.run, space.use, options)
        place = next(place for place in found if place[1] == path)
    else:
        place = place_of(activations(space.run, space.use, options), path, space.run, space.use)
    one = space.apply(codes[:1], captures=[place], **given)
    if (needed := 4 * num * maps_of(one.captured[place]).size) > _LARGEST:
        raise UserError(
            f"{num:,} activations at {path} take {needed / 1e9:.0f} GB: give a smaller --num"
        )
    made = space.apply(codes, captures=[place], seed=seed, **given)
    return np.asarray(maps_of(made.captured[place]), np.float32).reshape(num, -1)


@checked
def boundaries(
    run: Run,
    attributes: Attributes,
    *,
    names: Sequence[str] = (),
    conditions: Sequence[str] = (),
    space: str | None = None,
    layers: Layers | None = None,
    num: Positive = 10_000,
    extremes: Annotated[float, Within(0, 0.5, above=True)] = 0.02,
    c: Rate = 1.0,
    seed: Seed = 0,
    **given: Any,
) -> Directions:
    """Normals of the boundaries between samples with high and low scores (InterFaceGAN).

    A latent is moved to a distance from its boundary, as in the paper; a style by one. A direction
    with conditions has a boundary of its own (`algebra.boundary`): it, too, parts samples where the
    attribute changes, as far as they are like the mean in all else.

    Args:
        run: of any system that draws images of a latent.
        attributes: that give the scores.
        names: of the attributes that are wanted; empty: all.
        conditions: attributes that are to stay: their normals are projected out.
        space: "z" or "w"; None: w where there are styles.
        layers: in w, the first and last that are moved, from 0; None: all.
        num: samples.
        extremes: share of them on each side that the boundary learns from.
        c: what an error weighs.
        seed: of the samples.
        given: what else codes are drawn of, such as a label or psi.

    Raises:
        UserError: no such space, layers or attributes; scores that do not vary.
    """
    where = space_of(run, space)
    check_moved(where, layers)
    held = [attributes.index(name) for name in conditions]
    wanted = [attributes.index(name) for name in names]
    wanted = wanted or [index for index in range(len(attributes.names)) if index not in held]
    codes = where.draw(num, seed, **given)
    scores = _scores(where, attributes, codes, seed, given)
    part = partial(algebra.boundary, codes, extremes=extremes, c=c, seed=seed)
    others = np.stack([part(scores[:, n]).normal for n in held]) if held else None
    found = [part(scores[:, index], others=others) for index in wanted]
    rest = tuple(each.rest for each in found)
    return _made(
        run,
        where,
        "boundary",
        np.stack([each.normal for each in found]),
        codes,
        names=tuple(attributes.names[index] for index in wanted),
        strength=tuple(each.held for each in found),
        rest=rest if np.isfinite(rest).all() else (),
        offset=np.array([each.offset for each in found], np.float32),
        layers=layers,
        absolute=where.name == "z",
    )


def _scores(
    space: Space, attributes: Attributes, codes: np.ndarray, seed: int, given: Mapping[str, Any]
) -> Float[np.ndarray, "n k"]:
    """Attributes of the images of codes, a thousand at a time."""
    parts = []
    for start in range(0, len(codes), 1000):
        rows = np.arange(start, min(start + 1000, len(codes)))
        parts.append(attributes.of(images_at(space, codes[rows], rows, seed, given)))
    return np.concatenate(parts)
