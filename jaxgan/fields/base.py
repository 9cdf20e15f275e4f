"""What every kind of field is to the rest of the library."""

import abc
import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, UInt8

from jaxgan.errors import UserError
from jaxgan.fields.pixels import Picture
from jaxgan.files import read_text
from jaxgan.schema import parse_json

_LARGEST = 2**28
"""Bytes of a .json of numbers."""

Resolution = int | tuple[int, int]
"""Size of the images of a stage: the side of squares, or height and width."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Framing:
    """How items of other sizes are brought to a field's, the same for all items.

    Attributes:
      resize: Whether items of other sizes are scaled; refused otherwise.
      crop: Side of a centre crop before that, in pixels of the original; None for none.
      jitter: Height to which items are brought instead, so that the field's size can be cut out at
        a random place; None: they are not.
      stride: Which frames of a longer clip are taken: every one, every second, ...
      draft: Whether decoders of JPEGs may reduce what is scaled down by as much (see `Picture`), as
        they do for training; scores and what is made of single images are exact.
    """

    resize: bool = False
    crop: int | None = None
    jitter: int | None = None
    stride: int = 1
    draft: bool = False


PLAIN = Framing()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """How each of n items is mirrored and cut out: shared by all fields of its group.

    Attributes:
      flips: Which items are mirrored left to right; None for none.
      tops: Where the cut begins, as a share of the item's height; None: nothing is cut.
      lefts: The same of its width.
    """

    flips: Bool[np.ndarray, " n"] | None = None
    tops: Float[np.ndarray, " n"] | None = None
    lefts: Float[np.ndarray, " n"] | None = None


@dataclasses.dataclass(frozen=True)
class Field:
    """What an array means: how it comes from data and from people, and how it is shown.

    Fields are static arguments of `jax.jit`, so they are hashable and hold no arrays. Methods work
    on one item, but `place`, `to_network` and `from_network`, which take a leading axis.

    Attributes:
      shape: Of one item as networks see it; None along axes that may have any length.
      column: Name of the data's column, where it is not the field's own name.
      dtype: Of the arrays that networks see.
      visible: Whether `show` makes a picture of it.
      typed: Whether people type it, rather than give a file.
      axes: What the numbers of `size` are called in messages.
      lines: Whether a file may give several, one a line.
      walks: Whether several that are given are stops of a walk, not one for each of several walks.
      moves: Whether an item is frames, [t, h, w, c] as `from_network` returns it.
      turns: Whether an item of data may hold more than is drawn at a time: which part `fit` takes
        then depends on its keyword `turn`.
      mirrors: Whether it may be grouped with images that are mirrored at random.
      extent: Height and width where it has pixels that can be cut out; None otherwise.
    """

    shape: tuple[int | None, ...] = ()
    _: dataclasses.KW_ONLY
    column: str = ""

    dtype: ClassVar[type] = np.float32
    visible: ClassVar[bool] = False
    typed: ClassVar[bool] = False
    lines: ClassVar[bool] = False
    walks: ClassVar[bool] = False
    axes: ClassVar[str] = "size"
    turns: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    mirrors: ClassVar[bool] = True

    @classmethod
    def kind(cls) -> str:
        """The name of its kind, as messages have it."""
        return cls.__name__.lower()

    @property
    def extent(self) -> tuple[int, int] | None:
        """Height and width, where there are pixels to cut."""
        return None

    def at(self, resolution: Resolution | None) -> "Field":
        """The field in a stage of that resolution."""
        del resolution
        return self

    # --- from data

    def refusal(self, found: "Field", framing: Framing = PLAIN) -> str | None:
        """Why a column cannot serve as this field; follows the data's name. None: it can."""
        del framing
        if found.kind() != self.kind() or not _matches(found.shape, self.shape):
            return (
                f"holds {found.plural()}, the system draws {self.plural()}: choose another data "
                "set or another system"
            )
        return None

    def absence(self, columns: Mapping[str, "Field"], *, apart: bool) -> str:
        """Why data of these columns cannot serve, none of which can be this field.

        It follows the data's name. `apart`: no other field of its kind is in the field's group.
        """
        del apart
        has = ", ".join(f"{name} ({field.kind()})" for name, field in columns.items())
        return f"has no {self.kind()}, the system takes {self.text()}: it has {has}"

    def size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What `refusal` must know of an item's shape; the rest is whatever `fit` makes of it."""
        return shape

    def fit(self, raw: Any, framing: Framing = PLAIN) -> np.ndarray:
        """One item of a source as batches hold it before `place` and `to_network`."""
        del framing
        return np.asarray(raw, self.dtype)

    def decode(self, file: Picture, framing: Framing = PLAIN) -> np.ndarray:
        """What `fit` makes of the image in a file; better where not all of it is wanted."""
        return self.fit(file.whole(), framing)

    def stored(self, framing: Framing) -> tuple[int | None, ...]:
        """Shape of what `fit` returns, which `place` may cut to the field's."""
        del framing
        return self.shape

    def place(self, items: np.ndarray, geometry: Geometry) -> np.ndarray:
        """Items [n, ...] mirrored and cut out."""
        del geometry
        return items

    def to_network(self, items: np.ndarray) -> np.ndarray:
        """Items [n, ...] of `dtype`, as networks see them."""
        return np.asarray(items, self.dtype)

    def bind(self, about: Mapping[str, Any]) -> "Field":
        """The field with what only the data know, as `about` of their column has it."""
        del about
        return self

    def about(self) -> dict[str, Any]:
        """What a column of data knows that a system does not, for JSON."""
        return {}

    def noise(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Random items [count, ...] in the form that `place` returns, for timing."""
        return rng.standard_normal((count, *self._static()), np.float32).astype(self.dtype)

    # --- from and to people

    def read(self, text: str) -> np.ndarray | np.generic:
        """An item, as `fit` would return it, from what a person types or from a file.

        Raises:
          UserError: It is none.
        """
        try:
            if text.endswith(".json"):
                numbers = parse_json(read_text(Path(text).expanduser(), limit=_LARGEST))
            else:
                numbers = [float(word) for word in text.replace(",", " ").split()]
            item: np.ndarray = np.asarray(numbers, self.dtype)
            if not np.isfinite(item).all():
                raise ValueError
            if not (text.endswith(".json") and _matches(item.shape, self.shape)):
                item = item.reshape(self._static())
        except (ValueError, TypeError, OSError, OverflowError, RecursionError):
            raise UserError(
                f"{text!r} is no {self.text()}: give its numbers with commas, or a .json of them"
            ) from None
        return item

    def accept(self, given: Any) -> np.ndarray | list[np.ndarray | np.generic]:
        """Items as networks see them, of what a Python user gives: one item or several.

        Text and paths are read; arrays of whole numbers are fitted as those of data are; arrays of
        other numbers are taken as they are. A list where items differ in shape.

        Raises:
          UserError: It is none of these.
        """
        several = not isinstance(given, str | Path) and np.ndim(given) != len(self.shape)
        if isinstance(given, list | tuple):
            several = True
        items = [self._accepted(item) for item in (given if several else [given])]
        alike = len({np.shape(item) for item in items}) == 1
        return np.stack(items) if alike else items

    def _accepted(self, item: Any) -> np.ndarray | np.generic:
        if isinstance(item, str | Path):
            return self.to_network(np.asarray(self.read(str(item)))[None])[0]
        array = np.asarray(item)
        whole = np.issubdtype(array.dtype, np.integer)
        if whole and not np.issubdtype(self.dtype, np.integer):
            return self.to_network(self.fit(array, Framing(resize=True))[None])[0]
        return array.astype(self.dtype)

    def between(self, a: Array, b: Array, t: Float[Array, " n"]) -> Array:
        """Items on the way from a [n, ...] (t = 0) to b (t = 1); those that have none stay at a."""
        del b, t
        return a

    def from_network(self, items: Any) -> np.ndarray:
        """What networks made, [n, ...], in the form that is kept and shown."""
        return np.asarray(items)

    def show(self, item: np.ndarray, beside: Mapping[str, Any]) -> UInt8[np.ndarray, "h w c"]:
        """A picture of an item, as `from_network` returns it; `beside`: what was made with it."""
        raise UserError(f"{self.kind()} has no picture")

    suffix: ClassVar[str] = ".json"
    """Of the file that `write` writes."""

    def write(self, item: Any, path: Path) -> None:
        """Keeps an item, as `from_network` returns it, in a file."""
        path.write_text(json.dumps(np.asarray(item).tolist()) + "\n")

    def text(self) -> str:
        """The field in a few words, for messages and help."""
        return f"{self.kind()} {self._size()}".strip()

    def plural(self) -> str:
        """What data of many such items hold, for messages."""
        return f"{self.kind()}s of {self._size()}" if self.shape else f"{self.kind()}s"

    def zeros(self, count: int = 1) -> Array:
        """Items that hold nothing, [count, *shape]: what networks are initialised with."""
        return jnp.zeros((count, *self._static()), self.dtype)

    def _size(self) -> str:
        return "x".join("?" if n is None else str(n) for n in self.shape)

    def _static(self) -> tuple[int, ...]:
        if any(n is None for n in self.shape):
            raise ValueError(f"{self.text()} has no fixed shape")
        return tuple(n for n in self.shape if n is not None)


class Drawable(abc.ABC):
    """A field that can be drawn at random: what is not given is drawn."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, truncation: Float[Array, ""] | None) -> Array:
        """One item; traced."""

    @abc.abstractmethod
    def along(
        self,
        item: np.ndarray | np.generic,
        count: int,
        place: int = 0,
        span: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """Items [n, ...] that go through what the field can be, the rest of them as in `item`.

        Args:
          item: As networks see it.
          count: How many; classes are all shown.
          place: Which of the item's numbers changes, in row order.
          span: From where to where; None: as far as the field goes.

        Raises:
          UserError: No such place, or no end where none is given.
        """


def _matches(found: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(
        f is None or w is None or f == w for f, w in zip(found, wanted, strict=True)
    )


def named_key(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """The key of something by its name: another name changes no other's numbers."""
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))


def draw_items(
    fields: Mapping[str, Field],
    keys: Key[Array, " n"],
    truncation: Float[Array, ""] | None = None,
) -> dict[str, Array]:
    """Items [n, ...] of each field, of the key of each row.

    Raises:
      ValueError: A field that cannot be drawn.
    """

    def items(name: str, field: Field) -> Array:
        if not isinstance(field, Drawable):
            raise ValueError(f"{name} is a {field.kind()}, which cannot be drawn: give it")
        return jax.vmap(lambda key: field.draw(named_key(key, name), truncation))(keys)

    return {name: items(name, field) for name, field in fields.items()}
