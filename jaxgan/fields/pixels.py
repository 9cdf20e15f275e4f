"""Image files to pixels, and pixels to the shape a system draws.

This is the one place where files are decoded. Whatever a decoder raises becomes a `UserError` that
names the file, and a decoder never sees what is no regular file, what is of a format that is not
listed, or what has too many pixels.
"""

import contextlib
import dataclasses
import functools
import io
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError, features

from jaxgan.errors import UserError
from jaxgan.files import read_regular

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF")
"""Formats that are decoded, as Pillow calls them. Not those that run programs (EPS), nor those that
compose an image of layers (PSD). HEIF needs the extra `heic`."""

HEIF_EXTENSIONS = (".heic", ".heif", ".hif")
_EXTENSIONS: tuple[str, ...] = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
)

_SPARE = 1.25
"""How much larger than what is wanted an image is at least that a decoder has reduced."""

MAX_PIXELS = 100_000_000
"""Height times width of the largest image that is decoded, where nothing else is said."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read, the same for all of a data set.

    Attributes:
      max_pixels: Height times width of the largest image that is decoded.
      recursive: Whether folders in sub-folders are entered; refused otherwise.
      skip_broken: Whether damaged files are left out; refused otherwise.
      fps: Frames a second that are taken of clips; None: all.
    """

    max_pixels: int = MAX_PIXELS
    recursive: bool = False
    skip_broken: bool = False
    fps: float | None = None


USUAL = Reading()

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation, what sets an image upright."""

_HEIF = re.compile(rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL)
"""How HEIF files begin; AVIF's may do so too, and say avif further on."""

_SAID: set[str] = set()

File = str | os.PathLike[str] | bytes | io.BytesIO
"""A path, or the content of a file."""


def read(
    file: File, *, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image file, upright and with the channels it has.

    c is 1 for grey, 2 for grey with alpha, 3 for RGB, 4 for RGBA. Palettes are looked up, bilevel
    images become 0 and 255, 16-bit grey is divided by 257 and rounded, anything else (CMYK, YCbCr,
    Lab) becomes RGB. Of several frames, the first. Of EXIF only the orientation is used; an image
    whose EXIF cannot be read stays as it is stored. Both are said once a process, with the name of
    the first such file.

    Args:
      file: The file, or its content.
      name: Of it, for messages; the path by default.
      max_pixels: Height times width of the largest image that is decoded.

    Raises:
      UserError: It cannot be read, or not decoded; says what was found.
    """
    name = _named(file, name)
    with naming(name):
        content = _content(file, max_pixels)
    return Picture(content, name=name, max_pixels=max_pixels).whole()


def load(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, UInt8[np.ndarray, "h w c"]]:
    """Return a file's content and its image; arguments and errors as of `read`."""
    name = _named(path, None)
    with naming(name):
        content = _content(path, max_pixels)
    return content, Picture(content, name=name, max_pixels=max_pixels).whole()


def _named(file: File, name: str | None) -> str:
    if name is not None:
        return name
    return str(Path(file)) if isinstance(file, str | os.PathLike) else "an image in memory"


def _content(file: File, max_pixels: int) -> bytes:
    if isinstance(file, bytes):
        return file
    if isinstance(file, io.BytesIO):
        return file.getvalue()
    return read_regular(file, limit=largest_file(max_pixels))


def largest_file(max_pixels: int) -> int:
    """Bytes that the file of an image of so many pixels may have."""
    # No format needs more than 16 bits for each of four channels, but for what is no image in it.
    return 8 * max_pixels + 2**26


def extensions() -> tuple[str, ...]:
    """Endings of the names of image files that can be read here, in lower case."""
    found = _EXTENSIONS
    if not features.check("avif"):
        found = tuple(each for each in found if each != ".avif")
    return found + HEIF_EXTENSIONS if _reads_heif() else found


@functools.cache
def _reads_heif() -> bool:
    """Whether pillow-heif is installed, which Pillow then knows of."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Whatever goes wrong with a file's image, in a line that names the file.

    Decoders raise anything for a damaged file: struct.error, TypeError, IndexError, MemoryError.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, _Unusable):
            found = str(error)
        elif isinstance(error, OSError) and error.strerror:
            found = error.strerror
        else:
            found = f"a damaged image ({_line(error)})"
        raise UserError(
            f"{name}: found {found}, expected an image: replace or remove it"
        ) from error


class _Unusable(Exception):
    """What was found instead of an image."""


def _line(error: Exception) -> str:
    """What a decoder says, in one line; its type, where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def too_many(name: str, found: str, max_pixels: int) -> UserError:
    """A refusal of what has more pixels than may be decoded."""
    return UserError(
        f"{name}: found {found}, more than {max_pixels:,} pixels: make it smaller (only `train` "
        "with --data.max-pixels, and commands that have --max-pixels take larger ones)"
    )


@contextlib.contextmanager
def opened(content: bytes, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image of a listed format and of not too many pixels; nothing is decoded yet."""
    if not content:
        raise _Unusable("an empty file")
    if _HEIF.match(content) and b"avif" not in content[:64] and not _reads_heif():
        raise UserError(f"{name} is an image in HEIF: pip install 'jaxgan[heic]' to read such")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_QUIET)
        try:
            image = stack.enter_context(_open(content))
        except UnidentifiedImageError:
            raise _Unusable(f"no image but {content[:16]!r}...") from None
        if image.height * image.width > max_pixels:
            raise too_many(name, f"an image of {image.width}x{image.height}", max_pixels)
        yield image


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    """Formats that can be decoded here."""
    return tuple(each for each in FORMATS if each != "HEIF" or _reads_heif())


class _Quiet:
    """A context in which Pillow has no limit of its own, and says nothing on the side.

    Its limit, which it also looks at while it decodes, warns without a name, and ends where ours
    may be set beyond it. What it warns and logs of odd files names none. All of
    that holds for the whole process: the first thread that decodes turns it off, the last one on.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limit: int | None = None
        self._warnings = warnings.catch_warnings()
        self._logger, self._level = logging.getLogger("PIL"), 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._level = self._logger.level
            self._logger.setLevel(logging.CRITICAL + 1)
            self._warnings = warnings.catch_warnings()
            self._warnings.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._warnings.__exit__(None, None, None)
                self._logger.setLevel(self._level)
                Image.MAX_IMAGE_PIXELS = self._limit


_QUIET = _Quiet()


def quiet() -> contextlib.AbstractContextManager[None]:
    """A context of many images: what is done once for each of them is done once for all."""
    return _QUIET


def _loaded(image: Image.Image, name: str) -> Image.Image:
    """Decode what has been opened: the first frame, upright."""
    # Photographs of two views (MPO) are no animations.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        say("frames", f"{name} has several frames, of which the first is taken")
    image.load()
    turn = _turn(image, name)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image, name: str) -> Image.Transpose | None:
    """How EXIF says that an image is to be turned; nothing else in it is looked at."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        say("exif", f"{name} has EXIF that cannot be read: it stays turned as it is stored")
        return None


def say(kind: str, line: str) -> None:
    """Log a line of each kind once a process: it may be true of a million files."""
    if kind not in _SAID:
        _SAID.add(kind)
        logging.getLogger("jaxgan").warning("%s (said of the first such file)", line)


class Picture:
    """An image file that is decoded when it is known what it is fitted to.

    Args:
      content: The file's.
      name: Of it, for messages.
      max_pixels: Height times width of the largest image that is decoded.
    """

    def __init__(self, content: bytes, *, name: str, max_pixels: int):
        self.content, self._name, self._max_pixels = content, name, max_pixels
        self._decoded: dict[int, Image.Image] = {}

    def whole(self) -> UInt8[np.ndarray, "h w c"]:
        """The image as `read` returns it."""
        with naming(self._name), quiet():
            return eight_bits(self._load(None)[0])

    def fitted(self, fit: "Fit", *, draft: bool = False) -> UInt8[np.ndarray, "H W C"]:
        """The image as `fit` makes it of the whole one.

        Args:
          fit: What it is fitted to.
          draft: Let the decoder of a JPEG reduce it to a half, a quarter or an eighth, where that
            leaves 1.25 times what `fit` scales it to: sooner done, and not the same to the bit.

        Raises:
          UserError: As of `read`; it cannot be fitted.
        """
        with naming(self._name), quiet():
            picture, size = self._load(fit if draft else None)
            if fit.crop is not None or not _has_channels(picture, fit.shape[2]):
                return fit(eight_bits(picture))
            return fit.scaled(picture, size)

    def _load(self, fit: "Fit | None") -> tuple[Image.Image, tuple[float, float]]:
        """The image upright, reduced if `fit` leaves it to the decoder, and how large it really is.

        A decoder rounds up the sides of what it reduces.
        """
        with opened(self.content, self._name, self._max_pixels) as image:
            width, height = image.size
            reduction = 1 if fit is None else self._reduction(image, fit)
            # What another field has had decoded is large enough, and the same picture.
            reduction = max((r for r in self._decoded if r <= reduction), default=reduction)
            if reduction not in self._decoded:
                if reduction > 1:
                    image.draft(None, (width // reduction, height // reduction))
                self._decoded[reduction] = _loaded(image, self._name)
        picture = self._decoded[reduction]
        size = picture.size if reduction == 1 else (width / reduction, height / reduction)
        return picture, size

    def _reduction(self, image: Image.Image, fit: "Fit") -> int:
        """By how much a decoder may reduce an image that is opened: JPEGs that are not turned."""
        reduction = fit.reduction(*image.size)
        kept = (
            image.format != "JPEG"
            or not _has_channels(image, fit.shape[2])
            or _turn(image, self._name) is not None
        )
        return 1 if reduction == 1 or kept else reduction


def _has_channels(image: Image.Image, count: int) -> bool:
    """Whether an image is grey or RGB as it is, of so many channels."""
    return {1: "L", 3: "RGB"}.get(count) == image.mode and not image.has_transparency_data


def eight_bits(image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    """Return pixels of 8 bits: grey or in colours, with alpha where there is some."""
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = np.asarray(image)
        if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
            raise _Unusable("pixels of 32 bits")
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)[:, :, None]
    grey = image.mode in ("1", "L", "LA", "La")
    mode = "L" if grey else "RGB"
    if image.has_transparency_data:
        mode = "LA" if grey else "RGBA"
    found = np.asarray(image if image.mode == mode else image.convert(mode))
    return found[:, :, None] if found.ndim == 2 else found


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


def covering(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 1"]:
    """What a mask covers: its grey, on black where it is transparent, for nothing is marked there.

    That is 255 where it is white and opaque, 0 where it is black or transparent.
    """
    if image.shape[2] not in (2, 4):
        return channels(image, 1)
    grey = channels(image[:, :, :-1], 1).astype(np.uint32)
    return ((grey * image[:, :, -1:] + 127) // 255).astype(np.uint8)


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
        return self.scaled(Image.fromarray(image[:, :, 0] if count == 1 else image))

    def scaled(
        self, picture: Image.Image, size: tuple[float, float] | None = None
    ) -> UInt8[np.ndarray, "H W C"]:
        """Return Pillow's image, which has the channels of `shape`, in its height and width.

        Args:
          picture: The image.
          size: How many pixels of it the image really is wide and high, less than one fewer than it
            has, where a decoder has reduced it; None: all.

        Raises:
          UserError: It is of another size, and `resize` is off.
        """
        height, width, count = self.shape
        if picture.size != (width, height):
            if problem := self.problem((picture.height, picture.width, count)):
                raise UserError(f"an image {problem}")
            have = size or picture.size
            # The largest centred region of this aspect ratio, as `PIL.ImageOps.fit` finds it.
            ratio, found = width / height, have[0] / have[1]
            wide = ratio * have[1] if found > ratio else have[0]
            high = have[0] / ratio if found < ratio else have[1]
            left, top = (have[0] - wide) * 0.5, (have[1] - high) * 0.5
            resample = Image.Resampling.NEAREST if self.nearest else Image.Resampling.LANCZOS
            box = (left, top, left + wide, top + high)
            picture = picture.resize((width, height), resample, box=box)
        return np.asarray(picture).reshape(self.shape)

    def reduction(self, width: int, height: int) -> int:
        """By how much an image may be reduced before it is scaled: 1, 2, 4 or 8 times."""
        if not self.resize or self.crop is not None or self.nearest:
            return 1
        scale = min(width / self.shape[1], height / self.shape[0]) / _SPARE
        return max((each for each in (2, 4, 8) if each <= scale), default=1)


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
