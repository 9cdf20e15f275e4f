"""Frames of video files, of animations and of strips of frames, one after the other.

Video files need PyAV (the extra `video`); GIF, APNG and animated WebP are Pillow's. Whatever a
decoder raises becomes a `UserError` that names the file. A demuxer is chosen by the file's ending,
never guessed: some of those that FFmpeg would guess open other files.
"""

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageSequence

from jaxgan import pictures
from jaxgan.errors import UserError
from jaxgan.fields.pixels import (
    MAX_PIXELS,
    channels,
    eight_bits,
    extensions,
    naming,
    opened,
    read,
    too_many,
)
from jaxgan.files import read_given

VIDEOS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov"), "mov"),
    **dict.fromkeys((".webm", ".mkv"), "matroska"),
    **{".avi": "avi", ".mpg": "mpeg", ".mpeg": "mpeg"},
}
"""By ending, FFmpeg's demuxer."""

LARGEST = 2**31
"""Bytes of a video file."""


class Shot(NamedTuple):
    """A frame, not yet converted.

    Attributes:
      seconds: When it is shown; None: there are no times.
      size: Height and width, upright.
      pixels: Makes it uint8 [h, w, c].
    """

    seconds: float | None
    size: tuple[int, int]
    pixels: Callable[[], UInt8[np.ndarray, "h w c"]]


def endings() -> tuple[str, ...]:
    """Endings of files that hold clips."""
    return (*VIDEOS, ".apng", *extensions())


def shots(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Iterator[Shot]:
    """Yield the frames of a file: of a video, of an animation, or of a strip.

    A still image is a strip: square frames side by side along its longer side.

    Args:
      content: Of the file.
      name: Of it; its ending says what it is.
      max_pixels: Height times width of the largest frame, and of all of an animation together.

    Raises:
      UserError: It cannot be decoded; frames of several sizes; a video without pictures.
    """
    ending = Path(name).suffix.lower()
    size = None
    for shot in (
        _video(content, name, ending) if ending in VIDEOS else _images(content, name, max_pixels)
    ):
        if size is None:
            size = shot.size
            if size[0] * size[1] > max_pixels:
                raise too_many(name, f"a video of {size[1]}x{size[0]}", max_pixels)
        if shot.size != size:
            raise UserError(
                f"{name} has frames of different sizes, {_text(size)} and then {_text(shot.size)}: "
                "convert it to one size, or remove it"
            )
        yield shot
    if size is None:
        raise UserError(f"{name} holds no frames: replace or remove it")


def stills(
    files: Sequence[Callable[[], bytes]], names: Sequence[str], max_pixels: int = MAX_PIXELS
) -> Iterator[Shot]:
    """Yield the frames that lie in files of their own, in order.

    Raises:
      UserError: One cannot be decoded; they differ in size.
    """
    size: tuple[int, int] | None = None
    for file, name in zip(files, names, strict=True):
        image = read(file(), name=name, max_pixels=max_pixels)
        found = (image.shape[0], image.shape[1])
        if size is not None and found != size:
            raise UserError(
                f"{name} is {_text(found)}, frames before it are {_text(size)}: make all frames of "
                "a clip of one size"
            )
        size = found
        yield Shot(None, found, lambda image=image: image)  # type: ignore[misc]


def read_clip(path: str | Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "t h w c"]:
    """Return all frames of a file, or of a folder of frames in the order of their names.

    Raises:
      UserError: As `shots` and `stills`; nothing there; all frames have more than `max_pixels`.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        images = (p for p in path.iterdir() if p.name.lower().endswith(extensions()))
        found = sorted(images, key=lambda p: counted(p.name))
        if not found:
            raise UserError(f"{path} holds no frames: give a folder of images, or a video")
        each = stills([p.read_bytes for p in found], [str(p) for p in found], max_pixels)
    elif path.is_file():
        each = shots(read_given(path, limit=LARGEST), str(path), max_pixels)
    else:
        raise UserError(f"{path} does not exist: give a video, an animation or a folder of frames")
    frames: list[np.ndarray] = []
    for shot in each:
        if (len(frames) + 1) * shot.size[0] * shot.size[1] > max_pixels:
            raise too_many(str(path), f"a clip of {_text(shot.size)}", max_pixels)
        frames.append(shot.pixels())
    return np.stack(frames)


def counted(name: str) -> tuple[tuple[str, int], ...]:
    """What frames are sorted by: their names, numbers in these by size, 2.png before 10.png."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", name)
    return tuple((text, int(digits or -1)) for text, digits in parts)


def thinned(seconds: Float[np.ndarray, " t"], rate: float, name: str) -> np.ndarray:
    """Numbers of the frames that are shown at 0, 1/rate, 2/rate, ... seconds.

    Raises:
      UserError: There are not so many frames a second.
    """
    seconds = seconds - seconds[0]
    if len(seconds) > 1:
        found = (len(seconds) - 1) / max(seconds[-1], 1e-9)
        if rate > 1.01 * found:
            raise UserError(
                f"{name} has {found:.4g} frames a second, --data.fps is {rate:g}: give as many at "
                "most"
            )
    wanted = np.arange(int(seconds[-1] * rate + 1e-3) + 1) / rate
    # Times are rounded in files, so a frame counts a little before it is shown.
    return np.searchsorted(seconds, wanted + 0.25 / rate, side="right") - 1


# --- decoders


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]} (width x height)"


def _images(content: bytes, name: str, max_pixels: int) -> Iterator[Shot]:
    """An animation of Pillow's, or a strip."""
    with naming(name), opened(content, name, max_pixels) as image:
        several = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
        if several:
            yield from _animation(image, name, max_pixels)
            return
    yield from _strip(read(content, name=name, max_pixels=max_pixels), name)


def _animation(image: Image.Image, name: str, max_pixels: int) -> Iterator[Shot]:
    """The frames of an animation. Writers leave out those that equal the one before, which is shown
    longer: where all times are multiples of the shortest, such frames are put back.
    """
    shown, size = [], (image.height, image.width)
    lasts: list[int] = []

    def check(count: int) -> None:
        if count * size[0] * size[1] > max_pixels:
            raise too_many(name, f"an animation of {size[1]}x{size[0]}", max_pixels)

    for count, frame in enumerate(ImageSequence.Iterator(image), 1):
        check(count)
        shown.append(channels(eight_bits(frame), 3))
        # Only what is loaded knows it. What a file leaves out, or makes 0, browsers show for a
        # tenth of a second.
        lasts.append(round(float(frame.info.get("duration") or 100)))
    unit = min(lasts)
    even = all(each % unit == 0 for each in lasts)
    check(sum(lasts) // unit if even else len(lasts))
    seconds = 0.0
    for pixels, milliseconds in zip(shown, lasts, strict=True):
        for _ in range(milliseconds // unit if even else 1):
            yield Shot(seconds, size, lambda pixels=pixels: pixels)  # type: ignore[misc]
            seconds += (unit if even else milliseconds) / 1000


def _strip(image: UInt8[np.ndarray, "h w c"], name: str) -> Iterator[Shot]:
    height, width = image.shape[:2]
    side, across = min(height, width), width >= height
    count, rest = divmod(max(height, width), side)
    if rest or count < 2:
        raise UserError(
            f"{name} is an image of {width}x{height}, no clip: expected an animation, or a strip "
            "of square frames side by side"
        )
    for number in range(count):
        cut = slice(number * side, (number + 1) * side)
        frame = image[:, cut] if across else image[cut]
        yield Shot(None, (side, side), lambda frame=frame: frame)  # type: ignore[misc]


def _video(content: bytes, name: str, ending: str) -> Iterator[Shot]:
    """The frames of a video, by PyAV."""
    av = av_of(name)
    if not content:
        raise UserError(f"{name}: found an empty file, expected a video: replace or remove it")
    with _damages(av, name), av.open(io.BytesIO(content), format=VIDEOS[ending]) as file:
        if not file.streams.video:
            what = "sound alone" if file.streams.audio else "no pictures"
            raise UserError(f"{name} has {what}, expected a video: remove it")
        stream = file.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}
        rate, count = float(stream.average_rate or 25), 0
        seen: list[None] = []
        for frame in _decoded(file, stream, seen):
            if frame.is_corrupt:
                raise UserError(
                    f"{name}: found a damaged frame {count}, expected a video: replace or remove it"
                )
            turns = _quarters(frame, name)
            size = (frame.height, frame.width)[:: -1 if turns % 2 else 1]
            seconds = count / rate if frame.time is None else float(frame.time)
            yield Shot(seconds, size, lambda frame=frame, turns=turns: _rgb(frame, turns))  # type: ignore[misc]
            count += 1
        # Of a film that was trimmed, packets before its beginning are there and not shown.
        if count and len(seen) < stream.frames:
            raise UserError(
                f"{name} ends after {len(seen)} of {stream.frames} frames: copy it again, or "
                "remove it"
            )
        # Matroska counts no frames, but says how long it lasts; sound may last longer.
        lasts = (file.duration or 0) / av.time_base
        end = seconds + max(3 / rate, 0.2) if count else lasts
        if not stream.frames and not file.streams.audio and end < lasts:
            raise UserError(
                f"{name} ends after {seconds:.3g} of {lasts:.3g} seconds: copy it again, or remove "
                "it"
            )


def _decoded(file: Any, stream: Any, seen: list[None]) -> Iterator[Any]:
    """Frames of a stream; an item is put into `seen` for each packet that holds something."""
    for packet in file.demux(stream):
        if packet.size:
            seen.append(None)
        yield from packet.decode()


def av_of(name: str) -> Any:
    """The module of PyAV.

    Raises:
      UserError: It is not installed.
    """
    os.environ.setdefault("SVT_LOG", "0")  # AV1's coder would fill the terminal
    try:
        import av
    except ImportError:
        raise UserError(
            f"{name} is a video, which PyAV reads and writes: pip install 'jaxgan[video]'"
        ) from None
    av.logging.set_level(av.logging.PANIC)
    return av


@contextlib.contextmanager
def _damages(av: Any, name: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        said = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(
            f"{name}: found a damaged video ({said}), expected one: replace or remove it"
        ) from error


def _quarters(frame: Any, name: str) -> int:
    """By how many quarters the file says that a frame is to be turned, counter-clockwise."""
    angle = frame.rotation
    if angle % 90:
        raise UserError(
            f"{name} is to be turned by {angle} degrees, expected 0, 90, 180 or 270: convert it"
        )
    return angle // 90 % 4


def _rgb(frame: Any, turns: int) -> UInt8[np.ndarray, "h w 3"]:
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


# --- writing

FILMS = (".gif", ".webp", ".mp4")
"""Endings of files that `write_film` writes."""

_MILLISECONDS = 80
"""That a frame is shown for."""


def write_film(
    frames: UInt8[np.ndarray, "t n h w c"], path: Path, columns: int | None = None
) -> None:
    """Write grids of n clips that run together, in the format that the path's ending says.

    Raises:
      UserError: It is .mp4, and PyAV is not installed.
    """
    if path.suffix.lower() != ".mp4":
        pictures.animate(frames, path, _MILLISECONDS, columns)
        return
    grids = [np.asarray(pictures.grid(images, columns).convert("RGB")) for images in frames]
    write_mp4(np.stack(grids), path, 1000 / _MILLISECONDS)


def write_mp4(frames: UInt8[np.ndarray, "t h w c"], path: Path, rate: float) -> None:
    """Write an H.264 video, its last row or column doubled where height or width are odd.

    Raises:
      UserError: PyAV is not installed.
    """
    av = av_of(str(path))
    frames = np.broadcast_to(frames[..., :3], (*frames.shape[:3], 3))
    odd = [(0, 0), *((0, side % 2) for side in frames.shape[1:3]), (0, 0)]
    frames = np.pad(frames, odd, mode="edge")
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12"}
        for each in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(each), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
