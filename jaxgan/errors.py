"""The one exception that means: the user can mend this; and one of its common causes."""

import contextlib
from collections.abc import Iterator
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
