"""Clips: frames of one size, uint8 in data and on disk, [-1, 1] in networks."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int, UInt8

from jaxgan.errors import UserError
from jaxgan.fields.base import PLAIN, Field, Framing
from jaxgan.fields.image import Image
from jaxgan.fields.pixels import say
from jaxgan.fields.video import read_clip, write_film


@dataclasses.dataclass(frozen=True)
class Clip(Image):
    """Frames, height, width and channels.

    Of data that have more frames, as many are taken as the field has, from a frame on that depends
    on the turn. What data hold may be any sequence of frames that an array of numbers indexes, so
    that no more are decoded than are taken.
    """

    shape: tuple[int | None, ...] = (None, None, None, None)

    axes: ClassVar[str] = "frames x height x width"
    suffix: ClassVar[str] = ".gif"
    turns: ClassVar[bool] = True
    moves: ClassVar[bool] = True

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Too few frames, or as images are refused."""
        frames = found.shape[0] if isinstance(found, Clip) else None
        if frames is not None and self.shape[0] is not None and frames < self.shape[0]:
            return (
                f"has {frames} frames, the system draws {self.shape[0]}: leave out clips that are "
                "shorter, or set the system to fewer frames"
            )
        return super().refusal(found, framing)

    def fit(
        self, raw: Any, framing: Framing = PLAIN, *, turn: int = 0
    ) -> UInt8[np.ndarray, "t h w c"]:
        """The frames of a turn, each as an image is fitted."""
        count = -(-len(raw) // framing.stride) if self.shape[0] is None else self.shape[0]
        chosen = window(len(raw), count, framing.stride, turn)
        frame = Image(self.shape[1:], whole=self.whole, cells=self.cells)
        return np.stack([frame.fit(each, framing) for each in raw[chosen]])

    def read(self, text: str) -> UInt8[np.ndarray, "t h w c"]:
        """The frames of a video, an animation, a strip or a folder of frames; the first ones."""
        return self.fit(read_clip(text), Framing(resize=True))

    def show(self, item: np.ndarray, beside: Mapping[str, Any]) -> UInt8[np.ndarray, "h w c"]:
        """The frames side by side."""
        del beside
        return np.concatenate(list(item), 1)

    def write(self, item: UInt8[np.ndarray, "t h w c"], path: Path) -> None:
        """Writes an endless GIF, or WebP or MP4 as the name's ending says."""
        write_film(item[:, None], path)


def window(length: int, count: int, stride: int, turn: int) -> Int[np.ndarray, " count"]:
    """Which `count` of `length` frames are taken in a turn, every `stride`-th.

    They begin with frame `turn`, counted round among those with which they can begin. Where there
    are not enough frames for the stride, but for 1, they are the first ones (Tulyakov et al. 2018,
    the authors' code), which is said once a process.

    Raises:
      UserError: There are fewer than `count`.
    """
    if length < count:
        raise UserError(f"a clip has {length} frames, expected at least {count}")
    span = stride * (count - 1) + 1
    if length < span:
        say(
            "stride",
            f"a clip of {length} frames is shorter than {span}, {count} of every {stride}: its "
            f"first {count} are taken, so that it moves more slowly than others",
        )
        return np.arange(count)
    return int(turn) % (length - span + 1) + stride * np.arange(count)
