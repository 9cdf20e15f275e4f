"""Vectors: points of toy data, styles, features."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from jaxgan.fields.base import Field


@dataclasses.dataclass(frozen=True)
class Points(Field):
    """Numbers that are neither images nor drawn; those of two dimensions are shown in the plane."""

    mirrors: ClassVar[bool] = False

    def text(self) -> str:
        """How many numbers there are."""
        return f"points of {self._size() or 'several'} numbers"

    def plural(self) -> str:
        """How many numbers each has."""
        return self.text()


@dataclasses.dataclass(frozen=True)
class Codes(Field):
    """Whole numbers, such as quantised symbols."""

    dtype: ClassVar[type] = np.int32


@dataclasses.dataclass(frozen=True)
class Attention(Field):
    """Where each place of a map looks: [queries, keys], both in row order; rows sum to 1."""

    visible: ClassVar[bool] = True

    def show(self, item: np.ndarray, beside: Mapping[str, Any]) -> UInt8[np.ndarray, "h w c"]:
        """Where four places of the image that was made with it look."""
        from jaxgan import pictures

        return pictures.attention(beside["image"], item)
