"""Files that are no pickles: safetensors, which are read, and others, which are named."""

from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from jaxgan.errors import UserError
from jaxgan.schema import parse_json

_HEADER = 16 << 20  # bytes: a hundred thousand tensors

_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run `git lfs pull`)",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, such as a Keras .h5",
    b"\x93NUMPY": "a NumPy .npy array",
    b"\x1f\x8b": "a gzip archive (unpack it first)",
    b"BZh": "a bzip2 archive (unpack it first)",
    b"\xfd7zXZ": "an xz archive (unpack it first)",
    b"7z\xbc\xaf": "a 7z archive (unpack it first)",
    b"Rar!": "a RAR archive (unpack it first)",
    b"GGUF": "a GGUF file of a language model",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}
_SUFFIXES = {
    ".onnx": "an ONNX model",
    ".pb": "a TensorFlow graph",
    ".index": "an index of a TensorFlow checkpoint",
    ".tflite": "a TensorFlow Lite model",
    ".msgpack": "a msgpack file of Flax",
    ".json": "a JSON file",
    ".yaml": "a YAML file",
    ".txt": "a text file",
}
_TYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"},
}


def kind(path: Path, start: bytes) -> str:
    """What a file is by its first bytes, or its name; "" if it is a pickle or a zip archive."""
    for begins, what in _STARTS.items():
        if start.startswith(begins):
            return what
    if not start:
        return "an empty file"
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "an HTML page, such as a download that failed (get the file itself)"
    if start[257:262] == b"ustar" or start[:13] == b"sys_info\0\0\0\0\0":
        return "a tar archive, as PyTorch wrote before 0.1.10"
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return ""
    return _SUFFIXES.get(path.suffix.lower(), "no pickle, zip archive or safetensors")


def archive(names: set[str]) -> str:
    """What a zip archive is by the names in it; "" if it may be a checkpoint of PyTorch."""
    if any(name.endswith("/constants.pkl") for name in names):
        return "a torch.jit archive (TorchScript): a program"
    if "model.weights.h5" in names:
        return "a Keras .keras archive"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy .npz archive"
    if any(name.startswith("archive/models/") or name == ".data/version" for name in names):
        return "an archive of torch.export or torch.package: a program"
    return ""


def is_safetensors(path: Path, start: bytes) -> bool:
    """Whether a file begins as safetensors do: the header's length, then JSON."""
    return start[8:9] == b"{" and (path.suffix == ".safetensors" or not start[4:8].strip(b"\0"))


def safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file, read-only.

    Raises:
        UserError: the library refuses it (its tensors overlap, or reach beyond the file), its
            header is larger than 16 MB, or a type is none of the usual.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _HEADER):
            raise UserError(
                f"{path} says that its header has {length:,} bytes, where the file has {size:,} "
                f"and the limit is {_HEADER >> 20} MB: it is cut short or damaged, copy it anew"
            )
        header = file.read(length)
    try:
        with safe_open(path, framework="np") as opened:
            names = list(opened.keys())
        facts = parse_json(header)
        content = np.fromfile(path, np.uint8, offset=8 + length)
        arrays = {name: _array(content, facts[name]) for name in names}
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"{path} cannot be read as safetensors ({reason}): it is cut short or damaged, copy it "
            "anew"
        ) from error
    if not arrays:
        raise UserError(f"{path} holds no tensor: give one that does")
    if not all(name.isprintable() and len(name) <= 1000 for name in arrays):
        raise UserError(f"{path} holds a tensor whose name cannot be printed: rename it")
    return arrays


def _array(content: np.ndarray, fact: dict) -> np.ndarray:
    """A view of the bytes behind the header, whose bounds the library has checked."""
    if fact["dtype"] not in _TYPES:
        raise ValueError(f"a tensor of type {fact['dtype']}")
    name = _TYPES[fact["dtype"]]
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    begin, end = fact["data_offsets"]
    part = content[begin:end]
    array = part != 0 if name == "bool" else part.view(dtype)
    array = array.reshape(fact["shape"])
    array.flags.writeable = False
    return array
