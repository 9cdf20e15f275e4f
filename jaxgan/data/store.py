"""Where encoded images lie: in a folder, a zip, tar files. Any member is read from any thread or
process, and nothing is ever unpacked to disk.
"""

import abc
import dataclasses
import errno
import os
import re
import stat
import tarfile
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from jaxgan.data.identity import content_hash, content_hashes
from jaxgan.errors import UserError
from jaxgan.files import open_regular, read_regular

LARGEST = 2**28
"""Bytes of what lies beside images."""

_SIDE = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
"""What file managers leave behind, in lower case."""


_OF_THE_NEXT = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Kinds of headers in tar files that say more of the next member, such as a long name."""

_LONGEST_HEADER = 2**20
_LONG_NUMBER = re.compile(rb"[0-9]{1000}")


class TooLarge(UserError):
    """A file has more bytes than may be read of it."""


class Store(abc.ABC):
    """Encoded files by number, in the order that they are listed.

    Attributes:
      name: As the user typed it.
      members: Paths with forward slashes; a folder's path ends with a slash.
      passed: What else there is and cannot be read, by kind, such as {"link": 2}.
    """

    name: str
    members: Sequence[str]
    passed: Counter[str]

    @abc.abstractmethod
    def read(self, number: int, *, limit: int = LARGEST) -> bytes:
        """Return a member's content.

        Raises:
          TooLarge: It has more than `limit` bytes; names it.
          UserError: It cannot be read; names it.
        """

    @abc.abstractmethod
    def place(self, number: int) -> str:
        """Return where a member lies, for messages."""

    @abc.abstractmethod
    def identity(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yield what identifies the names and the content of these members."""


class Directory(Store):
    """A folder.

    Args:
      root: The folder.
      deep: Whether folders in its sub-folders are entered; else they are listed only.
      name: As the user typed it.
    """

    def __init__(self, root: Path, *, deep: bool = False, name: str = ""):
        self.root, self.name = root, name or str(root)
        self.passed = Counter()
        self.members = tuple(_walk(root, deep))

    def read(self, number: int, *, limit: int = LARGEST) -> bytes:
        """Return a file's content."""
        path = self.root / self.members[number]
        try:
            return read_regular(path, limit=limit)
        except OSError as error:
            kind = TooLarge if error.errno == errno.EFBIG else UserError
            raise kind(
                f"{path}: found {error.strerror}, expected an image: replace or remove it"
            ) from error

    def place(self, number: int) -> str:
        """Return a file's path."""
        return str(self.root / self.members[number])

    def identity(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yield the path and the hash of each file."""
        files = [self.members[number] for number in numbers]
        for file, digest in zip(files, content_hashes(self.root, files), strict=True):
            yield os.fsencode(file)
            yield digest


class Zip(Store):
    """A zip file. Each process opens it for itself.

    Args:
      path: The file.
      name: As the user typed it.

    Raises:
      UserError: It is no zip file; members are encrypted, or listed twice.
    """

    def __init__(self, path: Path, *, name: str = ""):
        self.path, self.name = path, name or str(path)
        self.passed = Counter()
        self._lock, self._process = threading.Lock(), -1
        self._opened: zipfile.ZipFile | None = None
        members, places = [], []
        for place, info in enumerate(self._archive().infolist()):
            member = info.filename.replace("\\", "/")
            if is_hidden(member):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                self.passed["link"] += 1
            elif not _is_inside(member):
                self.passed["unsafe path"] += 1
            else:
                if info.flag_bits & 1:
                    raise UserError(f"{self.name}: {member} is encrypted: zip it without password")
                members.append(member)
                places.append(place)
        if twice := [member for member, count in Counter(members).items() if count > 1]:
            raise UserError(f"{self.name} holds {twice[0]} twice: zip the images anew")
        self.members, self._places = tuple(members), tuple(places)

    def _archive(self) -> zipfile.ZipFile:
        with self._lock:
            # A forked process shares the place in the file with its parent.
            if self._opened is None or self._process != os.getpid():
                try:
                    self._opened, self._process = zipfile.ZipFile(self.path), os.getpid()
                except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
                    found = _beginning(self.path)
                    raise UserError(
                        f"{self.name} begins with {found!r} and cannot be read as a zip file "
                        f"({error}): copy it again, or zip the images anew"
                    ) from error
                except OSError as error:
                    raise UserError(f"{self.name} cannot be read: {error.strerror}") from error
            return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_opened": None, "_process": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def read(self, number: int, *, limit: int = LARGEST) -> bytes:
        """Return a member's content; no more of it than is declared is ever unpacked."""
        archive = self._archive()
        try:
            info = archive.infolist()[self._places[number]]
            _check_size(self.place(number), info.file_size, limit)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # Of these, zipfile unpacks all that there is, whatever the archive declares.
                raise UserError(
                    f"{self.place(number)} is packed by bzip2, LZMA or the like: zip it anew"
                )
            with archive.open(info) as file:
                content = file.read(info.file_size)  # and no more, which without a number it would
            if len(content) != info.file_size:
                raise ValueError(f"{len(content):,} of {info.file_size:,} bytes")
            return content
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError),
            *(NotImplementedError, IndexError),
        ) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{self.place(number)}: found a damaged member ({error}), expected an image: "
                "zip the images anew"
            ) from error

    def place(self, number: int) -> str:
        """Return the zip's name and the member's."""
        return f"{self.name}: {self.members[number]}"

    def identity(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yield the hash of the whole file, and the members' paths."""
        yield content_hash(self.path)
        yield from (self.members[number].encode(errors="surrogateescape") for number in numbers)


@dataclasses.dataclass(frozen=True)
class _Span:
    """Where a member of a tar file lies."""

    shard: int
    offset: int
    size: int


class Tar(Store):
    """Tar files, one after the other. They must not be compressed, to be read in any order.

    Args:
      paths: The files.
      name: As the user typed it.

    Raises:
      UserError: One is no tar file, is compressed, or was cut short.
    """

    def __init__(self, paths: Sequence[Path], *, name: str):
        self.paths, self.name = tuple(paths), name
        self.passed = Counter()
        members, spans = [], []
        for shard, path in enumerate(self.paths):
            for member in _listed(path):
                path_inside = member.name.removeprefix("./")
                if is_hidden(path_inside) or member.isdir():
                    continue
                if member.issym() or member.islnk():
                    self.passed["link"] += 1
                elif not member.isreg() or member.issparse():
                    self.passed["special file"] += 1
                elif not _is_inside(path_inside):
                    self.passed["unsafe path"] += 1
                else:
                    members.append(path_inside)
                    spans.append(_Span(shard, member.offset_data, member.size))
        self.members, self._spans = tuple(members), tuple(spans)

    def read(self, number: int, *, limit: int = LARGEST) -> bytes:
        """Return a member's content."""
        span = self._spans[number]
        _check_size(self.place(number), span.size, limit)
        try:
            with open_regular(self.paths[span.shard]) as file:
                file.seek(span.offset)
                content = file.read(span.size)
        except OSError as error:
            raise UserError(f"{self.place(number)}: {error.strerror}") from error
        if len(content) != span.size:
            raise UserError(f"{self.paths[span.shard]} was cut short: copy it again")
        return content

    def shard(self, number: int) -> int:
        """Return which of the files holds a member."""
        return self._spans[number].shard

    def place(self, number: int) -> str:
        """Return the tar's path and the member's."""
        return f"{self.paths[self._spans[number].shard]}: {self.members[number]}"

    def identity(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yield the hash of each whole file, and the members' numbers and paths."""
        paths = [path.absolute() for path in self.paths]
        root = paths[0].parent if len(paths) == 1 else Path(os.path.commonpath(paths))
        yield from content_hashes(root, [str(path.relative_to(root)) for path in paths])
        for number in numbers:
            yield f"{number} {self.members[number]}".encode(errors="surrogateescape")


def _listed(path: Path) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file, all of them."""
    end = 0
    try:
        size = path.stat().st_size
        with (
            open_regular(path) as opened,
            tarfile.open(fileobj=opened, mode="r:", tarinfo=_checked_headers(opened)) as tar,
        ):
            for member in tar:
                if member.size < 0:  # by a header of its own
                    raise ValueError(f"a size of {member.size}")
                end = member.offset_data + (-(-member.size // 512) * 512 if member.isreg() else 0)
                if member.offset_data + (member.size if member.isreg() else 0) > size:
                    raise UserError(f"{path} was cut short at {member.name}: copy it again")
                yield member
        with path.open("rb") as file:  # tarfile takes a broken header for the end
            file.seek(end)
            rest = file.read(512)
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} begins with {_beginning(path)!r} and cannot be read as a tar file ({error}): "
            "it must be a .tar without compression"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if any(rest):
        raise UserError(f"{path} is damaged at byte {end:,}: copy it again")


def _checked_headers(file: IO[bytes]) -> type[tarfile.TarInfo]:
    """Members of a tar file whose headers tarfile can read, which asks little of them itself.

    A size below 0 would lead it back, to read the same for ever. What says more of the next member
    is read whole, and long numbers in it are searched from each of their digits.
    """

    class Member(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: Any, encoding: str, errors: str) -> tarfile.TarInfo:  # type: ignore[override]
            found = super().frombuf(buf, encoding, errors)
            if found.size < 0:
                raise ValueError(f"a size of {found.size}")
            if found.type in _OF_THE_NEXT:
                if found.size > _LONGEST_HEADER:
                    raise ValueError(f"a header of {found.size:,} bytes")
                place = file.tell()
                if _LONG_NUMBER.search(file.read(found.size)):
                    raise ValueError("a number of a thousand digits")
                file.seek(place)
            return found

    return Member


def is_hidden(member: str) -> bool:
    """Whether a path leads through what file managers and others leave behind."""
    parts = member.strip("/").split("/")
    return any((part.startswith(".") and part != "..") or part.lower() in _SIDE for part in parts)


def _is_inside(member: str) -> bool:
    """Whether a path is relative and stays below where it begins."""
    parts = member.removesuffix("/").split("/")
    return all(part not in ("", ".", "..") for part in parts) and ":" not in parts[0]


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"{what} has {size:,} bytes, the most is {limit:,}: replace or remove it")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _walk(root: Path, deep: bool) -> Iterator[str]:
    """Paths below a folder, of files and, with a slash at the end, of folders; no hidden ones."""
    # Links may lead back to a folder that holds them.
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while stack:
        folder, above = stack.pop()
        facts = os.stat(root / folder)
        within = above | {(facts.st_dev, facts.st_ino)}
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                path = folder + entry.name
                if not entry.is_dir():
                    yield path
                    continue
                yield f"{path}/"
                inside = os.stat(entry.path)
                if (inside.st_dev, inside.st_ino) not in within and (deep or not folder):
                    stack.append((f"{path}/", within))
