"""Opening files that somebody else may have made: regular ones alone, and no more than is wanted.

A pipe would wait for ever, a device never ends. Both raise an OSError whose `strerror` completes
"PATH is ...", as all that is wrong with opening a file does.
"""

import errno
import io
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: str | os.PathLike[str], *, limit: int | None = None) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Args:
      path: Of the file.
      limit: Most bytes that it may have; None for any.

    Raises:
      OSError: There is none, it cannot be read, it is no regular file, or it is too large.
    """
    # Looked at before it is opened, for to open a device may set it going; and then once more, for
    # it may be another file by then. Without O_NONBLOCK a pipe would wait for its writer.
    _check(path, os.stat(path), limit)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(number), limit)
        return open(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_regular(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; raises as `open_regular`."""
    with open_regular(path, limit=limit) as file:
        content = file.read(limit + 1)  # some files of /proc hold more than they say
    if len(content) > limit:
        raise _too_large(path, len(content), limit)
    return content


def read_text(path: str | os.PathLike[str], *, limit: int) -> str:
    """Return the text (UTF-8) of a regular file of at most `limit` bytes.

    Raises:
      OSError: As `open_regular`.
      ValueError: It is no text.
    """
    return read_regular(path, limit=limit).decode()


def _check(path: str | os.PathLike[str], found: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "of a kind of its own")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(Path(path)))
    if limit is not None and found.st_size > limit:
        raise _too_large(path, found.st_size, limit)


def _too_large(path: str | os.PathLike[str], size: int, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"a file of {size:,} bytes, the most is {limit:,}", str(Path(path)))
