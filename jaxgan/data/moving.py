"""Clips that are made: digits and shapes that move, the same ones on every machine.

| spec                       | clips                                                            |
| -------------------------- | ---------------------------------------------------------------- |
| moving_digits              | two digits that bounce off the edges, 20 frames of 64x64x1       |
| moving_digits:1x32         | one digit, in frames of 32x32; its class is the label            |
| moving_digits[:1x32]:test  | digits that the former have none of, on other paths              |
| moving_digits...:flow      | also the flow of each frame, where a digit is                    |
| moving_shapes[:32][:test]  | a square or a disc of some colour and size that moves across or  |
|                            | down, 20 frames of 64x64x3 (or 32x32x3); the motion is the label |

As Moving MNIST (Srivastava, Mansimov, Salakhutdinov, "Unsupervised Learning of Video
Representations using LSTMs", ICML 2015), of the digits of mnist5k: 28 pixels in 64, halved in less
than 56; they move by 1/20 of the side a frame in any direction. Shapes are after those of MoCoGAN
(Tulyakov et al. 2018, section 5). Each clip is a function of its number alone.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan.data.base import Arrays, Item, Source
from jaxgan.data.embedded import EMBEDDED
from jaxgan.data.order import random_words
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Field, Flow, Label

MOVING = ("moving_digits", "moving_shapes")
FRAMES = 20
CLIPS = 10_000
"""How many there are; a tenth of it of `test`."""

_SPEED = 1 / 20
"""Of a digit, in sides of the frame, from frame to frame."""
_SIDES = (16, 256)
_DIGITS = re.compile(r"moving_digits(?::([1-9])x(\d{1,3}))?(:test)?(:flow)?")
_SHAPES = re.compile(r"moving_shapes(?::(\d{1,3}))?(:test)?")
_STREAMS = {"train": 0xC1, "test": 0xC2, "shapes": 0xC3}
_WORDS = 48
"""Random numbers of a clip, at most."""
_MOTIONS = ("across", "down")


def open_moving(spec: str) -> Source:
    """Open `moving_digits[:COUNTxSIDE][:test][:flow]` or `moving_shapes[:SIDE][:test]`.

    Raises:
      UserError: It is none of these; a package is not installed.
    """
    if found := _DIGITS.fullmatch(spec):
        count, side = int(found[1] or 2), int(found[2] or 64)
        _check_side(spec, side)
        digits, part = EMBEDDED["mnist5k"](), "test" if found[3] else "train"
        columns: dict[str, Field] = {"clip": Clip((FRAMES, side, side, 1))}
        if count == 1:
            columns["label"] = digits.columns["label"]
        if found[4]:
            columns["flow"] = Flow((FRAMES, side, side, 2))
        chosen = np.flatnonzero((np.arange(len(digits)) % 10 == 9) == (part == "test"))
        return Digits(
            name=spec, columns=columns, digits=digits, chosen=chosen, count=count, part=part
        )
    if found := _SHAPES.fullmatch(spec):
        side = int(found[1] or 64)
        _check_side(spec, side)
        label = Label(classes=len(_MOTIONS), names=_MOTIONS)
        numbers = range(CLIPS, CLIPS + CLIPS // 10) if found[2] else range(CLIPS)
        labels = np.array([_motion(number) for number in numbers], np.int32)
        return Shapes(
            name=spec,
            columns={"clip": Clip((FRAMES, side, side, 3)), "label": label},
            labels=labels,
            numbers=numbers,
        )
    raise UserError(
        f"no data set {spec!r}: give moving_digits, moving_digits:COUNTxSIDE such as "
        "moving_digits:1x32, either with :test or :flow or both after it, or moving_shapes, "
        "moving_shapes:SIDE, either with :test"
    )


def _check_side(spec: str, side: int) -> None:
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise UserError(f"{spec}: frames of {side} pixels: expected {_SIDES[0]} to {_SIDES[1]}")


def _shares(stream: int, number: int) -> Float[np.ndarray, " k"]:
    """Numbers in [0, 1) that say all of a clip."""
    return (random_words(number, stream, 0, _WORDS) >> np.uint64(11)) * 2.0**-53


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Digits(Source):
    """Digits that bounce off the edges of the frame; made by `open_moving`.

    Attributes:
      digits: What moves.
      chosen: Which of them.
      count: Digits in a clip.
      part: "train" or "test".
    """

    digits: Arrays
    chosen: np.ndarray
    count: int
    part: str

    def __len__(self) -> int:
        return CLIPS if self.part == "train" else CLIPS // 10

    def __getitem__(self, index: int) -> Item:
        side = self.columns["clip"].shape[1] or 0
        shares = _shares(_STREAMS[self.part], index % len(self)).reshape(-1, 4)
        clip = np.zeros((FRAMES, side, side, 1), np.uint8)
        flow = np.full((FRAMES, side, side, 2), np.nan, np.float32)
        label = np.int32(0)
        for share, x, y, angle in shares[: self.count]:
            number = self.chosen[int(share * len(self.chosen))]
            digit, label = self._digit(int(number), side), self.digits.items["label"][number]
            steps = np.arange(FRAMES) * side * _SPEED
            room = side - len(digit)
            lefts = _bounced(x * room + steps * np.cos(2 * np.pi * angle), room)
            tops = _bounced(y * room + steps * np.sin(2 * np.pi * angle), room)
            for time, (top, left) in enumerate(zip(tops, lefts, strict=True)):
                part = np.s_[time, top : top + len(digit), left : left + len(digit)]
                seen = digit[..., 0] > clip[part][..., 0]  # where digits meet, the brighter one
                np.maximum(clip[part], digit, out=clip[part])
                if time:
                    flow[part][seen] = lefts[time - 1] - left, tops[time - 1] - top
        items = {"clip": clip, "label": label, "flow": flow}
        return {name: items[name] for name in self.columns}

    def _digit(self, number: int, side: int) -> UInt8[np.ndarray, "d d 1"]:
        digit = self.digits.items["image"][number]
        return digit if side >= 2 * len(digit) else _halved(digit)

    def identity(self) -> Iterator[bytes]:
        """Yield those of the digits, and what is made of them."""
        yield from self.digits.identity()
        yield f"{FRAMES} {self.columns['clip'].shape} {self.count} {self.part} v1".encode()
        if "flow" in self.columns:
            yield b"flow"


def _halved(digit: UInt8[np.ndarray, "h w 1"]) -> UInt8[np.ndarray, "d d 1"]:
    """Means over 2x2 cells, rounded."""
    height, width, _ = digit.shape
    cells = digit.reshape(height // 2, 2, width // 2, 2, 1).astype(np.uint32)
    return ((cells.sum((1, 3)) + 2) // 4).astype(np.uint8)


def _bounced(places: Float[np.ndarray, " t"], room: int) -> np.ndarray:
    """Places on a line folded back into 0 to `room`, as whole pixels."""
    folded = np.mod(places, 2 * room)
    return np.rint(np.where(folded > room, 2 * room - folded, folded)).astype(int)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shapes(Source):
    """Coloured shapes that move across or down; made by `open_moving`.

    Attributes:
      numbers: Of the clips, each of which is made of its number.
    """

    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Item:
        number = self.numbers[index]
        side = self.columns["clip"].shape[1] or 0
        shares = _shares(_STREAMS["shapes"], number)
        motion = _motion(number)
        colour = (64 + 191 * shares[2:5]).astype(np.uint8)
        radius = side * (0.09 + 0.09 * shares[5])
        still = radius + (side - 2 * radius) * shares[6]
        # To and fro, once in the clip, from somewhere.
        phase = shares[7] + np.arange(FRAMES) / FRAMES
        going = radius + (side - 2 * radius) * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
        along = np.arange(side) + 0.5
        clip = np.zeros((FRAMES, side, side, 3), np.uint8)
        for frame, place in zip(clip, going, strict=True):
            x, y = (place, still) if motion == 0 else (still, place)
            dx, dy = along[None] - x, along[:, None] - y
            disc = dx**2 + dy**2 < radius**2
            square = (abs(dx) < 0.85 * radius) & (abs(dy) < 0.85 * radius)
            frame[disc if shares[1] < 0.5 else square] = colour
        return {"clip": clip, "label": np.int32(motion)}

    def identity(self) -> Iterator[bytes]:
        """Yield what is made."""
        part = "" if self.numbers.start == 0 else f" from {self.numbers.start}"
        yield f"moving shapes {FRAMES} {self.columns['clip'].shape} v1{part}".encode()


@functools.lru_cache(maxsize=CLIPS)
def _motion(number: int) -> int:
    """Which of the motions a clip of shapes has."""
    return int(_shares(_STREAMS["shapes"], number)[0] * len(_MOTIONS))
