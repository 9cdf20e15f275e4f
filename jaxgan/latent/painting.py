"""Erasing and drawing concepts at places, by the units that stand for them.

Bau et al., "GAN Dissection", ICLR 2019, section 4.3, and its page GANPaint. Where a mask is white,
the units of a concept go to 0 (erase), or to the level that they have where it is present (draw).
A pixel belongs to the cell that is nearest by the ratio of sizes, row * cells / pixels rounded
down, and a cell is painted if any of its pixels is marked. Elsewhere the layer's maps stay as they
are, to the bit; what later layers make of them may reach further than the mask.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxgan.errors import UserError
from jaxgan.fields import Framing, Image
from jaxgan.fields.pixels import covering
from jaxgan.latent.concepts import restored, rgb
from jaxgan.latent.dissection import Dissection, check_about
from jaxgan.latent.layers import Intervention, Layer
from jaxgan.ranges import Positive, Seed, checked
from jaxgan.run.open import Run

Ranking = Literal["iou", "effect"]
"""Units whose overlap is largest, at full strength; or at the strengths that cause the concept."""


@dataclasses.dataclass(frozen=True, eq=False)
class Painted:
    """Images before and after an intervention.

    Attributes:
        before: as they are drawn.
        after: with what was erased and drawn.
        marked: pixels in the cells that were painted [h, w].
        shares: of pixels, by concept, before and after; only of what was erased and drawn, and
            where the dissection can find its concepts again (alpha and colours).
        elsewhere: mean difference of pixels as they are seen, on white, from 0 to 1, where the
            concept was neither before nor after; of the first that was erased or drawn; None where
            concepts are not found again.
    """

    before: UInt8[np.ndarray, "n h w c"]
    after: UInt8[np.ndarray, "n h w c"]
    marked: Bool[np.ndarray, "h w"]
    shares: dict[str, tuple[float, float]]
    elsewhere: float | None


@checked
def paint(
    run: Run,
    units: Dissection,
    *,
    erase: Sequence[str] = (),
    draw: Sequence[str] = (),
    at: UInt8[np.ndarray, "v u m"] | None = None,
    num: Positive = 1,
    seed: Seed = 0,
    top: Positive = 20,
    ranking: str = "iou",
    use: str | None = None,
    **given: Any,
) -> Painted:
    """Erases and draws concepts in images that a run draws.

    Args:
        run: that was dissected.
        units: its dissection.
        erase: concepts to erase, by name.
        draw: concepts to draw, after that.
        at: mask, white where; brought to the images' size. None: everywhere.
        num: images.
        seed: of the images.
        top: how many units of each concept.
        ranking: by which they are chosen: "iou" or "effect" (needs `dissect --effect`).
        use: that makes images; None: that of the dissection.
        given: what the use takes and is not to be drawn, such as a label; and its options.

    Raises:
        UserError: no such concept, nothing to do, a mask that marks nothing, or units of another
            run.
    """
    layer = Layer.of(run, units.about.layer, use or units.about.use, **given)
    where, edits = interventions(layer, units, erase, draw, at, top, ranking)
    name, field = layer.image
    before, after = (
        np.asarray(layer.apply(np.arange(num), seed, *each).made[name]) for each in ((), edits)
    )
    shares, elsewhere = _compared(units, (*erase, *draw), before, after)
    show = field.from_network
    marked = pixels_of(where[0] > 0, before.shape[1:3])
    return Painted(show(before), show(after), marked, shares, elsewhere)


def interventions(
    layer: Layer,
    units: Dissection,
    erase: Sequence[str],
    draw: Sequence[str],
    at: UInt8[np.ndarray, "v u m"] | None,
    top: int = 20,
    ranking: str = "iou",
) -> tuple[Float[np.ndarray, "1 h w"], list[Intervention]]:
    """The cells to paint, and what is done to units there; arguments and errors of `paint`."""
    check_about(units, layer)
    if not erase and not draw:
        names = ", ".join(units.about.names)
        raise UserError(f"nothing to paint: give a concept to erase or to draw, of {names}")
    where = cells(at, layer.image[1], layer.shape[:2])
    chosen = [(name, 0.0) for name in erase] + [(name, 1.0) for name in draw]
    return where, [
        (where, strengths(units, name, top, ranking), units.level[units.index(name)] * times)
        for name, times in chosen
    ]


def strengths(
    units: Dissection, concept: str, top: int = 20, ranking: str = "iou"
) -> Float[np.ndarray, " u"]:
    """How strongly each unit is set for a concept: 0 but for its `top` units.

    Raises:
        UserError: no such concept or ranking, or effects that are not known.
    """
    if ranking not in get_args(Ranking):
        raise UserError(f"ranking is {ranking!r}: give one of {', '.join(get_args(Ranking))}")
    strength = np.zeros(len(units.threshold), np.float32)
    if ranking == "iou":
        strength[units.best(concept, top)] = 1
        return strength
    if units.strength is None:
        raise UserError(
            "the dissection has no effects: dissect the run with --effect, or rank by iou"
        )
    found = units.strength[units.index(concept)]
    if not np.isfinite(found).all() or not found.any():
        raise UserError(
            f"no unit of {units.about.layer} is known to cause {concept}: its effect could not be "
            "found; rank by iou, or dissect the run with more images"
        )
    best = np.argsort(-found, kind="stable")[:top]
    strength[best] = found[best]
    return strength


def cells(
    at: UInt8[np.ndarray, "v u m"] | None, field: Image, grid: tuple[int, int]
) -> Float[np.ndarray, "1 h w"]:
    """1 in cells of a layer's grid of which a mask marks a pixel, and 0 elsewhere.

    Raises:
        UserError: it marks nothing.
    """
    if at is None:
        return np.ones((1, *grid), np.float32)
    assert field.extent is not None
    marked = Image((*field.extent, 1)).fit(covering(at), Framing(resize=True))[..., 0] > 127
    if not marked.any():
        raise UserError(
            "the mask marks nothing: no part of it is white and opaque; paint white what to edit"
        )
    found = np.zeros((1, *grid), np.float32)
    rows, columns = (
        place * cells // pixels
        for place, cells, pixels in zip(np.nonzero(marked), grid, marked.shape, strict=True)
    )
    found[0, rows, columns] = 1
    return found


def pixels_of(where: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "y x"]:
    """The pixels of cells."""
    rows, columns = (
        np.arange(pixels) * cells // pixels for pixels, cells in zip(size, where.shape, strict=True)
    )
    return where[np.ix_(rows, columns)]


def _compared(
    units: Dissection, names: Sequence[str], before: Any, after: Any
) -> tuple[dict[str, tuple[float, float]], float | None]:
    """How much there is of concepts before and after, and how much all else has changed."""
    concepts = restored(units.about.concepts, units.about.names, units.arrays)
    if concepts is None:
        return {}, None
    masks = [np.asarray(concepts(images)) > 0.5 for images in (before, after)]
    shares = {
        name: tuple(float(mask[..., units.index(name)].mean()) for mask in masks) for name in names
    }
    at = units.index(names[0])
    rest = ~(masks[0] | masks[1])[..., at]
    seen = [np.asarray(rgb(np.clip(images, -1, 1))) for images in (before, after)]
    changed = np.abs(seen[1] - seen[0]).mean(-1)
    return shares, float(changed[rest].mean()) if rest.any() else 0.0  # type: ignore[return-value]
