"""Columns of which a batch takes a part of each item: some of the frames of a clip."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from jaxgan.data.base import Source
from jaxgan.fields import Field, Framing


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """Items of a column, fitted when they are taken.

    Attributes:
      source: The set of items.
      column: Of the set.
      field: What it is fitted to, whose `fit` takes a turn.
      framing: How items are brought to what the field stores.
    """

    source: Source
    column: str
    field: Field
    framing: Framing

    def take(self, items: Int[np.ndarray, " n"], turns: Integer[np.ndarray, " n"]) -> np.ndarray:
        """Of each item the part of its turn, [n, ...]."""
        fit: Any = self.field.fit
        return np.stack(
            [
                fit(self.source[int(item)][self.column], self.framing, turn=int(turn))
                for item, turn in zip(items, turns, strict=True)
            ]
        )
