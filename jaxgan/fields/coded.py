"""What a compressed file holds, and the images that it is made of."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from jaxgan.fields.base import PLAIN, Framing
from jaxgan.fields.clip import Clip
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
      cell: Pixels a side of the original that share a place, where what continues the original is
        left out of the file, and put back by reflection when it is read; 0: all are in the file.
    """

    _: dataclasses.KW_ONLY
    coder: str = "uniform"
    model: str = ""
    levels: int = 256
    cell: int = 0

    mirrors: ClassVar[bool] = False

    def held(self, shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
        """How much of numbers of a shape is in the file of an original [..., height, width]."""
        if not self.cell:
            return shape
        return (*shape[:-3], *(-(-side // self.cell) for side in size[-2:]), shape[-1])


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
class PaddedClip(Clip):
    """A clip whose frames are as `Padded` images.

    Attributes:
      multiple: Of the height and the width.
    """

    _: dataclasses.KW_ONLY
    multiple: int = 1

    @classmethod
    def kind(cls) -> str:
        """A clip like others."""
        return "clip"

    def fit(
        self, raw: Any, framing: Framing = PLAIN, *, turn: int = 0
    ) -> UInt8[np.ndarray, "t h w c"]:
        """The frames with rows below and columns at their right."""
        return _padded(super().fit(raw, framing, turn=turn), self.multiple)


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


def _padded(image: UInt8[np.ndarray, "*t h w c"], multiple: int) -> UInt8[np.ndarray, "*t y x c"]:
    """Height and width to multiples of a number; the original stands at the top left."""
    height, width = image.shape[-3:-1]
    return reflected(image, height + -height % multiple, width + -width % multiple)


def reflected(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """[..., h, w, c] to [..., height, width, c], by reflection below and at the right."""
    rest = [
        (0, want - have) for want, have in zip((height, width), values.shape[-3:-1], strict=True)
    ]
    return np.pad(values, (*((0, 0),) * (values.ndim - 3), *rest, (0, 0)), mode="reflect")
