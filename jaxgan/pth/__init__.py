"""Tensors of other frameworks' files, without PyTorch, and without running what a pickle asks for.

A .pth file is a pickle of nested containers, whose tensors name storages that lie beside it:
records of a zip archive (torch 1.6 and later), or bytes behind the pickle (before). A plain pickle
of tensors holds each storage as the bytes of such a file, one of NumPy arrays their numbers. A
pickle may name any function to be
called with any arguments. Here the names that tensors need stand for functions of
`jaxgan.pth.pickles`, and every other name ends the reading. Arrays are made when all is read, and
only of what is there.

Pickles of NVIDIA's (StyleGAN2-ADA and later) also hold networks as objects "with persistence":
source code, which is to be executed when they are loaded, and a state. Here the source is a string
like any other, and the state gives the tensors by the names of a state_dict, with the settings of
every part as facts.
"""

import dataclasses
import io
import math
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.pth import foreign
from jaxgan.pth.pickles import Dropped, Empty, Network, Reader, Storage, Stream, Table, Tensor

_LEGACY = 0x1950A86A20F9469CFC6C  # the first number of files without a zip archive
_RESAVE = 'save it again with torch.save(network.state_dict(), "FILE.pth")'
_GIVE = "give a .pth, .pt, .pkl or .safetensors file of tensors"

_EXPANSION = 20
"""By how much larger than an archive its records may be, which PyTorch does not compress."""
_SPARE = 16 << 20  # bytes by which small files may exceed that, or their shared tensors
_SHARED = 8
"""By how much larger than a file its tensors may be together, for they may share numbers."""
_VALUES = 1_000_000
_DEPTH = 40
_LONGEST_NAME = 1000

_ERRORS = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, EOFError),
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    RuntimeError,
)
"""What reading raises of a file that was made of anything at all."""

Fact = str | int | float | bool | None


@dataclasses.dataclass(frozen=True)
class File:
    """What a file holds.

    Attributes:
        arrays: tensors by name, read-only, in the file's order.
        facts: settings of objects with persistence, `G.mapping.num_layers`; of other files none.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Fact] = dataclasses.field(default_factory=dict)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors of a .pth, .pt, .pkl or .safetensors file: `load` without the facts."""
    return load(path).arrays


def load(path: str | Path) -> File:
    """Tensors of a .pth, .pt, .pkl or .safetensors file, and the settings of networks in it.

    Names of nested dictionaries and places in lists are joined with ".". Numbers, strings and other
    plain values that stand among the tensors are passed over.

    Raises:
        UserError: the file is missing, cut short, of another format (which is named), larger inside
            than its size allows, or names anything but tensors; nothing that it names is called.
    """
    path = Path(path)
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist, there is no file"
        raise UserError(f"{path} {what}: give a checkpoint of PyTorch, such as G_ema.pth")
    try:
        with path.open("rb") as file:
            start, size = file.read(512), path.stat().st_size
            file.seek(0)
            if foreign.is_safetensors(path, start):
                return File(foreign.safetensors(path))
            if other := foreign.kind(path, start):
                raise UserError(f"{path} is {other}, no checkpoint of PyTorch: {_GIVE}")
            if start[:2] == b"PK":
                tree = _read_zip(path, file, size)
            else:
                tree = _read_pickles(path, Stream(file, size), size)
        return _flat(path, tree, size)
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path} does not fit this machine's memory: {_RESAVE}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except _ERRORS as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
        raise UserError(
            f"{path} cannot be read ({reason}): it is cut short or damaged, copy it anew"
        ) from error


def _unknown(path: Path, name: str) -> UserError:
    """The error of a name that a pickle has no business with."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)[:100]
    if name.startswith("dnnlib.tflib."):
        return UserError(
            f"{path} is a TensorFlow pickle of NVIDIA's ({name}), which only their own code reads: "
            "convert it with legacy.py of stylegan2-ada-pytorch"
        )
    what = "a whole network, not its tensors" if name.startswith("torch.nn.modules.") else ""
    return UserError(
        f"{path} names {name}, which is {what or 'no tensor'} and was not called: {_RESAVE}"
    )


def _read_zip(path: Path, file: IO[bytes], size: int) -> Any:
    """The containers of an archive: NAME/data.pkl, with the storages in NAME/data/KEY."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        names = {info.filename for info in infos}
        found = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if other := foreign.archive(names):
            raise UserError(f"{path} is {other}, not tensors of PyTorch: {_RESAVE}")
        if len(found) != 1:
            raise UserError(f"{path} is a zip file, but no checkpoint of PyTorch: {_RESAVE}")
        _check_archive(path, infos, size)
        folder = found[0].removesuffix("data.pkl")
        big = f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big"
        storages: dict[str, Storage] = {}

        def storage(key: str, dtype: np.dtype, count: int) -> Storage:
            if key not in storages:
                if archive.getinfo(f"{folder}data/{key}").file_size != count * dtype.itemsize:
                    raise pickle.UnpicklingError(f"storage {key} has another size than it says")
                storages[key] = Storage(key, dtype, count)
            return _typed(storages[key], dtype, count)

        content = archive.read(found[0])
        reader = Reader(size, lambda name: _unknown(path, name))
        tree = reader.read(Stream(io.BytesIO(content), len(content)), storage)
        for key, each in storages.items():
            _fill(each, archive.read(f"{folder}data/{key}"), big)
    return tree


def _check_archive(path: Path, infos: list[zipfile.ZipInfo], size: int) -> None:
    """Refuses an archive that unpacks to far more than it is, before unpacking any of it."""
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if any(info.compress_type not in known or info.flag_bits & 1 for info in infos):
        raise UserError(f"{path} is encrypted or compressed in a way that is not read: {_RESAVE}")
    total, limit = sum(info.file_size for info in infos), _EXPANSION * size + _SPARE
    if total > limit:
        raise UserError(
            f"{path} has {size:,} bytes and unpacks to {total:,}; the limit is {_EXPANSION} times "
            f"its size and {_SPARE >> 20} MB: {_RESAVE}, which does not compress"
        )


def _read_pickles(path: Path, stream: Stream, size: int) -> Any:
    """The containers of a file of pickles: what it is, containers, keys; then the storages.

    Or those of a plain pickle, with storages inside.
    """

    def nested(content: bytes) -> Any:
        inside = Stream(io.BytesIO(content), len(content))
        if inner.read(inside, None) != _LEGACY:
            raise pickle.UnpicklingError("a pickle out of place")
        return _behind(path, inner, inside)

    reader = Reader(size, lambda name: _unknown(path, name), nested)
    inner = reader.inside()
    first = reader.read(stream, None)
    if isinstance(first, Table):
        return first
    if isinstance(first, Network):
        return first
    if type(first) is not int or first != _LEGACY:
        raise UserError(f"{path} is a pickle, but no checkpoint of PyTorch: {_RESAVE}")
    return _behind(path, inner, stream)


def _behind(path: Path, reader: Reader, stream: Stream) -> Any:
    """Containers after the number that files without a zip archive begin with."""
    reader.read(stream, None)  # the format's version
    facts = reader.read(stream, None)
    if not (isinstance(facts, Table) and facts.get("little_endian", True) is True):
        raise UserError(f"{path} is of a big-endian machine, and old: {_RESAVE}")
    storages: dict[str, Storage] = {}

    def storage(key: str, dtype: np.dtype, count: int) -> Storage:
        return _typed(storages.setdefault(key, Storage(key, dtype, count)), dtype, count)

    tree = reader.read(stream, storage)
    keys = reader.read(stream, None)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise pickle.UnpicklingError("its list of storages is none")
    for key in keys:
        each = storages.pop(key)
        count = int.from_bytes(stream.read(8), "little")
        if count != each.count or count * each.dtype.itemsize > stream.left:
            raise pickle.UnpicklingError("it ends before its last tensor")
        _fill(each, stream.read(count * each.dtype.itemsize), False)
    if storages:
        raise pickle.UnpicklingError("it ends before its last tensor")
    return tree


def _fill(storage: Storage, content: bytes, big: bool) -> None:
    """A storage's numbers, of exactly its size."""
    if len(content) != storage.count * storage.dtype.itemsize:
        raise pickle.UnpicklingError(f"storage {storage.key} is cut short")
    if storage.dtype == np.bool_:  # any byte but 0 is true, which NumPy does not expect
        storage.data = np.frombuffer(content, np.uint8) != 0
    else:
        numbers = np.frombuffer(content, storage.dtype)
        storage.data = numbers.byteswap() if big else numbers


def _typed(storage: Storage, dtype: np.dtype, count: int) -> Storage:
    if (storage.dtype, storage.count) != (dtype, count):
        raise pickle.UnpicklingError("a storage of two types")
    return storage


def _array(tensor: Tensor) -> np.ndarray:
    """A read-only view of the storage, inside of which `pickles` has made sure that it stays."""
    storage, data = tensor.storage, tensor.storage.data
    if data is None:
        raise pickle.UnpicklingError("a tensor without numbers")
    if not math.prod(tensor.size):
        return np.broadcast_to(np.zeros((), storage.dtype), tensor.size)
    # A side of one place may have any stride, also one that no machine has.
    strides = (
        step * storage.dtype.itemsize if n > 1 else 0
        for n, step in zip(tensor.size, tensor.stride, strict=True)
    )
    start = data[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.size, tuple(strides), writeable=False)


def _flat(path: Path, tree: Any, size: int) -> File:
    """Tensors and facts by their whole names, of trees that may share parts, or hold themselves."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Fact] = {}
    left = _SHARED * size + _SPARE
    for name, value in _leaves(path, tree):
        if not isinstance(value, Tensor):
            facts[name] = value
            continue
        if tensors.setdefault(name, value) is not value:
            raise UserError(f"{path} holds two tensors called {name}: {_RESAVE}")
        left -= math.prod(value.size) * value.storage.dtype.itemsize
        if left < 0:
            raise UserError(
                f"{path} has {size:,} bytes, and its tensors are larger than the limit of "
                f"{_SHARED} times that and {_SPARE >> 20} MB, for they share numbers: {_RESAVE}"
            )
    if not tensors:
        raise UserError(f"{path} holds no tensor: {_RESAVE}")
    return File({name: _array(tensor) for name, tensor in tensors.items()}, facts)


def _leaves(path: Path, tree: Any) -> Iterator[tuple[str, Any]]:
    """(name, tensor or fact), in order."""
    walk = _Walk(path)
    waiting = [iter(((((), False, tree)),))]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
            continue
        names, fact, value = found
        if isinstance(value, Empty) and value.content:
            value = value.content
        if isinstance(value, Tensor) or fact:
            yield _joined(path, names), value
        elif isinstance(value, Empty):
            name = _joined(path, names)
            raise UserError(f"{path} holds an array of NumPy, {name}, of no numbers: {_RESAVE}")
        elif isinstance(value, Dropped):
            pass
        elif len(waiting) > _DEPTH:
            raise UserError(
                f"{path} holds a container that holds itself, or more than {_DEPTH} in each other: "
                f"{_RESAVE}"
            )
        else:
            waiting.append(walk.inside(names, value))


class _Walk:
    """Goes through containers, and counts all that it sees of them, which may be the same often."""

    def __init__(self, path: Path):
        self._path, self._left = path, _VALUES

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise UserError(
                f"{self._path} holds more than {_VALUES:,} values, some of them many times: "
                f"{_RESAVE}"
            )

    def inside(self, names: tuple[str, ...], value: Any) -> Iterator[tuple]:
        """(names, is a fact, part) of a container; a network's are those of its state_dict."""
        self._spend()
        if isinstance(value, Network):
            for kind in ("_parameters", "_buffers", "_modules"):
                for key, part in value.state.pairs:
                    self._spend()
                    if key == kind and isinstance(part, Table):
                        yield from self.inside(names, part)
            for key, part in value.state.pairs:
                self._spend()
                if isinstance(key, str) and isinstance(part, Fact) and key[:1] != "_":
                    yield (*names, key), True, part
        elif isinstance(value, Table | list | tuple):
            pairs = value.pairs if isinstance(value, Table) else enumerate(value)
            for key, part in pairs:
                self._spend()
                if not isinstance(part, Tensor | Empty | Network | Table | list | tuple | Dropped):
                    continue
                if isinstance(key, str | int | float | bool | None):
                    yield (*names, str(key)), False, part
                elif not isinstance(part, Dropped):
                    raise pickle.UnpicklingError("a dictionary whose keys are no names")


def _joined(path: Path, names: tuple[str, ...]) -> str:
    if sum(map(len, names)) < _LONGEST_NAME and (name := ".".join(names)).isprintable():
        return name
    raise UserError(
        f"{path} holds a tensor whose name has {_LONGEST_NAME} letters or more, or some that "
        f"cannot be printed: {_RESAVE}"
    )
