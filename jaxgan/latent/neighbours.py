"""The real images nearest to what a generator draws: does it make new images, or remember?

Nearest neighbours are shown in most papers since Goodfellow et al. 2014; what they prove depends on
the distance. Features of a network find an image that was moved or recoloured, pixels do not. With
held-out images the question has an answer in a number: a generator that remembers lies nearer to
its training data than other real images do (Meehan, Chaudhuri, Dasgupta, "A Non-Parametric Test to
Detect Data-Copying in Generative Models", AISTATS 2020).
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw

from jaxgan import pictures
from jaxgan.errors import UserError
from jaxgan.fields.pixels import channels, text
from jaxgan.latent.needs import require
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import Drawn, Images, Stored, pass_over, shuffled
from jaxgan.ranges import Positive, Rate, Seed, checked
from jaxgan.run.open import Run

COMPARED = 500
"""Samples, and held-out images, whose distances to the training data are compared, by default."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Samples with the real images nearest to them.

    Attributes:
        samples: [n, h, w, c].
        images: their neighbours, the nearest first, [n, k, h, w, c].
        rows: which items of the data these are, [n, k].
        distances: Euclidean, of features, [n, k].
        name: of the data.
        extractor: whose features.
    """

    samples: UInt8[np.ndarray, "n h w c"]
    images: UInt8[np.ndarray, "n k h w c"]
    rows: Int[np.ndarray, "n k"]
    distances: Float[np.ndarray, "n k"]
    name: str
    extractor: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memorisation:
    """How far samples and held-out images lie from the training data.

    Attributes:
        samples: distance of each sample to the nearest training image, [n].
        held_out: and of each held-out image, [n].
        nearer: how probable it is that a sample lies nearer than a held-out image; ties count
            half. 1/2 is what new images of the same kind have, 1 what copies have, 0 images that
            are like none.
    """

    samples: Float[np.ndarray, " n"]
    held_out: Float[np.ndarray, " m"]
    nearer: float

    def text(self) -> str:
        """In a line."""
        median = np.median(self.samples), np.median(self.held_out)
        return (
            f"nearest training image: median distance {median[0]:.4g} of {len(self.samples)} "
            f"samples, {median[1]:.4g} of {len(self.held_out)} held-out images; a sample lies "
            f"nearer than a held-out image with probability {self.nearer:.3f} (0.5: as new images "
            "do; 1: as copies do)"
        )


@checked
def neighbours(
    run: Run,
    against: Stored,
    num: Positive = 8,
    *,
    k: Positive = 6,
    extractor: Extractor,
    seed: Seed = 0,
    truncation: Rate | None = None,
) -> Neighbours:
    """The real images nearest to each of so many samples, over all devices.

    Args:
        run: of a system that draws images at random.
        against: real images in the shape of the run's (`jaxgan.metrics.images.of_source`).
        num: samples.
        k: neighbours of each.
        extractor: of features (`jaxgan.metrics.features`), or its `pixels`.
        seed: of the samples.
        truncation: of latents; None: none.

    Raises:
        UserError: a system that draws no images, real images of another shape, or fewer than k.
    """
    drawn = _drawn(run, against, num, seed, truncation)
    if len(against) < k:
        raise UserError(f"{against.name} has {len(against)} images, fewer than {k} neighbours")
    samples = np.concatenate([batch["image"] for batch in drawn.batches(num)])
    places, distances = nearest(features(drawn, extractor), against, extractor, k)
    rows = shuffled(len(against.source))[places]
    images = against.source.take(rows.ravel())["image"]
    return Neighbours(
        samples=samples,
        images=images.reshape(*rows.shape, *images.shape[1:]),
        rows=rows,
        distances=distances,
        name=against.name,
        extractor=extractor.name,
    )


@checked
def memorisation(
    run: Run,
    training: Stored,
    held_out: Stored,
    num: Positive = COMPARED,
    *,
    extractor: Extractor,
    seed: Seed = 0,
    truncation: Rate | None = None,
) -> Memorisation:
    """Whether samples lie nearer to the training data than held-out images do.

    Args:
        run: as for `neighbours`.
        training: what it was trained on.
        held_out: other images of the same kind.
        num: samples; as many held-out images, or all there are.
        extractor: of features, or its `pixels`.
        seed: of the samples.
        truncation: of latents; None: none.

    Raises:
        UserError: as `neighbours`.
    """
    drawn = _drawn(run, training, num, seed, truncation)
    others = dataclasses.replace(held_out, num=min(num, len(held_out)))
    if others.shape != drawn.shape:
        raise UserError(
            f"{others.name} has images of {text(others.shape)} and {run.name} draws "
            f"{text(drawn.shape)}: bring them to one size"
        )
    a, b = (
        nearest(features(side, extractor), training, extractor, 1)[1][:, 0]
        for side in (drawn, others)
    )
    less, equal = (a[:, None] < b[None]).mean(), (a[:, None] == b[None]).mean()
    return Memorisation(samples=a, held_out=b, nearer=float(less + equal / 2))


def samples_of(run: Run, num: int, seed: int = 0, truncation: float | None = None) -> Drawn:
    """Samples of a run whose neighbours are sought.

    Raises:
        UserError: its system draws none at random.
    """
    require(run, "draw samples to seek neighbours of", "generate")
    return run.drawn(num, truncation=truncation, seed=seed)


def _drawn(run: Run, against: Stored, num: int, seed: int, truncation: float | None) -> Drawn:
    drawn = samples_of(run, num, seed, truncation)
    if drawn.shape != against.shape:
        raise UserError(
            f"{against.name} has images of {text(against.shape)} and {run.name} draws "
            f"{text(drawn.shape)}: bring them to one size"
        )
    return drawn


def features(images: Images, extractor: Extractor) -> Float[np.ndarray, "n d"]:
    """Features of images, in their order."""
    batches = pass_over(images, extractor, {"features"})
    return np.concatenate([batch["features"] for batch in batches])


def nearest(
    queries: Float[np.ndarray, "n d"], images: Images, extractor: Extractor, k: int
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """The k images nearest to each query, nearest first, and their distances.

    Images are gone through once, in bounded memory: which they are is their place in that pass.
    Distances are computed in float64 about the queries' mean, so that of equal features is 0 up to
    1e-7 of how far these lie from it.
    """
    origin = queries.mean(0, dtype=np.float64)
    left = queries - origin
    norms = np.square(left).sum(1)
    best = np.full((len(queries), k), np.inf)
    places = np.zeros((len(queries), k), int)
    seen = 0
    for batch in pass_over(images, extractor, {"features"}):
        right = batch["features"] - origin
        apart = norms[:, None] + np.square(right).sum(1) - 2 * left @ right.T
        numbers = np.broadcast_to(np.arange(seen, seen + len(right)), apart.shape)
        all_apart = np.concatenate([best, apart], 1)
        all_places = np.concatenate([places, numbers], 1)
        order = np.argsort(all_apart, 1, kind="stable")[:, :k]
        best = np.take_along_axis(all_apart, order, 1)
        places = np.take_along_axis(all_places, order, 1)
        seen += len(right)
    return places, np.sqrt(np.maximum(best, 0))


_SIDE = 64
"""Pixels a side, at least, of an image in a picture; smaller ones are enlarged."""
_LINE = 14
"""Pixels of a line below an image, for its distance."""


def picture(found: Neighbours) -> Image.Image:
    """A row for each sample: itself, a gap, its neighbours with their distances below."""
    height, width = found.samples.shape[1:3]
    factor = -(-_SIDE // min(height, width))
    high, wide = height * factor + _LINE, width * factor + pictures.GAP
    gap = 8 * pictures.GAP
    size = (wide * (1 + found.distances.shape[1]) + gap, high * len(found.samples))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)

    def place(image: UInt8[np.ndarray, "h w c"], left: int, top: int) -> None:
        shown = channels(image, 3).repeat(factor, 0).repeat(factor, 1)
        canvas.paste(pictures.as_image(shown), (left, top))

    for row, (sample, images) in enumerate(zip(found.samples, found.images, strict=True)):
        place(sample, 0, row * high)
        for column, image in enumerate(images):
            left = (column + 1) * wide + gap
            place(image, left, row * high)
            below = (left + 1, (row + 1) * high - _LINE)
            draw.text(below, f"{found.distances[row, column]:.3g}", fill="black")
    return canvas
