"""Writes .pth files, as `torch.save` does, without PyTorch: names in a pickle, bytes beside it."""

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}
_ALIGNED = 64
"""Bytes to whose multiples numbers are moved, so that a file can be mapped into memory."""


def dumps(tree: Mapping[str, Any]) -> bytes:
    """The content of a file of which `torch.load` makes a dictionary of tensors on the CPU.

    Args:
        tree: arrays, float32 or int64, by name, or such dictionaries.
    """
    storages: list[np.ndarray] = []
    pickled = b"\x80\x02" + _table(tree, storages) + b"."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(storages):
            record = zipfile.ZipInfo(f"archive/data/{key}")
            start = out.tell() + 30 + len(record.filename) + 4
            fill = -start % _ALIGNED
            record.extra = b"FB" + struct.pack("<H", fill) + bytes(fill)
            archive.writestr(record, array.astype(array.dtype.newbyteorder("<")).tobytes())
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


# Opcodes of pickle's protocol 2: "}" a dictionary, "(" a mark, "u" its items up to there, "t" the
# tuple of them, "c" a name, "R" a call, "Q" a reference to a storage, "\x89" False, ")" ().


def _table(tree: Mapping[str, Any], storages: list[np.ndarray]) -> bytes:
    items = b""
    for name, value in tree.items():
        inner = _table if isinstance(value, Mapping) else _tensor
        items += _word(name) + inner(value, storages)
    return b"}(" + items + b"u"


def _tensor(array: np.ndarray, storages: list[np.ndarray]) -> bytes:
    key = str(len(storages))
    storages.append(array)
    kind = f"ctorch\n{_STORAGES[array.dtype.name]}\n".encode()
    where = _word("storage") + kind + _word(key) + _word("cpu") + _number(array.size)
    strides = np.empty(array.shape, "b").strides  # of rows one after the other, in numbers
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + where
        + b"tQ"
        + _number(0)
        + _numbers(array.shape)
        + _numbers(strides)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def _word(text: str) -> bytes:
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
