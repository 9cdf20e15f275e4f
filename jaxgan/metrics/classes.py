"""Classes of both sides of a score, matched by name: numbers mean nothing across data sets."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxgan.errors import UserError
from jaxgan.fields import Label
from jaxgan.metrics.base import warn

_SHOWN = 3
"""Names that a message lists."""


def matched(
    generated: tuple[str, Label], real: tuple[str, Label]
) -> tuple[Int[np.ndarray, " classes"], frozenset[int]]:
    """The numbers that generated items' classes have among the real ones, and those of both sides.

    Classes are alike whose names are. Where one side has no names, or neither, numbers count if
    there are as many classes on both sides. Classes that one side lacks are told.

    Args:
        generated: name of the generated items, and what their labels are.
        real: the same of the real ones.

    Returns ([number of each generated class: a real one's, or one that no real class has], numbers
    of the classes of both sides).

    Raises:
        UserError: no class is on both sides, or names are missing and numbers tell nothing.
    """
    (name, ours), (other, theirs) = generated, real
    our_names, their_names = _names(ours, theirs), _names(theirs, ours)
    if not (our_names and their_names):
        return _by_number(generated, real)
    place = {each: number for number, each in enumerate(their_names)}
    beyond = iter(range(len(place), len(place) + len(our_names)))
    table = np.array([place[n] if n in place else next(beyond) for n in our_names], np.int32)
    both = frozenset(int(number) for number in table if number < len(place))
    if not both:
        raise UserError(
            f"{name} has the classes {_text(our_names)}, {other} has {_text(their_names)}: scores "
            "by class need names that both have"
        )
    lacks = [
        f"{side} lacks {_text(missing)} of {its}"
        for side, its, missing in (
            (name, other, [n for n in their_names if n not in our_names]),
            (other, name, [n for n in our_names if n not in place]),
        )
        if missing
    ]
    if lacks:
        count = "the one class" if len(both) == 1 else f"the {len(both):,} classes"
        warn(f"{', and '.join(lacks)}: scores by class are of {count} that both have")
    return table, both


def _names(label: Label, other: Label) -> tuple[str, ...]:
    """The names of classes; where there are none, their numbers, if such are the other's names."""
    numbers = tuple(map(str, range(max(label.classes, other.classes))))
    if not label.names and other.names == numbers[: len(other.names)]:
        return numbers[: label.classes]
    return label.names


def _by_number(
    generated: tuple[str, Label], real: tuple[str, Label]
) -> tuple[Int[np.ndarray, " classes"], frozenset[int]]:
    (name, ours), (other, theirs) = generated, real
    unnamed, named = (other, name) if ours.names else (name, other)
    if ours.classes != theirs.classes:
        raise UserError(
            f"{unnamed} has no names of classes, and {name} has {ours.classes:,} of them, {other} "
            f"{theirs.classes:,}: scores by class need to know which are which; use a sub-folder a "
            "class"
        )
    if ours.names or theirs.names:
        warn(f"{unnamed} has no names of classes: they are taken by number, as in {named}")
    numbers = range(ours.classes)
    return np.arange(ours.classes, dtype=np.int32), frozenset(numbers)


def _text(names: Sequence[str]) -> str:
    """Some of the names, for messages."""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"
