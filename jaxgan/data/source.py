"""Data sets by name."""

import difflib
import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.config import PYTHON
from jaxgan.data.advice import advice
from jaxgan.data.arrayrecord import INDEX, open_packed
from jaxgan.data.base import Arrays, Columns, Source
from jaxgan.data.clips import open_clips, open_stills
from jaxgan.data.copies import on_disk
from jaxgan.data.embedded import EMBEDDED
from jaxgan.data.emoji import open_emoji
from jaxgan.data.folder import is_pattern, listing, open_folder, open_tar, open_zip
from jaxgan.data.hf import open_hf, open_parquet
from jaxgan.data.moving import MOVING, open_moving
from jaxgan.data.npz import open_npz
from jaxgan.data.pairs import (
    open_edges,
    open_few,
    open_pairs,
    open_part,
    open_redrawn,
    open_unpaired,
)
from jaxgan.data.photo import open_image
from jaxgan.data.photographs import open_photos
from jaxgan.data.pipeline import Stepwise
from jaxgan.data.tfds import open_tfds, tfds_names
from jaxgan.errors import UserError
from jaxgan.fields.pixels import USUAL, Reading, extensions

FINGERPRINT = 32
"""Digits of a fingerprint."""

_MADE_OF = {
    "unpaired:": open_unpaired,
    "edges:": open_edges,
    "inverted:": open_redrawn,
    "contours:": open_redrawn,
    "part:": open_part,
    "few:": open_few,
    "stills:": open_stills,
}
"""By prefix, what makes a data set of others."""

_IN_BUCKET = re.compile(r"gs://[^,:]+")

_FILES = {".zip": open_zip, ".tar": open_tar, ".npz": open_npz, ".parquet": open_parquet}
"""By ending, what opens a file."""


def open_source(spec: str, reading: Reading = USUAL) -> Source:
    """Open a data set by what a user types.

    An embedded one (mnist5k, digits, ring, grid; see `jaxgan.data.embedded`), tfds:NAME[:SPLIT]
    (see `open_tfds`), hf:NAME[:SPLIT] (see `open_hf`), or a path to a folder of images (see
    `open_folder`), to one that was packed (see `jaxgan.data.arrayrecord`), or to a .zip, .tar, .npz
    or .parquet file (see `open_zip`, `open_tar`, `open_npz`, `open_parquet`). A folder that is
    called like an embedded one is ./mnist5k.

    pairs:FOLDER, unpaired:DATA,DATA, edges:DATA, inverted:DATA, contours:DATA, part:K/N:DATA,
    few:N:DATA (see `jaxgan.data.pairs`); image:FILE, image:china (see `jaxgan.data.photo`);
    emoji:FOLDER (see `jaxgan.data.emoji`); photos:SET (see `jaxgan.data.photographs`);
    moving_digits, moving_shapes (see `jaxgan.data.moving`); clips:FOLDER, frames:FOLDER,
    stills:DATA (see `jaxgan.data.clips`).

    Any of these paths may be gs://BUCKET/..., which `jaxgan.data.copies` copies.

    Args:
      spec: What the user types.
      reading: How its files are read.

    Raises:
      UserError: Nothing of that name, or it cannot be used; the message says what to do.
    """
    spec = _IN_BUCKET.sub(lambda found: str(on_disk(found[0])), spec)
    if spec in EMBEDDED:
        return EMBEDDED[spec]()
    if spec.startswith(PYTHON):
        kind = spec.removeprefix(PYTHON)
        raise UserError(f"they were given in Python ({kind}), and a run keeps no data")
    if spec.partition(":")[0] in MOVING:
        return open_moving(spec)
    if spec.startswith("tfds:"):
        return open_tfds(spec, reading)
    if spec.startswith("hf:"):
        return open_hf(spec, reading)
    if spec.startswith("image:"):
        return open_image(spec, reading)
    if spec.startswith("emoji:"):
        return open_emoji(spec, reading)
    if spec.startswith("photos:"):
        return open_photos(spec, reading)
    if spec.startswith(("clips:", "frames:")):
        return open_clips(spec, reading)
    if spec.startswith("pairs:"):
        return open_pairs(spec, reading)
    for prefix, opened in _MADE_OF.items():
        if spec.startswith(prefix):
            return opened(spec, functools.partial(open_source, reading=reading))
    path = Path(spec).expanduser()
    if spec and path.is_dir():
        return _folder_opener(path)(spec, reading)
    if path.is_file() or is_pattern(spec):
        ending = path.suffix.lower()
        if ending in _FILES and (path.is_file() or ending == ".tar"):
            return _FILES[ending](spec, reading)
    if spec and path.exists():
        raise _no_data(spec, path)
    if not spec:
        raise UserError("--data is empty: give a data set")
    if is_pattern(spec) or path.suffix.lower() in _FILES:
        kind = "stands for no files" if is_pattern(spec) else "does not exist"
        raise UserError(f"{spec} {kind}: give a file, or a pattern of .tar files")
    if spec in tfds_names():
        raise UserError(f"no folder {spec!r} here, but TFDS has one: use tfds:{spec}")
    known = [*EMBEDDED, *MOVING]
    near = difflib.get_close_matches(spec, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known names are {', '.join(known)}"
    raise UserError(f"no data set {spec!r}, and no folder or file of that name: {hint}")


def _folder_opener(path: Path) -> Callable[[str, Reading], Source]:
    """What opens a folder: by its index, its images, or the tables in it."""
    if (path / INDEX).is_file():
        return open_packed
    tables = any(path.glob("*.parquet")) or any(path.glob("data/*.parquet"))
    return open_parquet if tables and not listing(path)[1] else open_folder


def _no_data(spec: str, path: Path) -> UserError:
    """A file that is no data set."""
    if not path.is_file():
        return UserError(f"{spec} is no regular file: give a folder of images")
    if path.name.lower().endswith(extensions()):
        return UserError(
            f"{spec} is one image, expected a folder of them: give its folder, or image:{spec}"
        )
    hint = advice(path.name) or "give a folder of images"
    return UserError(
        f"{spec} is a file, expected a folder of images, or a file {', '.join(_FILES)}: {hint}"
    )


def as_source(value: Any, reading: Reading = USUAL) -> Source | Stepwise:
    """Make a data set of what `jaxgan.Data(source=...)` takes.

    Args:
      value: A name as `open_source` takes it; a `Source`; images or points as `Arrays` takes them;
        a dict of arrays, and of lists of images or sentences, by column, whose kinds are guessed
        (see `Columns`); a function from a step to its batch (see `Stepwise`).
      reading: How files are read, of a name.

    Raises:
      UserError: It is nothing of these, or cannot be used.
    """
    if isinstance(value, str | Path):
        return open_source(str(value), reading)
    if isinstance(value, Source | Stepwise):
        return value
    if isinstance(value, np.ndarray):
        return Arrays(value)
    if isinstance(value, Mapping):
        return Columns(value)
    if callable(value):
        return Stepwise(value)
    raise UserError(
        f"data are a {type(value).__name__}, expected a name, an array, a dict of arrays, a "
        "jaxgan.data.Source, or a function from a step to its batch"
    )


def by_names(fingerprint: str) -> bool:
    """Whether a fingerprint is of an earlier version, made of names and sizes of files.

    Equal ones do not say that the data are the same.
    """
    return len(fingerprint) == 16


def fingerprint(source: Source | Stepwise) -> str:
    """Return 32 hexadecimal digits that identify this data set by its content.

    They come from the bytes of arrays or files, the names of files (not from where the folder lies)
    and the names of classes. See `by_names` for those of earlier versions.
    """
    digest = hashlib.sha256()
    for part in source.identity():
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:FINGERPRINT]
