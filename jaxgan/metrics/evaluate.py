"""Scores of generated images against real ones: what there is, and how each is taken."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgan import data
from jaxgan.backend import cache
from jaxgan.data.image import text
from jaxgan.errors import UserError
from jaxgan.metrics import classifier
from jaxgan.metrics.features import Extractor, extractor
from jaxgan.metrics.frechet import Moments, frechet_distance
from jaxgan.metrics.images import Drawn, Images, Stored, Taken, take
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.lpips import Distance, perceptual_distance
from jaxgan.metrics.manifold import density_coverage, precision_recall
from jaxgan.metrics.path_length import perceptual_path_length
from jaxgan.metrics.records import Record
from jaxgan.metrics.wasserstein import sliced_wasserstein


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images as far as scores need them; `refer` makes one, for any number of evaluations.

    Attributes:
        taken: of them.
        shape: of every image; None where a file of statistics does not tell.
        data: fingerprint of the images or of the file.
        name: of the data set or file.
    """

    taken: Taken
    shape: tuple[int, ...] | None
    data: str
    name: str


@dataclasses.dataclass(frozen=True)
class Sides:
    """What a score is computed from.

    Attributes:
        fake: what one pass over the generated images gave.
        real: and over the real ones.
        images: the generated ones themselves.
        distance: of two images; None if no score asked for it.
        seed: of subsets and splits.
    """

    fake: Taken
    real: Taken
    images: Images
    distance: Distance | None
    seed: int


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score.

    Attributes:
        compute: sides -> {name: value or (value, deviation)}.
        fake: what it needs of generated images, by the names of `Taken`.
        real: what it needs of real ones.
        summary: for the table of metrics.
        of: what it compares: the extractor's features, pixels, or a distance of images.
    """

    compute: Callable[[Sides], Mapping[str, Any]]
    fake: tuple[str, ...]
    real: tuple[str, ...]
    summary: str
    of: Literal["features", "pixels", "distance"] = "features"


def _intra(sides: Sides) -> dict[str, float]:
    fake, real = sides.fake.of_class, sides.real.of_class
    if fake is None or real is None:
        raise UserError("intra_fid needs classes on both sides: leave it out")
    both = sorted(fake.keys() & real.keys())
    return {"intra_fid": float(np.mean([frechet_distance(fake[k], real[k]) for k in both]))}


def _accuracy(sides: Sides) -> dict[str, float]:
    fake, real = sides.fake, sides.real
    if fake.labels is None or real.labels is None or fake.images is None or real.images is None:
        raise UserError("cas needs classes on both sides: leave it out")
    classes = int(max(fake.labels.max(), real.labels.max())) + 1
    judge = classifier.train(fake.images, fake.labels, classes=classes, seed=sides.seed)
    return {"cas": classifier.accuracy(judge, real.images, real.labels)}


def _pairs(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """As many features of real images as of generated ones: scores of manifolds depend on it."""
    fake, real = sides.fake.features, sides.real.features
    assert fake is not None
    assert real is not None
    count = min(len(fake), len(real))
    return real[:count], fake[:count]


def _path_length(sides: Sides) -> dict[str, float]:
    drawn, distance = sides.images, sides.distance
    assert distance is not None
    if not isinstance(drawn, Drawn):
        raise UserError(f"ppl walks through latents, and {drawn.name} holds images: give a run")
    params = jax.device_put(distance.params)
    length = perceptual_path_length(
        drawn.generate,
        drawn.latents,
        lambda a, b: distance.apply(params, a, b),
        num=drawn.num,
        seed=drawn.seed,
    )
    return {"ppl": length}


METRICS: dict[str, Metric] = {
    "fid": Metric(
        lambda s: {"fid": frechet_distance(s.fake.moments, s.real.moments)},  # type: ignore[arg-type]
        ("moments",),
        ("moments",),
        "Frechet distance of features (Heusel et al. 2017)",
    ),
    "kid": Metric(
        lambda s: {
            "kid": kernel_distance(
                s.fake.features,  # type: ignore[arg-type]
                s.real.features,  # type: ignore[arg-type]
                size=min(1000, s.fake.count, s.real.count),
                seed=s.seed,
            )
        },
        ("features",),
        ("features",),
        "kernel distance of features (Binkowski et al. 2018)",
    ),
    "is": Metric(
        lambda s: {"is": inception_score(s.fake.logits, seed=s.seed)},  # type: ignore[arg-type]
        ("logits",),
        (),
        "Inception score (Salimans et al. 2016)",
    ),
    "precision_recall": Metric(
        lambda s: precision_recall(*_pairs(s))._asdict(),
        ("features",),
        ("features",),
        "improved precision and recall (Kynkaanniemi et al. 2019)",
    ),
    "density_coverage": Metric(
        lambda s: density_coverage(*_pairs(s))._asdict(),
        ("features",),
        ("features",),
        "density and coverage (Naeem et al. 2020)",
    ),
    "intra_fid": Metric(
        _intra, ("of_class",), ("of_class",), "mean of the classes' FIDs (Miyato & Koyama 2018)"
    ),
    "swd": Metric(
        lambda s: {
            "swd": sliced_wasserstein(
                s.real.images[: len(s.fake.images)],  # type: ignore[index, arg-type]
                s.fake.images[: len(s.real.images)],  # type: ignore[index, arg-type]
                seed=s.seed,
            )[1]
        },
        ("images",),
        ("images",),
        "sliced Wasserstein distance of patches, x 1000 (Karras et al. 2018)",
        of="pixels",
    ),
    "ppl": Metric(
        _path_length,
        (),
        (),
        "perceptual path length (Karras et al. 2019), of a run",
        of="distance",
    ),
    "cas": Metric(
        _accuracy,
        ("images", "labels"),
        ("images", "labels"),
        "accuracy on real images of a classifier of generated ones (Ravuri & Vinyals 2019)",
        of="pixels",
    ),
}
"""By the name that the command line takes."""


def find(names: str) -> list[Metric]:
    """The metrics of these names, with commas: "fid,kid".

    Raises:
        UserError: one of them does not exist.
    """
    found = {}
    for name in (word.strip() for word in names.split(",")):
        if name not in METRICS:
            raise UserError(f"no metric {name!r}: there are {', '.join(METRICS)}")
        found[name] = METRICS[name]
    return list(found.values())


def choose_extractor(
    name: str | None, weights: str | Path | None, against: Images | Path, folder: Path
) -> Extractor:
    """An extractor by name: one of `EXTRACTORS`, or "classifier", which learns from real images.

    Args:
        name: None for the default of `jaxgan.metrics.features.extractor`.
        weights: as that takes them.
        against: the real images.
        folder: where a classifier is kept.

    Raises:
        UserError: no such extractor; its weights are missing or altered; nothing to learn from.
    """
    if name != "classifier":
        return extractor(name, weights)
    if not isinstance(against, Stored):
        raise UserError(f"{against} holds no images: a classifier learns from them")
    return classifier.of_data(against.source, folder)


def refer(
    against: Images | Path, metrics: str = "fid", *, extractor: Extractor, mesh: Mesh | None = None
) -> Reference:
    """Takes of real images what these metrics need; for more than one evaluation against them.

    Args:
        against: images, or a file of statistics (`Moments.save`, or pytorch-fid's), which serves
            FID alone.
        metrics: as `evaluate` takes them.
        extractor: whose features are compared.
        mesh: devices that share the work; all by default.

    Raises:
        UserError: no such metric, or statistics that cannot serve one of them.
    """
    needs = {need for metric in find(metrics) for need in metric.real}
    if isinstance(against, Path):
        if needs - {"moments"}:
            raise UserError(f"{against} holds statistics, which serve fid alone: give images")
        moments = Moments.load(against)
        digest = hashlib.sha256(against.read_bytes()).hexdigest()[:16]
        return Reference(Taken(moments.count or 0, moments=moments), None, digest, str(against))
    fingerprint = data.fingerprint(against.source) if isinstance(against, Stored) else "drawn"
    taken = _take_real(against, extractor, needs, fingerprint, mesh)
    return Reference(taken, against.shape, fingerprint, against.name)


def evaluate(
    images: Images,
    against: Images | Path | Reference,
    metrics: str = "fid",
    *,
    extractor: Extractor,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> list[Record]:
    """Scores images against real ones.

    Args:
        images: to score: `Drawn` from a run, or `Stored`.
        against: real images of the same shape, or what `refer` makes of them or of a file.
        metrics: names in `METRICS`, with commas.
        extractor: whose features are compared.
        seed: of subsets and splits.
        mesh: devices that share the work; all by default.

    Raises:
        UserError: no such metric, too few images, or a metric that these cannot have.
    """
    chosen = find(metrics)
    needs = {need for metric in chosen for need in metric.fake}
    if "logits" in needs and not extractor.classes:
        raise UserError(f"is needs class logits, which {extractor.name} does not have")
    shape = None if isinstance(against, Path) else against.shape
    if shape not in (None, images.shape):
        assert not isinstance(against, Path)
        raise UserError(
            f"{against.name} has images of {text(shape)} and {images.name} of "
            f"{text(images.shape)}: bring them to one size"
        )
    if not isinstance(against, Reference):
        against = refer(against, metrics, extractor=extractor, mesh=mesh)
    distance = None
    if any(metric.of == "distance" for metric in chosen):
        distance = perceptual_distance(extractor)
    fake = take(images, extractor, needs, mesh=mesh) if needs else Taken(len(images))
    sides = Sides(fake, against.taken, images, distance, seed)
    drawn = images if isinstance(images, Drawn) else None
    common: dict[str, Any] = {
        "images": fake.count,
        "data": against.data,
        "shape": text(images.shape),
        "source": images.name,
        "step": drawn.step if drawn else None,
        "ema": drawn.ema if drawn else None,
        "truncation": drawn.truncation if drawn else None,
        "seed": drawn.seed if drawn else seed,
    }
    networks = {"features": extractor, "pixels": None, "distance": distance}
    records = []
    for metric in chosen:
        network = networks[metric.of]
        for name, value in metric.compute(sides).items():
            score, deviation = value if isinstance(value, tuple) else (value, None)
            records.append(
                Record(
                    metric=name,
                    value=float(score),
                    deviation=deviation,
                    real_images=(against.taken.count or None) if metric.real else 0,
                    extractor=network.name if network else "pixels",
                    weights=network.weights if network else "",
                    resize=network.resize if network else "none",
                    **common,
                )
            )
    return records


def _take_real(
    images: Images, extractor: Extractor, needs: set[str], fingerprint: str, mesh: Mesh | None
) -> Taken:
    """A pass over real images, or what is remembered of an equal one: it is the same every time."""
    if needs != {"moments"} or not isinstance(images, Stored):
        return take(images, extractor, needs, mesh=mesh) if needs else Taken(0)
    facts = [fingerprint, images.fit, len(images), images.shape]
    facts += [extractor.name, extractor.weights, extractor.resize]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    path = cache() / "statistics" / f"{name}.npz"
    if path.is_file():
        return Taken(len(images), moments=Moments.load(path))
    real = take(images, extractor, needs, mesh=mesh)
    assert real.moments is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    real.moments.save(partial)
    partial.replace(path)
    return real
