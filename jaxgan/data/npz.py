"""Files of arrays (.npz), such as `jaxgan sample --out FILE.npz` writes."""

from pathlib import Path

import numpy as np

from jaxgan import npz
from jaxgan.data.base import Columns
from jaxgan.data.columns import absent, labels
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image
from jaxgan.fields.pixels import USUAL, Reading

_IMAGES = ("images", "image", "arr_0")
_LABELS = ("labels", "label", "arr_1")
"""What arrays are called here, and, last, where they have no names, as in ADM's samples."""

_NAMES = "classes"
"""The array of the classes' names, by number."""


def open_npz(name: str, reading: Reading = USUAL) -> Columns:
    """Open an .npz file: `images`, uint8 [n, h, w, c] or [n, h, w], and perhaps `labels` [n].

    The names of classes may lie in `classes`.

    Raises:
      UserError: It is no file of plain arrays; there are no images; labels are no classes.
    """
    del reading  # arrays are not decoded
    arrays = npz.read(Path(name).expanduser(), "images")
    main = next((each for each in _IMAGES if each in arrays), None)
    if main is None:
        raise UserError(
            f"{name} holds {', '.join(arrays) or 'nothing'}, expected `images`, uint8 "
            "[n, h, w, c], and perhaps `labels`, [n]"
        )
    images = arrays.pop(main)
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 2, 3, 4):
        raise UserError(
            f"{name}: {main} is {images.dtype} {images.shape}, expected uint8 [n, h, w, c] with 1 "
            "to 4 channels"
        )
    if not images.size:
        raise UserError(f"{name}: {main} is {images.shape}, which holds no pixels: make it anew")
    fields: dict[str, Field] = {"image": Image(images.shape[1:])}
    items, notes = {"image": images}, []
    found = next((each for each in _LABELS if each in arrays and each != main), None)
    if found is not None:
        values = arrays.pop(found)
        if values.shape != images.shape[:1]:
            raise UserError(f"{name}: {found} is {values.shape}, expected {images.shape[:1]}")
        names = [str(each) for each in arrays.pop(_NAMES, np.array([])).ravel()]
        column = labels(values.tolist(), f"{name} {found}", names or None)
        fields["label"], items["label"] = column.field, np.asarray(column.items)
        notes += absent(column)
    if arrays:
        notes.append(f"not read: {', '.join(sorted(arrays))}")
    source = Columns(items, fields, name=name)
    object.__setattr__(source, "notes", tuple(notes))
    return source
