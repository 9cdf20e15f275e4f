"""Reads .npz files that may be strangers', or broken by a process that was stopped.

Plain arrays alone: nothing pickled is looked at. What is declared is compared with what is there
before anything is allocated, for a small file may ask for more than a machine has.
"""

import math
import os
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import IO

import numpy as np

from jaxgan.errors import UserError
from jaxgan.files import open_regular

_SUFFIX = ".npy"
_MEMBERS = 100_000
_NAME = 1000
_HEADER = 10_000
_EXPANSION, _SPARE = 100, 2**30
"""How many bytes a file of n may hold, unpacked: 100 n and a gigabyte more."""

_KINDS = "biufcUS"
"""NumPy's letters of plain numbers, booleans and text."""


class _Broken(Exception):
    """What is wrong with a file, in a clause."""


def read(path: str | os.PathLike[str], what: str) -> dict[str, np.ndarray]:
    """All arrays of an npz file, by name.

    Args:
      path: Of the file.
      what: It is, for messages.

    Raises:
      UserError: No such file; no npz file of plain arrays, or one that does not have the sizes that
        it declares.
    """
    path = Path(path)
    mend = f"expected an npz file of {what}"
    try:
        with open_regular(path) as file:
            return _read(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, {mend}") from error
    except _Broken as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # zipfile, zlib and NumPy raise what they like for a damaged one
        reason = " ".join(str(error).split()) or type(error).__name__
    raise UserError(f"{path}: not an npz file of {what} ({reason}); make it anew")


def names(path: str | os.PathLike[str]) -> list[str]:
    """What a file's arrays are called, of which none is read; [] where `read` would refuse it."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            _check(infos, os.fstat(file.fileno()).st_size)
    except Exception:  # as there
        return []
    return [info.filename.removesuffix(_SUFFIX) for info in infos]


def _read(file: IO[bytes], size: int) -> dict[str, np.ndarray]:
    archive = zipfile.ZipFile(file)
    infos = archive.infolist()
    _check(infos, size)
    arrays = {}
    for info in infos:
        with archive.open(info) as member:
            name = info.filename.removesuffix(_SUFFIX)
            arrays[name] = _array(member, name, info.file_size)
    return arrays


def _check(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Check what the directory of the archive declares."""
    if len(infos) > _MEMBERS:
        raise _Broken(f"it has {len(infos):,} arrays, the most is {_MEMBERS:,}")
    for info in infos:
        name, parts = info.filename, info.filename.split("/")
        if not name.endswith(_SUFFIX) or len(name) > _NAME or not name.isprintable():
            raise _Broken(f"{name[:40]!r} is no array")
        if not all(parts) or not {".", ".."}.isdisjoint(parts):
            raise _Broken(f"{name[:40]!r} is no name of an array")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _Broken(f"{name!r} is compressed in another way than NumPy does")
    if twice := [name for name, n in Counter(i.filename for i in infos).items() if n > 1]:
        raise _Broken(f"{twice[0]!r} is there twice")
    if (packed := sum(info.compress_size for info in infos)) > size:
        raise _Broken(f"its arrays take {packed:,} bytes, it has {size:,}")
    total, most = sum(info.file_size for info in infos), _EXPANSION * size + _SPARE
    if total > most:
        raise _Broken(f"it has {size:,} bytes and unpacks to {total:,}, the most is {most:,}")


def _array(member: IO[bytes], name: str, size: int) -> np.ndarray:
    """The array of a member of `size` bytes."""
    version = np.lib.format.read_magic(member)
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in headers:  # 3.0 is for fields with names, which are no plain arrays
        raise _Broken(f"{name} is of version {version[0]}.{version[1]}")
    shape, fortran, dtype = headers[version](member, max_header_size=_HEADER)
    if dtype.hasobject:
        raise _Broken(f"{name} holds Python objects, which are not read")
    if dtype.kind not in _KINDS or dtype.shape or any(n < 0 for n in shape):
        raise _Broken(f"{name} is {dtype} {shape}, no plain array")
    declared, there = math.prod(shape) * dtype.itemsize, size - member.tell()
    if declared != there:
        raise _Broken(f"{name} is {dtype} {shape} of {declared:,} bytes, but has {there:,}")
    array = np.empty(shape, dtype, order="F" if fortran else "C")
    content = array.reshape(-1, order="A").view(np.uint8).data if declared else memoryview(b"")
    place = 0
    while place < declared:
        got = member.readinto(content[place:])  # type: ignore[attr-defined]
        if not got:
            raise _Broken(f"{name} was cut short")
        place += got
    member.read(1)  # its end, where checksums are compared
    if dtype.kind == "U" and declared:
        letters = array.reshape(-1, order="A").view(
            np.dtype(np.uint32).newbyteorder(dtype.byteorder)
        )
        if letters.max() > sys.maxunicode:  # of which NumPy makes a SystemError, much later
            raise _Broken(f"{name} holds letters that Unicode lacks")
    return array
