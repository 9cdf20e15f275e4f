"""The folder of a run: the names of its files, whole writes, its lock."""

import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from jaxgan import files, schema
from jaxgan.bucket import Lease, as_path, asking, in_bucket
from jaxgan.errors import UserError
from jaxgan.files import open_here, write_whole
from jaxgan.schema import read_json
from jaxgan.training.checkpoint import HALF_WRITTEN

T = TypeVar("T")

CONFIG = "config.json"
"""The experiment."""
DATA = "data.json"
"""What identifies the data, and what only they know, such as the names of classes."""
CODE = "code.json"
"""Hashes of the run's own code, which lies in code/, and versions of what computed it."""
CHECKPOINTS = "checkpoints"
BEST = "best"
"""The checkpoint that was evaluated best."""
SAMPLES = "samples"
METRICS = "metrics.jsonl"
SKIPPED = "skipped.txt"
"""What is wrong with each file of the data that was left out as damaged."""
IMPORT = "import.json"
"""Where an imported run is from."""
INIT = "init.json"
"""What a run began with that another one lent, and what was not taken of it."""
_LOCK = ".lock"

_SEEN_WITHIN = 60
"""Seconds after which a file that one process wrote is expected to be there for the others."""


def is_run(target: str | Path) -> bool:
    """Whether a run lies there, on a disk or in a bucket."""
    return (as_path(target) / CONFIG).is_file()


def check_run(folder: Path) -> None:
    """Refuses a folder without a run."""
    if not is_run(folder):
        what = f"holds no run (no {CONFIG})"
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {what}: give the folder that `jaxgan train` wrote")


def naming(config: Path, parse: Callable[[bytes], T]) -> T:
    """What a function of `jaxgan.config` makes of a run's config.json, whose errors name the file.

    Raises:
        UserError: it cannot be read, or is broken.
    """
    try:
        text = files.read_regular(config, limit=schema.LARGEST)
    except OSError as error:
        raise UserError(f"{config} cannot be read: {error.strerror}") from error
    try:
        return parse(text)
    except UserError as error:
        words = str(error)
        if not words.startswith("config"):
            raise
        raise UserError(f"{config}{words.removeprefix('config')}") from error


def read_data(folder: Path) -> dict[str, Any]:
    """What is kept of a run's data: {"fingerprint": ..., "fields": {name: ...}}; {} if nothing is.

    Raises:
        UserError: the file is broken.
    """
    path = folder / DATA
    if not path.exists():
        return {}
    mend = "restore it, or remove it"
    facts = read_json(path, mend=mend)
    schema.structure(facts, _Data, path, mend=mend, others=True)
    for about in facts.get("fields", {}).values():
        names = about.get("names", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path} is broken (names of classes are no texts): {mend}")
    return facts


@dataclasses.dataclass(frozen=True)
class _Data:
    """What is checked of data.json."""

    fingerprint: str = ""
    fields: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    pretrained: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Import:
    """import.json: what an imported run is from.

    Attributes:
        format: one of `jaxgan.convert.FORMATS`.
        files: {path: sha256}.
        uses: of the system.
        parameters: {network: how many}.
        anew: networks of which there was no file.
        left_out: tensors that say nothing of the networks.
    """

    format: str
    files: dict[str, str]
    uses: list[str] = dataclasses.field(default_factory=list)
    parameters: dict[str, int] = dataclasses.field(default_factory=dict)
    anew: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)


def read_import(folder: Path) -> Import | None:
    """Where an imported run is from; None: it is none.

    Raises:
        UserError: the file is broken.
    """
    path = folder / IMPORT
    if not path.exists():
        return None
    mend = "restore it, or remove it"
    return schema.structure(read_json(path, mend=mend), Import, path, mend=mend, others=True)


def take(folder: Path, settings: Mapping[str, str | bytes]) -> IO[str] | Lease:
    """Makes the folder this process's, and writes the files that describe the run.

    The run is this process's as long as it holds what comes back open.

    Raises:
        UserError: another process trains it, it cannot be written, or it holds links.
    """
    if in_bucket(folder):
        lease = Lease(folder / _LOCK)
        with asking(folder):
            describe(folder, settings)
        return lease
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.refuse_links(folder)
        lock = open_here(folder / _LOCK, "r+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UserError(
                f"{folder} is being trained by another process: wait, or choose another --out"
            ) from None
        describe(folder, settings)
        return lock
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{folder} cannot be written: {reason}; choose another --out") from error


def describe(folder: Path, settings: Mapping[str, str | bytes]) -> None:
    """Writes the files that describe the run."""
    for name, content in settings.items():
        if not in_bucket(folder):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, content)


def wait_for(folder: Path, settings: Mapping[str, str | bytes]) -> None:
    """Refuses a process that would train something else, or keep its checkpoints elsewhere."""
    for name, content in settings.items():
        path = folder / name
        known = content.encode() if isinstance(content, str) else content
        # A network file system may show an old folder for a while.
        until = time.monotonic() + _SEEN_WITHIN
        while not path.is_file() or path.read_bytes() != known:
            if time.monotonic() > until:
                if path.is_file():
                    raise UserError(
                        f"{path} of process 0 differs: give all the same command and data"
                    )
                raise UserError(f"{path} of process 0 is not there: give --out on a shared disk")
            time.sleep(0.2)


def check_places(folder: Path) -> None:
    """Refuses a run in which something else stands, or may not be written, where training writes.

    Raises:
        UserError: names it.
    """
    for name, expected in _WRITTEN.items():
        path = folder / name
        if path.exists() and path.is_dir() != (expected == "folder"):
            found = "folder" if path.is_dir() else "file"
            raise UserError(f"{path} is a {found}, where a {expected} belongs: move it away")
        if path.exists() and not in_bucket(path) and not os.access(path, os.W_OK):
            raise UserError(f"{path} cannot be written: change its permissions")


_WRITTEN = {
    CHECKPOINTS: "folder",
    BEST: "folder",
    SAMPLES: "folder",
    CONFIG: "file",
    DATA: "file",
    INIT: "file",
    METRICS: "file",
}
"""What training writes."""


def check_room(folder: Path, size: int) -> None:
    """Refuses a disk that has no room for a checkpoint.

    Args:
        folder: of the run, which need not exist.
        size: bytes of a checkpoint.

    Raises:
        UserError: says how much room is missing.
    """
    if in_bucket(folder):
        return
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    disk = os.statvfs(parent)
    free = disk.f_bavail * disk.f_frsize
    if free < size:  # what a killed process left half written goes when training begins
        half = list((folder / CHECKPOINTS).glob(f"{HALF_WRITTEN}/**/*"))
        free += sum(path.stat().st_size for path in half if path.is_file())
    if free < size:
        raise UserError(
            f"{folder}: a checkpoint takes {size / 1e6:,.1f} MB, but the disk has "
            f"{free / 1e6:,.1f} MB left: make room, or choose another --out"
        )
    if disk.f_files and disk.f_favail < _FILES:
        raise UserError(
            f"{folder}: a checkpoint takes about {_FILES} files, but the disk has room for "
            f"{disk.f_favail}: remove files, or choose another --out"
        )


_FILES = 40
"""Of a checkpoint, and what else a run begins with, about."""


def refuse_unusable(folder: Path) -> None:
    """Refuses a folder that a new run could not be written to."""
    if folder.exists() and (
        not folder.is_dir() or any(path.suffix != ".tmp" for path in folder.iterdir())
    ):
        raise UserError(f"{folder} exists and holds no run: choose another --out")
    if in_bucket(folder):
        return
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{folder} cannot be written: {parent} is not a folder one may write to")
