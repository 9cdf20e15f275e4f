"""Masks: which class each pixel belongs to."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.fields.base import PLAIN, Field, Framing
from jaxgan.fields.image import Image
from jaxgan.fields.pixels import Fit


@dataclasses.dataclass(frozen=True)
class Mask(Image):
    """Height, width and classes: one-hot in networks, class numbers [h, w, 1] everywhere else.

    One class is a soft mask: 0 to 1 in networks, 0 to 255 elsewhere. Resized by the nearest pixel.
    In image files of two classes, values from 128 on are class 1.
    """

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Masks of any size and number of classes are read; their values are checked then."""
        return None if isinstance(found, Mask) else super().refusal(found, framing)

    def fit(self, raw: Any, framing: Framing = PLAIN) -> UInt8[np.ndarray, "h w 1"]:
        """The largest centred part of the field's aspect ratio, by the nearest pixel."""
        raw = np.asarray(raw, np.uint8)[..., :1]
        if self.shape[-1] == 2 and raw.max(initial=0) > 1:
            raw = (raw > 127).astype(np.uint8)
        if self.extent is None:
            return raw
        framed = dataclasses.replace(self._fit(framing), nearest=True)
        whole = dataclasses.replace(framed, shape=(*framed.shape[:2], 1))(raw)
        size = self.stored(framing)[:2]
        return Fit(shape=(size[0], size[1], 1), resize=True, nearest=True)(whole)

    def to_network(self, items: np.ndarray) -> Float[np.ndarray, "n h w k"]:
        """One-hot; a soft mask in [0, 1]."""
        if self.shape[-1] == 1:
            return items.astype(np.float32) / 255
        return np.eye(self.shape[-1], dtype=np.float32)[items[..., 0]]

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

    def show(
        self, item: np.ndarray, beside: Mapping[str, np.ndarray]
    ) -> UInt8[np.ndarray, "h w 1"]:
        """Classes in shades of grey."""
        del beside
        count = self.shape[-1] or 2
        return item if count == 1 else item * np.uint8(255 // (count - 1))
