"""What a compressed file holds, and the images that it is made of."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from jaxgan.fields.base import PLAIN, Framing
from jaxgan.fields.image import Image
from jaxgan.fields.mask import Mask
from jaxgan.fields.points import Points


@dataclasses.dataclass(frozen=True)
class Coded(Points):
    """Numbers that a compressed file holds, as a system's use "encode" gives them.

    They are of a whole image: [h, w, c] of any size. A file holds the fields that "encode" gives,
    in their order.

    Attributes:
      coder: Which of `jaxgan.codec.coders` writes them.
      model: The use that says how likely they are; it takes such fields as stand before in the
        file, or none, and gives what the coder needs. "": the coder needs nothing.
      levels: Of coders without a model: numbers are whole, from 0 to levels - 1.
    """

    _: dataclasses.KW_ONLY
    coder: str = "uniform"
    model: str = ""
    levels: int = 256

    mirrors: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class Padded(Image):
    """An image whose sides are multiples of a number; others are continued by reflection.

    Attributes:
      multiple: Of the height and the width.
    """

    _: dataclasses.KW_ONLY
    multiple: int = 1

    @classmethod
    def kind(cls) -> str:
        """An image like others."""
        return "image"

    def fit(self, raw: Any, framing: Framing = PLAIN) -> UInt8[np.ndarray, "h w c"]:
        """The image with rows below and columns at its right."""
        return _padded(super().fit(raw, framing), self.multiple)


@dataclasses.dataclass(frozen=True)
class PaddedMask(Mask):
    """A mask beside a `Padded` image, continued as it is.

    Attributes:
      multiple: Of the height and the width.
      filled: Whether all is marked where no mask is given.
    """

    _: dataclasses.KW_ONLY
    multiple: int = 1
    filled: bool = False

    @classmethod
    def kind(cls) -> str:
        """A mask like others."""
        return "mask"

    def fit(self, raw: Any, framing: Framing = PLAIN) -> UInt8[np.ndarray, "h w 1"]:
        """The mask with rows below and columns at its right."""
        return _padded(super().fit(raw, framing), self.multiple)


def _padded(image: UInt8[np.ndarray, "h w c"], multiple: int) -> UInt8[np.ndarray, "y x c"]:
    """[h, w, c] to multiples of a number; the original stands at the top left."""
    rest = [(0, -side % multiple) for side in image.shape[:2]]
    return np.pad(image, (*rest, (0, 0)), mode="reflect")
