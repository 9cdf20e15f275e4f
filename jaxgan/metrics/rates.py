"""Rate-distortion: what standard coders score at several qualities, and at a given rate."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from jaxgan.codec import standard
from jaxgan.metrics import giving
from jaxgan.metrics.base import Columns
from jaxgan.metrics.evaluate import Reference, evaluate, find
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import Drawn, Stored, shuffled
from jaxgan.metrics.records import Record
from jaxgan.pictures import drawn, panels

Curve = list[dict[str, float]]
"""Values of "bpp" and of other scores by name, a point for each quality, by rising rate."""


def compared(metrics: str) -> list[str]:
    """Those of these scores that curves are drawn of, of pairs; none without "bpp" among them."""
    chosen = find(metrics)
    if all(score.name != "bpp" for score in chosen):
        return []
    return [score.name for score in chosen if score.paired and "image" in score.needs]


def curves(
    images: Stored,
    metrics: str,
    *,
    extractor: Extractor,
    qualities: Sequence[int] = standard.QUALITIES,
) -> dict[str, Curve]:
    """What JPEG, WebP and AVIF score, as far as Pillow has them.

    Args:
        images: that are coded.
        metrics: names, with commas; "bpp" and scores of pairs are taken.
        extractor: as `evaluate` takes it.
        qualities: at which each codes.
    """
    names = ",".join(("bpp", *compared(metrics)))
    real = Reference({}, images, len(images), images.shape, images.data, images.name)
    found: dict[str, Curve] = {}
    for format in standard.available():
        points = []
        for quality in qualities:
            records = evaluate(_coded(images, format, quality), real, names, extractor=extractor)
            points.append({record.metric: record.value for record in records})
        found[format] = sorted(points, key=lambda point: point["bpp"])
    return found


def _coded(images: Stored, format: str, quality: int) -> Drawn:
    """Images as a standard coder gives them back."""
    order = shuffled(len(images.source))

    def sample(count: int, start: int) -> Columns:
        rows = images.source.take(order[start : start + count])["image"]
        pairs = [standard.coded(image, format, quality) for image in rows]
        bits = [8 * size / (image.shape[0] * image.shape[1]) for size, image in pairs]
        return {"image": np.stack([image for _, image in pairs]), "bpp": np.array(bits)}

    return Drawn(
        sample=sample,
        num=len(images),
        name=f"{format} of quality {quality}",
        shape=images.shape,
        step=0,
        ema=False,
        truncation=None,
        seed=0,
        paired=True,
    )


def at_rate(curve: Curve, name: str, rate: float) -> float | None:
    """A score at a rate, on the line between two points by the rate's logarithm; None: none is."""
    rates = [point["bpp"] for point in curve]
    if not rates[0] <= rate <= rates[-1]:
        return None
    return float(np.interp(np.log(rate), np.log(rates), [point[name] for point in curve]))


def picture(found: Mapping[str, Curve], records: Sequence[Record]) -> Image.Image:
    """A panel for each score by rate: a curve for each coder, and the run as a point."""
    values = {record.metric: record for record in records}
    names = [name for name in next(iter(found.values()))[0] if name != "bpp"]
    figure, axes = panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        for format, curve in found.items():
            rates, scores = [point["bpp"] for point in curve], [point[name] for point in curve]
            axis.plot(rates, scores, marker="o", markersize=3, label=format)
        point = (values["bpp"].value, values[name].value)
        axis.plot(*point, marker="*", markersize=12, color="k", linestyle="", label="this run")
        axis.set_xscale("log")
        axis.set_xlabel("bits per pixel")
        axis.set_ylabel(f"{values[name].label}, {'lower' if _falls(name) else 'higher'} is better")
    axes[0].legend(frameon=False)
    return drawn(figure)


def _falls(name: str) -> bool:
    return giving(name).better == "lower"
