"""What a score is: what it needs, which way is better, as which protocol it is published.

A score compares two sets of items, generated and real, or pairs of them, or looks at generated ones
alone. It is one class in one file, and a row of `jaxgan.metrics.SCORES`; nothing else names it.
"""

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.metrics.features import Extractor
from jaxgan.metrics.lpips import Distance
from jaxgan.parallel.distributed import is_first

Columns = Mapping[str, Any]
"""A batch of items, by the names of what scores need (`jaxgan.metrics.images.pass_over`)."""


class Statistics(Protocol):
    """What a score keeps of real items, where that is small enough for a file."""

    @property
    def count(self) -> int | None:
        """Of items; None where a file does not tell."""

    def save(self, path: Path) -> None:
        """Writes it."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads it."""


class Score(ABC):
    """One score. An instance makes one evaluation:

        fid = FID()
        for images in real:
            fid.add(real={"features": network(images)})
        for images in generated:
            fid.add({"features": network(images)})
        fid.result()  # {"fid": 12.3}

    A score of sets says in `gather` what it keeps of a side, batch by batch. A score of pairs sets
    `paired` and has an `add` of its own.

    Class attributes:
        name: in `SCORES` and on the command line.
        kinds: of what is scored, "image", "mask" or "clip"; where images and clips both are, of
            clips the frames are scored.
        gives: names of the values in its result; empty: its own name alone.
        needs: columns of generated items: those of the data, such as "image" and "label";
            "features" and "logits", which the extractor makes of the images, "frame_features" and
            "frame_logits", of each frame of clips; "generator", the `Drawn` itself.
        needs_real: columns of real items; empty: it needs none.
        paired: row i of the generated items belongs to row i of the real ones.
        statistics: type of what `gather` keeps, if a file of it can stand for real images.
        better: which way.
        of: what is compared: features of the extractor, pixels, a distance of images, or captions
            with what a regressor reads off images.
        summary: in half a line.
        published_as: the protocol that papers follow.
        published_with: name of the network in that protocol, as an `Extractor` or `Distance` has
            it; "pixels" for none.
        halved: its distance takes images above 256 pixels halved (`jaxgan.metrics.lpips`).

    Attributes:
        seed: of subsets and splits.
        network: the extractor or the distance, by `of`; None for pixels.
        generated: what was gathered of generated items.
        real: and of real ones; it may serve any number of instances.
        common: classes that both sides have by name, as numbers; None: all.
        over: what part of the classes the result is of, such as "2 of 3"; "" for scores of all
            items.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[str]]
    needs_real: ClassVar[frozenset[str]] = frozenset()
    paired: ClassVar[bool] = False
    statistics: ClassVar[type[Statistics] | None] = None
    better: ClassVar[Literal["lower", "higher"]]
    of: ClassVar[Literal["features", "pixels", "distance", "captions"]]
    summary: ClassVar[str]
    published_as: ClassVar[str]
    published_with: ClassVar[str]
    halved: ClassVar[bool] = False

    def __init__(self, *, seed: int = 0, network: Extractor | Distance | None = None):
        self.seed = seed
        self.network = network
        self.generated: Any = None
        self.real: Any = None
        self.common: frozenset[int] | None = None
        self.over = ""

    def add(self, generated: Columns | None = None, real: Columns | None = None) -> None:
        """Takes a batch of generated items, of real ones, or of both.

        Args:
            generated: arrays [b, ...] by the names in `needs`.
            real: arrays [b, ...] by the names in `needs_real`; for a paired score, row i belongs to
                row i of `generated`.
        """
        if generated is not None:
            self.generated = self.gather(self.generated, generated)
        if real is not None:
            self.real = self.gather(self.real, real)

    def gather(self, so_far: Any, batch: Columns) -> Any:
        """What is kept of a side after one more batch: by default all columns that are needed.

        It returns a new value and leaves `so_far` as it is.

        Args:
            so_far: what it returned last; None at first.
            batch: of that side.
        """
        needed = self.needs | self.needs_real
        return (*(so_far or ()), {name: batch[name] for name in batch.keys() & needed})

    @abstractmethod
    def result(self) -> Mapping[str, float | tuple[float, float | None]]:
        """Values by the names in `gives`, with a deviation where they are means over subsets.

        Raises:
            UserError: too few items, or such as this score cannot be had of.
        """

    @classmethod
    def improves(cls, value: float, than: float) -> bool:
        """Whether a value is strictly better than another."""
        return value < than if cls.better == "lower" else value > than


class PairScore(Score):
    """A mean over pairs of images, or of frames of clips."""

    kinds = ("image", "clip")
    needs = needs_real = frozenset({"image"})
    paired = True

    @abstractmethod
    def each(
        self, a: UInt8[np.ndarray, "n h w c"], b: UInt8[np.ndarray, "n h w c"]
    ) -> Float[np.ndarray, "*k n"]:
        """The score of each pair, generated and real; or several of them."""

    def add(self, generated: Columns | None = None, real: Columns | None = None) -> None:
        """Compares row i of one side with row i of the other."""
        assert generated is not None
        assert real is not None
        found = self.each(generated["image"], real["image"])
        self.generated = [*(self.generated or []), found]

    def result(self) -> Mapping[str, tuple[float, float]]:
        """{name: (mean, deviation over pairs)}."""
        found = np.concatenate(self.generated).astype(np.float64)
        return {self.name: (float(found.mean()), float(found.std()))}


def joined(side: Sequence[Columns], name: str) -> np.ndarray:
    """One column of all batches that `Score.gather` has kept."""
    return np.concatenate([batch[name] for batch in side])


@functools.cache
def warn(message: str) -> None:
    """Logs a warning, once a process, of the first process alone."""
    if is_first():
        logging.getLogger("jaxgan").warning(message)
