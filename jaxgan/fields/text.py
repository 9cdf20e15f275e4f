"""Sentences: as text in data and from people, as vectors in networks."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from jaxgan.errors import UserError
from jaxgan.fields.base import PLAIN, Field, Framing


@dataclasses.dataclass(frozen=True)
class Text(Field):
    """A vector that stands for a sentence.

    Attributes:
      encode: A module-level function of a sentence to its vector; None: data hold vectors, and
        people give numbers with commas.
    """

    _: dataclasses.KW_ONLY
    encode: Callable[[str], Float[np.ndarray, " d"]] | None = None

    dtype: ClassVar[type] = np.float32
    typed: ClassVar[bool] = True

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Vectors of another length; sentences without an encoder."""
        if not isinstance(found, Text) or found.shape:
            return super().refusal(found, framing)
        if self.encode is None:
            return "holds sentences, and the system has no encoder of them: give their vectors"
        return None

    def fit(self, raw: Any, framing: Framing = PLAIN) -> Float[np.ndarray, " d"]:
        """The sentence's vector."""
        del framing
        if isinstance(raw, str):
            return self.read(raw)
        return np.asarray(raw, np.float32)

    def read(self, text: str) -> Float[np.ndarray, " d"]:
        """The vector of a typed sentence."""
        if self.encode is None:
            return np.asarray(super().read(text))
        vector = np.asarray(self.encode(text), np.float32)
        if vector.shape != self.shape:
            raise UserError(
                f"the encoder makes vectors of {vector.shape}, the system takes {self.shape}"
            )
        return vector
