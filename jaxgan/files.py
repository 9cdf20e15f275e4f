"""Opening files that somebody else may have made: regular ones alone, and no more than is wanted;
writing them whole, through no links.

A pipe would wait for ever, a device never ends. Both raise an OSError whose `strerror` completes
"PATH is ...", as all that is wrong with opening a file does.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jaxgan.bucket import as_path, in_bucket, in_full
from jaxgan.errors import UserError

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
    if in_bucket(path):
        return as_path(path).read_bytes()
    with open_regular(path, limit=limit) as file:
        size = os.fstat(file.fileno()).st_size  # for no more memory is asked than that
        content = file.read(size + 1)
        if len(content) > size:  # some files of /proc hold more than they say
            content += file.read(limit + 1 - len(content))
    if len(content) > limit:
        raise _too_large(path, len(content), limit)
    return content


def read_given(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """Return the content of a file that a user named, of at most `limit` bytes.

    Raises:
      UserError: It cannot be read, or is too large.
    """
    try:
        return read_regular(path, limit=limit)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


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


def is_name(word: str, *, deep: bool = False) -> bool:
    """Whether this is the name of a file inside a folder; `deep`: or below it, with slashes."""
    parts = word.split("/")
    return (
        (deep or len(parts) == 1)
        and 0 < len(word) <= 1000
        and len(parts) <= 64
        and not any(part in ("", ".", "..") or len(part) > 255 for part in parts)
        and not set(word) & set("\\\0:")
        and word.isprintable()
    )


# --- writing


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all; a link of its name is replaced, not followed."""
    content = content.encode() if isinstance(content, str) else content
    if in_bucket(path):
        as_path(path).write_bytes(content)  # as a whole
        return
    partial = path.with_name(f"{path.name}.tmp")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(partial, flags, 0o666), "wb") as file:
        file.write(content)
    os.replace(partial, path)


@contextlib.contextmanager
def writing(out: Path, name: str = "--out") -> Iterator[None]:
    """What is written to `out`, which the user gave as `name`; raises UserError where it cannot."""
    refuse_bucket(out, name)
    try:
        yield
    except OSError as error:
        raise UserError(f"{name} is {out}, which cannot be written: {error.strerror}") from error


def refuse_bucket(out: Path, name: str = "--out") -> None:
    """Refuses a place in a bucket, of which `Path` makes a folder called gs: in this one."""
    if in_bucket(out):
        raise UserError(
            f"{name} is {in_full(out)}: only `jaxgan train` writes to "
            "buckets; give a place on this machine, and copy it with `gcloud storage cp`"
        )


def open_here(path: Path, mode: str = "a") -> IO[Any]:
    """Opens a regular file for appending ("a"), or as it is, for its lock ("r+"); makes it.

    Raises:
        UserError: it is a link, or no file.
        OSError: it cannot be opened.
    """
    extra = os.O_APPEND if mode == "a" else 0
    # Without O_NONBLOCK a pipe of that name would be waited for.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | extra
    if path.is_symlink():
        raise UserError(f"{path} is a link, through which nothing is written: remove it")
    number = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise UserError(f"{path} is no regular file: remove it")
    return open(number, mode)


def refuse_links(folder: Path) -> None:
    """Refuses links anywhere inside a folder that is about to be written to.

    The folder itself may be one, for it is the user who names it.

    Raises:
        UserError: names the first link.
    """
    for root, folders, names in () if in_bucket(folder) else os.walk(folder):
        if Path(root) == folder and "wandb" in folders and not (folder / "wandb").is_symlink():
            folders.remove("wandb")  # it has links of its own, which it replaces
        for name in sorted((*folders, *names)):
            path = Path(root) / name
            if path.is_symlink():
                raise UserError(
                    f"{path} is a link, and nothing inside a run is written through links: remove "
                    "it, or put what it leads to in its place"
                )
