"""The one exception that means: the user can mend this; one of its common causes; safe printing."""

import contextlib
import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence


class UserError(ValueError):
    """A mistake in what the user gave, told in one line: what was given, expected, what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class Unwritten(RuntimeError):
    """What was made could not be written, told in one line: a disk is full, a folder has gone.

    Nothing was wrong with what the user gave, so trying again is of no use until it is mended. The
    command line exits with status 74.
    """


def reason_of(error: Exception) -> str:
    """Why something could not be read or written, in the system's words where there are any."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    said = next((word for code in _OF_DISKS if (word := os.strerror(code)) in text), "")
    return said or (text.strip().splitlines() or [type(error).__name__])[0][:200]


_OF_DISKS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.EMFILE,
    errno.ESTALE,
    errno.EIO,
)
"""Errors of file systems, which libraries put into longer sentences."""


@contextlib.contextmanager
def keeping(what: object) -> Iterator[None]:
    """What is written while training; raises Unwritten where it cannot be."""
    try:
        yield
    except OSError as error:
        raise Unwritten(f"{what} cannot be written: {reason_of(error)}") from error


def nearest(word: str, known: Iterable[str], *, hint: str = "") -> str:
    """`; did you mean X?` for a misspelt word, or `hint` where nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else hint


def listed(words: Sequence[object], most: int = 10) -> str:
    """The first of them with commas, and dots where there are more."""
    return ", ".join(map(str, words[:most])) + (", ..." if len(words) > most else "")


_UNSEEN = re.compile(
    # Control characters, those that turn the direction of text, lone surrogates (of file names that
    # are no UTF-8), and what is not there at all.
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with what a terminal would obey, or not show, escaped as in Python: \x1b, \n.

    Names of files, classes and labels are strangers' where a run, a config or data are.

    Args:
        text: to print.
        keep: characters that stay, such as a line's end in a text of several.
    """

    def escaped(found: re.Match[str]) -> str:
        one = found[0]
        if one in keep:
            return one
        if one in "\n\r\t":
            return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}[one]
        code = ord(one)
        if code < 0x100:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return _UNSEEN.sub(escaped, text)
