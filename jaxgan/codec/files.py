"""Compressed files on a disk: which are read and written, and which run wrote them."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxgan.errors import UserError
from jaxgan.fields.video import endings
from jaxgan.files import read_text, refuse_bucket, write_whole

SUFFIX = ".jgc"
"""Of compressed files."""

RUNS = "runs"
"""Where runs are looked for that wrote a file, as `jaxgan train` puts them."""

_KNOWN = "codec.json"
"""In a run's folder: hashes that it wrote files under, newest last."""

LARGEST = 1 << 30
"""Bytes of a compressed file."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts a file's name before what `Codec.decompress` and `of_run` say of it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path} {error}") from error


def targets(
    given: Path, out: Path, names: Callable[[Path], list[str]], suffix: str
) -> dict[Path, Path]:
    """{file to read: file to write}.

    Args:
        given: a file or a folder.
        out: a file with the suffix, or a folder, likewise.
        names: of the files in a folder that are taken.
        suffix: of what is written.

    Raises:
        UserError: nothing to read, or what is there would be overwritten.
    """
    refuse_bucket(out, "OUT")
    if given.is_file():
        if out.suffix != suffix:
            raise UserError(f"OUT is {out}: give a {suffix}, as {given} is a file")
        if not out.parent.is_dir():
            raise UserError(f"OUT is {out}: there is no folder {out.parent}")
        if out.is_dir():
            raise UserError(f"OUT is {out}, which is a folder: give a {suffix}")
        return {given: out}
    if not given.is_dir():
        raise UserError(f"{given} does not exist: give a file or a folder")
    found = names(given)
    if not found:
        raise UserError(f"{given} holds nothing that could be read: give another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"OUT is {out}, which exists already: give a new or empty folder")
    made = {given / name: out / f"{Path(name).with_suffix('')}{suffix}" for name in found}
    if len(set(made.values())) < len(made):
        raise UserError(f"{given} has two files that differ only in their type: rename one")
    return made


def clips(folder: Path) -> list[str]:
    """Files of clips in a folder, sorted."""
    return sorted(p.name for p in folder.iterdir() if p.name.lower().endswith(endings()))


def remember(run: Path, digest: bytes) -> None:
    """Notes in a run's folder that it wrote files; where it cannot be written, nothing is noted."""
    known = _known(run)
    if digest.hex() not in known:
        with contextlib.suppress(OSError, UserError):
            write_whole(run / _KNOWN, json.dumps([*known, digest.hex()]) + "\n")


def run_of(digest: bytes) -> Path | None:
    """The run in the folder `RUNS` that wrote files under a hash that begins so."""
    folder = Path(RUNS)
    for run in sorted(folder.iterdir()) if folder.is_dir() else ():
        if any(each.startswith(digest.hex()) for each in _known(run)):
            return run
    return None


def _known(run: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(read_text(run / _KNOWN, limit=1 << 20))
        if isinstance(found, list):
            return [each for each in found if isinstance(each, str)]
    return []
