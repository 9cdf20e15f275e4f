"""Data sets packed into ArrayRecord shards: few large files, read at random, for training at scale.

    OUT/packed.json                           the index: version, classes, shards, shapes, digest
    OUT/images-00000-of-00157.array_record    records, one an image, in the folder's order

A record is the image's label (4 bytes, little-endian, -1 where the folder has no classes) and then
the image file as it was. Items are in order of their classes, as in a folder: so item i of the
packed set is item i of the folder, to the last bit.
"""

import dataclasses
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cattrs
import grain
import numpy as np

from jaxgan.data.base import Item, Source
from jaxgan.data.identity import content_hashes
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label
from jaxgan.fields.pixels import USUAL, Picture, Reading
from jaxgan.files import read_text

INDEX = "packed.json"
"""The file by which a packed folder is known."""

VERSION = 1
LABEL = struct.Struct("<i")


_LARGEST = 2**27
"""Bytes of an index: enough for a line on each of a million shapes."""

_MOST = 2**28
"""Images of a packed set, whose labels are then a gigabyte."""

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
"""Names of shards: no paths, nor what ArrayRecord or a shell would read as more than a name."""


class _Wrong(ValueError):
    """What is wrong with an index, in a clause."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """A file of records: its name, how many it holds, its size."""

    file: str
    images: int
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """What packed.json says.

    Attributes:
      version: Of the layout of the folder.
      classes: [name, images], by label, in which order the items are; empty when unlabelled.
      shards: The files, in order.
      shapes: [height, width, channels, first item of that shape], as decoded.
      sha256: Of all records.
    """

    version: int
    classes: list[tuple[str, int]]
    shards: list[Shard]
    shapes: list[tuple[int, int, int, int]]
    sha256: str

    def check(self) -> None:
        """Refuse what no pack has.

        Raises:
          ValueError: Says what.
        """
        files = [shard.file for shard in self.shards]
        if wrong := next((file for file in files if not _FILE.fullmatch(file)), None):
            raise _Wrong(f"{wrong[:40]!r} is no name of a shard")
        if len(set(files)) < len(files):
            raise _Wrong("a shard is named twice")
        for shard in self.shards:
            if not 0 < LABEL.size * shard.images <= shard.bytes:
                raise _Wrong(f"{shard.images:,} images in {shard.bytes:,} bytes of {shard.file}")
        count = sum(shard.images for shard in self.shards)
        if not 0 < count <= _MOST:
            raise _Wrong(f"{count:,} images, expected 1 to {_MOST:,}")
        names, counts = [name for name, _ in self.classes], [n for _, n in self.classes]
        if len(set(names)) < len(names) or any(n < 0 for n in counts):
            raise _Wrong("a class is named twice, or has fewer images than none")
        if self.classes and sum(counts) != count:
            raise _Wrong(f"its classes have {sum(counts):,} images, its shards {count:,}")
        for height, width, depth, first in self.shapes:
            if min(height, width) < 1 or depth not in (1, 2, 3, 4) or not 0 <= first < count:
                raise _Wrong(f"{height}x{width}x{depth} of item {first} is no image")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Packed(Source):
    """A folder that `pack` wrote; made by `open_packed`.

    Attributes:
      root: The folder.
      shards: Its files, in order.
      sizes: (height, width, channels) of its images, with the first item that has it.
      records: The label and file of every image.
      reading: How images are read.
    """

    root: Path
    shards: tuple[Shard, ...] = dataclasses.field(repr=False)
    sizes: dict[tuple[int, int, int], int] = dataclasses.field(repr=False)
    records: grain.sources.ArrayRecordDataSource = dataclasses.field(repr=False)
    reading: Reading = USUAL

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Item:
        item = self.undecoded(index)
        return {**item, "image": item["image"].whole()}

    def undecoded(self, index: int) -> Item:
        """Return an item whose image is a `Picture`."""
        try:
            record = self.records[index]
            if len(record) < LABEL.size:
                raise RuntimeError("a record without a label")
        except (RuntimeError, ValueError, IndexError) as error:  # records carry checksums
            first = np.cumsum([0, *(shard.images for shard in self.shards)])
            shard = int(np.searchsorted(first, index, side="right")) - 1
            raise UserError(
                f"{self.root / self.shards[shard].file} is damaged at item {index - first[shard]} "
                f"({str(error).partition(' (')[0]}): copy the folder again, or pack it again"
            ) from error
        name = f"{self.name} (item {index})"
        content = record[LABEL.size :]
        item: Item = {"image": Picture(content, name=name, max_pixels=self.reading.max_pixels)}
        if "label" in self.columns:
            item["label"] = np.int32(LABEL.unpack_from(record)[0])
        return item

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the images, of which the index has the first of each shape."""
        if column == "image":
            for shape, index in self.sizes.items():
                yield f"{self.name} (item {index})", shape

    def identity(self) -> Iterator[bytes]:
        """Yield names of classes, and names of shards with hashes of their bytes."""
        yield json.dumps(self.classes).encode()
        files = [shard.file for shard in self.shards]
        for file, digest in zip(files, content_hashes(self.root, files), strict=True):
            yield file.encode()
            yield digest


def open_packed(name: str, reading: Reading = USUAL) -> Packed:
    """Open a folder that `jaxgan data pack` wrote.

    Raises:
      UserError: The index cannot be read or is of another version; a shard is missing or cut short.
    """
    root = Path(name).expanduser()
    index = _read_index(root / INDEX)
    for shard in index.shards:
        path = root / shard.file
        found = path.stat().st_size if path.is_file() else None
        if found != shard.bytes:
            has = "is missing" if found is None else f"has {found:,} bytes, not {shard.bytes:,}"
            raise UserError(f"{path} {has}: copy the folder again, or pack it again")
    labels, columns = None, dict[str, Field](image=Image())
    if index.classes:
        names = tuple(label for label, _ in index.classes)
        columns["label"] = Label(classes=len(names), names=names)
        counts = [count for _, count in index.classes]
        labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    # With the range given, a shard is opened when something is read from it, not now.
    paths = [f"{root / shard.file}[0:{shard.images}]" for shard in index.shards]
    return Packed(
        name=name,
        columns=columns,
        labels=labels,
        root=root,
        shards=tuple(index.shards),
        sizes={(h, w, c): first for h, w, c, first in index.shapes},
        records=grain.sources.ArrayRecordDataSource(paths),
        reading=reading,
    )


def _read_index(path: Path) -> Index:
    try:
        facts = json.loads(read_text(path, limit=_LARGEST))
        version = facts["version"]
        if version == VERSION:
            index = _STRICT.structure(facts, Index)
            index.check()
            return index
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # JSON of any form raises many kinds
        why = f" ({error})" if isinstance(error, _Wrong) else ""
        raise UserError(
            f"{path} is no index that `jaxgan data pack` wrote{why}: pack again"
        ) from error
    raise UserError(f"{path} has version {version!r:.20}, expected {VERSION}: pack again")


def _exactly(value: Any, kind: type) -> Any:
    """A number or text as JSON has it: nothing is converted, and true is no number."""
    if type(value) is not kind:
        raise _Wrong(f"{str(value)[:20]!r} instead of a value of type {kind.__name__}")
    return value


_STRICT = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
for _kind in (int, str):
    _STRICT.register_structure_hook(_kind, _exactly)
