"""How the fields of a file are written: one coder for each kind of model.

A system names the coder of what its use "encode" gives (`jaxgan.fields.Coded`), and the use that
says how likely the numbers are. To add a coder is to add a class and a row to `CODERS`.
"""

import dataclasses
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from PIL import Image

from jaxgan.codec import film, tables
from jaxgan.codec.stream import Reader, Writer
from jaxgan.errors import UserError
from jaxgan.fields import Coded
from jaxgan.nn.entropy import MEANS

Model = Mapping[str, np.ndarray]
"""What the use that a field names as its model gives, of one image: whole numbers."""

_MOST = 2**31 - 1


@dataclasses.dataclass
class Parts:
    """What a file is put together of, or taken apart into.

    Attributes:
        stream: numbers that are coded together; a `Writer` or a `Reader`.
        payloads: of coders with a format of their own, in the order of the fields.
        check: CRC-32 of what the models say, in the order of the fields.
    """

    stream: Writer | Reader
    payloads: list[bytes]
    check: int = 0

    def note(self, array: np.ndarray) -> None:
        """Takes whole numbers of a model into the check."""
        self.check = zlib.crc32(np.ascontiguousarray(array, "<i4").tobytes(), self.check)

    @property
    def writer(self) -> Writer:
        """The stream, of a file that is being written."""
        assert isinstance(self.stream, Writer)
        return self.stream

    @property
    def reader(self) -> Reader:
        """The stream, of a file that is being read."""
        assert isinstance(self.stream, Reader)
        return self.stream


class Coder(ABC):
    """Writes the numbers of one field, and reads them.

    Class attributes:
        payload: whether it writes a payload, in a format of its own.
    """

    payload: ClassVar[bool] = False

    @abstractmethod
    def write(self, field: Coded, values: np.ndarray, model: Model, parts: Parts) -> np.ndarray:
        """Writes values [h, w, c]; returns them as `read` will."""

    @abstractmethod
    def read(self, field: Coded, shape: tuple[int, ...], model: Model, parts: Parts) -> np.ndarray:
        """The values [h, w, c] that were written, float32."""


class Uniform(Coder):
    """Whole numbers from 0 to `levels` - 1, each as likely: log2(levels) bits each; no model."""

    def write(self, field: Coded, values: np.ndarray, model: Model, parts: Parts) -> np.ndarray:
        """Writes them."""
        numbers = _within(values, field.levels)
        parts.writer.uniform(numbers.reshape(-1), field.levels)
        return numbers.astype(np.float32)

    def read(self, field: Coded, shape: tuple[int, ...], model: Model, parts: Parts) -> np.ndarray:
        """Reads them."""
        numbers = parts.reader.uniform(int(np.prod(shape)), field.levels)
        return numbers.reshape(shape).astype(np.float32)


class Masked(Coder):
    """As `Uniform`, where its model's "places" [h, w, 1] are 1; elsewhere nothing, read as 0."""

    def write(self, field: Coded, values: np.ndarray, model: Model, parts: Parts) -> np.ndarray:
        """Writes them."""
        numbers, places = _within(values, field.levels), self._places(model, parts)
        parts.writer.uniform(numbers[places].reshape(-1), field.levels)
        return np.where(places[..., None], numbers, 0).astype(np.float32)

    def read(self, field: Coded, shape: tuple[int, ...], model: Model, parts: Parts) -> np.ndarray:
        """Reads them."""
        numbers, places = np.zeros(shape, np.float32), self._places(model, parts)
        count = int(places.sum()) * shape[-1]
        numbers[places] = parts.reader.uniform(count, field.levels).reshape(-1, shape[-1])
        return numbers

    def _places(self, model: Model, parts: Parts) -> np.ndarray:
        parts.note(model["places"])
        return model["places"][..., 0] == 1


class Tables(Coder):
    """Whole numbers, those of a channel by one table.

    Its model gives "logits" [c, e]: of each channel's cumulative function, at -e/2 + 1/2 to
    e/2 - 1/2, in units of 1/1024 (`tables.of_logits`).
    """

    def write(self, field: Coded, values: np.ndarray, model: Model, parts: Parts) -> np.ndarray:
        """Writes them, channel by channel."""
        numbers = _whole(values)
        for channel, table in enumerate(self._tables(model, parts)):
            parts.writer.table(numbers[..., channel].reshape(-1), table)
        return numbers.astype(np.float32)

    def read(self, field: Coded, shape: tuple[int, ...], model: Model, parts: Parts) -> np.ndarray:
        """Reads them, channel by channel."""
        numbers = np.zeros(shape, np.float32)
        for channel, table in enumerate(self._tables(model, parts)):
            count = int(np.prod(shape[:-1]))
            numbers[..., channel] = parts.reader.table(count, table).reshape(shape[:-1])
        return numbers

    def _tables(self, model: Model, parts: Parts) -> list[np.ndarray]:
        found = [tables.of_logits(row) for row in model["logits"]]
        for table in found:
            parts.note(table)
        return found


class Scales(Coder):
    """Numbers that are rounded around means, each a Gaussian of one of 64 scales.

    Its model gives "scale" [h, w, c], levels from 0 to 63 (`tables.scales`), and "mean" [h, w, c],
    in units of 1/16. Numbers of one scale are coded together, so there are at most 64 tables.
    """

    def write(self, field: Coded, values: np.ndarray, model: Model, parts: Parts) -> np.ndarray:
        """Rounds values around their means, and writes what is left of them."""
        scale, mean = self._levels(model, parts)
        numbers = _whole(values - mean)
        for level in np.unique(scale):
            parts.writer.table(numbers[scale == level], tables.gaussian(int(level)))
        return (numbers + mean).astype(np.float32)

    def read(self, field: Coded, shape: tuple[int, ...], model: Model, parts: Parts) -> np.ndarray:
        """Reads them, and adds the means."""
        scale, mean = self._levels(model, parts)
        numbers = np.zeros(shape, np.int64)
        for level in np.unique(scale):
            chosen = scale == level
            numbers[chosen] = parts.reader.table(int(chosen.sum()), tables.gaussian(int(level)))
        return (numbers + mean).astype(np.float32)

    def _levels(self, model: Model, parts: Parts) -> tuple[np.ndarray, np.ndarray]:
        for name in ("scale", "mean"):
            parts.note(model[name])
        for level in np.unique(model["scale"]):
            parts.note(tables.gaussian(int(level)))
        return model["scale"], model["mean"] / MEANS


class Still(Coder):
    """Bytes [h, w, 1] or [h, w, 3] as a lossless picture in a standard format; no model."""

    payload = True

    def __init__(self, format: str, **how: bool | int):
        self._format, self._how = format, how

    def write(self, field: Coded, values: np.ndarray, model: Model, parts: Parts) -> np.ndarray:
        """Writes them."""
        pixels, out = _within(values, 256).astype(np.uint8), io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
            out, self._format, **self._how
        )
        parts.payloads.append(out.getvalue())
        return pixels.astype(np.float32)

    def read(self, field: Coded, shape: tuple[int, ...], model: Model, parts: Parts) -> np.ndarray:
        """Reads them."""
        payload = parts.payloads.pop(0)
        with Image.open(io.BytesIO(payload), formats=[self._format]) as image:
            if image.size != (shape[1], shape[0]):
                raise UserError(f"holds a picture of {image.size}, expected {shape[1::-1]}")
            pixels = np.asarray(image.convert("L" if shape[-1] == 1 else "RGB"))
        return pixels.reshape(shape).astype(np.float32)


class Film(Coder):
    """Bytes [t, h, w, 1] or [t, h, w, 3] as a stream of a standard coder of videos; no model.

    Of one that loses something, what is read counts.
    """

    payload = True

    def __init__(self, kind: str):
        self._kind = kind

    def write(self, field: Coded, values: np.ndarray, model: Model, parts: Parts) -> np.ndarray:
        """Writes them."""
        pixels = _within(values, 256).astype(np.uint8)
        parts.payloads.append(film.write(pixels, self._kind))
        if film.KINDS[self._kind].exact:
            return pixels.astype(np.float32)
        return self._read(parts.payloads[-1], pixels.shape)

    def read(self, field: Coded, shape: tuple[int, ...], model: Model, parts: Parts) -> np.ndarray:
        """Reads them."""
        return self._read(parts.payloads.pop(0), shape)

    def _read(self, payload: bytes, shape: tuple[int, ...]) -> np.ndarray:
        count, height, width, channels = shape
        found = film.read(payload, self._kind, (count, height, width, channels))
        return found.astype(np.float32)


CODERS: dict[str, Coder] = {
    "uniform": Uniform(),
    "masked": Masked(),
    "tables": Tables(),
    "scales": Scales(),
    "png": Still("PNG", optimize=True),
    "webp": Still("WEBP", lossless=True, quality=100, method=6),
    **{kind: Film(kind) for kind in film.KINDS},
}
"""By the name that a field gives."""


def _whole(values: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, int64."""
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > _MOST - 1024:
        raise UserError(
            "the run makes numbers of the image that no file can hold: train it further, or anew"
        )
    return np.rint(values).astype(np.int64)


def _within(values: np.ndarray, levels: int) -> np.ndarray:
    """As `_whole`, numbers from 0 to levels - 1."""
    numbers = _whole(values)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= levels):
        raise ValueError(f"numbers of a file go from 0 to {levels - 1}, not beyond")
    return numbers
