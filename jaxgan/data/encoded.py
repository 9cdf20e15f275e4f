"""Encoded images as a data set: files of a folder or an archive, rows of a table."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxgan.data.base import Item, Source
from jaxgan.data.damaged import check_damaged, each_shape
from jaxgan.data.store import Store
from jaxgan.errors import UserError, printable
from jaxgan.fields import Label
from jaxgan.fields.pixels import USUAL, Picture, Reading, largest_file

_PORTION = 32
"""Files that a thread decodes at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Encoded(Source):
    """Encoded images, each decoded when it is asked for.

    Attributes:
      store: Where they lie.
      numbers: Of the items, in the store.
      others: Items of all columns but "image", by column.
      reading: How they are read.
      found: Shapes of all images, where they have been decoded already; None: they have not.
    """

    store: Store = dataclasses.field(repr=False)
    numbers: Int[np.ndarray, " n"] = dataclasses.field(repr=False)
    others: Mapping[str, Sequence[Any] | np.ndarray] = dataclasses.field(
        default_factory=dict, repr=False
    )
    reading: Reading = USUAL
    found: tuple[tuple[int, ...], ...] | None = dataclasses.field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Item:
        return {"image": self.load(index)[1], **self._others(index)}

    def undecoded(self, index: int) -> Item:
        """Return an item whose image is a `Picture`."""
        return {"image": self.picture(index), **self._others(index)}

    def _others(self, index: int) -> Item:
        return {name: items[index] for name, items in self.others.items()}

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return all items of a column, without decoding images for others'."""
        return self.others[name] if name in self.others else super().column(name)

    @property
    def files(self) -> tuple[str, ...]:
        """Path of each item in the store, with forward slashes."""
        return tuple(self.store.members[number] for number in self.numbers)

    def picture(self, index: int) -> Picture:
        """Return an item's file, read and not decoded.

        Raises:
          UserError: It cannot be read.
        """
        number = int(self.numbers[index])
        most, name = self.reading.max_pixels, self.store.place(number)
        content = self.store.read(number, limit=largest_file(most))
        return Picture(content, name=name, max_pixels=most)

    def load(self, index: int) -> tuple[bytes, np.ndarray]:
        """Return an item's file and its image, uint8 [h, w, c].

        Raises:
          UserError: It cannot be read, or not decoded; names it and says what was found.
        """
        picture = self.picture(index)
        return picture.content, picture.whole()

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield place and shape of every image, in order: a damaged one is found now."""
        if column != "image":
            return
        places = map(self.store.place, map(int, self.numbers))
        if self.found is not None:
            yield from zip(places, self.found, strict=True)
            return
        for place, shape in zip(places, self._decoded(), strict=True):
            if isinstance(shape, UserError):
                raise shape  # of several, always the first in order
            yield place, shape

    def _decoded(self) -> Iterator[tuple[int, ...] | UserError]:
        """The shape of every image, in order, or what is wrong with it."""
        return each_shape(lambda index: self.load(index)[1].shape, len(self), _PORTION)

    def damaged(self) -> dict[int, str]:
        """Decode all; return what is wrong with the damaged ones, by number of the item."""
        return {i: str(e) for i, e in enumerate(self._decoded()) if isinstance(e, UserError)}

    def without_damaged(self) -> "Encoded":
        """Decode all; return the data set without the damaged ones, which its notes count.

        Raises:
          UserError: They are more than half.
        """
        found = list(self._decoded())
        damaged = {i: str(e) for i, e in enumerate(found) if isinstance(e, UserError)}
        kept = [shape for shape in found if not isinstance(shape, UserError)]
        return dataclasses.replace(self.without(damaged), found=tuple(kept))

    def without(self, damaged: Mapping[int, str]) -> "Encoded":
        """Return the data set without these items, which its notes count.

        Args:
          damaged: What is wrong, by number of the item.

        Raises:
          UserError: They are more than half.
        """
        if not damaged:
            return self
        reasons = list(damaged.values())
        check_damaged(reasons, len(self), name=self.name, what="files")
        kept = np.delete(np.arange(len(self)), list(damaged))
        others = {
            name: items[kept]
            if isinstance(items, np.ndarray)
            else [items[i] for i in kept.tolist()]
            for name, items in self.others.items()
        }
        first = self.store.place(int(self.numbers[next(iter(damaged))]))
        note = f"skipped {len(damaged):,} damaged of {len(self):,} files (first: {first})"
        return dataclasses.replace(
            self,
            numbers=self.numbers[kept],
            others=others,
            found=None,
            labels=None if self.labels is None else self.labels[kept],
            notes=(*self.notes, note),
            skipped=(*self.skipped, *map(printable, reasons)),
        )

    def identity(self) -> Iterator[bytes]:
        """Yield what the files are called and hold, in order, and the other columns."""
        yield from self.store.identity(self.numbers.tolist())
        for name, items in self.others.items():
            field = self.columns[name]
            names = list(field.names) if isinstance(field, Label) else []
            plain = items.tolist() if isinstance(items, np.ndarray) else items
            yield json.dumps([name, names, plain]).encode()
