"""Columns that files beside images describe: records of `metadata.jsonl` and the like."""

import dataclasses
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.fields import Field, Label, Points, Text
from jaxgan.schema import MOST, parse_json

LONGEST = 2**20
"""Bytes of a record."""

_CLASSES = 10**6
"""Classes that labels may name."""

_NUMBERS = 4096
"""Numbers that a record's list may have."""


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column holds, and the items."""

    field: Field
    items: list[Any] | np.ndarray


def records(content: bytes, where: str) -> Iterator[dict[str, Any]]:
    """Read JSON objects, one a line, each when it is asked for.

    Raises:
      UserError: A line is none, or too long, by its number.
    """
    empty = True
    for number, line in enumerate(io.BytesIO(content), 1):
        if line.strip():
            empty = False
            yield record(line, f"{where} line {number}")
    if empty:
        raise UserError(f"{where} is empty, expected a JSON object a line")


def record(content: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object of a record's size.

    Raises:
      UserError: It is none, or too long.
    """
    if len(content) > LONGEST:
        raise UserError(f"{where} has {len(content):,} bytes, the most is {LONGEST:,}")
    return json_object(content, where)


def json_object(content: bytes, where: str, *, most: int = MOST) -> dict[str, Any]:
    """Read a JSON object of at most so many values.

    Raises:
      UserError: It is none.
    """
    try:
        facts = parse_json(content, most=most)
    except ValueError as error:
        raise UserError(f"{where} is no JSON ({error}): mend it") from error
    if not isinstance(facts, dict):
        raise UserError(f"{where} is no JSON object: mend it")
    return facts


def columns_of(
    found: Sequence[Mapping[str, Any]], where: str, *, leave: Sequence[str] = ()
) -> tuple[dict[str, Column], list[str]]:
    """Make columns of records: "label" of classes, sentences of strings and of lists of them,
    points of numbers.

    Args:
      found: What is said of each item.
      where: It is from, for messages.
      leave: Keys that are no columns.

    Returns:
      The columns, and a note on each key that has none.

    Raises:
      UserError: "label" is missing from some, or neither a whole number nor a string.
    """
    columns, notes = {}, []
    for key in dict.fromkeys(key for each in found for key in each):
        if key in leave:
            continue
        lacking = [number for number, each in enumerate(found, 1) if key not in each]
        if key == "image":
            notes.append(f"{where}: {key!r} is not read, for it is what images are called")
        elif lacking and key != "label":
            notes.append(_unread(where, key, lacking))
        elif key == "label":
            if lacking:
                raise UserError(
                    f"{where}: {len(lacking):,} of {len(found):,} have no label (first: "
                    f"entry {lacking[0]}): give all one, or none"
                )
            columns[key] = labels([each[key] for each in found], where)
        elif (said := _said([each[key] for each in found])) is not None:
            if silent := [number for number, each in enumerate(said, 1) if each == []]:
                notes.append(_unread(where, key, silent))
                continue
            notes += _empty(said, key, where)
            columns[key] = Column(Text(), said)
        elif (column := _guessed([each[key] for each in found])) is not None:
            columns[key] = column
        else:
            notes.append(f"{where}: {key!r} is not read, for it is neither text nor numbers")
    return columns, notes


def _unread(where: str, key: str, lacking: Sequence[int]) -> str:
    return (
        f"{where}: {key!r} is not read, for {len(lacking):,} have none (first: entry {lacking[0]})"
    )


def labels(values: Sequence[Any], where: str, names: Sequence[str] | None = None) -> Column:
    """Make labels of whole numbers from 0, or of strings, whose classes are sorted.

    Args:
      values: Of all items.
      where: They are from, for messages.
      names: Of the classes, by number; None: numbers have none.

    Raises:
      UserError: They are neither, or too many.
    """
    if all(isinstance(value, str) for value in values):
        classes = sorted(set(values))
        by_name = {name: number for number, name in enumerate(classes)}
        numbers = [by_name[value] for value in values]
        return Column(Label(classes=len(classes), names=tuple(classes)), _int32(numbers))
    for number, value in enumerate(values, 1):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise UserError(
                f"{where}: entry {number} has the label {_short(value)}, expected whole numbers "
                "from 0, or else strings, throughout"
            )
        if not 0 <= value < (len(names) if names else _CLASSES):
            most = len(names) if names else _CLASSES
            raise UserError(
                f"{where}: entry {number} has the label {_short(value)}, expected 0 to {most - 1:,}"
            )
    count = len(names) if names else max(values, default=-1) + 1
    return Column(Label(classes=count, names=tuple(names or ())), _int32(values))


def absent(column: Column) -> list[str]:
    """A note on classes that no item has; classes are numbers, of which some were left out."""
    assert isinstance(column.field, Label)
    counts = np.bincount(column.items, minlength=column.field.classes)  # type: ignore[arg-type]
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return []
    first = column.field.name(int(empty[0]))
    return [f"{len(empty):,} of {len(counts):,} classes have no images (first: {first})"]


def _said(values: Sequence[Any]) -> list[Any] | None:
    """The sentences of each item, one or a list of several; None: these are no sentences.

    Of several, empty ones are left out.
    """
    kept: list[Any] = []
    for value in values:
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
            return None
        full = [one for one in several if one.strip()] or several[:1]
        kept.append(value if isinstance(value, str) else full)
    return kept


def _empty(said: Sequence[Any], key: str, where: str) -> list[str]:
    """A note on items of which nothing is said."""
    firsts = [each if isinstance(each, str) else each[0] for each in said]
    empty = [number for number, first in enumerate(firsts, 1) if not first.strip()]
    if not empty:
        return []
    count = f"{len(empty):,} of {len(said):,} have"
    return [f"{where}: {key!r}: {count} an empty sentence (first: entry {empty[0]})"]


def _guessed(values: Sequence[Any]) -> Column | None:
    """The column that any key but "label" makes; None: it makes none."""
    lists = [value if isinstance(value, list) else [value] for value in values]
    length = len(lists[0])
    if not 0 < length <= _NUMBERS or not all(
        len(each) == length and all(map(_is_number, each)) for each in lists
    ):
        return None
    return Column(Points((length,)), np.array(lists, np.float32))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= float(np.finfo(np.float32).max) and math.isfinite(value)


def _int32(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int32)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
