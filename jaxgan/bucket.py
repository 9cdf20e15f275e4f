"""Google Cloud Storage: paths in a bucket, and runs that lie in one.

Everything goes through `etils.epath` and gcsfs, as Orbax's own files do.
"""

import contextlib
import functools
import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from jaxgan.errors import Unwritten, UserError

SCHEME = "gs://"

log = logging.getLogger("jaxgan")

_BEAT = 15.0
"""Seconds between signs of life of a process that trains into a bucket."""

_SILENT = 60.0
"""Seconds without one, after which its run may be taken over."""


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path is one of a bucket: gs://BUCKET/...; `Path` makes gs:/BUCKET/... of it."""
    return os.fspath(path).startswith("gs:/")


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path of this machine's disks, or of a bucket, which has the same methods.

    Raises:
        UserError: a bucket, and what reads them is not installed, or this machine has no
            credentials.
    """
    if not in_bucket(path):
        return Path(path).expanduser()
    # Without it, gcsfs asks with a client of its own what kind of bucket it is, and warns when that
    # has no credentials (2026.10).
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        import fsspec
        import gcsfs  # noqa: F401
        from etils import epath
    except ImportError:
        raise UserError(f"{in_full(path)}: pip install 'jaxgan[gcs]' to use buckets") from None
    # What other processes write is to be seen.
    fsspec.config.conf.setdefault("gs", {})["use_listings_cache"] = False
    # It tells every retry.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    # What it warns of is raised, too.
    logging.getLogger("google.auth").setLevel(logging.CRITICAL)
    _check_credentials(in_full(path).removeprefix(SCHEME).partition("/")[0])
    return epath.Path(in_full(path))  # type: ignore[return-value]


def in_full(path: str | os.PathLike[str]) -> str:
    """A path of a bucket as people write it, gs://BUCKET/..."""
    return SCHEME + os.fspath(path).removeprefix("gs:").lstrip("/").rstrip("/")


@contextlib.contextmanager
def asking(path: str | os.PathLike[str]) -> Iterator[None]:
    """What asks for something in a bucket; raises UserError where that is not given."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not in_bucket(path):
            raise
        raise UserError(f"{in_full(path)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What a person can do about an error of gcsfs or of what it stands on."""
    said = f"{type(error).__name__} {error}"
    if isinstance(error, FileNotFoundError):
        return "there is nothing of that name, or no such bucket"
    if any(word in said for word in ("401", "nonymous", "Credentials", "RefreshError")):
        return (
            "no credentials: run `gcloud auth application-default login`, or give this machine a "
            "service account that may use the bucket"
        )
    if isinstance(error, PermissionError) or "403" in said or "orbidden" in said:
        return "not allowed: give this account the role Storage Object User of the bucket"
    if isinstance(error, OSError | TimeoutError):
        return f"the bucket cannot be reached ({str(error).splitlines()[0][:120]})"
    return f"the bucket does not answer as it should ({said.splitlines()[0][:160]})"


@functools.cache
def _check_credentials(bucket: str) -> None:
    """Refuses a bucket to nobody, before gcsfs tries for half a minute."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return
    import google.auth

    with asking(SCHEME + bucket):
        google.auth.default()


def check_writable(folder: Path) -> None:
    """Makes a folder, if need be, and writes to it.

    Raises:
        UserError: that cannot be done.
    """
    if in_bucket(folder):
        with asking(folder):
            (folder / ".probe").write_text("")
            (folder / ".probe").unlink()
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error


# --- runs


class Staged:
    """A folder of this machine whose files are kept in a folder of a bucket, whole.

    For what grows line by line, which an object of a bucket cannot. On a disk it is the folder
    itself. A context manager: what is left is written at its end.

    Attributes:
        here: where to write.
    """

    def __init__(self, folder: Path, *, keeps: bool = True, every: float = 30.0):
        """Brings here the files that stand directly in it, but for events, which are not read.

        Args:
            folder: where they are kept.
            keeps: whether this process keeps them there; others lose what they write.
            every: seconds between writes.
        """
        self._folder, self._every, self._last = folder, every, time.monotonic()
        self._remote, self._keeps = in_bucket(folder), keeps
        self._kept: dict[Path, tuple[int, int]] = {}
        self.here = folder
        if not self._remote:
            return
        above = Path(tempfile.mkdtemp(prefix="jaxgan-"))
        weakref.finalize(self, shutil.rmtree, above, ignore_errors=True)
        self.here = above / folder.name
        self.here.mkdir()
        with asking(folder):
            for path in folder.iterdir() if folder.is_dir() else ():
                if not path.name.startswith(("events.", ".")) and path.is_file():
                    (self.here / path.name).write_bytes(path.read_bytes())
                    self._kept[self.here / path.name] = _stamp(self.here / path.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.keep()
        except Unwritten:
            if error is None:
                raise

    def keep(self, *, now: bool = True) -> None:
        """Writes the files that have changed; not `now`: if it is time again.

        Raises:
            Unwritten: that cannot be done.
        """
        if not self._remote or not self._keeps:
            return
        if not now and time.monotonic() - self._last < self._every:
            return
        self._last = time.monotonic()
        for path in sorted(self.here.rglob("*")):
            if not path.is_file():
                continue
            stamp = _stamp(path)
            if self._kept.get(path) != stamp:
                try:
                    with asking(self._folder):
                        (self._folder / path.relative_to(self.here)).write_bytes(path.read_bytes())
                except UserError as error:
                    raise Unwritten(str(error)) from error
                self._kept[path] = stamp


def _stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


class Lease:
    """Makes a folder of a bucket this process's: an object that changes while the process lives.

    Buckets have no locks. Whoever finds such an object waits until it changes, and is refused, or
    until it has not changed for a minute, and takes the folder over.
    """

    def __init__(self, path: Path):
        """Takes it.

        Args:
            path: of the object.

        Raises:
            UserError: another process has it; there is no bucket of that name, or it may not be
                written.
        """
        self._path, self._own, self._over = path, uuid.uuid4().hex, threading.Event()
        with asking(path):
            self._wait()
            self._beat()
        self._thread = threading.Thread(target=self._live, daemon=True, name="lease")
        self._thread.start()

    def _read(self) -> str:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""

    def _beat(self) -> None:
        self._path.write_text(f"{self._own} {time.time()}")

    def _wait(self) -> None:
        found = self._read()
        if not found:
            return
        log.warning("%s: waiting up to %.0f s for another process", self._path.parent, _SILENT)
        until = time.monotonic() + _SILENT
        while time.monotonic() < until:
            time.sleep(1)
            now = self._read()
            if not now:
                return
            if now != found:
                raise UserError(
                    f"{self._path.parent} is being trained by another process: wait, or choose "
                    "another --out"
                )

    def _live(self) -> None:
        while not self._over.wait(_BEAT):
            with contextlib.suppress(Exception):  # the next one may come through
                self._beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Gives it back."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(Exception):
            self._path.unlink()
