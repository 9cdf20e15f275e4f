"""Masks: which class each pixel belongs to."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.errors import UserError
from jaxgan.fields.base import PLAIN, Field, Framing
from jaxgan.fields.image import Image
from jaxgan.fields.pixels import Fit


@dataclasses.dataclass(frozen=True)
class Mask(Image):
    """Height, width and classes: one-hot in networks, class numbers [h, w, 1] everywhere else.

    One class is a soft mask: 0 to 1 in networks, 0 to 255 elsewhere. Resized by the nearest pixel.
    In image files of two classes, values from 128 on are class 1. What is transparent in a file is
    not marked: class 0, or 0 of a soft mask.
    """

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Not masks, nor images that may be such; their values are checked when they are read."""
        if found.kind() not in (self.kind(), Image.kind()):
            return super().refusal(found, framing)
        return self._misfit(found, framing)

    def fit(self, raw: Any, framing: Framing = PLAIN) -> UInt8[np.ndarray, "h w 1"]:
        """The largest centred part of the field's aspect ratio, by the nearest pixel."""
        raw = self._classes(np.asarray(raw))
        if self.extent is None:
            return raw
        framed = dataclasses.replace(self._fit(framing), nearest=True)
        whole = dataclasses.replace(framed, shape=(*framed.shape[:2], 1))(raw)
        size: tuple[Any, ...] = self.stored(framing)[:2]
        return Fit(shape=(size[0], size[1], 1), resize=True, nearest=True)(whole)

    def _classes(self, raw: np.ndarray) -> UInt8[np.ndarray, "h w 1"]:
        """The class of each pixel, or bytes of a soft mask, as it is kept, or of an image file."""
        raw = self._opaque(raw)
        grey = raw[..., :1]
        if (raw != grey).any():
            raise UserError(
                f"a mask has colours ({raw.shape[-1]} channels that differ), expected the number "
                "of each pixel's class: convert it"
            )
        count, most = self.shape[-1], int(grey.max(initial=0))
        if count == 2 and most > 1:
            return (grey > 127).astype(np.uint8)
        if count not in (None, 1) and most >= count:
            raise UserError(f"a mask has the class {most}, the system takes 0 to {count - 1}")
        return grey.astype(np.uint8)

    def _opaque(self, raw: np.ndarray) -> np.ndarray:
        """Without alpha: what is transparent is not marked, which is 0 of either kind of mask.

        Numbers of classes are not mixed: they are whole or 0. Shades are weighted.
        """
        if raw.shape[-1] not in (2, 4):
            return raw
        raw, alpha = raw[..., :-1], raw[..., -1:]
        shades = self.shape[-1] == 1 or (self.shape[-1] == 2 and int(raw.max(initial=0)) > 1)
        if shades:
            return ((raw.astype(np.uint32) * alpha + 127) // 255).astype(np.uint8)
        return np.where(alpha > 127, raw, 0).astype(np.uint8)

    def to_network(self, items: np.ndarray) -> Float[np.ndarray, "n h w k"]:
        """One-hot; a soft mask in [0, 1]."""
        count = self.shape[-1] or 1
        if count == 1:
            return items.astype(np.float32) / 255
        return np.eye(count, dtype=np.float32)[items[..., 0]]

    def from_network(self, items: Any) -> UInt8[np.ndarray, "n h w 1"]:
        """The likeliest class of each pixel; a soft mask as bytes."""
        items = np.asarray(items, np.float32)
        if self.shape[-1] == 1:
            return np.clip(np.rint(items * 255), 0, 255).astype(np.uint8)
        return items.argmax(-1).astype(np.uint8)[..., None]

    def noise(self, rng: np.random.Generator, count: int) -> UInt8[np.ndarray, "n h w 1"]:
        """Random classes."""
        height, width, classes = self._static()
        most = 256 if classes == 1 else classes
        return rng.integers(0, most, (count, height, width, 1), np.uint8)

    def show(self, item: np.ndarray, beside: Mapping[str, Any]) -> UInt8[np.ndarray, "h w 1"]:
        """Classes in shades of grey."""
        del beside
        count = self.shape[-1] or 256
        return item if count == 1 else item * np.uint8(255 // (count - 1))

    def write(self, item: UInt8[np.ndarray, "h w 1"], path: Path) -> None:
        """Writes a PNG of class numbers; of two classes in black and white, which is read so."""
        super().write(item * np.uint8(255) if self.shape[-1] == 2 else item, path)
