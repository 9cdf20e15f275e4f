"""Images with what they are to be made from: pairs, unrelated sets, edges; sets made of others.

| spec                | image                       | input                              |
| ------------------- | --------------------------- | ---------------------------------- |
| pairs:FOLDER        | the right half of a file    | its left half                      |
| pairs:FOLDER        | a file of the second folder | that of the same name in the first |
| pairs:FOLDER:BtoA   | the other way round         |                                    |
| unpaired:A,B        | of B                        | of A, any one                      |
| edges:DATA          | of DATA                     | its edges, white on black          |

`inverted:DATA` has the negatives of DATA's images, `contours:DATA` their outer contours; neither
has inputs. `part:K/N:DATA` is one of N parts of DATA that share no item. A, B and DATA are data
sets as `open_source` takes them.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jaxgan.data.arrayrecord import INDEX, Packed, open_packed
from jaxgan.data.base import Arrays, Item, OfFile, Source, Transform, passed
from jaxgan.data.encoded import Encoded
from jaxgan.data.folder import listing, open_folder
from jaxgan.data.order import permutation
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image
from jaxgan.fields.pixels import USUAL, Reading, channels, text

Opener = Callable[[str], Source]

_EDGE = 64
"""Slope from which a place may be an edge, grey levels a pixel."""

_PARTS = 2**62
"""Seed of the shuffle before data are cut into parts: not that of any training."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SideBySide(Source):
    """Files that hold two images each, left and right.

    Attributes:
      source: The files.
      swap: The left half is the image and the right one its input.
    """

    source: Encoded | Packed
    swap: bool

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        both = self.source[index]["image"]
        half = half_shape(f"{self.name} (item {index})", both.shape)[1]
        left, right = both[:, :half], both[:, half:]
        return {"image": left, "input": right} if self.swap else {"image": right, "input": left}

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the right or left halves; the others are alike."""
        if column == "image":
            for name, shape in self.source.shapes("image"):
                yield name, half_shape(name, shape)

    def identity(self) -> Iterator[bytes]:
        """Yield which half is which, and what identifies the files."""
        yield b"right to left" if self.swap else b"left to right"
        yield from self.source.identity()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TwoSets(Source):
    """Images of one data set, inputs of another: item i has image i and input i.

    Attributes:
      images: Where images are from.
      inputs: Where inputs are from; counted round where there are fewer.
    """

    images: Source
    inputs: Source

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        other = self.inputs[index % len(self.inputs)]
        return {"image": self.images[index]["image"], "input": other["image"]}

    def undecoded(self, index: int) -> Item:
        """Return an item whose images may be `Picture`s."""
        other = self.inputs.undecoded(index % len(self.inputs))
        return {"image": self.images.undecoded(index)["image"], "input": other["image"]}

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the set that the column is from."""
        return (self.inputs if column == "input" else self.images).shapes("image")

    def fitted(
        self, transforms: Mapping[str, Transform | None], columns: Mapping[str, Field]
    ) -> Source:
        """Return a source of these columns; inputs are not read where none are wanted."""
        if all((field.column or name) == "image" for name, field in columns.items()):
            return self.images.fitted(transforms, columns)
        return super().fitted(transforms, columns)

    def identity(self) -> Iterator[bytes]:
        """Yield what identifies either set."""
        yield from self.images.identity()
        yield b"from"
        yield from self.inputs.identity()


class Unrelated(TwoSets):
    """Two sets whose items do not belong together, though item i has one of each."""

    @property
    def sets(self) -> tuple[Source, ...]:
        """Images with their labels, and inputs."""
        own = {name: field for name, field in self.columns.items() if name != "input"}
        images = self.images.fitted(dict.fromkeys(own), own)
        field = dataclasses.replace(self.columns["input"], column="image")
        return images, self.inputs.fitted({"input": None}, {"input": field})

    def identity(self) -> Iterator[bytes]:
        """Yield what identifies either set, and that they are unrelated."""
        yield b"unrelated"
        yield from super().identity()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Edges(Source):
    """A data set whose inputs are the edges of its images, as large as these when they are used.

    Attributes:
      source: Where images are from.
    """

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        item = self.source[index]
        return {**item, "input": edges(item["image"])}

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the images; edges are as large."""
        if column != "input":
            yield from self.source.shapes(column)

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return all items of a column, drawing edges for none but the inputs."""
        return super().column(name) if name == "input" else self.source.column(name)

    def fitted(
        self, transforms: Mapping[str, Transform | None], columns: Mapping[str, Field]
    ) -> Source:
        """Return the fitted columns, inputs being the edges of fitted images.

        Edges are drawn at the size that is used. They are those of the image as it is fitted for
        image of that size, or else as it would be fitted for the input itself.
        """
        transforms, columns = dict(transforms), dict(columns)
        image = next((n for n, field in columns.items() if (field.column or n) == "image"), None)
        for name, field in columns.items():
            if (field.column or name) == "input":
                alike = image is not None and columns[image].shape[:2] == field.shape[:2]
                first = transforms[image if alike and image else name]
                transforms[name] = _Drawing(first, field.shape[-1])
                columns[name] = dataclasses.replace(field, column="image")
        return self.source.fitted(transforms, columns)

    def identity(self) -> Iterator[bytes]:
        """Yield that these are edges, and of what."""
        yield b"edges"
        yield from self.source.identity()


@dataclasses.dataclass(frozen=True)
class _Drawing(OfFile):
    """The transform that draws the edges of a fitted image, in so many channels; None: as many."""

    fit: Transform | None
    count: int | None

    def __call__(self, raw: Any) -> UInt8[np.ndarray, "H W C"]:
        drawn = edges(passed(raw, self.fit))
        return drawn if self.count is None else channels(drawn, self.count)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Redrawn(Source):
    """Images of a data set, each made into another of the same size.

    Attributes:
      source: Where they are from.
      word: What was done to the images.
      how: What is done to each.
    """

    source: Source
    word: str
    how: Callable[[UInt8[np.ndarray, "h w c"]], UInt8[np.ndarray, "h w c"]]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        item = self.source[index]
        return {**item, "image": self.how(item["image"])}

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return all items of a column, redrawing none but the images."""
        return super().column(name) if name == "image" else self.source.column(name)

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the images."""
        return self.source.shapes(column)

    def identity(self) -> Iterator[bytes]:
        """Yield what was done to the images, and what identifies them."""
        yield self.word.encode()
        yield from self.source.identity()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part(Source):
    """Some items of a data set.

    Attributes:
      source: Where they are from.
      indices: Their numbers there.
    """

    source: Source
    indices: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Item:
        return self.source[int(self.indices[index])]

    def column(self, name: str) -> Sequence[Any] | np.ndarray:
        """Return these items of the whole set's column."""
        whole = self.source.column(name)
        return [whole[index] for index in self.indices.tolist()]

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the whole set: which of them are in the part is not known."""
        return self.source.shapes(column)

    def fitted(
        self, transforms: Mapping[str, Transform | None], columns: Mapping[str, Field]
    ) -> Source:
        """Return the same items of the fitted set."""
        fitted = self.source.fitted(transforms, columns)
        return dataclasses.replace(self, source=fitted, columns=fitted.columns)

    def identity(self) -> Iterator[bytes]:
        """Yield which items these are, and of what."""
        yield b"part"
        yield self.indices.astype("<i8").tobytes()
        yield from self.source.identity()


def edges(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 1"]:
    """Draw an image's edges, one pixel wide, 255 on 0.

    They are where the slope (Sobel's) of the grey image exceeds 64 levels a pixel and that of both
    neighbours uphill and downhill: Canny 1986 without smoothing and hysteresis.
    """
    grey = np.pad(channels(image, 1)[:, :, 0].astype(np.float32), 1, mode="edge")
    down = (grey[2:] - grey[:-2]) / 8
    across = (grey[:, 2:] - grey[:, :-2]) / 8
    dy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    dx = across[:-2] + 2 * across[1:-1] + across[2:]
    slope = np.hypot(dx, dy)
    # The direction of the slope, in eighths of a turn: of the neighbours that are compared.
    eighth = np.rint(np.arctan2(dy, dx) / (np.pi / 4)).astype(int) % 4
    height, width = slope.shape
    padded = np.pad(slope, 1)
    kept = slope > _EDGE
    for index, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        before = padded[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        after = padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        # Of two equal ones, the first: lines stay thin.
        kept &= (eighth != index) | ((slope > before) & (slope >= after))
    return np.where(kept, np.uint8(255), np.uint8(0))[:, :, None]


def invert(image: UInt8[np.ndarray, "*n h w c"]) -> UInt8[np.ndarray, "*n h w c"]:
    """Return the negative; alpha stays."""
    alpha = image.shape[-1] in (2, 4)
    return np.concatenate([255 - image[..., :-1], image[..., -1:]], -1) if alpha else 255 - image


def contours(image: UInt8[np.ndarray, "*n h w c"]) -> UInt8[np.ndarray, "*n h w c"]:
    """Return the outer contour: the largest of 3x3 pixels less the pixel itself; alpha stays.

    Grey, not black and white: it is as light as what it goes round (CoGAN's second kind of digits).
    """
    colours = image.shape[-1] - (image.shape[-1] in (2, 4))
    dilated = image[..., :colours]
    for axis in (-3, -2):
        zeros = [(0, 0)] * image.ndim
        zeros[axis] = (1, 1)
        padded = np.moveaxis(np.pad(dilated, zeros), axis, 0)
        largest = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        dilated = np.moveaxis(largest, 0, axis)
    return np.concatenate([dilated - image[..., :colours], image[..., colours:]], -1)


def half_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of either half of a file that holds two images.

    Raises:
      UserError: Its width is odd.
    """
    if shape[1] % 2:
        raise UserError(
            f"{name} is {text(shape)}, whose width is odd: expected two images of one size, side "
            "by side"
        )
    return (shape[0], shape[1] // 2, *shape[2:])


def open_pairs(spec: str, reading: Reading = USUAL) -> Source:
    """Open `pairs:FOLDER[:BtoA]`.

    FOLDER holds files of two images side by side, A left and B right, or two sub-folders, A and B
    in the order of their names, whose files are named alike but for their type. A is the input, B
    the image; with :BtoA the reverse.

    Raises:
      UserError: It holds neither; a file of one sub-folder has none of its name in the other.
    """
    name, swap = spec.removeprefix("pairs:").removesuffix(":AtoB"), False
    if name.endswith(":BtoA"):
        name, swap = name.removesuffix(":BtoA"), True
    if reading.recursive:
        raise UserError(f"{spec}: pairs lie in one folder or two: leave out --recursive")
    root = Path(name).expanduser()
    if not root.is_dir():
        raise UserError(f"{spec}: no folder {name!r} here: give one that holds pairs of images")
    if (root / INDEX).is_file():
        packed = open_packed(name, reading)
        return SideBySide(name=spec, columns=_two(), source=packed, swap=swap)
    folders, images = listing(root)
    if images and not folders:
        files = open_folder(name, reading)
        return SideBySide(name=spec, columns=_two(), source=files, swap=swap)
    if images or len(folders) != 2:
        found = f"{len(images):,} images and {len(folders):,} sub-folders"
        near = f": did you mean pairs:{Path(name, folders[0])}?" if folders else ""
        raise UserError(
            f"{spec} holds {found}, expected images of two halves, or two sub-folders{near}"
        )
    whole = dataclasses.replace(reading, skip_broken=False)
    first, second = (open_folder(str(Path(name, folder)), whole) for folder in folders)
    stems = [[Path(file).stem for file in side.files] for side in (first, second)]
    if stems[0] != stems[1]:
        lonely = sorted(set(stems[0]) ^ set(stems[1]))
        which = f"{lonely[0]!r} is in one of them only" if lonely else "one has a name twice"
        raise UserError(
            f"{spec}: {folders[0]} and {folders[1]} must hold files of the same names, but {which}"
        )
    if reading.skip_broken:  # of a pair, either makes both useless
        damaged = {**second.damaged(), **first.damaged()}
        damaged = dict(sorted(damaged.items()))
        first, second = first.without(damaged), second.without(damaged)
        second = dataclasses.replace(second, skipped=(), notes=())
    if swap:
        first, second = second, first
    return TwoSets(name=spec, columns=_two(), images=second, inputs=first)


def _two() -> dict[str, Field]:
    return {"image": Image(), "input": Image()}


def open_unpaired(spec: str, open_source: Opener) -> Unrelated:
    """Open `unpaired:A,B`: images of B, inputs of A, neither belonging to the other.

    Raises:
      UserError: Not two names; points.
    """
    names = spec.removeprefix("unpaired:").split(",")
    if len(names) != 2 or not all(names):
        raise UserError(f"{spec}: give two data sets with a comma, as in unpaired:horses,zebras")
    inputs, images = (open_source(name) for name in names)
    for side in (inputs, images):
        _check_images(spec, side)
    own = {name: images.columns[name] for name in ("image", "label") if name in images.columns}
    columns = {**own, "input": inputs.columns["image"]}
    return Unrelated(name=spec, columns=columns, images=images, inputs=inputs)


def open_edges(spec: str, open_source: Opener) -> Edges:
    """Open `edges:DATA`.

    Raises:
      UserError: DATA holds points.
    """
    source = open_source(spec.removeprefix("edges:"))
    _check_images(spec, source)
    # As many channels as are wanted.
    columns = {**source.columns, "input": Image((*source.columns["image"].shape[:2], None))}
    return Edges(name=spec, columns=columns, labels=source.labels, source=source)


def open_redrawn(spec: str, open_source: Opener) -> Source:
    """Open `inverted:DATA` or `contours:DATA`.

    Raises:
      UserError: DATA holds points.
    """
    word, _, name = spec.partition(":")
    how = {"inverted": invert, "contours": contours}[word]
    source = open_source(name)
    _check_images(spec, source)
    if len(source.sets) > 1:
        raise UserError(f"{spec}: give either set by itself, as in unpaired:A,{word}:B")
    if isinstance(source, Arrays):
        return Arrays(how(source.images), source.labels, source.classes, name=spec)
    columns = {n: field for n, field in source.columns.items() if n != "input"}
    labels = source.labels
    return Redrawn(name=spec, columns=columns, labels=labels, source=source, word=word, how=how)


def open_part(spec: str, open_source: Opener) -> Source:
    """Open `part:K/N:DATA`: the K-th of N parts of DATA, K from 1.

    Parts share no item and are of one size; up to N - 1 items are in none. The items of DATA are
    shuffled before, always in the same way.

    Raises:
      UserError: No K and N, or K is not from 1 to N; DATA has fewer than N items, or is unpaired.
    """
    parsed = re.fullmatch(r"part:(\d+)/(\d+):(.+)", spec)
    number, count = (int(parsed[1]), int(parsed[2])) if parsed else (0, 0)
    if parsed is None or not 1 <= number <= count:
        raise UserError(f"{spec}: give which part of how many, as in part:1/2:mnist5k")
    source = open_source(parsed[3])
    if len(source.sets) > 1:
        raise UserError(f"{spec}: give parts of either set, as in unpaired:part:1/2:A,part:1/2:B")
    size = len(source) // count
    if not size:
        raise UserError(
            f"{spec}: {source.name} has {len(source)} items, too few for {count} parts: give "
            "fewer parts"
        )
    order = permutation(_PARTS, 0, len(source))
    indices = order[(number - 1) * size : number * size]
    if isinstance(source, Arrays):
        kept = source.take(indices)
        labels, inputs = kept.get("label"), kept.get("input")
        return Arrays(kept["image"], labels, source.classes, name=spec, inputs=inputs)
    labels = None if source.labels is None else source.labels[indices]
    return Part(name=spec, columns=source.columns, labels=labels, source=source, indices=indices)


def open_few(spec: str, open_source: Opener) -> Source:
    """Open `few:N:DATA`: N items from all over DATA, to see whether a system can learn them.

    Raises:
      UserError: No N, or DATA has fewer items.
    """
    parsed = re.fullmatch(r"few:(\d+):(.+)", spec)
    count = int(parsed[1]) if parsed else 0
    if parsed is None or not count:
        raise UserError(f"{spec}: give how many items of what, as in few:16:mnist5k")
    return _few(spec, open_source(parsed[2]), count)


def _few(name: str, source: Source, count: int) -> Source:
    if isinstance(source, Unrelated):
        both = (_few(each.name, each, count) for each in (source.images, source.inputs))
        images, inputs = both
        return dataclasses.replace(source, name=name, images=images, inputs=inputs)
    if len(source) < count:
        raise UserError(f"{name}: {source.name} has {len(source)} items: ask for at most these")
    indices = np.arange(count) * len(source) // count
    labels = None if source.labels is None else source.labels[indices]
    return Part(name=name, columns=source.columns, labels=labels, source=source, indices=indices)


def _check_images(spec: str, source: Source) -> None:
    image = source.columns.get("image")
    if not isinstance(image, Image):
        holds = "no images" if image is None else image.kind()
        raise UserError(f"{spec}: {source.name} holds {holds}, expected images")
