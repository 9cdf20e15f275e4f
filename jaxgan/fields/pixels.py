"""Image files to pixels, and pixels to the shape a system draws."""

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxgan.errors import UserError


def read(
    file: str | os.PathLike[str] | io.BytesIO | io.BufferedReader,
) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image file, upright (EXIF orientation applied) and with the channels it has.

    c is 1 for grey, 2 for grey with alpha, 3 for RGB, 4 for RGBA. Palettes are looked up, bilevel
    images become 0 and 255, 16-bit grey is divided by 257 and rounded, anything else (CMYK, YCbCr,
    Lab) becomes RGB. Of an animation, the first frame.

    Raises:
      OSError: Not an image, or a damaged one.
      ValueError: Pixels that are no 8- or 16-bit numbers.
    """
    with Image.open(file) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F" or image.mode.startswith("I"):
            pixels = np.asarray(image)
            if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
                raise ValueError("32-bit pixels")
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        else:
            grey = image.mode in ("1", "L", "LA", "La")
            mode = "L" if grey else "RGB"
            if image.has_transparency_data:
                mode = "LA" if grey else "RGBA"
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def load(path: Path) -> tuple[bytes, UInt8[np.ndarray, "h w c"]]:
    """Return a file's content and its image (see `read`), for files that nobody has checked.

    Raises:
      UserError: It cannot be read, or not decoded; says what was found.
    """
    content = b""
    try:
        content = path.read_bytes()
        return content, read(io.BytesIO(content))
    except UnidentifiedImageError:
        found = f"no image but {content[:16]!r}..." if content else "an empty file"
    except OSError as error:
        found = error.strerror or f"a damaged image ({error})"
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        found = f"a damaged or unusable image ({error})"
    raise UserError(f"{path}: found {found}, expected an image: replace or remove the file")


def channels(image: UInt8[np.ndarray, "h w c"], count: int) -> UInt8[np.ndarray, "h w C"]:
    """Convert to `count` channels: 1 (grey), 3 (RGB) or 4 (RGBA).

    Alpha that is not asked for is composited on white, alpha that is missing is opaque, grey is
    repeated into RGB, and RGB becomes luma by ITU-R BT.601 (in Pillow's integer arithmetic).
    """
    if image.shape[2] == count:
        return image
    if image.shape[2] in (2, 4):
        image, alpha = image[:, :, :-1], image[:, :, -1:]
    else:
        alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    if count != 4 and (alpha != 255).any():
        weight = alpha.astype(np.uint32)
        image = ((image * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)
    if count == 1 and image.shape[2] == 3:
        luma = image @ np.array([19595, 38470, 7471], np.uint32)
        image = ((luma + 0x8000) >> 16).astype(np.uint8)[:, :, None]
    elif count != 1 and image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    return np.concatenate([image, alpha], axis=2) if count == 4 else image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Fits an image to the shape a system draws; no randomness.

    In this order: a centre crop of `crop` pixels, the channels of `shape` (see `channels`) and,
    with `resize`, the largest centred region of the system's aspect ratio scaled to its size. For
    a square system that is: shorter side to the resolution, then a centre crop. The filter is
    Pillow's Lanczos, which widens with the reduction, so that nothing aliases.

    Attributes:
      shape: (height, width, channels) of the result.
      resize: Whether other sizes are scaled; refused otherwise.
      crop: Side of the centre crop, in pixels of the original; None for none.
      nearest: Whether pixels are picked instead, for masks.
    """

    shape: tuple[int, int, int]
    resize: bool = False
    crop: int | None = None
    nearest: bool = False

    def problem(self, found: tuple[int, ...]) -> str | None:
        """Say, in a clause that follows a name, why an image of that shape cannot be fitted."""
        height, width = found[:2]
        if self.crop is not None:
            if self.crop > min(height, width):
                small = f"is {text(found)}, too small for --crop {self.crop}"
                return f"{small}: give a smaller one, or --crop None"
            height = width = self.crop
        if self.resize or (height, width) == self.shape[:2]:
            return None
        cropped = "" if self.crop is None else f", cropped to {height}x{width}"
        return (
            f"is {text(found)}{cropped}, the system draws {text(self.shape)}: "
            f"add --resize, or set the system to {height}x{width}"
        )

    def __call__(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "H W C"]:
        """Return the image in `shape`.

        Raises:
          UserError: It is too small for the crop, or of another size and `resize` is off.
        """
        if problem := self.problem(image.shape):
            raise UserError(f"an image {problem}")
        if self.crop is not None:
            top, left = ((side - self.crop) // 2 for side in image.shape[:2])
            image = image[top : top + self.crop, left : left + self.crop]
        height, width, count = self.shape
        image = channels(image, count)
        if image.shape[:2] == (height, width):
            return image
        # Pillow wants grey without a channel axis.
        picture = Image.fromarray(image[:, :, 0] if count == 1 else image)
        resample = Image.Resampling.NEAREST if self.nearest else Image.Resampling.LANCZOS
        picture = ImageOps.fit(picture, (width, height), resample)
        return np.asarray(picture).reshape(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shrink:
    """Makes an image smaller by a whole number: means over cells, rounded (ProGAN's pyramid).

    Attributes:
      factor: Side of a cell, in pixels; it divides height and width.
    """

    factor: int

    def __call__(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "H W c"]:
        """Return the small image."""
        height, width, count = image.shape
        f = self.factor
        cells = image.reshape(height // f, f, width // f, f, count)
        return np.rint(cells.mean((1, 3))).astype(np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resample:
    """Brings an image to another size, whatever that does to its aspect ratio.

    The filter is Pillow's bicubic one, which widens with the reduction.

    Attributes:
      size: (height, width) of the result.
    """

    size: tuple[int, int]

    def __call__(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "H W c"]:
        """Return the image in `size`."""
        height, width = self.size
        # Pillow wants grey without a channel axis.
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        small = picture.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(small).reshape(height, width, image.shape[2])


def text(shape: tuple[int, ...]) -> str:
    """Write a shape as messages do: 28x28x1, height first."""
    return "x".join(map(str, shape))
