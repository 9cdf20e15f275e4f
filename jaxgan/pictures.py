"""Samples as pictures: image grids, scatter plots for points in the plane; panels of curves."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw

GAP = 2
"""Pixels between the images of a grid."""


def to_uint8(images: Float[Array, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Images in [-1, 1] as bytes, rounded to the nearest."""
    return np.clip(np.rint((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def as_image(pixels: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """A Pillow image of 1 (grey), 3 (RGB) or 4 (RGBA) channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def grid(images: UInt8[np.ndarray, "n h w c"], columns: int | None = None) -> Image.Image:
    """Images in rows of `columns` (a square by default), `GAP` apart; grey if c is 1."""
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    canvas = np.full(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8
    )
    for index, image in enumerate(images):
        top, left = (height + GAP) * (index // columns), (width + GAP) * (index % columns)
        canvas[top : top + height, left : left + width] = image
    return as_image(canvas)


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures side by side from the top, on white."""
    mode = max(left.mode, right.mode, key=("L", "RGB", "RGBA").index)
    gap = 8 * GAP
    size = (left.width + gap + right.width, max(left.height, right.height))
    canvas = Image.new(mode, size, "white")
    canvas.paste(left.convert(mode), (0, 0))
    canvas.paste(right.convert(mode), (left.width + gap, 0))
    return canvas


def animate(
    frames: UInt8[np.ndarray, "f n h w c"],
    path: Path,
    milliseconds: int = 80,
    columns: int | None = None,
) -> None:
    """Writes an endless GIF, or WebP without loss as the path ends, of grids of n images.

    Each is shown for so long; `columns` as of `grid`.
    """
    first, *rest = (grid(images, columns).convert("RGB") for images in frames)
    lossless: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0, **lossless)


def attention(
    image: UInt8[np.ndarray, "h w c"], looks: Float[np.ndarray, "q k"]
) -> UInt8[np.ndarray, "h strip 3"]:
    """An image with four marked places, then where each of them looks.

    Args:
        image: grey or RGB.
        looks: of square grids of queries and keys, in row order.
    """
    side = image.shape[0]
    queries, keys = (math.isqrt(count) for count in looks.shape)
    colours = [(255, 64, 64), (64, 200, 64), (64, 128, 255), (255, 200, 0)]
    spots = [(1, 1), (1, 3), (3, 1), (3, 3)]  # in quarters
    rgb = as_image(image).convert("RGB")
    pixels = np.asarray(rgb, np.float32)
    marked = rgb.copy()
    draw = ImageDraw.Draw(marked)
    heats = []
    for (row, column), colour in zip(spots, colours, strict=True):
        radius = max(1, side // 24)
        y, x = row * side // 4, column * side // 4
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        weights = looks[row * queries // 4 * queries + column * queries // 4]
        heat = Image.fromarray((weights / weights.max()).reshape(keys, keys).astype(np.float32))
        smooth = np.asarray(heat.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
        heats.append(0.35 * pixels + 0.65 * smooth[..., None] * np.array(colour, np.float32))
    return np.concatenate(
        [np.asarray(marked), *(np.clip(h, 0, 255).astype(np.uint8) for h in heats)], 1
    )


def scatter(
    points: Float[np.ndarray, "n 2"], real: Float[np.ndarray, "m 2"] | None = None
) -> Image.Image:
    """Points in the plane, over `real` ones in grey; 512 x 512 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.12, 5.12), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, 0.06, 0.9, 0.92))
    if real is not None:
        axes.scatter(real[:, 0], real[:, 1], s=6, c="0.75", linewidths=0, label="data")
    axes.scatter(points[:, 0], points[:, 1], s=6, c="C0", linewidths=0, label="generated")
    axes.set_aspect("equal", "datalim")
    axes.legend(loc="upper right", frameon=False)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def panels(count: int) -> tuple[Any, list[Any]]:
    """A figure of Matplotlib, and its panels, side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * count, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
    return figure, axes


def drawn(figure: Any) -> Image.Image:
    """The picture of a figure."""
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
