"""Scores of segmentation: accuracy, intersection over union, Dice; each of pairs of masks.

A mask is of one foreground, in bytes: 128 and more, a probability from one half on, is marked. A
network that learned without labels may call the foreground background. So masks and complements
are both compared, and one of the two is chosen for all images, by the mean intersection over union;
`iou_best` chooses for each image, as ReDO's authors do, and is flattered by it: a constant mask has
more than a half by it where foregrounds are a half on average. That all were inverted is told.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgan.metrics.base import Columns, Score, warn

EPSILON = 1e-6
"""Pixels that a Dice coefficient adds to both sides of its quotient."""


class Counts(NamedTuple):
    """Pixels of each image, [n].

    Attributes:
        both: marked in the made mask and in the true one.
        made: marked in the made mask.
        true: marked in the true one.
        all: there are.
    """

    both: Int[np.ndarray, " n"]
    made: Int[np.ndarray, " n"]
    true: Int[np.ndarray, " n"]
    all: Int[np.ndarray, " n"]

    def inverted(self) -> "Counts":
        """Of the made masks' complements."""
        return self._replace(both=self.true - self.both, made=self.all - self.made)


def counts(made: UInt8[np.ndarray, "n h w 1"], true: UInt8[np.ndarray, "n h w 1"]) -> Counts:
    """Counts of pairs of masks, in bytes."""
    a, b = (masks.reshape(len(masks), -1) > 127 for masks in (made, true))
    pixels = np.full(len(a), a.shape[1])
    return Counts((a & b).sum(1), a.sum(1), b.sum(1), pixels)


def iou(found: Counts) -> Float[np.ndarray, " n"]:
    """Intersection over union of each pair; 1 where both masks are empty."""
    union = found.made + found.true - found.both
    return np.where(union == 0, 1.0, found.both / np.maximum(union, 1))


def dice(found: Counts) -> Float[np.ndarray, " n"]:
    """Dice's coefficient of each pair, 2 |A and B| / (|A| + |B|); 1 where both are empty."""
    return (2 * found.both + EPSILON) / (found.made + found.true + EPSILON)


def accuracy(found: Counts) -> Float[np.ndarray, " n"]:
    """Share of pixels that are right, of each pair."""
    return 1 - (found.made + found.true - 2 * found.both) / found.all


class _OfMasks(Score):
    """A mean over pairs of masks, those made or all their complements."""

    kinds = ("mask",)
    needs = needs_real = frozenset({"mask"})
    paired = True
    better = "higher"
    of = "pixels"
    published_with = "pixels"

    def add(self, generated: Columns | None = None, real: Columns | None = None) -> None:
        """Counts row i of one side with row i of the other."""
        assert generated is not None
        assert real is not None
        self.generated = [*(self.generated or []), counts(generated["mask"], real["mask"])]

    def _counts(self) -> Counts:
        """Of all pairs, as they were made."""
        return Counts(*(np.concatenate(each) for each in zip(*self.generated, strict=True)))

    def _chosen(self) -> Counts:
        """Of all pairs, by the polarity that has the larger mean IoU."""
        as_made = self._counts()
        inverted = as_made.inverted()
        if iou(inverted).mean() <= iou(as_made).mean():
            return as_made
        warn("masks are scored inverted, all of them: what was marked is the background")
        return inverted


class Accuracy(_OfMasks):
    """Share of pixels that are right."""

    name = "accuracy"
    summary = "share of pixels whose mask is right"
    published_as = (
        "share of right pixels, of the better of each mask and its complement (Chen et al. 2019)"
    )

    def result(self) -> dict[str, tuple[float, float]]:
        """{"accuracy": (mean, deviation over images)}."""
        return {self.name: _spread(accuracy(self._chosen()))}


class IoU(_OfMasks):
    """Intersection over union of the foreground, in two ways of choosing which that is."""

    name = "iou"
    gives = ("iou", "iou_best")
    summary = "intersection over union of masks; one polarity for all, and the best of each image"
    published_as = (
        "mean over images at a threshold of 0.5; `iou_best` takes the better of each mask and its "
        "complement (Xue et al. 2018, Chen et al. 2019)"
    )

    def result(self) -> dict[str, tuple[float, float]]:
        """{"iou": (mean, deviation over images), "iou_best": the same}."""
        as_made, chosen = self._counts(), self._chosen()
        best = np.maximum(iou(as_made), iou(as_made.inverted()))
        return {"iou": _spread(iou(chosen)), "iou_best": _spread(best)}


class Dice(_OfMasks):
    """Dice's coefficient of the foreground."""

    name = "dice"
    summary = "Dice's coefficient of masks, twice the intersection over the sum of both"
    published_as = "mean over images at a threshold of 0.5 (Xue et al. 2018)"

    def result(self) -> dict[str, tuple[float, float]]:
        """{"dice": (mean, deviation over images)}."""
        return {self.name: _spread(dice(self._chosen()))}


def _spread(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    return float(values.mean()), float(values.std())
