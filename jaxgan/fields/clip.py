"""Clips: frames of one size, uint8 in data and on disk, [-1, 1] in networks."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from jaxgan import pictures
from jaxgan.errors import UserError
from jaxgan.fields.base import PLAIN, Field, Framing
from jaxgan.fields.image import Image
from jaxgan.fields.pixels import frames


@dataclasses.dataclass(frozen=True)
class Clip(Image):
    """Frames, height, width and channels. A clip that is longer than the field is cut off."""

    shape: tuple[int | None, ...] = (None, None, None, None)

    axes: ClassVar[str] = "frames x height x width"
    suffix: ClassVar[str] = ".gif"

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Too few frames, or as images are refused."""
        frames = found.shape[0] if isinstance(found, Clip) else None
        if frames is not None and self.shape[0] is not None and frames < self.shape[0]:
            return (
                f"has {frames} frames, the system draws {self.shape[0]}: leave out clips that are "
                "shorter, or set the system to fewer frames"
            )
        return super().refusal(found, framing)

    def fit(self, raw: Any, framing: Framing = PLAIN) -> UInt8[np.ndarray, "t h w c"]:
        """The first frames, each as an image is fitted."""
        count = len(raw) if self.shape[0] is None else self.shape[0]
        if len(raw) < count:
            raise UserError(f"a clip has {len(raw)} frames, expected at least {count}")
        frame = Image(self.shape[1:], whole=self.whole, cells=self.cells)
        return np.stack([frame.fit(each, framing) for each in raw[:count]])

    def read(self, text: str) -> UInt8[np.ndarray, "t h w c"]:
        """The frames of an animated image file."""
        return self.fit(frames(Path(text).expanduser()), Framing(resize=True))

    def show(self, item: np.ndarray, beside: Mapping[str, Any]) -> UInt8[np.ndarray, "h w c"]:
        """The frames side by side."""
        del beside
        return np.concatenate(list(item), 1)

    def write(self, item: UInt8[np.ndarray, "t h w c"], path: Path) -> None:
        """Writes an endless animation."""
        pictures.animate(item[:, None], path)
