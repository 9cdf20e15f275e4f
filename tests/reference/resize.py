"""Resizing as TensorFlow 1 defines it."""

import numpy as np


def bilinear_tf1(images: np.ndarray, side: int) -> np.ndarray:
    """`resize_bilinear(align_corners=False)` of images [b, h, w, c], a row at a time, then columns.

    Row i lies at i * h / side, a float32, between two rows of which the lower is at most the last.
    """
    for axis in (1, 2):
        size = images.shape[axis]
        rows = np.moveaxis(images, axis, 0)
        made = []
        for index in range(side):
            place = np.float32(index) * np.float32(size / side)
            upper = rows[int(place)]
            lower = rows[min(int(place) + 1, size - 1)]
            made.append(upper + (lower - upper) * np.float32(place - int(place)))
        images = np.moveaxis(np.stack(made), 0, axis)
    return images
