"""Scores while training: records, events, a plot, and which checkpoint was best."""

import functools
from collections.abc import Callable
from pathlib import Path

from jax.sharding import Mesh

from jaxgan.errors import UserError
from jaxgan.metrics import giving, plots
from jaxgan.metrics.evaluate import (
    Reference,
    check_logits,
    choose_extractor,
    evaluate,
    find,
    refer,
)
from jaxgan.metrics.images import Drawn, Stored
from jaxgan.metrics.records import Record, append, differing, forget, read_records
from jaxgan.parallel.distributed import is_first


class Evaluator:
    """Scores the images of a run against its data, as often as it is asked.

    Among many processes all ask it alike, and the first one writes. What it learns of real images
    it keeps, for the next time.
    """

    def __init__(
        self,
        folder: Path,
        against: Callable[[tuple[int, ...]], Stored],
        metrics: str,
        *,
        extractor: str | None,
        shape: tuple[int, ...],
        classes: int,
        mesh: Mesh,
    ):
        """Finds out whether it will be able to.

        Args:
            folder: of the run; what it holds of former evaluations counts.
            against: the real images in a shape.
            metrics: as `evaluate` takes them.
            extractor: as `choose_extractor` takes it.
            shape: of the images at the end of training.
            classes: of the generated images; 0: they have no labels.
            mesh: devices that share the work.

        Raises:
            UserError: metrics, extractor or data do not fit together.
        """
        if len(shape) != 3:
            raise UserError("points have no scores: --evaluate.every is for images, set it to 0")
        scores = find(metrics)
        if not classes and any("label" in score.needs for score in scores):
            raise UserError(f"--evaluate.metrics is {metrics}, but there are no classes to score")
        if read := [score.name for score in scores if score.of == "captions"]:
            raise UserError(
                f"--evaluate.metrics is {metrics}, but {read[0]} needs a network that learns to "
                "read captions off images: leave it out, and score the run by `jaxgan evaluate RUN "
                f"--metrics {read[0]}`"
            )
        if pairs := [score.name for score in scores if score.paired]:
            raise UserError(
                f"--evaluate.metrics is {metrics}, but {pairs[0]} compares pairs of images: write "
                "what the run makes to a folder, and score that with `jaxgan evaluate`"
            )
        real = against(shape)
        if len(real) < 2:
            raise UserError(
                f"{real.name} holds one image, and scores compare many: set --evaluate.every to 0"
            )
        self._folder, self._against, self._metrics, self._mesh = folder, against, metrics, mesh
        self._choose = functools.partial(choose_extractor, extractor, None, real, folder)
        # A classifier learns, and is then kept in the folder, which may not exist yet.
        self._found = None if extractor == "classifier" else self._choose()
        if self._found:
            check_logits(scores, self._found)
        self._references: dict[tuple[int, ...], Reference] = {}
        self._firsts: list[Record] = []

    def resume(self, step: int) -> None:
        """Takes up the records of a run that goes on from a step; later ones will come again."""
        if is_first():
            forget(self._folder, after=step)
        self._firsts = [
            record
            for record in read_records(self._folder)
            if record.truncation is None and (record.step or 0) <= step
        ]

    def __call__(self, drawn: Drawn) -> tuple[list[Record], bool]:
        """Records of the images, and whether they are the best so far by the first of them.

        The records are in the run's evaluations.jsonl then, and in its plot, scores.png.
        """
        self._found = self._found or self._choose()
        if drawn.shape not in self._references:
            self._references[drawn.shape] = refer(
                self._against(drawn.shape), self._metrics, extractor=self._found, mesh=self._mesh
            )
        records = evaluate(
            drawn,
            self._references[drawn.shape],
            self._metrics,
            extractor=self._found,
            mesh=self._mesh,
        )
        if is_first():
            append(self._folder, records)
            alike = [
                former
                for former in read_records(self._folder)
                if former.truncation is None and any(_alike(former, record) for record in records)
            ]
            plots.over_steps(alike).save(self._folder / "scores.png")
        first = records[0]
        best = all(
            giving(first.metric).improves(first.value, former.value)
            for former in self._firsts
            if _alike(former, first)
        )
        self._firsts.append(first)
        return records, best


def _alike(a: Record, b: Record) -> bool:
    return a.metric == b.metric and differing([a, b]) is None
