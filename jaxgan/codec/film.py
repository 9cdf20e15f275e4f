"""Frames by the standard coders of videos, through PyAV, as bare streams without a container."""

import io
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxgan.errors import UserError
from jaxgan.fields.video import av_of

_LEAST, _LEAST_AV1 = 8, 64
"""Pixels a side, below which coders take no frames, or never end: smaller ones are continued."""


class Kind(NamedTuple):
    """How a coder is asked for.

    Attributes:
        coder: FFmpeg's name of it.
        format: of the stream.
        layouts: of pixels, for one channel and for three; "": it takes no three.
        options: of the coder.
        exact: whether it has no loss.
    """

    coder: str
    format: str
    layouts: tuple[str, str]
    options: dict[str, str]
    exact: bool


KINDS = {
    "h264": Kind("libx264", "h264", ("gray", "yuv444p"), {"qp": "0", "preset": "slow"}, True),
    "ffv1": Kind("ffv1", "nut", ("gray", "yuv444p"), {"level": "3"}, True),
    "av1": Kind("libsvtav1", "obu", ("yuv420p", ""), {"crf": "30", "preset": "6"}, False),
}
"""By name."""

_NO_MESSAGE = "filter_units=remove_types=6"
"""H.264's coder puts its settings into every stream, as text of 600 bytes."""


def write(frames: UInt8[np.ndarray, "t h w c"], kind: str) -> bytes:
    """Frames of one channel, or of three that are coded as they are, as a stream.

    Raises:
        UserError: PyAV is not installed.
    """
    chosen = KINDS[kind]
    av, layout = av_of("a clip"), chosen.layouts[frames.shape[-1] == 3]
    if not layout:
        raise ValueError(f"{kind} codes one channel here")
    height, width = frames.shape[1:3]
    least = _LEAST_AV1 if kind == "av1" else _LEAST
    rest = [(0, max(least - side, side % 2)) for side in (height, width)]
    frames = np.pad(frames, ((0, 0), *rest, (0, 0)), mode="edge")
    out = io.BytesIO()
    with av.open(out, "w", format=chosen.format) as file:
        stream = file.add_stream(chosen.coder, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = layout, chosen.options
        stream.thread_count = 1  # the same bytes everywhere
        strip = None
        if kind == "h264":
            strip = av.bitstream.BitStreamFilterContext(_NO_MESSAGE, stream)
        for frame in (*frames, None):
            packets = stream.encode(None if frame is None else _picture(av, frame, layout))
            for packet in packets:
                file.mux(packet if strip is None else strip.filter(packet))
        if strip is not None:
            file.mux(strip.filter(None))
    return out.getvalue()


def _picture(av: Any, frame: UInt8[np.ndarray, "h w c"], layout: str) -> Any:
    picture = av.VideoFrame(frame.shape[1], frame.shape[0], layout)
    for index, plane in enumerate(picture.planes):
        lines = np.full((plane.height, plane.line_size), 128, np.uint8)
        if index < frame.shape[-1]:
            lines[:, : plane.width] = frame[..., index]
        plane.update(lines)
    return picture


def read(
    content: bytes, kind: str, shape: tuple[int, int, int, int]
) -> UInt8[np.ndarray, "t h w c"]:
    """The frames of a stream.

    Raises:
        UserError: it holds others than of that shape; PyAV is not installed.
    """
    av, frames = av_of("a clip"), []
    count, height, width, channels = shape
    with av.open(io.BytesIO(content), format=KINDS[kind].format) as file:
        for picture in file.decode(video=0):
            planes = []
            for plane in picture.planes[:channels]:
                lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
                planes.append(lines[:height, : min(width, plane.width)])
            frames.append(np.stack(planes, -1))
    if len(frames) != count or frames[0].shape != (height, width, channels):
        raise UserError(f"holds {len(frames)} frames of another form than {shape}")
    return np.stack(frames)
