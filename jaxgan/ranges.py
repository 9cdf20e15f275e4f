"""Ranges of numbers: each is stated once, with the type, and checked before anything is computed.

    learning_rate: Annotated[float, Above(0)] = 2e-4

Fields of `Ranged` dataclasses are checked when one is made, parameters of `checked` functions when
one is called, options of commands when they are parsed. Every number is finite, and a whole one
where the type is int, also where no range is stated.
"""

import contextlib
import dataclasses
import functools
import inspect
import numbers
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, ParamSpec, Self, TypeVar

import numpy as np

from jaxgan.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

_MOST = 2**31 - 1
"""Largest whole number, where a range does not end: what counts iterations is an int32."""


class Range(ABC):
    """Which numbers a field or parameter can have; it stands in its `Annotated` type."""

    @abstractmethod
    def __contains__(self, value: float) -> bool: ...

    @abstractmethod
    def __str__(self) -> str:
        """What follows "it must be"."""

    highest: float = np.inf


@dataclasses.dataclass(frozen=True)
class Above(Range):
    """Numbers above a bound."""

    bound: float

    def __contains__(self, value: float) -> bool:
        return value > self.bound

    def __str__(self) -> str:
        return f"above {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class AtLeast(Range):
    """Numbers from a bound on."""

    bound: float

    def __contains__(self, value: float) -> bool:
        return value >= self.bound

    def __str__(self) -> str:
        return f"at least {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Within(Range):
    """Numbers between two bounds, which belong to it unless `above` or `below` excludes them."""

    lowest: float
    highest: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        low = value > self.lowest if self.above else value >= self.lowest
        return low and (value < self.highest if self.below else value <= self.highest)

    def __str__(self) -> str:
        if not self.above and not self.below:
            return f"from {_bound(self.lowest)} to {_bound(self.highest)}"
        low = "above" if self.above else "at least"
        high = "below" if self.below else "at most"
        return f"{low} {_bound(self.lowest)} and {high} {_bound(self.highest)}"


@dataclasses.dataclass(frozen=True)
class Finite(Range):
    """Any finite number."""

    def __contains__(self, value: float) -> bool:
        return True

    def __str__(self) -> str:
        return "finite"


@dataclasses.dataclass(frozen=True)
class Filled:
    """A mark of tuples: they are not empty."""

    def complaint(self, value: tuple[Any, ...]) -> str | None:
        """What is wrong with a tuple."""
        return None if value else "is empty: give at least one number"


@dataclasses.dataclass(frozen=True)
class Rising:
    """A mark of tuples: no number is below the one before."""

    def complaint(self, value: tuple[Any, ...]) -> str | None:
        """What is wrong with a tuple."""
        if list(value) == sorted(value):
            return None
        return f"is {' '.join(map(str, value))}: the second number must be at least the first"


Positive = Annotated[int, AtLeast(1)]
"""What there is at least one of."""
Count = Annotated[int, AtLeast(0)]
"""What there may be none of."""
Halvings = Annotated[int, Within(0, 16)]
"""How often a side is halved."""
Few = Annotated[int, Within(0, 256)]
"""What is built one by one, such as blocks; there may be none."""
Seed = Annotated[int, Within(0, 2**32 - 1)]
"""What random numbers come from."""
Rate = Annotated[float, Above(0)]
"""A step size, or another scale that cannot be 0."""
Weight = Annotated[float, AtLeast(0)]
"""Of a term in a sum; 0 leaves it out."""
DecayRate = Annotated[float, Within(0, 1, below=True)]
"""What a running mean keeps at each step: Adam's betas, weight averages."""
Share = Annotated[float, Within(0, 1)]
"""A share or a probability."""
Shape = Annotated[tuple[Positive, ...], Filled()]
"""Sizes, one an axis or a layer."""
Stretch = Annotated[tuple[Count, Count], Rising()]
"""Iterations from, and to."""
Number = Annotated[float, Finite()]
"""Any finite number."""


class Ranged:
    """A frozen dataclass whose numbers are checked before `__post_init__` computes with them.

    Class attributes:
        flags: what the names of its fields follow in messages, as on the command line.
    """

    flags: ClassVar[str] = "--"

    def __new__(cls, *args: Any, **values: Any) -> Self:
        """Raises UserError for a number outside its field's range."""
        defaults = {
            field.name: field.default
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if field.default is not dataclasses.MISSING
        }
        check(cls, defaults | values)
        return super().__new__(cls)


def check(kind: type, values: Mapping[str, Any], flags: str | None = None) -> None:
    """Checks values of a dataclass's fields.

    Args:
        kind: the dataclass.
        values: by name; those of other fields than numbers are left alone.
        flags: what names follow in messages; None: as `Ranged.flags` has it.

    Raises:
        UserError: names the field as the command line does, the number and the range.
    """
    flags = getattr(kind, "flags", "--") if flags is None else flags
    for name, hint in fields_of(kind).items():
        if name in values and (said := complaint(hint, values[name])):
            raise UserError(f"{_flag(name, hint, flags)} {said}")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose numeric arguments are checked against their annotations when it is called.

    It raises UserError, with the name of the parameter, the number and the range.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        hints = _hints(function)
        with contextlib.suppress(TypeError):  # of a call that the function itself refuses
            for name, value in signature.bind(*args, **kwargs).arguments.items():
                if said := complaint(hints.get(name, Any), value):
                    raise UserError(f"{name} {said}")
        return function(*args, **kwargs)

    return call


@functools.cache
def fields_of(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with their `Annotated` marks, by name."""
    hints = _hints(kind)
    return {
        field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name in hints
    }


def complaint(hint: Any, value: Any, within: Range | None = None) -> str | None:
    """What is wrong with a value of a type, to follow its name; None: nothing, or it is no number.

    A float is judged as the float32 that is computed with: 1e-60 is 0, and 0.99999999999 is 1.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        found = next((mark for mark in inner[1:] if isinstance(mark, Range)), within)
        wrong = complaint(inner[0], value, found)
        whole = [mark for mark in inner[1:] if isinstance(mark, Filled | Rising)]
        return wrong or next((text for mark in whole if (text := mark.complaint(value))), None)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        kinds = [each for each in inner if each is not type(None)]
        if isinstance(value, numbers.Number):
            kinds = [each for each in kinds if numeric(each)] or kinds
        elif any(complaint(each, value, within) is None for each in kinds if not numeric(each)):
            return None  # before an array's numbers are put in words
        said = [complaint(each, value, within) for each in kinds]
        return None if None in said else said[0]
    if origin is tuple:
        return _of_tuple(inner, value, within)
    if hint is int:
        return _whole(value, within or Finite())
    if hint is float:
        return _real(value, within or Finite())
    return None


def numeric(hint: Any) -> list[Range | None]:
    """The ranges of the numbers in a type, None for a number without one."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        mark = next((mark for mark in inner[1:] if isinstance(mark, Range)), None)
        return [found or mark for found in numeric(inner[0])]
    if origin in (typing.Union, types.UnionType, tuple):
        return [found for each in inner for found in numeric(each)]
    return [None] if hint in (int, float) else []


def _of_tuple(inner: tuple[Any, ...], value: Any, within: Range | None) -> str | None:
    if not any(numeric(each) for each in inner):
        return None
    many = len(inner) == 2 and inner[1] is ...
    if not isinstance(value, tuple) or (not many and len(value) != len(inner)):
        count = "a tuple of numbers" if many else f"{len(inner)} numbers in a tuple"
        return f"is {value!r}: it must be {count}"
    for hint, each in zip([inner[0]] * len(value) if many else inner, value, strict=True):
        if said := complaint(hint, each, within):
            return said.replace("is", "has", 1)
    return None


def _whole(value: Any, within: Range) -> str | None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        return f"is {value!r}: it must be a whole number"
    whole = int(value)
    text = str(whole) if abs(whole) < 10**15 else f"{float(whole):g}"
    if whole not in within:
        return f"is {text}: it must be {within}"
    if whole > _MOST and within.highest == np.inf:
        return f"is {text}: it must be at most {_bound(_MOST)}"
    return None


def _real(value: Any, within: Range) -> str | None:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return f"is {value!r}: it must be a number"
    real = float(value)
    text = str(real).removesuffix(".0")
    with np.errstate(over="ignore", under="ignore"):
        computed = np.float32(real)
    if not np.isfinite(computed):
        return f"is {text}: it must be finite{', also in float32' if np.isfinite(real) else ''}"
    if real in within and computed in within:  # type: ignore[operator]
        return None
    return f"is {text}: it must be {within}{', also in float32' if real in within else ''}"


def _bound(number: float) -> str:
    """A bound in as few digits as say it: 2^32 - 1."""
    power = int(number) + 1
    if number > 2**16 and power == number + 1 and power.bit_count() == 1:
        return f"2^{power.bit_length() - 1} - 1"
    return f"{number:g}"


def _flag(name: str, hint: Any, flags: str) -> str:
    """What a field is called on the command line: by its alias, where it has one."""
    marks = getattr(hint, "__metadata__", ())
    aliases = [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
    return aliases[0] if aliases else f"{flags}{name.replace('_', '-')}"


@functools.cache
def _hints(of: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of, include_extras=True)
    except (NameError, AttributeError, TypeError):
        # Names that exist for a type checker alone: what does not need them is still checked.
        kinds = reversed(of.__mro__) if isinstance(of, type) else (of,)
        known = [getattr(kind, "__annotations__", {}) for kind in kinds]
        return {n: hint for each in known for n, hint in each.items() if not isinstance(hint, str)}
