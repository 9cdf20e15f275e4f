"""Folders of images, and zip and tar files of them."""

import glob
import itertools
import re
from pathlib import Path

from jaxgan.data.encoded import Encoded
from jaxgan.data.layout import DATASET, METADATA, arrange
from jaxgan.data.store import Directory, Tar, Zip, is_hidden
from jaxgan.errors import UserError
from jaxgan.fields.pixels import USUAL, Reading, extensions

_SHARDS = 10**5
"""Files that a pattern may stand for."""

_BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def open_folder(name: str, reading: Reading = USUAL) -> Encoded:
    """List a folder: PATH/*.png for unlabelled images, PATH/CLASS/*.png for labelled ones.

    Names are sorted, and so are classes. A file metadata.jsonl or dataset.json in it describes the
    images instead (see `jaxgan.data.layout`). Files of other types are counted in the data set's
    notes, but for hidden ones and what file managers leave behind.

    Raises:
      UserError: No images; images beside sub-folders; folders within sub-folders (whose labels
        would be a guess); a sub-folder without images.
    """
    root = Path(name).expanduser()
    described = (root / METADATA).is_file() or (root / DATASET).is_file()
    try:
        store = Directory(root, deep=reading.recursive or described, name=name)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    return arrange(store, reading)


def open_zip(name: str, reading: Reading = USUAL) -> Encoded:
    """List a zip file, as a folder is listed; one folder that holds all else is passed through.

    Raises:
      UserError: As `open_folder`; it is no zip file.
    """
    return arrange(Zip(Path(name).expanduser(), name=name), reading, wrapped=True)


def open_tar(name: str, reading: Reading = USUAL) -> Encoded:
    """List a tar file as a zip file, or several: `train-{000..146}.tar`, `train-*.tar`.

    Raises:
      UserError: As `open_folder`; no such files; one is no tar file.
    """
    paths = [Path(name).expanduser()]
    if not paths[0].is_file():
        paths = [path for pattern in _braces(name) for path in _globbed(pattern, name)]
    if len(set(paths)) < len(paths):
        raise UserError(f"{name} stands for some files twice: give another pattern")
    return arrange(Tar(paths, name=name), reading, wrapped=True)


def is_pattern(name: str) -> bool:
    """Whether this stands for several files."""
    return bool(_BRACES.search(name) or glob.has_magic(name))


def _braces(name: str) -> list[str]:
    """A pattern's names, of each `{a,b}` and `{000..012}` in it."""
    parts: list[list[str]] = []
    place = 0
    for found in _BRACES.finditer(name):
        parts += [[name[place : found.start()]], _choices(found[1], name)]
        place = found.end()
    parts.append([name[place:]])
    count = 1
    for part in parts:
        count *= len(part)
    if count > _SHARDS:
        raise UserError(f"{name} stands for {count:,} files, the most is {_SHARDS:,}")
    return ["".join(each) for each in itertools.product(*parts)]


def _choices(text: str, name: str) -> list[str]:
    span = _RANGE.fullmatch(text)
    if span is None:
        return text.split(",")
    first, last = int(span[1][:9]), int(span[2][:9])
    if last < first or last - first >= _SHARDS:
        raise UserError(f"{name}: {{{text}}} is no range of numbers, such as {{000..012}}")
    return [str(number).zfill(len(span[1])) for number in range(first, last + 1)]


def _globbed(pattern: str, name: str) -> list[Path]:
    """A pattern's files; a path without one is its own."""
    path = Path(pattern).expanduser()
    if not glob.has_magic(pattern):
        if not path.is_file():
            raise UserError(f"{name}: there is no file {path}: give all of it, or another range")
        return [path]
    found = sorted(map(Path, itertools.islice(glob.iglob(str(path)), _SHARDS)))
    if not found:
        raise UserError(f"no files {name}: give other ones")
    return found


def listing(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of a folder's sub-folders and of its images, sorted, without hidden ones."""
    entries = [each for each in folder.iterdir() if not is_hidden(each.name)]
    folders = [each.name for each in entries if each.is_dir()]
    known = extensions()
    images = [each.name for each in entries if each.name.lower().endswith(known)]
    return sorted(folders), sorted(set(images) - set(folders))
