"""Flows: how far off each pixel of a frame was before, in pixels to the right and down."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.fields.base import PLAIN, Field, Framing
from jaxgan.fields.clip import window


@dataclasses.dataclass(frozen=True)
class Flow(Field):
    """Frames, height, width and 2; of data NaN where it is not known.

    Data have one for each frame of their clips, which leads back to the frame before: that of the
    first frame is not known. As many are taken as the field has, as `Clip` takes frames.
    """

    shape: tuple[int | None, ...] = (None, None, None, 2)

    visible: ClassVar[bool] = True
    suffix: ClassVar[str] = ".npy"
    turns: ClassVar[bool] = True
    mirrors: ClassVar[bool] = False

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Frames of another size: what scales pixels would have to scale flows."""
        if framing.stride != 1:
            return f"has flows from frame to frame: stride is {framing.stride}, set it to 1"
        if found.kind() == self.kind() and found.shape[1:] == self.shape[1:]:
            return None
        return super().refusal(found, framing)

    def fit(
        self, raw: Any, framing: Framing = PLAIN, *, turn: int = 0
    ) -> Float[np.ndarray, "t h w 2"]:
        """The flows of the frames of a turn."""
        count = len(raw) if self.shape[0] is None else self.shape[0]
        return np.asarray(raw[window(len(raw), count, framing.stride, turn)], np.float32)

    def show(self, item: np.ndarray, beside: Mapping[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
        """Frames side by side: a colour for each direction, the paler the shorter; unknown: black.

        The longest of the item, or one pixel if that is longer, has the full colour.
        """
        del beside
        frames = np.concatenate(list(item), 1)
        known = np.isfinite(frames).all(-1, keepdims=True)
        x, y = np.moveaxis(np.where(known, frames, 0), -1, 0)
        length = np.hypot(x, y)
        share = length / max(float(length.max(initial=0)), 1.0)
        turns = np.arctan2(y, x)[..., None] - 2 * np.pi / 3 * np.arange(3)
        colours = 1 - share[..., None] * (0.5 - 0.5 * np.cos(turns))
        return np.rint(255 * np.where(known, colours, 0)).astype(np.uint8)

    def write(self, item: Float[np.ndarray, "t h w 2"], path: Path) -> None:
        """Writes the numbers as NumPy keeps them."""
        np.save(path, np.asarray(item), allow_pickle=False)
