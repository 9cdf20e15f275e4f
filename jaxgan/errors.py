"""The one exception that means: the user can mend this; and one of its common causes."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path


class UserError(ValueError):
    """A mistake in what the user gave, told in one line: what was given, expected, what to do.

    The command line prints it without a traceback and exits with status 2.
    """


@contextlib.contextmanager
def writing(out: Path, name: str = "--out") -> Iterator[None]:
    """What is written to `out`, which the user gave as `name`; raises UserError where it cannot."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{name} is {out}, which cannot be written: {error.strerror}") from error


def nearest(word: str, known: Iterable[str], *, hint: str = "") -> str:
    """`; did you mean X?` for a misspelt word, or `hint` where nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else hint
