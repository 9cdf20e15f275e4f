"""Sentences: as text in data and from people, as vectors in networks."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Array, Float

from jaxgan.errors import UserError
from jaxgan.fields.base import PLAIN, Field, Framing
from jaxgan.fields.points import Points
from jaxgan.interpolate import slerp

Encoder = Callable[[Sequence[str]], Any]
"""A module-level function, or another hashable thing to call: of n sentences to vectors [n, d].

Where it has a method `identity`, which returns a string that changes when its vectors do, they are
kept on disk, and a run refuses another one (`jaxgan.pretrained.minilm.encode`).
"""


@dataclasses.dataclass(frozen=True)
class Text(Field):
    """A vector that stands for a sentence.

    A source's column of shape () holds sentences: of an item one, or several in a list, of which
    each batch has one.

    Attributes:
      encode: Makes the vectors; None: data hold vectors, and people give numbers with commas.
      encoder: Identity of the encoder that a run was trained with; "": that is not known.
    """

    _: dataclasses.KW_ONLY
    encode: Encoder | None = None
    encoder: str = ""

    dtype: ClassVar[type] = np.float32
    typed: ClassVar[bool] = True
    lines: ClassVar[bool] = True
    walks: ClassVar[bool] = True

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Vectors of another length; sentences without an encoder.

        Vectors of one's own stand in files as numbers, which makes them points.
        """
        if isinstance(found, Points) and found.shape == self.shape:
            return None
        if not isinstance(found, Text) or found.shape:
            return super().refusal(found, framing)
        if self.encode is None:
            return (
                "holds sentences, and the system has no encoder of them: give their vectors, or an "
                "encoder, such as --system.encoder minilm --system.embedding 384"
            )
        return None

    def fit(self, raw: Any, framing: Framing = PLAIN) -> Float[np.ndarray, " d"]:
        """The vector of a sentence, of the first one of several."""
        del framing
        if isinstance(raw, np.ndarray) and raw.dtype.kind not in "UO":
            return np.asarray(raw, np.float32)
        return self.encoded(sentences(raw)[:1])[0]

    def encoded(self, given: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """The vectors of sentences.

        Raises:
          UserError: The encoder makes others than the system takes, or is not the run's.
        """
        self.known()
        assert self.encode is not None
        vectors = np.asarray(self.encode(list(given)), np.float32)
        if vectors.shape != (len(given), *self.shape):
            raise UserError(
                f"the encoder makes vectors of {vectors.shape[1:]} of {len(vectors)} for "
                f"{len(given)} sentences, the system takes {self.shape} of each"
                if len(vectors) != len(given)
                else f"the encoder makes vectors of {vectors.shape[1:]}, the system takes "
                f"{self.shape}"
            )
        if not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
            raise UserError(f"the encoder makes of {given[bad][:80]!r} numbers that are not finite")
        return vectors

    def known(self) -> str:
        """Identity of the encoder; "" where it says nothing.

        Raises:
          UserError: It is not the run's.
        """
        now = "" if self.encode is None else identity(self.encode)
        if self.encoder and now != self.encoder:
            raise UserError(
                f"the run was trained with sentences encoded by {self.encoder}, and this is "
                f"{now or 'another encoder'}: restore that one, or train anew"
            )
        return now

    def bind(self, about: Mapping[str, Any]) -> "Text":
        """The field with the encoder that the run was trained with."""
        return dataclasses.replace(self, encoder=about.get("encoder", ""))

    def about(self) -> dict[str, Any]:
        """Which encoder it is."""
        known = "" if self.encode is None else identity(self.encode)
        return {"encoder": known} if known else {}

    def read(self, text: str) -> Float[np.ndarray, " d"]:
        """The vector of a typed sentence."""
        if self.encode is None:
            return np.asarray(super().read(text))
        return self._typed([text])[0]

    def accept(self, given: Any) -> np.ndarray | list[np.ndarray | np.generic]:
        """Items as networks see them: sentences are encoded together."""
        words = [given] if isinstance(given, str) else given
        several = isinstance(words, list | tuple | np.ndarray) and len(words) > 0
        if self.encode is None or not several or not all(isinstance(each, str) for each in words):
            return super().accept(given)
        return self._typed(words)

    def _typed(self, given: Sequence[str]) -> Float[np.ndarray, "n d"]:
        if not all(each.strip() for each in given):
            raise UserError("a sentence is empty: type one")
        return self.encoded(given)

    def between(self, a: Array, b: Array, t: Float[Array, " n"]) -> Array:
        """On the arc about the origin: encoders mostly make vectors of one length."""
        return slerp(a, b, t)


def sentences(raw: Any) -> list[str]:
    """The sentences of an item, as a source holds them.

    Raises:
      UserError: There are none.
    """
    if isinstance(raw, str):
        return [str(raw)]
    found = list(raw) if isinstance(raw, list | tuple | np.ndarray) else [raw]
    if not found or not all(isinstance(each, str) for each in found):
        raise UserError(f"found {found[0]!r:.40}, expected text" if found else "it has no sentence")
    return [str(each) for each in found]


def identity(encode: Encoder) -> str:
    """What the encoder says of itself; "" where it says nothing."""
    known = getattr(encode, "identity", None)
    return "" if known is None else known()
