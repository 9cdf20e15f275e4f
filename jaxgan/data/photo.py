"""One image as a data set.

| spec         | image                                            |
| ------------ | ------------------------------------------------ |
| image:FILE   | of that file                                     |
| image:china  | a Chinese temple, 427x640, from scikit-learn     |
| image:flower | a flower before dark leaves, 427x640, from there |

A file that is called like one of these is image:./china.
"""

import importlib.util
from pathlib import Path

from jaxgan.data.base import Arrays
from jaxgan.errors import UserError
from jaxgan.fields.pixels import USUAL, Reading, read

PHOTOS = ("china", "flower")
"""What scikit-learn ships, in datasets/images/NAME.jpg."""


def open_image(spec: str, reading: Reading = USUAL) -> Arrays:
    """Open `image:FILE` or `image:NAME`.

    Raises:
      UserError: No such file, or one that is no image; scikit-learn is not installed.
    """
    name = spec.removeprefix("image:")
    path = Path(name).expanduser()
    if name in PHOTOS:
        # Importing the package would take seconds.
        found = importlib.util.find_spec("sklearn")
        if found is None or not found.submodule_search_locations:
            raise UserError(
                f"{spec} comes with the package scikit-learn, which is not installed: "
                "pip install 'jaxgan[demo]'"
            )
        path = Path(found.submodule_search_locations[0], "datasets", "images", f"{name}.jpg")
    elif path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{spec}: {name!r} {what}: give an image, or one of {', '.join(PHOTOS)}")
    return Arrays(read(path, max_pixels=reading.max_pixels)[None], name=spec)
