"""Images by standard coders, which learned ones are compared with: JPEG, WebP, AVIF, by Pillow."""

import io
from typing import Annotated, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, features

from jaxgan.pictures import as_image
from jaxgan.ranges import Within, checked

FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"optimize": True},
    "WebP": {"method": 6},
    "AVIF": {"speed": 4},
}
"""What each is written with, beside its quality."""

Quality = Annotated[int, Within(0, 100)]

QUALITIES = (1, 5, 10, 20, 35, 50, 65, 80, 90)
"""As Pillow counts them."""


def available() -> list[str]:
    """Those that this Pillow can write."""
    return [name for name in FORMATS if name == "JPEG" or features.check(name.lower())]


@checked
def coded(
    image: UInt8[np.ndarray, "h w c"], format: str, quality: Quality
) -> tuple[int, UInt8[np.ndarray, "h w c"]]:
    """How many bytes a file of an image has, all counted, and the image that is in it."""
    out = io.BytesIO()
    as_image(image).save(out, format, quality=quality, **FORMATS[format])
    with Image.open(io.BytesIO(out.getvalue())) as read:
        pixels = np.asarray(read.convert("L" if image.shape[-1] == 1 else "RGB"))
    return len(out.getvalue()), pixels.reshape(image.shape)
