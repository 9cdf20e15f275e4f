"""Sentences of data as vectors: each encoded once, kept in memory and, where possible, on disk.

    ~/.cache/jaxgan/sentences/NAME   vectors of one set of sentences by one encoder

NAME is a hash of both. Only encoders that say which they are (`jaxgan.fields.text.Encoder`) have
their vectors kept there; nothing is lost where a file is missing, broken or cannot be written.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Integer

from jaxgan.backend import cache
from jaxgan.data.kept import keep
from jaxgan.data.match import Match
from jaxgan.errors import UserError
from jaxgan.fields import Field, Text
from jaxgan.fields.text import sentences
from jaxgan.files import read_regular

_HEAD = b"jaxgan sentences 1"
_DIGEST = 32
_LARGEST = 2**33
_KEPT = 50
"""Sets that are remembered; beyond, those that were written longest ago are forgotten."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """The sentences of all items of a column.

    Attributes:
      vectors: Of all different ones.
      which: Row of `vectors`, of each sentence, item by item.
      starts: Where the sentences of each item begin, and, last, how many there are.
    """

    vectors: Float[np.ndarray, "m d"]
    which: Int[np.ndarray, " k"]
    starts: Int[np.ndarray, " s"]

    def take(
        self, items: Int[np.ndarray, " n"], turns: Integer[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n d"]:
        """Of each item one sentence: that of its turn, counted round."""
        first, counts = self.starts[items], np.diff(self.starts)[items]
        turn = turns.astype(np.uint64) % counts.astype(np.uint64)
        return self.vectors[self.which[first + turn.astype(np.int64)]]

    def text(self) -> str:
        """How many there are, for reports; "" where each item has one."""
        count = len(self.which)
        return "" if count == len(self.starts) - 1 else f"{count:,} sentences"


def encoded(match: Match, fields: Mapping[str, Field]) -> dict[str, Encoded]:
    """The sentences of a group, by field; fields whose data are vectors already are left out.

    Raises:
      UserError: An item has none; the encoder fails.
    """
    return {
        name: _column(match, name, field)
        for name, field in fields.items()
        if isinstance(field, Text) and not match.source.columns[match.columns[name]].shape
    }


def _column(match: Match, name: str, field: Text) -> Encoded:
    each = []
    for number, raw in enumerate(match.source.column(match.columns[name])):
        try:
            each.append(sentences(raw))
        except UserError as error:
            raise UserError(f"{match.source.name} (item {number}): {name}: {error}") from error
    numbers: dict[str, int] = {}
    which = [numbers.setdefault(one, len(numbers)) for several in each for one in several]
    try:
        vectors = _vectors(field, tuple(numbers))
    except UserError as error:
        raise UserError(f"{match.source.name}: {name}: {error}") from error
    return Encoded(
        vectors=vectors,
        which=np.array(which, np.int64),
        starts=np.cumsum([0, *map(len, each)]),
    )


@functools.lru_cache(maxsize=8)
def _vectors(field: Text, given: tuple[str, ...]) -> Float[np.ndarray, "m d"]:
    """Vectors of different sentences, for all who ask: a run's stages, its pictures."""
    known = field.known()  # what is kept is of this encoder, which may not be the run's
    place = _place(known, given) if known else None
    kept = None if place is None else _remembered(place, (len(given), *field.shape))
    if kept is not None:
        return kept
    vectors = field.encoded(given)
    if place is not None:
        with contextlib.suppress(OSError):
            content = np.ascontiguousarray(vectors, "<f4").tobytes()
            keep(place, _HEAD + hashlib.sha256(content).digest() + content, _KEPT)
    return vectors


def _place(known: str, given: tuple[str, ...]) -> Path | None:
    digest = hashlib.sha256(known.encode())
    for each in given:
        part = each.encode(errors="surrogatepass")
        digest.update(len(part).to_bytes(8, "little") + part)
    with contextlib.suppress(RuntimeError):  # there is no home
        return cache() / "sentences" / digest.hexdigest()[:32]
    return None


def _remembered(place: Path, shape: tuple[int | None, ...]) -> Float[np.ndarray, "m d"] | None:
    try:
        content = read_regular(place, limit=_LARGEST)
    except OSError:
        return None
    sums, rows = content[len(_HEAD) :][:_DIGEST], content[len(_HEAD) + _DIGEST :]
    if content[: len(_HEAD)] != _HEAD or hashlib.sha256(rows).digest() != sums:
        return None
    if len(rows) != 4 * math.prod(n or 0 for n in shape):
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # it is of use
    return np.frombuffer(rows, "<f4").reshape(shape).copy()  # type: ignore[arg-type]
