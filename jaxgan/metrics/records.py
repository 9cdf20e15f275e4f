"""Records: a score with all that it depends on, as it stands in a run's evaluations.jsonl."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxgan import schema
from jaxgan.errors import UserError
from jaxgan.files import open_here, write_whole
from jaxgan.metrics import giving
from jaxgan.schema import lines_of, parse_json

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
    path, found = folder / FILE, []
    for number, line in enumerate(lines_of(path), 1):
        try:
            found.append(_record(line))
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}, is no score ({error}): restore it, or remove the line"
            ) from error
    return found


def _record(line: bytes) -> Record:
    """The record of a line; raises a ValueError of a line where it is none."""
    try:
        record = schema.converter().structure(parse_json(line), Record)
    except Exception as error:  # of whatever the line holds
        raise ValueError(schema.why(error)) from error
    giving(record.metric)
    return record


def append(folder: Path, records: Sequence[Record]) -> None:
    """Adds records to those of a run."""
    with open_here(folder / FILE) as file:
        file.write(_lines(records))


def _lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in records)


def forget(folder: Path, *, after: int) -> None:
    """Drops a run's records of steps that it lost when it was stopped, and is about to do again.

    And lines that are no records, such as one that was half written; that is told.
    """
    kept, dropped, broken = [], 0, 0
    for line in lines_of(folder / FILE):
        try:
            record = _record(line)
        except ValueError:
            broken += 1
            continue
        if (record.step or 0) <= after:
            kept.append(record)
        else:
            dropped += 1
    if broken:
        logging.getLogger("jaxgan").warning(
            "%s: left out %d lines that are no scores", folder / FILE, broken
        )
    if dropped or broken:
        write_whole(folder / FILE, _lines(kept))


def differing(records: Sequence[Record]) -> tuple[str, list[Any]] | None:
    """The first part of the protocol in which scores differ, and its values; None: they compare."""
    for name in PROTOCOL:
        values = list(dict.fromkeys(getattr(record, name) for record in records))
        if len(values) > 1:
            return name, values
    return None
