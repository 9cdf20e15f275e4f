"""Scores of generated images against real ones. Every score is a record that says what it is of.

Features are taken batch by batch, on all devices. Where a score needs only their mean and
covariance, that is all that is kept, in float64.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, UInt8

from jaxgan import data
from jaxgan.backend import cache
from jaxgan.data.image import text
from jaxgan.errors import UserError
from jaxgan.metrics import classifier
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.frechet import Moments, frechet_distance
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.manifold import density_coverage, precision_recall
from jaxgan.metrics.wasserstein import sliced_wasserstein
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.parallel.sharding import replicated

BATCH = 64
"""Images whose features are taken at a time, on a device."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A score, and all that it depends on.

    Attributes:
        metric: its name; "precision", "recall", "density" and "coverage" are scores of their own.
        value: the score.
        deviation: over subsets or splits, where it is a mean over such.
        images: how many were scored.
        real_images: how many they were compared with; None where a file of statistics does not
            tell, 0 where the score needs none.
        extractor: network whose features were compared; "pixels" for none.
        weights: sha256 of its weights.
        resize: how images came to that network's size.
        data: fingerprint of the real images.
        shape: of the images on both sides, height x width x channels.
        source: what was scored.
        step: iterations of the run; None for images from files.
        ema: whether the averaged weights drew them; None for images from files.
        truncation: of the latents; None: not truncated, or images from files.
        seed: of latents and subsets.
    """

    metric: str
    value: float
    deviation: float | None = None
    images: int
    real_images: int | None
    extractor: str
    weights: str
    resize: str
    data: str
    shape: str
    source: str
    step: int | None
    ema: bool | None
    truncation: float | None
    seed: int


PROTOCOL = ("images", "real_images", "extractor", "weights", "resize", "data", "shape")
"""What must agree for two scores of a metric to be compared."""


def read_records(folder: Path) -> list[Record]:
    """What evaluations of a run have written, oldest first.

    Raises:
        UserError: a line that is no record.
    """
    path = folder / "evaluations.jsonl"
    if not path.is_file():
        return []
    try:
        return [Record(**json.loads(line)) for line in path.read_text().splitlines()]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} has a line that is no score: {error}") from error


def differing(records: Sequence[Record]) -> tuple[str, list[Any]] | None:
    """The first part of the protocol in which scores differ, and its values; None: they compare."""
    for name in PROTOCOL:
        values = list(dict.fromkeys(getattr(record, name) for record in records))
        if len(values) > 1:
            return name, values
    return None


Batch = tuple[UInt8[np.ndarray, "b h w c"], Int[np.ndarray, " b"] | None]
"""Images, and their labels where there are classes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """Images that a generator draws; `Run.drawn` makes one.

    Attributes:
        sample: (how many, number of the first) -> images and labels, the same ones each time.
        num: how many are scored.
        name: of the run.
        shape: of every image.
        step: iterations of the run.
        ema: whether the averaged weights draw.
        truncation: of the latents; None: not truncated.
        seed: of the latents.
    """

    sample: Callable[[int, int], Batch]
    num: int
    name: str
    shape: tuple[int, ...]
    step: int
    ema: bool
    truncation: float | None
    seed: int

    def __len__(self) -> int:
        return self.num

    def batches(self, size: int) -> Iterator[Batch]:
        """In batches of `size`, the last one smaller."""
        for start in range(0, self.num, size):
            yield self.sample(min(size, self.num - start), start)


@dataclasses.dataclass(frozen=True)
class Stored:
    """Images of a data set.

    Their order is random but fixed: the first `num` are a sample of all.

    Attributes:
        source: where they lie, brought to the shape of what they are compared with.
        num: how many; None: all.
        fit: how they were brought to that shape, for what is remembered of them.
    """

    source: data.Source
    num: int | None = None
    fit: str = ""

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.source.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every image."""
        return self.source.shape or ()

    def __len__(self) -> int:
        return min(self.num or len(self.source), len(self.source))

    def batches(self, size: int) -> Iterator[Batch]:
        """In batches of `size`, the last one smaller."""
        order = np.random.default_rng(0).permutation(len(self.source))[: len(self)]
        for start in range(0, len(order), size):
            taken = self.source.take(order[start : start + size])
            yield taken["image"], taken.get("label")


Images = Drawn | Stored


@dataclasses.dataclass
class Taken:
    """What one pass over images gave; what no score asked for is None."""

    count: int
    moments: Moments | None = None
    features: Float[np.ndarray, "n d"] | None = None
    logits: Float[np.ndarray, "n k"] | None = None
    images: UInt8[np.ndarray, "n h w c"] | None = None
    labels: Int[np.ndarray, " n"] | None = None
    of_class: dict[int, Moments] | None = None


def take(
    images: Images, extractor: Extractor, needs: set[str], *, mesh: Mesh | None = None
) -> Taken:
    """One pass over images, which keeps what is asked for.

    Args:
        images: of any number.
        extractor: of the features.
        needs: of the names of `Taken`'s attributes.
        mesh: devices that share the work; all by default.
    """
    mesh = mesh or make_mesh()
    extract = features(extractor, mesh)
    taken = Taken(0)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in needs - {"moments", "of_class"}}
    of_class: dict[int, Moments] = {}
    for batch, labels in images.batches(BATCH * mesh.size):
        taken.count += len(batch)
        if needs - {"images", "labels"}:
            found, logits = extract(batch)
            part = {"features": found, "logits": logits, "images": batch, "labels": labels}
            if "moments" in needs:
                moments = Moments.of(found)
                taken.moments = moments if taken.moments is None else taken.moments + moments
            if "of_class" in needs and labels is not None:
                for k in np.unique(labels):
                    moments = Moments.of(found[labels == k])
                    of_class[int(k)] = of_class[int(k)] + moments if k in of_class else moments
        else:
            part = {"images": batch, "labels": labels}
        for name, parts in kept.items():
            if (values := part[name]) is not None:
                parts.append(values)
    for name, parts in kept.items():
        setattr(taken, name, np.concatenate(parts) if parts else None)
    taken.of_class = of_class or None
    return taken


def features(
    extractor: Extractor, mesh: Mesh
) -> Callable[[UInt8[np.ndarray, "b h w c"]], tuple[np.ndarray, np.ndarray | None]]:
    """(uint8 images) -> (features, logits or None), on the host; devices share the images."""
    params = jax.device_put(extractor.params, replicated(mesh))
    rows = batch_sharding(mesh, leading=0)
    apply = jax.jit(extractor.apply, out_shardings=replicated(mesh))

    def extract(
        images: UInt8[np.ndarray, "b h w c"],
    ) -> tuple[np.ndarray, np.ndarray | None]:
        # Filled up to whole batches, so that one program serves all.
        short = -len(images) % (BATCH * mesh.size)
        filled = np.concatenate([images, np.repeat(images[-1:], short, axis=0)])
        out = jax.device_get(apply(params, jax.device_put(filled, rows)))
        found, logits = jax.tree.map(lambda x: x[: len(images)], out)
        return found, logits

    return extract


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score.

    Attributes:
        compute: (generated, real, seed) -> {name: value or (value, deviation)}.
        fake: what it needs of generated images, by the names of `Taken`.
        real: what it needs of real ones.
        summary: for the table of metrics.
        pixels: it compares images themselves, not features.
    """

    compute: Callable[[Taken, Taken, int], Mapping[str, Any]]
    fake: tuple[str, ...]
    real: tuple[str, ...]
    summary: str
    pixels: bool = False


def _intra(fake: Taken, real: Taken, seed: int) -> dict[str, float]:
    del seed
    if fake.of_class is None or real.of_class is None:
        raise UserError("intra_fid needs classes on both sides: leave it out")
    both = sorted(fake.of_class.keys() & real.of_class.keys())
    distances = [frechet_distance(fake.of_class[k], real.of_class[k]) for k in both]
    return {"intra_fid": float(np.mean(distances))}


def _accuracy(fake: Taken, real: Taken, seed: int) -> dict[str, float]:
    if fake.labels is None or real.labels is None or fake.images is None or real.images is None:
        raise UserError("cas needs classes on both sides: leave it out")
    classes = int(max(fake.labels.max(), real.labels.max())) + 1
    judge = classifier.train(fake.images, fake.labels, classes=classes, seed=seed)
    return {"cas": classifier.accuracy(judge, real.images, real.labels)}


def _pairs(fake: Taken, real: Taken) -> tuple[np.ndarray, np.ndarray]:
    """As many features of real images as of generated ones: scores of manifolds depend on it."""
    assert fake.features is not None
    assert real.features is not None
    count = min(len(fake.features), len(real.features))
    return real.features[:count], fake.features[:count]


METRICS: dict[str, Metric] = {
    "fid": Metric(
        lambda fake, real, seed: {"fid": frechet_distance(fake.moments, real.moments)},  # type: ignore[arg-type]
        ("moments",),
        ("moments",),
        "Frechet distance of features (Heusel et al. 2017)",
    ),
    "kid": Metric(
        lambda fake, real, seed: {
            "kid": kernel_distance(
                fake.features,  # type: ignore[arg-type]
                real.features,  # type: ignore[arg-type]
                size=min(1000, fake.count, real.count),
                seed=seed,
            )
        },
        ("features",),
        ("features",),
        "kernel distance of features (Binkowski et al. 2018)",
    ),
    "is": Metric(
        lambda fake, real, seed: {"is": inception_score(fake.logits, seed=seed)},  # type: ignore[arg-type]
        ("logits",),
        (),
        "Inception score (Salimans et al. 2016)",
    ),
    "precision_recall": Metric(
        lambda fake, real, seed: precision_recall(*_pairs(fake, real))._asdict(),
        ("features",),
        ("features",),
        "improved precision and recall (Kynkaanniemi et al. 2019)",
    ),
    "density_coverage": Metric(
        lambda fake, real, seed: density_coverage(*_pairs(fake, real))._asdict(),
        ("features",),
        ("features",),
        "density and coverage (Naeem et al. 2020)",
    ),
    "intra_fid": Metric(
        _intra, ("of_class",), ("of_class",), "mean of the classes' FIDs (Miyato & Koyama 2018)"
    ),
    "swd": Metric(
        lambda fake, real, seed: {
            "swd": sliced_wasserstein(
                real.images[: len(fake.images)],  # type: ignore[index, arg-type]
                fake.images[: len(real.images)],  # type: ignore[index, arg-type]
                seed=seed,
            )[1]
        },
        ("images",),
        ("images",),
        "sliced Wasserstein distance of patches, x 1000 (Karras et al. 2018)",
        pixels=True,
    ),
    "cas": Metric(
        _accuracy,
        ("images", "labels"),
        ("images", "labels"),
        "accuracy on real images of a classifier of generated ones (Ravuri & Vinyals 2019)",
        pixels=True,
    ),
}
"""By the name that the command line takes."""


def evaluate(
    images: Images,
    against: Images | Path,
    metrics: Sequence[str] = ("fid",),
    *,
    extractor: Extractor,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> list[Record]:
    """Scores images against real ones.

    Args:
        images: to score: `Drawn` from a run, or `Stored`.
        against: real images of the same shape, or a file of statistics (`Moments.save`, or
            pytorch-fid's), which serves FID alone.
        metrics: of `METRICS`.
        extractor: whose features are compared.
        seed: of subsets and splits.
        mesh: devices that share the work; all by default.

    Raises:
        UserError: no such metric, too few images, or a metric that these cannot have.
    """
    chosen = [find(name) for name in dict.fromkeys(metrics)]
    fake_needs = {need for metric in chosen for need in metric.fake}
    real_needs = {need for metric in chosen for need in metric.real}
    if "logits" in fake_needs and not extractor.classes:
        raise UserError(f"is needs class logits, which {extractor.name} does not have")
    if isinstance(against, Path):
        if real_needs - {"moments"}:
            raise UserError(f"{against} holds statistics, which serve fid alone: give images")
        moments = Moments.load(against)
        real = Taken(moments.count or 0, moments=moments)
        fingerprint = hashlib.sha256(against.read_bytes()).hexdigest()[:16]
    else:
        if against.shape != images.shape:
            raise UserError(
                f"{against.name} has images of {text(against.shape)} and {images.name} of "
                f"{text(images.shape)}: bring them to one size"
            )
        fingerprint = data.fingerprint(against.source) if isinstance(against, Stored) else "drawn"
        real = _take_real(against, extractor, real_needs, fingerprint, mesh)
    fake = take(images, extractor, fake_needs, mesh=mesh)
    drawn = images if isinstance(images, Drawn) else None
    common: dict[str, Any] = {
        "images": fake.count,
        "data": fingerprint,
        "shape": text(images.shape),
        "source": images.name,
        "step": drawn.step if drawn else None,
        "ema": drawn.ema if drawn else None,
        "truncation": drawn.truncation if drawn else None,
        "seed": drawn.seed if drawn else seed,
    }
    records = []
    for metric in chosen:
        network = ("pixels", "", "none")
        if not metric.pixels:
            network = (extractor.name, extractor.weights, extractor.resize)
        for name, value in metric.compute(fake, real, seed).items():
            score, deviation = value if isinstance(value, tuple) else (value, None)
            records.append(
                Record(
                    metric=name,
                    value=float(score),
                    deviation=deviation,
                    real_images=(real.count or None) if metric.real else 0,
                    extractor=network[0],
                    weights=network[1],
                    resize=network[2],
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


def find(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UserError: there is none.
    """
    if name not in METRICS:
        raise UserError(f"no metric {name!r}: there are {', '.join(METRICS)}")
    return METRICS[name]
