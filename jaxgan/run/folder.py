"""The folder of a run: the names of its files, whole writes, its lock."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from jaxgan.errors import UserError

CONFIG = "config.json"
"""The experiment."""
DATA = "data.json"
"""What identifies the data, and what only they know, such as the names of classes."""
CHECKPOINTS = "checkpoints"
BEST = "best"
"""The checkpoint that was evaluated best."""
SKIPPED = "skipped.txt"
"""What is wrong with each file of the data that was left out as damaged."""
IMPORT = "import.json"
"""Where an imported run is from."""
INIT = "init.json"
"""What a run began with that another one lent, and what was not taken of it."""
_LOCK = ".lock"

_SEEN_WITHIN = 60
"""Seconds after which a file that one process wrote is expected to be there for the others."""


def write_whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text(text)
    os.replace(partial, path)


def read_data(folder: Path) -> dict[str, Any]:
    """What is kept of a run's data: {"fingerprint": ..., "fields": {name: ...}}; {} if nothing is.

    Raises:
        UserError: the file is broken.
    """
    path = folder / DATA
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is broken ({error}): restore it, or remove it") from error
    fields = facts.get("fields", {}) if isinstance(facts, dict) else None
    if not isinstance(fields, dict) or not all(map(_is_about, fields.values())):
        raise UserError(f"{path} is broken: expected an object of objects; restore or remove it")
    return facts


def _is_about(each: Any) -> bool:
    """Whether this is what `Field.about` gives."""
    names = each.get("names", []) if isinstance(each, dict) else None
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def take(folder: Path, settings: Mapping[str, str]) -> IO[str]:
    """Makes the folder this process's, and writes the files that describe the run.

    The run is this process's as long as it holds the file that comes back open.

    Raises:
        UserError: another process trains it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UserError(
                f"{folder} is being trained by another process: wait, or choose another --out"
            ) from None
        for name, text in settings.items():
            write_whole(folder / name, text)
        return lock
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{folder} cannot be written: {reason}; choose another --out") from error


def wait_for(folder: Path, settings: Mapping[str, str]) -> None:
    """Refuses a process that would train something else, or keep its checkpoints elsewhere."""
    for name, text in settings.items():
        path = folder / name
        # A network file system may show an old folder for a while.
        until = time.monotonic() + _SEEN_WITHIN
        while not path.is_file() or path.read_text() != text:
            if time.monotonic() > until:
                if path.is_file():
                    raise UserError(
                        f"{path} of process 0 differs: give all the same command and data"
                    )
                raise UserError(f"{path} of process 0 is not there: give --out on a shared disk")
            time.sleep(0.2)


def refuse_unusable(folder: Path) -> None:
    """Refuses a folder that a new run could not be written to."""
    if folder.exists() and (
        not folder.is_dir() or any(path.suffix != ".tmp" for path in folder.iterdir())
    ):
        raise UserError(f"{folder} exists and holds no run: choose another --out")
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{folder} cannot be written: {parent} is not a folder one may write to")
