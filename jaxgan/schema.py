"""JSON that may be broken or a stranger's: read within limits, and by a schema."""

import collections
import dataclasses
import functools
import json
import math
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from jaxgan.errors import UserError, printable
from jaxgan.files import open_regular, read_regular
from jaxgan.ranges import complaint

T = TypeVar("T")

LARGEST = 16 << 20
"""Bytes of a file of settings or facts; one of 20,000 classes has 1 MB."""

_DEEPEST = 64
"""Levels of a JSON value."""

MOST = 2_000_000
"""Values in a JSON file."""

_TOLD = 5
"""Mistakes of a file that a line tells."""


def parse_json(text: bytes | str, *, finite: bool = True, most: int = MOST) -> Any:
    """The value of a JSON text: UTF-8, each key once, numbers that a double or 64 bits hold.

    Args:
        text: of the value; a byte order mark is skipped.
        finite: whether NaN and Infinity, which JSON lacks, are refused.
        most: values that it may have.

    Raises:
        ValueError: it is not such a text; the message is a line.
    """

    def constant(name: str) -> float:
        if not finite:
            return float(name)
        raise ValueError(f"{name} is no number of JSON")

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        # Counted before they are made: a list in a list takes 3 bytes of text, and 64 of memory.
        if text.count("[") + text.count("{") > most:
            raise ValueError(f"it has more than {most:,} values")
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _measure(value, most)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = collections.Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{printable(twice[:100])!r} stands there twice")
    return found


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**64:
        raise ValueError(f"{digits[:20]}... is too large a number")
    return value


def _measure(value: Any, most: int) -> None:
    """Refuses what is too deep or has too many values."""
    level, seen = [value], 0
    for _ in range(_DEEPEST):
        seen += len(level)
        if seen > most:
            raise ValueError(f"it has more than {most:,} values")
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not inner:
            return
        level = inner
    raise ValueError("it is nested too deeply")


def read_json(path: Path, *, mend: str = "restore it") -> Any:
    """The value of a small JSON file.

    Args:
        path: of the file.
        mend: what to do if it is broken, for the message.

    Raises:
        UserError: it cannot be read, or is broken.
    """
    try:
        return parse_json(read_regular(path, limit=LARGEST))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is broken ({error}): {mend}") from error


def lines_of(path: Path, *, longest: int = 4 << 20) -> Iterator[bytes]:
    """The lines of a regular file with their ends, longer ones in pieces; none if there is no file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            while line := file.readline(longest):
                yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


class _Unlike(ValueError):
    """A value of another type than its field's."""


def exactly(kind: type) -> Callable[[Any, Any], Any]:
    """Takes a value as it is; cattrs would make 1 of 1.5, and True of "false"."""
    expected = {bool: "true or false", str: "text"}

    def structure(value: Any, _: Any) -> Any:
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if kind in expected:
            wrong = (
                None if type(value) is kind else f"is {_short(value)}: it must be {expected[kind]}"
            )
        else:
            wrong = complaint(kind, value)
        if wrong:
            raise _Unlike(wrong)
        return kind(value)

    return structure


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 100 else f"{words[:100]}..."


def converter() -> cattrs.Converter:
    """A converter of JSON values that takes nothing for what it is not, and no unknown key."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (int, float, bool, str):
        converter.register_structure_hook(kind, exactly(kind))

    def of_list(value: Any, wanted: Any) -> tuple[Any, ...]:
        kinds = typing.get_args(wanted)
        if kinds[1:] == (...,) and isinstance(value, list):
            kinds = kinds[:1] * len(value)
        if not isinstance(value, list) or len(value) != len(kinds):
            raise _Unlike(f"is {_short(value)}: it must be a list of {len(kinds)}")
        return tuple(converter.structure(x, each) for x, each in zip(value, kinds, strict=True))

    converter.register_structure_hook_func(lambda kind: typing.get_origin(kind) is tuple, of_list)
    return converter


_CONVERTER = functools.cache(converter)


def structure(
    value: Any, kind: type[T], path: Path, *, mend: str = "restore it", others: bool = False
) -> T:
    """A JSON value as a dataclass.

    Args:
        value: of the file.
        kind: the dataclass.
        path: of the file, for messages.
        mend: what to do if it is broken, for messages.
        others: whether it may have further keys, which are left out.

    Raises:
        UserError: it is none; names the file and the key.
    """
    if not isinstance(value, dict):
        raise UserError(f"{path} is broken (it is no object): {mend}")
    if others:
        known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        value = {key: value[key] for key in value if key in known}
    try:
        return _CONVERTER().structure(value, kind)
    except Exception as error:  # of whatever the value is
        raise UserError(f"{path} is broken ({why(error)}): {mend}") from error


def why(error: BaseException) -> str:
    """What is wrong with a value that is no such thing, in a line."""
    if isinstance(error, cattrs.BaseValidationError):
        lines = cattrs.transform_error(error, format_exception=_wrong)
        more = [f"{len(lines) - _TOLD:,} more"] if len(lines) > _TOLD else []
        return "; ".join([*map(_told, lines[:_TOLD]), *more])
    return " ".join(str(error).split()) or type(error).__name__


def _wrong(error: BaseException, kind: type | None) -> str:
    """What is wrong with a value; the path to it follows."""
    ours = isinstance(error, UserError | _Unlike)
    return str(error) if ours else cattrs.v.format_exception(error, kind)


def _told(line: str) -> str:
    """A line of cattrs', which ends with a path, in our order: where, what."""
    said, _, path = line.rpartition(" @ $")
    if said.startswith("--"):
        return said
    return f"{path.lstrip('.')} {said}" if said.startswith("is ") else line
