"""PyTorch's .pth files: tensors without PyTorch, and without running what a pickle asks for.

A .pth file is a pickle of nested containers, whose tensors name storages that lie beside it:
records of a zip archive (torch 1.6 and later), or bytes behind the pickle (before). A plain pickle
of tensors holds each storage as the bytes of such a file. A pickle may name any function to be
called with any arguments. Here the names that tensors need stand for functions of this file, and
every other name ends the reading.

Pickles of NVIDIA's (StyleGAN2-ADA and later) also hold networks as objects "with persistence":
source code, which is to be executed when they are loaded, and a state. Here the source is a string
like any other, and the state gives the tensors by the names of a state_dict.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from jaxgan.errors import UserError

_LEGACY = 0x1950A86A20F9469CFC6C  # the first number of files without a zip archive
_RESAVE = 'save it again with torch.save(network.state_dict(), "FILE.pth")'

_TYPES: dict[str, np.dtype] = {
    "torch.DoubleStorage": np.dtype("float64"),
    "torch.FloatStorage": np.dtype("float32"),
    "torch.HalfStorage": np.dtype("float16"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("int64"),
    "torch.IntStorage": np.dtype("int32"),
    "torch.ShortStorage": np.dtype("int16"),
    "torch.CharStorage": np.dtype("int8"),
    "torch.ByteStorage": np.dtype("uint8"),
    "torch.BoolStorage": np.dtype("bool"),
}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors of a .pth, .pt or .pkl file, read-only, in the file's order.

    Names of nested dictionaries and places in lists are joined with ".". Numbers, strings and other
    plain values that stand among the tensors are passed over; but the group size of minibatch
    standard deviation, which no tensor holds, is read from objects with persistence, as a scalar.

    Raises:
        UserError: the file is missing, cut short, of another format, or names anything but tensors;
            nothing that it names has then been called.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no file {path}: give a checkpoint of PyTorch, such as G_ema.pth")
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(0)
            if start == b"PK":
                tree = _read_zip(path, file)
            elif start[:1] == b"\x80":
                tree = _read_pickles(path, file, path.stat().st_size)
            else:
                raise UserError(f"{path} is no checkpoint of PyTorch: give a .pth file of tensors")
    except UserError:
        raise
    except Exception as error:  # of an unpickler that was fed anything at all
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(
            f"{path} cannot be read ({reason}): it is cut short or damaged, copy it anew"
        ) from error
    return _flat(path, tree)


class _Name:
    """What a name in a pickle stands for: a function that the pickle can call, but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("a function is given a state")


class _Table(dict):
    """An OrderedDict or EasyDict; the attributes that PyTorch hangs on one are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Dropped:
    """What stands for a value that says nothing of tensors, such as a number of NumPy's."""

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(storage: np.ndarray, offset: int, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """A view of a storage; what follows (gradients wanted, hooks) says nothing of the values."""
    if not isinstance(storage, np.ndarray):
        raise pickle.UnpicklingError("a tensor without a storage")
    size, stride = tuple(size), tuple(stride)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (math.prod(size) and last >= len(storage)):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    strides = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _parameter(data: np.ndarray, *rest: Any) -> np.ndarray:
    return data


def _network(meta: dict[str, Any]) -> dict[str, Any]:
    """The tensors of an object with persistence, and of its parts, by name."""
    state = meta["state"]
    tree = {}
    for kind in ("_parameters", "_buffers", "_modules"):
        tree.update(state.get(kind, {}))
    if isinstance(state.get("group_size"), int):
        tree["group_size"] = np.asarray(state["group_size"])
    return tree


_NAMES: dict[str, Any] = {
    "builtins.set": _Name(_Dropped),
    "collections.OrderedDict": _Name(_Table),
    "dnnlib.util.EasyDict": _Table,  # itself, as such a pickle asks for a type
    "numpy.core.multiarray.scalar": _Name(_Dropped),
    "numpy._core.multiarray.scalar": _Name(_Dropped),
    "numpy.dtype": _Name(_Dropped),
    "torch._utils._rebuild_tensor": _Name(_tensor),
    "torch._utils._rebuild_tensor_v2": _Name(_tensor),
    "torch._utils._rebuild_parameter": _Name(_parameter),
    "torch.nn.parameter.Parameter": _Name(_parameter),
    "torch.Size": _Name(tuple),
    "torch_utils.persistence._reconstruct_persistent_obj": _Name(_network),
    **_TYPES,
}


class _Unpickler(pickle.Unpickler):
    """Knows the names above, and storages as `storage(key, type, count)` gives them."""

    def __init__(
        self, path: Path, file: Any, storage: Callable[[str, np.dtype, int], np.ndarray] | None
    ):
        super().__init__(file, encoding="utf-8")
        self._path, self._storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _Name(lambda data: _read_pickles(self._path, io.BytesIO(data), len(data)))
        known = _NAMES.get(f"{module}.{name}")
        if known is None:
            raise UserError(
                f"{self._path} names {module}.{name}, which is no tensor and was not called: "
                f"{_RESAVE}"
            )
        return known

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise UserError(f"{self._path} holds a {kind} of a form that is not read: {_RESAVE}")
        if self._storage is None or count < 0:
            raise pickle.UnpicklingError("a storage out of place")
        return self._storage(str(key), dtype, count)


def _read_zip(path: Path, file: Any) -> Any:
    """The containers of an archive: NAME/data.pkl, with the storages in NAME/data/KEY."""
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        found = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise UserError(f"{path} is a zip file, but no checkpoint of PyTorch: {_RESAVE}")
        folder = found[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in names:
            raise UserError(f"{path} holds a TorchScript program, not tensors: {_RESAVE}")
        big = f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big"
        storages: dict[str, np.ndarray] = {}

        def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
            if key not in storages:
                record = archive.getinfo(f"{folder}data/{key}")
                if record.file_size != count * dtype.itemsize:
                    raise pickle.UnpicklingError(f"storage {key} has another size than it says")
                numbers = np.frombuffer(archive.read(record), dtype)
                storages[key] = numbers.byteswap() if big else numbers
            return _typed(storages[key], dtype, count)

        return _Unpickler(path, io.BytesIO(archive.read(found[0])), storage).load()


def _read_pickles(path: Path, file: Any, length: int) -> Any:
    """The containers of a file of pickles: what it is, containers, keys; then the storages.

    Or those of a plain pickle, with storages inside.
    """
    first = _Unpickler(path, file, None).load()
    if isinstance(first, dict):
        return first
    if first != _LEGACY:
        raise UserError(f"{path} is a pickle, but no checkpoint of PyTorch: {_RESAVE}")
    _Unpickler(path, file, None).load()  # the format's version
    if not _Unpickler(path, file, None).load().get("little_endian", True):
        raise UserError(f"{path} is of a big-endian machine, and old: {_RESAVE}")
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if key not in storages:
            if count * dtype.itemsize > length:
                raise pickle.UnpicklingError("it ends before its last tensor")
            storages[key] = np.zeros(count, dtype)  # filled below
        return _typed(storages[key], dtype, count)

    tree = _Unpickler(path, file, storage).load()
    for key in _Unpickler(path, file, None).load():
        target = storages[key]
        count = int.from_bytes(file.read(8), "little")
        content = file.read(target.nbytes)
        if count != len(target) or len(content) < target.nbytes:
            raise pickle.UnpicklingError("it ends before its last tensor")
        target[:] = np.frombuffer(content, target.dtype)
        del storages[key]
    if storages:
        raise pickle.UnpicklingError("it ends before its last tensor")
    return tree


def _typed(storage: np.ndarray, dtype: np.dtype, count: int) -> np.ndarray:
    if (storage.dtype, len(storage)) != (dtype, count):
        raise pickle.UnpicklingError("a storage of two types")
    return storage


def _flat(path: Path, tree: Any) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    try:
        for name, array in _leaves(tree, ()):
            if arrays.setdefault(name, array) is not array:
                raise UserError(f"{path} holds two tensors called {name}: {_RESAVE}")
    except RecursionError:
        raise UserError(f"{path} holds a container that holds itself: {_RESAVE}") from None
    if not arrays:
        raise UserError(f"{path} holds no tensor: {_RESAVE}")
    return arrays


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, np.ndarray):
        yield ".".join(path), tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _leaves(value, (*path, str(index)))
