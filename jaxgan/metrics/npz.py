"""Reading npz files that may be strangers', or broken by a process that was stopped."""

import zipfile
from pathlib import Path

import numpy as np

from jaxgan.errors import UserError


def read(path: str | Path, what: str) -> dict[str, np.ndarray]:
    """All arrays of an npz file, by name. Nothing pickled is executed.

    Args:
      path: of the file.
      what: it is, for messages.

    Raises:
      UserError: no such file, or no npz file of plain arrays.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, expected an npz file of {what}") from error
    except (ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not an npz file of {what}; make it anew") from error
