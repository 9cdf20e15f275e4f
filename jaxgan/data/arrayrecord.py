"""Data sets packed into ArrayRecord shards: few large files, read at random, for training at scale.

    OUT/packed.json                           the index: version, classes, shards, shapes, digest
    OUT/images-00000-of-00157.array_record    records, one an image, in the folder's order

A record is the image's label (4 bytes, little-endian, -1 where the folder has no classes) and then
the image file as it was. Items are in order of their classes, as in a folder: so item i of the
packed set is item i of the folder, to the last bit.
"""

import dataclasses
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import cattrs
import grain
import numpy as np

from jaxgan.data.base import Item, Source
from jaxgan.data.identity import content_hashes
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label
from jaxgan.fields.pixels import USUAL, Reading, read

INDEX = "packed.json"
"""The file by which a packed folder is known."""

VERSION = 1
LABEL = struct.Struct("<i")


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
        try:
            record = self.records[index]
        except RuntimeError as error:  # records carry checksums
            first = np.cumsum([0, *(shard.images for shard in self.shards)])
            shard = int(np.searchsorted(first, index, side="right")) - 1
            raise UserError(
                f"{self.root / self.shards[shard].file} is damaged at item {index - first[shard]} "
                f"({str(error).partition(' (')[0]}): copy the folder again, or pack it again"
            ) from error
        name = f"{self.name} (item {index})"
        content = record[LABEL.size :]
        item: Item = {"image": read(content, name=name, max_pixels=self.reading.max_pixels)}
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
        facts = json.loads(path.read_text())
        version = facts["version"]
        if version == VERSION:
            return cattrs.Converter(forbid_extra_keys=True).structure(facts, Index)
    except (OSError, ValueError, KeyError, TypeError, cattrs.BaseValidationError) as error:
        raise UserError(f"{path} is no index that `jaxgan data pack` wrote: pack again") from error
    raise UserError(f"{path} has version {version}, expected {VERSION}: pack again")
