"""Files of the user's cache that follow from data: written whole, the oldest forgotten."""

import os
import tempfile
from pathlib import Path


def keep(place: Path, content: bytes, most: int) -> None:
    """Write a file, and remove those beside it that are beyond `most`, oldest first.

    Raises:
      OSError: It cannot be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    number, partial = tempfile.mkstemp(prefix=".", dir=place.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        os.replace(partial, place)
    except BaseException:
        os.unlink(partial)
        raise
    with os.scandir(place.parent) as entries:
        ages = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
    for _, path in ages[: max(0, len(ages) - most)]:
        os.unlink(path)
