"""What every data set is to the rest of the library: named columns of items, read in any order."""

import abc
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32

from jaxgan.errors import UserError
from jaxgan.fields import Clip, Field, Framing, Image, Label, Points, Text
from jaxgan.fields.pixels import Picture, quiet

Item = dict[str, Any]
"""What a source holds of one item, by column."""

Transform = Callable[[Any], np.ndarray]
"""From what a source holds of an item in a column to an array."""


class OfFile:
    """A transform that takes images' files (`Picture`), too."""


@dataclasses.dataclass(frozen=True)
class Fitting(OfFile):
    """The transform of a field: what it makes of an item of its column, or of an image's file.

    Attributes:
      field: What is fitted to.
      framing: How items are brought to it.
    """

    field: Field
    framing: Framing

    def __call__(self, raw: Any) -> np.ndarray:
        """Return what `Field.fit` or `Field.decode` does."""
        kind = self.field.decode if isinstance(raw, Picture) else self.field.fit
        return kind(raw, self.framing)


FIRST = 8
"""Items that are read before training, of a source whose writer has checked them already."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source(abc.ABC):
    """A data set read in any order: `source[i]` is item i, the same at every call, from any thread.

    Columns have names, and a `Field` each that says what they hold: `Image()` is uint8 [h, w, c] in
    0..255 of any size, `Image((8, 8, 1))` of that size, `Label(classes=2, names=("cat", "dog"))`
    an int32 scalar, `Points((2,))` float32 [2]. "image" is what most generators imitate, "input"
    what a system that translates makes an image from (A in pix2pix's terms).

    Attributes:
      name: As the user typed it.
      columns: What items hold, by column.
      labels: Of all items, where they can be had without reading the items; None otherwise.
      notes: What was guessed or left out, a line each, for whoever gave the data.
      skipped: What is wrong with each file that was left out because it is damaged.
    """

    name: str
    columns: Mapping[str, Field]
    labels: Int32[np.ndarray, " n"] | None = dataclasses.field(default=None, repr=False)
    notes: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    skipped: tuple[str, ...] = dataclasses.field(default=(), repr=False)

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Item: ...

    @abc.abstractmethod
    def identity(self) -> Iterator[bytes]:
        """Yield what identifies this data set; `fingerprint` hashes it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the column "label", by number; empty where there is none."""
        label = self.columns.get("label")
        return label.names if isinstance(label, Label) else ()

    @property
    def sets(self) -> tuple["Source", ...]:
        """The sets of items that it is made of, each with some of the columns.

        Items of one set have nothing to do with those of another.
        """
        return (self,)

    def within(self) -> Iterator["Source"]:
        """Yield this set, and those that it is made of."""
        yield self
        for field in dataclasses.fields(self):
            if isinstance(value := getattr(self, field.name), Source):
                yield from value.within()

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield name and shape of every item of a column that must be read before training.

        That is every file of a folder; here, the first items of others. None where the shape is
        known for certain, or follows from another column's.
        """
        for index in range(min(FIRST, len(self))):
            yield f"{self.name} (item {index})", np.shape(self[index][column])

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the items at `indices`, stacked: [n, ...] by column, the caller's to change."""
        items = [self[int(i)] for i in indices]
        return {key: np.stack([item[key] for item in items]) for key in items[0]}

    def undecoded(self, index: int) -> Item:
        """Return an item in which images may be `Picture`s: files, not decoded yet."""
        return self[index]

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return all items of a column; better where they can be had without the other columns."""
        return [self[index][name] for index in range(len(self))]

    def fitted(
        self, transforms: Mapping[str, Transform | None], columns: Mapping[str, Field]
    ) -> "Source":
        """Return a source of exactly these columns, each passed through its transform.

        Args:
          transforms: By column; None leaves items as they are.
          columns: What the transforms give, by column. One that is called otherwise than here says
            in `Field.column` what it is made of.
        """
        origins = _origins(columns)
        return Fitted(
            name=self.name,
            columns=_renamed(columns),
            labels=self.labels,
            source=self,
            origins=origins,
            transforms=transforms,
            calls=_calls(origins),
        )


def _renamed(columns: Mapping[str, Field]) -> dict[str, Field]:
    """Fields of columns that are called as they are."""
    return {name: dataclasses.replace(field, column="") for name, field in columns.items()}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fitted(Source):
    """Columns of a source, each passed through its transform.

    Attributes:
      source: The source.
      origins: By column, what it is called there.
      transforms: By column; None: items are as they are there.
      calls: What identifies the names of columns, by way of how many sources they were given.
    """

    source: Source
    origins: Mapping[str, str]
    transforms: Mapping[str, Transform | None]
    calls: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        item = self.source.undecoded(index)
        return {
            name: passed(item[origin], self.transforms[name])
            for name, origin in self.origins.items()
        }

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the items at `indices`, stacked."""
        with quiet():
            return super().take(indices)

    def fitted(
        self, transforms: Mapping[str, Transform | None], columns: Mapping[str, Field]
    ) -> Source:
        """Return a source of these columns; of the same files, where nothing was done to them."""
        if any(each is not None for each in self.transforms.values()):
            return super().fitted(transforms, columns)
        origins = _origins(columns)
        own = {
            name: dataclasses.replace(field, column=self.origins[origins[name]])
            for name, field in columns.items()
        }
        fitted = self.source.fitted(transforms, own)
        if not isinstance(fitted, Fitted):
            return super().fitted(transforms, columns)
        return dataclasses.replace(fitted, calls=self.calls + _calls(origins))

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return all items of a column, without reading the others."""
        items, transform = self.source.column(self.origins[name]), self.transforms[name]
        return items if transform is None else [transform(item) for item in items]

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the column before it was fitted."""
        return self.source.shapes(self.origins[column])

    def identity(self) -> Iterator[bytes]:
        """Yield what identifies the source, and what columns are called otherwise there.

        Of one set, two columns may be taken for images.
        """
        yield from self.source.identity()
        yield from self.calls


def _origins(columns: Mapping[str, Field]) -> dict[str, str]:
    """By column, what it is made of."""
    return {name: field.column or name for name, field in columns.items()}


def _calls(origins: Mapping[str, str]) -> tuple[bytes, ...]:
    """What identifies names of columns that are called otherwise where they are from."""
    return tuple(f"{name} is {of}".encode() for name, of in sorted(origins.items()) if name != of)


def passed(raw: Any, transform: Transform | None) -> Any:
    """Return an item of a column as its transform makes it, of an image's file, too."""
    if isinstance(raw, Picture) and not isinstance(transform, OfFile):
        raw = raw.whole()
    return raw if transform is None else transform(raw)


class Columns(Source):
    """A data set held in memory.

    Args:
      items: By column, an array [n, ...] or a list of n arrays, sentences or lists of these.
      fields: What each column holds; None: guessed (see `guess`).
      name: What messages call it.

    Raises:
      UserError: Columns of different lengths; axes that are not those of the field; labels that are
        no classes.
    """

    items: dict[str, np.ndarray | list[Any]]

    def __init__(
        self,
        items: Mapping[str, Any],
        fields: Mapping[str, Field] | None = None,
        *,
        name: str = "arrays",
    ):
        if not items:
            raise UserError(f"{name} has no columns, expected at least one")
        if fields is None:
            fields = {key: guess(f"{name}: {key}", column) for key, column in items.items()}
        if set(fields) != set(items):
            raise UserError(
                f"{name}: there are items of {', '.join(items)} and fields of "
                f"{', '.join(fields)}: give both for each column"
            )
        lengths = {key: len(column) for key, column in items.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{count:,} of {key}" for key, count in lengths.items())
            raise UserError(f"{name} has {found}: give as many of each")
        kept = {key: _checked(name, key, fields[key], column) for key, column in items.items()}
        columns = {key: _narrowed(name, key, fields[key], kept[key]) for key in kept}
        labels = [np.asarray(kept[key]) for key in kept if isinstance(fields[key], Label)]
        super().__init__(name=name, columns=_renamed(columns), labels=labels[0] if labels else None)
        object.__setattr__(self, "items", kept)

    def __len__(self) -> int:
        return len(next(iter(self.items.values())))

    def __getitem__(self, index: int) -> Item:
        return {key: column[index] for key, column in self.items.items()}

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of items that are not in one array."""
        items = self.items[column]
        if isinstance(items, list):
            for index, item in enumerate(items):
                yield f"{self.name} (item {index})", np.shape(item)

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return all items of a column."""
        return self.items[name]

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the items at `indices`, stacked: one gather per array, not a loop."""

        def taken(items: np.ndarray | list[Any]) -> np.ndarray:
            if isinstance(items, list):
                return np.stack([items[int(i)] for i in indices])
            return items[indices]

        return {key: taken(items) for key, items in self.items.items()}

    def fitted(
        self, transforms: Mapping[str, Transform | None], columns: Mapping[str, Field]
    ) -> "Columns":
        """Return the same data with every item transformed, now and once."""
        made = {
            name: _transformed(self.items[field.column or name], transforms[name])
            for name, field in columns.items()
        }
        fitted = object.__new__(Columns)  # what transforms make may have other axes than its field
        Source.__init__(fitted, name=self.name, columns=_renamed(columns), labels=self.labels)
        object.__setattr__(fitted, "items", made)
        return fitted

    def identity(self) -> Iterator[bytes]:
        """Yield each column's name, what it knows, and its items' shape, type and bytes."""
        for key, items in self.items.items():
            yield key.encode()
            yield json.dumps(self.columns[key].about()).encode()
            yield from _content(items)


def _checked(name: str, key: str, field: Field, items: Any) -> np.ndarray | list[Any]:
    """Items of a column as they are kept."""
    if isinstance(field, Label):
        labels = np.asarray(items)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f"{name}: {key} is {_text(labels)}, expected whole numbers [n]")
        if len(labels) and not 0 <= labels.min() <= labels.max() < field.classes:
            raise UserError(
                f"{name}: labels run from {labels.min()} to {labels.max()}, expected 0 to "
                f"{field.classes - 1}"
            )
        return labels.astype(np.int32)
    if isinstance(items, np.ndarray):
        return items
    return list(items)


def _narrowed(name: str, key: str, field: Field, items: np.ndarray | list[Any]) -> Field:
    """The field of a column with the shape that its items have, where they all have one."""
    if isinstance(field, Text) and not field.shape:
        return field
    found = {np.ndim(item) for item in items} if isinstance(items, list) else {items.ndim - 1}
    if wrong := found - {len(field.shape)}:
        raise UserError(
            f"{name}: items of {key} have {max(wrong)} axes, expected {len(field.shape)} as of any "
            f"{field.kind()}"
        )
    if isinstance(items, list):
        return field
    shape = tuple(w or f for w, f in zip(field.shape, items.shape[1:], strict=True))
    if field.size(shape) != field.size(items.shape[1:]):  # type: ignore[arg-type]
        raise UserError(
            f"{name}: items of {key} have the shape {items.shape[1:]}, expected {field.text()}"
        )
    return dataclasses.replace(field, shape=shape)


def _transformed(
    items: np.ndarray | list[Any], transform: Transform | None
) -> np.ndarray | list[Any]:
    if transform is None or not len(items):
        return items
    before = list(items)
    made = [transform(item) for item in before]
    # What is as it should be already is not copied: it may fill half of the memory.
    if isinstance(items, np.ndarray) and all(m is b for m, b in zip(made, before, strict=True)):
        return items
    return np.stack(made) if len({item.shape for item in made}) == 1 else made


def _content(items: np.ndarray | list[Any]) -> Iterator[bytes]:
    if isinstance(items, list):
        for item in items:
            yield from (item.encode(),) if isinstance(item, str) else _content(np.asarray(item))
        return
    yield f"{items.shape} {items.dtype}".encode()
    yield np.ascontiguousarray(items).tobytes()


def _text(array: np.ndarray) -> str:
    return f"{array.dtype} with {array.ndim} axes"


_GUESSED = (
    "expected uint8 [n, h, w, c] (images) or [n, t, h, w, c] (clips), whole numbers [n] (labels), "
    "float32 [n, d] (points), a list of such images, of sentences, or of lists of these"
)


def guess(what: str, items: Any) -> Field:
    """What a column of a user's arrays holds, by type and number of axes.

    Args:
      what: Name of the column, for messages.
      items: [n, ...], or a list of n items.

    Raises:
      UserError: Nothing that can be guessed.
    """
    if isinstance(items, Sequence) and not isinstance(items, str) and len(items):
        if all(map(_are_words, items)):
            return Text()
        kinds = {(np.asarray(item).dtype, np.ndim(item)) for item in items}
        if kinds == {(np.dtype(np.uint8), 3)}:
            return Image()
        if kinds == {(np.dtype(np.uint8), 4)}:
            return Clip()
        items = np.asarray(items) if kinds and max(axes for _, axes in kinds) == 0 else items
    if not isinstance(items, np.ndarray):
        raise UserError(f"{what} is a {type(items).__name__}, {_GUESSED}")
    found = (items.dtype, items.ndim)
    if items.dtype.kind == "U" and items.ndim == 1:
        return Text()
    if found == (np.uint8, 4):
        return Image(items.shape[1:])
    if found == (np.uint8, 5):
        return Clip(items.shape[1:])
    if found == (np.float32, 2):
        return Points(items.shape[1:])
    if np.issubdtype(items.dtype, np.integer) and items.ndim == 1:
        classes = int(items.max(initial=-1)) + 1
        return Label(classes=classes, names=tuple(map(str, range(classes))))
    raise UserError(f"{what} is {_text(items)}, {_GUESSED}")


def _are_words(item: Any) -> bool:
    """Whether these are sentences, one or several."""
    several = [item] if isinstance(item, str) else item
    return (
        isinstance(several, list | tuple)
        and len(several) > 0
        and all(isinstance(each, str) for each in several)
    )


class Arrays(Columns):
    """Images in memory, or points: yours, or an embedded set.

    Args:
      images: uint8 [n, h, w, c] in 0..255, or float32 [n, d] for points.
      labels: [n] in 0..len(classes) - 1; left out when unlabelled.
      classes: Names, by label.
      name: What messages call it.
      inputs: uint8 [n, h, w, c], what each image is to be made from; left out where there is none.

    Raises:
      UserError: dtype, number of axes, labels or inputs are not as above.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        *,
        name: str = "arrays",
        inputs: np.ndarray | None = None,
    ):
        if (images.dtype, images.ndim) not in ((np.uint8, 4), (np.float32, 2)):
            raise UserError(
                f"{name}: images are {images.dtype} with {images.ndim} axes, expected uint8 "
                "[n, h, w, c] or, for points, float32 [n, d]"
            )
        if (labels is None) != (len(classes) == 0):
            raise UserError(f"{name}: labels and classes go together, only one of them was given")
        if labels is not None and labels.shape != images.shape[:1]:
            raise UserError(
                f"{name}: labels have shape {labels.shape}, expected {images.shape[:1]}"
            )
        if inputs is not None and (
            (inputs.dtype, inputs.ndim) != (np.uint8, 4) or len(inputs) != len(images)
        ):
            raise UserError(
                f"{name}: inputs are {inputs.dtype} {inputs.shape}, expected uint8 [n, h, w, c] "
                f"with n = {len(images)}, as there are images"
            )
        fields: dict[str, Field] = {"image": guess(f"{name}: images", images)}
        items = {"image": images}
        if labels is not None:
            fields["label"] = Label(classes=len(classes), names=tuple(classes))
            items["label"] = labels
        if inputs is not None:
            fields["input"], items["input"] = Image(inputs.shape[1:]), inputs
        super().__init__(items, fields, name=name)

    @property
    def images(self) -> np.ndarray:
        """All images [n, h, w, c], or points [n, d]."""
        return self.items["image"]  # type: ignore[return-value]
