"""Images: uint8 in data and on disk, [-1, 1] in networks."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan import pictures
from jaxgan.errors import UserError
from jaxgan.fields.base import PLAIN, Field, Framing, Geometry, Resolution
from jaxgan.fields.pixels import Fit, Picture, Resample, Shrink, channels, read


@dataclasses.dataclass(frozen=True)
class Image(Field):
    """Height, width and channels: 1 (grey), 3 (RGB) or 4 (RGBA).

    Attributes:
      whole: (height, width) that items are brought to before they are reduced to a stage's size.
    """

    shape: tuple[int | None, ...] = (None, None, None)
    _: dataclasses.KW_ONLY
    whole: tuple[int, int] | None = None
    cells: bool = False
    """Whether that reduction is a mean over cells (ProGAN's pyramid); otherwise it is bicubic."""

    visible: ClassVar[bool] = True
    axes: ClassVar[str] = "height x width"
    suffix: ClassVar[str] = ".png"

    def __post_init__(self) -> None:
        if len(self.shape) != self.axes.count(" x ") + 2:
            given = ",".join(map(str, self.shape)) or "empty"
            raise UserError(f"shape is {given}: give {self.axes} x channels of the {self.kind()}")

    @property
    def extent(self) -> tuple[int, int] | None:
        """Height and width; None where they may be any."""
        height, width = self.shape[-3:-1]
        return None if height is None or width is None else (height, width)

    def at(self, resolution: Resolution | None) -> "Image":
        """The image in a stage of that resolution.

        The side of squares says that it is the mean over cells of the whole image (ProGAN's
        pyramid), height and width that the whole is resampled, bicubic (SinGAN's).
        """
        size = (resolution, resolution) if isinstance(resolution, int) else resolution
        if size is None or self.extent is None or size == self.extent:
            return self
        shape = (*self.shape[:-3], *size, self.shape[-1])
        whole, cells = self.whole or self.extent, isinstance(resolution, int)
        return dataclasses.replace(self, shape=shape, whole=whole, cells=cells)

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Why images of that shape cannot serve; channels that are not known are converted."""
        if found.kind() != self.kind():
            return super().refusal(found, framing)
        if self.shape[-1] not in (1, 3, 4, None):
            return (
                f"cannot serve: the system draws {self._size()}, expected 1 (grey), 3 (RGB) or "
                "4 (RGBA) channels"
            )
        if problem := self._misfit(found, framing):
            return problem
        count = found.shape[-1]
        converted = None in (count, self.shape[-1]) or self._scales(framing)
        if converted or count == self.shape[-1]:
            return None
        return (
            f"is {found._size()}, the system draws {self._size()}: add --resize, which converts "
            f"channels too, or set the system to {count} channels"
        )

    def _misfit(self, found: Field, framing: Framing) -> str | None:
        """Why items of that height and width cannot be brought to the field's; None: they can."""
        if self.extent is None or None in found.shape[-3:-1]:
            return None
        known = [n for n in found.shape[-3:] if n is not None]
        return self._fit(framing).problem(tuple(known))

    def absence(self, columns: Mapping[str, Field], *, apart: bool) -> str:
        """There are no images, or not two of one item."""
        if [field.kind() for field in columns.values()].count(self.kind()) != 1:
            return super().absence(columns, apart=apart)
        return (
            f"holds {self.kind()}s alone, the system makes one {self.kind()} from another: give "
            "pairs:FOLDER, edges:DATA" + (" or unpaired:DATA,DATA" if apart else "")
        )

    def size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """All but the channels, which are converted."""
        return shape[:-1]

    def fit(self, raw: Any, framing: Framing = PLAIN) -> UInt8[np.ndarray, "h w c"]:
        """Channels, size and reduction; of any size where the field's is open."""
        raw = _pixels(raw)
        if self.extent is None:
            return raw if self.shape[-1] is None else channels(raw, self.shape[-1])
        return self._reduced(self._fit(framing)(raw), framing)

    def decode(self, file: Picture, framing: Framing = PLAIN) -> UInt8[np.ndarray, "h w c"]:
        """What `fit` makes of the image in a file, scaled as Pillow decodes it."""
        if self.extent is None or type(self).fit is not Image.fit:
            return super().decode(file, framing)
        return self._reduced(file.fitted(self._fit(framing), draft=framing.draft), framing)

    def _reduced(
        self, image: UInt8[np.ndarray, "H W c"], framing: Framing
    ) -> UInt8[np.ndarray, "h w c"]:
        """The whole, as it has been fitted, brought to the size of the field's stage."""
        if self.whole is None or self.extent is None or framing.jitter is not None:
            return image
        height, width = self.extent
        if self.cells:
            return Shrink(factor=self.whole[0] // height)(image)
        return Resample(size=(height, width))(image)

    def stored(self, framing: Framing) -> tuple[int | None, ...]:
        """Shape of what `fit` returns: the field's, or more where a part will be cut out of it."""
        if self.extent is None or framing.jitter is None:
            return self.shape
        height, width = self.extent
        side = round(framing.jitter * width / height)
        return (*self.shape[:-3], framing.jitter, side, self.shape[-1])

    def plural(self) -> str:
        """Their size, where it is known."""
        known = any(n is not None for n in self.shape)
        return f"{self._size()} {self.kind()}s" if known else f"{self.kind()}s"

    def _scales(self, framing: Framing) -> bool:
        return framing.resize or framing.jitter is not None

    def _fit(self, framing: Framing) -> Fit:
        shape: tuple[Any, ...] = self.stored(framing)[-3:]
        if self.whole is not None and framing.jitter is None:
            shape = (*self.whole, shape[-1])
        height, width, count = shape
        return Fit(shape=(height, width, count), resize=self._scales(framing), crop=framing.crop)

    def place(self, items: UInt8[np.ndarray, "n ..."], geometry: Geometry) -> np.ndarray:
        """Cuts the field's size out of each item, and mirrors some."""
        if geometry.tops is not None and geometry.lefts is not None and self.extent is not None:
            height, width = self.extent
            shares, have = (geometry.tops, geometry.lefts), items.shape[-3:-1]
            tops, lefts = (
                np.minimum(np.rint(share * side).astype(int), side - cut)
                for share, side, cut in zip(shares, have, self.extent, strict=True)
            )
            items = np.stack(
                [
                    item[..., y : y + height, x : x + width, :]
                    for item, y, x in zip(items, tops, lefts, strict=True)
                ]
            )
        if geometry.flips is not None:
            items = items.copy() if not items.flags.writeable else items
            chosen = items[geometry.flips]
            mirrored = np.empty_like(chosen)
            for channel in range(items.shape[-1]):  # three times as fast as all at once
                mirrored[..., channel] = chosen[..., ::-1, channel]
            items[geometry.flips] = mirrored
        return items

    def to_network(self, items: np.ndarray) -> Float[np.ndarray, "n ..."]:
        """Bytes as numbers in [-1, 1]."""
        numbers = np.asarray(items).astype(np.float32)
        numbers /= 127.5
        numbers -= 1.0
        return numbers

    def from_network(self, items: Any) -> UInt8[np.ndarray, "n ..."]:
        """Numbers in [-1, 1] as bytes, rounded to the nearest."""
        return pictures.to_uint8(items)

    def noise(self, rng: np.random.Generator, count: int) -> UInt8[np.ndarray, "n ..."]:
        """Random bytes."""
        return rng.integers(0, 256, (count, *self._static()), np.uint8)

    def read(self, text: str) -> UInt8[np.ndarray, "h w c"]:
        """The image in a file; brought to the field's size, the middle of it if need be."""
        path = Path(text).expanduser()
        if path.is_dir() or not path.exists():
            what = "a folder" if path.is_dir() else "no file"
            raise UserError(f"{text} is {what}: give an image")
        return self.fit(read(path), Framing(resize=True))

    def show(self, item: np.ndarray, beside: Mapping[str, Any]) -> UInt8[np.ndarray, "h w c"]:
        """The image itself."""
        del beside
        return item

    def write(self, item: UInt8[np.ndarray, "h w c"], path: Path) -> None:
        """Writes a PNG, or what the name's ending says."""
        # Photographs take zlib a third of the time that its usual level takes, in 10% more bytes.
        pictures.as_image(item).save(path, compress_level=1)


def _pixels(raw: Any) -> UInt8[np.ndarray, "h w c"]:
    """The pixels of an image; refuses arrays that are none."""
    array = np.asarray(raw)
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise UserError(
            f"an array of shape {array.shape} is no image: expected height, width, 1 to 4 channels"
        )
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > 255:
            raise UserError(f"pixels of {array.dtype} are none: expected whole numbers of 0 to 255")
        array = array.astype(np.uint8)
    return array
