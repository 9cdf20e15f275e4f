"""What identifies files: hashes of their bytes, taken once and remembered.

Names and sizes do not: two folders of bitmaps have equal ones. To read a large folder takes
minutes, so the hash of a file is kept in the user's cache, and holds as long as its path, size,
inode and times (of its content and of its inode, in nanoseconds) are what they were.

    ~/.cache/jaxgan/digests/NAME   a file for each folder, its name a hash of the folder's real path

It holds what follows from the content of files only, so nothing is lost where it is missing, broken
or cannot be written.
"""

import contextlib
import functools
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxgan.backend import cache
from jaxgan.data.kept import keep
from jaxgan.errors import UserError
from jaxgan.files import open_regular, read_regular

_HEAD = b"jaxgan digests 1"
_KEY, _DIGEST = 16, 32
_SETTLED = 3 * 10**9
"""Nanoseconds after which a file's time is trusted to change when the file does. The clocks of file
systems are coarse, some by two seconds: what is written twice in a tick shows no change."""

_KEPT = 1000
"""Folders that are remembered; beyond, those that were written longest ago are forgotten."""

_LARGEST = 2**31
_PORTION = 32
_PATIENCE = 3
"""Seconds of hashing after which it is said that this goes on."""


def content_hashes(root: Path, files: Sequence[str]) -> Iterator[bytes]:
    """Yield the sha256 of each file's bytes, in order; from the cache where they did not change.

    Args:
      root: The folder that they are in, or a file, whose own hash is that of the file "".
      files: Paths below the root.

    Raises:
      UserError: A file cannot be read, is no regular file, or changes meanwhile.
    """
    known = _remembered(root)
    kept: dict[bytes, bytes] = {}
    portions = [files[i : i + _PORTION] for i in range(0, len(files), _PORTION)]
    begin, said = time.monotonic(), False
    hashed = functools.partial(_hashed, root, known)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        try:
            for found in pool.map(hashed, portions):
                if not said and time.monotonic() - begin > _PATIENCE:
                    said = True
                    logging.getLogger("jaxgan").warning(
                        "%s: hashing %s files, which identify the data; once, unless they change",
                        root,
                        f"{len(files):,}",
                    )
                for key, digest in found:
                    if key is not None:
                        kept[key] = digest
                    yield digest
        finally:  # an interrupted start need not begin anew
            pool.shutdown(wait=False, cancel_futures=True)
            if kept.keys() - known.keys() or len(known) > 2 * len(kept):
                _remember(root, kept)


def content_hash(path: Path) -> bytes:
    """Return the sha256 of one file's bytes; errors as of `content_hashes`."""
    return next(content_hashes(path, [""]))


def _hashed(
    root: Path, known: dict[bytes, bytes], files: Sequence[str]
) -> list[tuple[bytes | None, bytes]]:
    """Key and hash of each file; no key where the hash is not to be trusted later."""
    return [_hash(root / file if file else root, file, known) for file in files]


def _hash(path: Path, file: str, known: dict[bytes, bytes]) -> tuple[bytes | None, bytes]:
    now = time.time_ns()
    try:
        before = os.stat(path)
        key = _key(file, before)
        if key in known:
            return key, known[key]
        with open_regular(path) as opened:
            digest = hashlib.file_digest(opened, "sha256").digest()
            after = os.fstat(opened.fileno())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if _key(file, after) != key:
        raise UserError(f"{path} changes while it is read: wait until it is written")
    settled = max(after.st_mtime_ns, after.st_ctime_ns) + _SETTLED < now
    return (key if settled else None), digest


def _key(file: str, stat: os.stat_result) -> bytes:
    facts = (stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    text = "\0".join((file, *map(str, facts)))
    return hashlib.blake2b(os.fsencode(text), digest_size=_KEY).digest()


# --- what is remembered


def _place(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return cache() / "digests" / name


def _remembered(root: Path) -> dict[bytes, bytes]:
    """What was remembered of a folder; nothing where that is missing or broken."""
    try:
        content = read_regular(_place(root), limit=_LARGEST)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return {}
    sums, rows = content[len(_HEAD) :][:_DIGEST], content[len(_HEAD) + _DIGEST :]
    size = _KEY + _DIGEST
    if content[: len(_HEAD)] != _HEAD or hashlib.sha256(rows).digest() != sums or len(rows) % size:
        return {}
    starts = range(0, len(rows), size)
    return {rows[i : i + _KEY]: rows[i + _KEY : i + size] for i in starts}


def _remember(root: Path, kept: dict[bytes, bytes]) -> None:
    rows = b"".join(key + digest for key, digest in kept.items())
    if len(rows) > _LARGEST - 2**10:
        return
    with contextlib.suppress(OSError, RuntimeError):
        keep(_place(root), _HEAD + hashlib.sha256(rows).digest() + rows, _KEPT)
