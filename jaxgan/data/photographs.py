"""Photographs and textures that scikit-image and scikit-learn ship, as sets for style transfer.

| spec              | images                                                                      |
| ----------------- | --------------------------------------------------------------------------- |
| photos:content    | a cat, a temple, a coffee, a rocket, a motorcycle, a cameraman              |
| photos:style      | colours, galaxies, a retina, a flower, bricks, grass, gravel, coins, the    |
|                   | moon, handwriting; each a class of its own                                  |
| photos:recoloured | all of these, and the coloured ones in the other five orders of their       |
|                   | colour channels                                                             |
| photos:held       | what is in none of these: an astronaut, a stained tissue                    |
"""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgan.data.base import Columns, Source
from jaxgan.errors import UserError, nearest
from jaxgan.fields import Image, Label
from jaxgan.fields.pixels import USUAL, Reading, channels, read

SETS: dict[str, tuple[str, ...]] = {
    "content": (
        *("chelsea.png", "china.jpg", "coffee.png", "rocket.jpg", "motorcycle_left.png"),
        "camera.png",
    ),
    "style": (
        *("color.png", "hubble_deep_field.jpg", "retina.jpg", "flower.jpg", "brick.png"),
        *("grass.png", "gravel.png", "coins.png", "moon.png", "text.png"),
    ),
    "held": ("astronaut.png", "ihc.png"),
}
"""Files by set."""

_SKLEARN = ("china.jpg", "flower.jpg")
_RECOLOURED = "recoloured"


def open_photos(spec: str, reading: Reading = USUAL) -> Source:
    """Open `photos:SET`.

    Raises:
      UserError: No such set; a package is not installed.
    """
    name, known = spec.removeprefix("photos:"), (*SETS, _RECOLOURED)
    if name not in known:
        raise UserError(f"{spec}: there are {', '.join(known)}{nearest(name, known)}")
    files = SETS["content"] + SETS["style"] if name == _RECOLOURED else SETS[name]
    images = [channels(read(path(file), max_pixels=reading.max_pixels), 3) for file in files]
    if name == _RECOLOURED:
        images = [other for image in images for other in _orders(image)]
        return Columns({"image": images}, {"image": Image((None, None, 3))}, name=spec)
    classes = tuple(Path(file).stem for file in files)
    return Columns(
        {"image": images, "label": np.arange(len(files), dtype=np.int32)},
        {"image": Image((None, None, 3)), "label": Label(classes=len(files), names=classes)},
        name=spec,
    )


def path(file: str) -> Path:
    """Where a photograph lies.

    Raises:
      UserError: Its package is not installed.
    """
    package, title, folder = (
        ("sklearn", "scikit-learn", "datasets/images")
        if file in _SKLEARN
        else ("skimage", "scikit-image", "data")
    )
    # Importing the package would take seconds.
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"{file} comes with the package {title}, which is not installed: "
            "pip install 'jaxgan[demo]'"
        )
    return Path(found.submodule_search_locations[0], folder, file)


def _orders(image: UInt8[np.ndarray, "h w 3"]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The image, and if it is coloured in the other orders of its channels."""
    if (image == image[..., :1]).all():
        return [image]
    return [np.ascontiguousarray(image[..., order]) for order in itertools.permutations(range(3))]
