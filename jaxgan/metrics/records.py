"""Records: a score with all that it depends on, as it stands in a run's evaluations.jsonl."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxgan.errors import UserError
from jaxgan.metrics import giving

FILE = "evaluations.jsonl"
"""In a run's folder: a record a line, oldest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A score, and all that it depends on.

    Attributes:
        metric: the value's name; a score may have several, such as "precision" and "recall".
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
        classes: what part of the classes it is of, such as "2 of 3"; "" for scores of all images.
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
    classes: str = ""

    @property
    def label(self) -> str:
        """The metric's name if this is what papers mean by it, else as in "fid-like"."""
        published = giving(self.metric).published_with == self.extractor
        return self.metric if published else f"{self.metric}-like"


PROTOCOL = ("images", "real_images", "extractor", "weights", "resize", "data", "shape", "classes")
"""What must agree for two scores of a metric to be compared."""


def read_records(folder: Path) -> list[Record]:
    """What evaluations of a run have written, oldest first.

    Raises:
        UserError: a line that is no record.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        return [Record(**json.loads(line)) for line in path.read_text().splitlines()]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} has a line that is no score: {error}") from error


def append(folder: Path, records: Sequence[Record]) -> None:
    """Adds records to those of a run."""
    with (folder / FILE).open("a") as file:
        file.write(_lines(records))


def _lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in records)


def forget(folder: Path, *, after: int) -> None:
    """Drops a run's records of steps that it lost when it was stopped, and is about to do again."""
    records = read_records(folder)
    kept = [record for record in records if (record.step or 0) <= after]
    if kept != records:
        partial = folder / f"{FILE}.tmp"
        partial.write_text(_lines(kept))
        partial.replace(folder / FILE)


def differing(records: Sequence[Record]) -> tuple[str, list[Any]] | None:
    """The first part of the protocol in which scores differ, and its values; None: they compare."""
    for name in PROTOCOL:
        values = list(dict.fromkeys(getattr(record, name) for record in records))
        if len(values) > 1:
            return name, values
    return None
