"""Pickles as data: a pickle's program is followed by hand, and calls what is listed here alone.

`pickle.Unpickler` builds real objects, which a pickle can go on to change (BUILD), and reserves
memory for what a pickle says of itself. Here a pickle makes plain values, lists, tuples and the
records below, which have no state of their own: BUILD fills an empty array of NumPy's, once, and
has no other effect, REDUCE knows a closed list of names whose arguments are checked, a dictionary
is a list of pairs that are never hashed, and what is read, nested and counted has limits. Arrays
are made of records by `jaxgan.pth`, afterwards.
"""

import dataclasses
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any, cast

import ml_dtypes
import numpy as np

OPERATIONS = 2_000_000
"""Of all pickles in a file; networks with their optimisers take some tens of thousands."""
_LONGEST_NAME = 1000
_LARGEST = 2**63

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

_CODES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"})
"""Types of NumPy arrays, as a pickle writes them."""


class Stream:
    """What is left of a file: reading asks for no more memory than that."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self.left = file, size

    def read(self, count: int) -> bytes:
        """At most `count` bytes."""
        content = self._file.read(min(count, self.left))
        self.left -= len(content)
        return content

    def readline(self) -> bytes:
        """A line, which pickles end names with."""
        line = self._file.readline(min(_LONGEST_NAME, self.left))
        self.left -= len(line)
        return line


@dataclasses.dataclass(slots=True, eq=False)
class Storage:
    """Numbers of one type; `data`, once they are read."""

    key: str
    dtype: np.dtype
    count: int
    data: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclasses.dataclass(slots=True, eq=False)
class Empty:
    """A NumPy array; `content`, once its numbers are read."""

    content: Tensor | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A dictionary, as pairs in their order."""

    pairs: list[tuple[Any, Any]]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a name; the last one counts."""
        for key, value in reversed(self.pairs):
            if isinstance(key, str) and key == name:
                return value
        return default


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Network:
    """An object with persistence: its class's name, source code, and state."""

    name: str
    source: str
    state: Table


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Dropped:
    """A value that says nothing of tensors, such as the arguments of a command."""

    what: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Name:
    """A function or a class; `what` is looked up in `_CALLS`, never imported."""

    what: str


class Reader:
    """Reads the pickles of a file.

    Args:
        size: of the file in bytes, which those of the pickles inside of it do not exceed.
        unknown: makes the error of a name that is not known.
        nested: reads the pickles inside of a plain pickle, which hold its storages.
    """

    def __init__(
        self,
        size: int,
        unknown: Callable[[str], Exception],
        nested: Callable[[bytes], Any] | None = None,
    ):
        self._unknown, self._nested = unknown, nested
        self._operations, self._bytes = OPERATIONS, size

    def read(self, stream: Stream, storage: Callable[[str, np.dtype, int], Any] | None) -> Any:
        """The value of one pickle, which the stream then stands behind.

        Args:
            stream: where it begins.
            storage: makes a storage of (key, type, count); None: there is none to be named.
        """
        return _Program(self, storage).run(stream)

    def inside(self) -> "Reader":
        """For the pickles inside: of the same limits, and without any inside of these."""
        return _Inside(self)

    def spend(self, count: int = 1) -> None:
        """Counts operations, and what a call copies of its arguments, which may be shared."""
        self._operations -= count
        if self._operations < 0:
            raise pickle.UnpicklingError(f"its pickles have more than {OPERATIONS:,} operations")

    def find(self, name: str) -> _Name:
        """What stands for a name."""
        if name not in _CALLS and name not in _TYPES:
            raise self._unknown(name)
        return _Name(name)

    def nested(self, content: Any) -> Any:
        """The storage in a plain pickle."""
        if self._nested is None or not isinstance(content, bytes):
            raise pickle.UnpicklingError("a pickle out of place")
        self._bytes -= len(content)
        if self._bytes < 0:
            raise pickle.UnpicklingError("it holds a pickle more than once")
        return self._nested(content)


class _Inside(Reader):
    """Counts what it reads as the reader around it does."""

    def __init__(self, outer: Reader):
        super().__init__(0, outer._unknown)
        self._outer = outer

    def spend(self, count: int = 1) -> None:
        """Counts operations."""
        self._outer.spend(count)


class _Program:
    """The stack and memo of one pickle."""

    def __init__(self, reader: Reader, storage: Callable[[str, np.dtype, int], Any] | None):
        self.reader, self.storage = reader, storage
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: Stream) -> Any:
        """The one value that is left at the end."""
        for operation, argument, _ in pickletools.genops(cast(IO[bytes], stream)):
            self.reader.spend()
            if operation.name not in _OPERATIONS:
                raise pickle.UnpicklingError(f"its pickle has an operation {operation.name}")
            _OPERATIONS[operation.name](self, argument)
        if len(self.stack) != 1 or self.marks:
            raise pickle.UnpicklingError("its pickle ends with something left over")
        return self.stack[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, kind: type = object) -> Any:
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise pickle.UnpicklingError(f"its pickle needs a {kind.__name__} where none is")
        return value

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marks.pop()
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def set_aside(self, values: list[Any]) -> None:
        self.push(Dropped("a set"))

    def drop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.marks.pop()

    def named(self) -> None:
        name, module = self.pop(str), self.pop(str)
        self.push(self.reader.find(f"{module[:_LONGEST_NAME]}.{name[:_LONGEST_NAME]}"))

    def number(self, value: int) -> None:
        if abs(value) >= 1 << 128:
            raise pickle.UnpicklingError("a number of more than 128 bits")
        self.push(value)

    def remember(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        """Appends to the list below, or fills what stands for a set."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Dropped):
            raise pickle.UnpicklingError("its pickle appends to no list")

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if len(values) % 2:
            raise pickle.UnpicklingError("its pickle has a key without a value")
        if isinstance(target, Table):
            target.pairs.extend(zip(values[::2], values[1::2], strict=True))
        elif not isinstance(target, Dropped):
            raise pickle.UnpicklingError("its pickle sets items of no dictionary")

    def call(self) -> None:
        """A listed name with its arguments."""
        arguments, name = self.pop(tuple), self.pop(_Name).what
        if name not in _CALLS:
            raise pickle.UnpicklingError(f"it calls {name}, which is no function")
        self.push(_CALLS[name](self.reader, name, *arguments))

    def persistent(self) -> None:
        """A storage, by what PyTorch says of it."""
        pid = self.pop(tuple)
        if not (pid and isinstance(pid[0], str) and pid[0] == "storage" and len(pid) in (5, 6)):
            raise pickle.UnpicklingError("a storage of a form that PyTorch does not write")
        _, kind, key, _, count, *view = pid
        if any(part is not None for part in view):
            raise pickle.UnpicklingError("a storage that is a part of another")
        dtype = _TYPES.get(kind.what) if isinstance(kind, _Name) else None
        if dtype is None or self.storage is None or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage out of place")
        self.push(self.storage(key, dtype, _sizes((count,))[0]))

    def build(self) -> None:
        """A NumPy array's numbers; any other state of the value below has no effect."""
        state = self.pop()
        if not self.stack or isinstance(self.stack[-1], _Name):
            raise pickle.UnpicklingError("its pickle gives a state to a function")
        below = self.stack[-1]
        if isinstance(below, Empty):
            _fill(below, state)
        elif isinstance(below, Dropped) and below.what in _CODES:
            _check_order(state)


_VALUES = (
    *("BININT", "BININT1", "BININT2", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)

_OPERATIONS: dict[str, Callable[[_Program, Any], Any]] = {
    **dict.fromkeys(_VALUES, _Program.push),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda program, _: None),
    "NONE": lambda program, _: program.push(None),
    "NEWTRUE": lambda program, _: program.push(True),
    "NEWFALSE": lambda program, _: program.push(False),
    "LONG1": _Program.number,
    "BYTEARRAY8": lambda program, value: program.push(bytes(value)),
    "MARK": lambda program, _: program.mark(),
    "POP": lambda program, _: program.drop(),
    "POP_MARK": lambda program, _: program.since_mark(),
    "EMPTY_LIST": lambda program, _: program.push([]),
    "EMPTY_TUPLE": lambda program, _: program.push(()),
    "EMPTY_DICT": lambda program, _: program.push(Table([])),
    "EMPTY_SET": lambda program, _: program.set_aside([]),
    "FROZENSET": lambda program, _: program.set_aside(program.since_mark()),
    "TUPLE": lambda program, _: program.push(tuple(program.since_mark())),
    "TUPLE1": lambda program, _: program.push(program.last(1)),
    "TUPLE2": lambda program, _: program.push(program.last(2)),
    "TUPLE3": lambda program, _: program.push(program.last(3)),
    "APPEND": lambda program, _: program.extend(list(program.last(1))),
    "APPENDS": lambda program, _: program.extend(program.since_mark()),
    "ADDITEMS": lambda program, _: program.extend(program.since_mark()),
    "SETITEM": lambda program, _: program.set_items(list(program.last(2))),
    "SETITEMS": lambda program, _: program.set_items(program.since_mark()),
    "BINPUT": _Program.put,
    "LONG_BINPUT": _Program.put,
    "MEMOIZE": lambda program, _: program.remember(),
    "BINGET": lambda program, place: program.push(program.memo[place]),
    "LONG_BINGET": lambda program, place: program.push(program.memo[place]),
    "GLOBAL": lambda program, name: program.push(program.reader.find(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": lambda program, _: program.named(),
    "REDUCE": lambda program, _: program.call(),
    "NEWOBJ": lambda program, _: program.call(),
    "BUILD": lambda program, _: program.build(),
    "BINPERSID": lambda program, _: program.persistent(),
}
"""What picklers write by protocols 2 to 5. Missing: what makes text into numbers, calls without a
listed name (INST, OBJ, NEWOBJ_EX, EXT), and buffers that lie elsewhere."""


def _sizes(values: Any) -> tuple[int, ...]:
    """Whole numbers from 0 that 63 bits hold."""
    if not isinstance(values, tuple | list) or len(values) > 32:
        raise pickle.UnpicklingError("a tensor of no shape")
    for value in values:
        if type(value) is not int or not 0 <= value < _LARGEST:
            raise pickle.UnpicklingError("a size that is no number from 0")
    return tuple(values)


def _tensor(
    reader: Reader, name: str, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> Tensor:
    """A view of a storage; what follows (gradients wanted, hooks) says nothing of the values."""
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    (start,), size, stride = _sizes((offset,)), _sizes(size), _sizes(stride)
    last = start + sum((n - 1) * step for n, step in zip(size, stride, strict=True) if n)
    if start > storage.count or (math.prod(size) and last >= storage.count):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return Tensor(storage, start, size, stride)


def _parameter(reader: Reader, name: str, data: Any, *rest: Any) -> Any:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter that is no tensor")
    return data


def _table(reader: Reader, name: str, items: Any = ()) -> Table:
    """An OrderedDict or EasyDict; the attributes that PyTorch hangs on one are dropped."""
    if not isinstance(items, list | tuple | Table):
        raise pickle.UnpicklingError("a dictionary of no pairs")
    if isinstance(items, Table):
        items = items.pairs
    reader.spend(len(items))
    pairs = []
    for item in items:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise pickle.UnpicklingError("a dictionary of no pairs")
        pairs.append((item[0], item[1]))
    return Table(pairs)


def _network(reader: Reader, name: str, meta: Any) -> Network:
    """An object with persistence, whose source is a string like any other."""
    if not isinstance(meta, Table):
        raise pickle.UnpicklingError("a network without a state")
    reader.spend(3 * len(meta.pairs))
    state = meta.get("state")
    if not isinstance(state, Table):
        raise pickle.UnpicklingError("a network without a state")
    words = [meta.get(key, "") for key in ("class_name", "module_src")]
    if not all(isinstance(word, str) for word in words):
        raise pickle.UnpicklingError("a network without a name")
    return Network(words[0], words[1], state)


def _scalar(reader: Reader, name: str, kind: Any, content: Any = None, *rest: Any) -> Any:
    """A number of NumPy's, of the usual types."""
    code = kind.what if isinstance(kind, Dropped) else ""
    if code in ("f8", "f4", "i8", "i4", "b1") and isinstance(content, bytes):
        dtype = np.dtype(f"<{code}")
        if len(content) == dtype.itemsize:
            return np.frombuffer(content, dtype)[0].item()
    return Dropped("a NumPy number")


def _empty(reader: Reader, name: str, *arguments: Any) -> Empty:
    return Empty()


def _buffer(reader: Reader, name: str, content: Any, kind: Any, shape: Any, order: Any) -> Empty:
    """An array, as protocol 5 writes them."""
    array = Empty()
    _fill(array, (1, shape, kind, order == "F" if isinstance(order, str) else None, content))
    return array


def _check_order(state: Any) -> None:
    """Refuses the state of a NumPy type whose bytes are the other way round."""
    if not (isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", "|")):
        raise pickle.UnpicklingError("a NumPy type that is not little-endian")


def _fill(array: Empty, state: Any) -> None:
    """The numbers of an array of the usual types: (version, shape, type, by columns, bytes)."""
    if array.content is not None or not (isinstance(state, tuple) and len(state) == 5):
        raise pickle.UnpicklingError("an array of NumPy's of a form that it does not write")
    _, shape, kind, columns, content = state
    shape, code = _sizes(shape), kind.what if isinstance(kind, Dropped) else ""
    if code not in _CODES or not isinstance(content, bytes):
        return  # of objects or text
    count = math.prod(shape)
    if len(content) != count * np.dtype(code).itemsize:
        raise pickle.UnpicklingError("an array of another size than it says")
    storage = Storage("", np.dtype(code), count)
    if code == "b1":  # any byte but 0 is true, which NumPy does not expect
        storage.data = np.frombuffer(content, np.uint8) != 0
    else:
        storage.data = np.frombuffer(content, f"<{code}").astype(np.dtype(code), copy=False)
    lengths = shape if columns is True else shape[::-1]
    steps = tuple(math.prod(lengths[:i]) for i in range(len(shape)))
    array.content = Tensor(storage, 0, shape, steps if columns is True else steps[::-1])


def _dtype(reader: Reader, name: str, code: Any = "", *rest: Any) -> Dropped:
    return Dropped(code if isinstance(code, str) and len(code) < 9 else name)


def _encoded(reader: Reader, name: str, text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes, as protocol 2 writes them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes of no text")
    reader.spend(len(text) // 64)
    return text.encode("latin1")


def _size(reader: Reader, name: str, values: Any = ()) -> tuple[int, ...]:
    return _sizes(values)


def _dropped(reader: Reader, name: str, *arguments: Any) -> Dropped:
    return Dropped(name)


def _nested(reader: Reader, name: str, content: Any) -> Any:
    return reader.nested(content)


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _table,
    "dnnlib.util.EasyDict": _table,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": _size,
    "torch.storage._load_from_bytes": _nested,
    "torch_utils.persistence._reconstruct_persistent_obj": _network,
    "_codecs.encode": _encoded,
    "numpy.dtype": _dtype,
    **dict.fromkeys(("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _scalar),
    **dict.fromkeys(
        ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), _empty
    ),
    **dict.fromkeys(("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"), _buffer),
    **dict.fromkeys(
        (
            *("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset"),
            *("numpy.ndarray", "torch.device", "argparse.Namespace"),
            *("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath"),
        ),
        _dropped,
    ),
}
"""{name: what it makes of its arguments}; called with the reader and the name before them."""
