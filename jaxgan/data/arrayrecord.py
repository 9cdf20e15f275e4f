"""Image folders packed into ArrayRecord shards: few large files, read at random, for training at
scale.

    OUT/packed.json                           the index: version, classes, shards, shapes, digest
    OUT/images-00000-of-00157.array_record    records, one an image, in the folder's order

A record is the image's label (4 bytes, little-endian, -1 where the folder has no classes) and then
the image file as it was. So item i of the packed set is item i of the folder, to the last bit.
"""

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cattrs
import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image as Pillow

from jaxgan.data.base import Item, Source
from jaxgan.data.folder import Folder, open_folder
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Label
from jaxgan.fields.pixels import USUAL, Fit, Reading, load, read

INDEX = "packed.json"
"""The file by which a packed folder is known."""

_VERSION = 1
_LABEL = struct.Struct("<i")
_ROWS = re.compile(r"\[[^][{}]+\]")  # innermost lists, which JSON with an indent spreads out
_PORTION = 512
"""Images in memory at a time while packing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """A file of records: its name, how many it holds, its size."""

    file: str
    images: int
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Index:
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
      sha256: Of all records.
      records: The label and file of every image.
      reading: How images are read.
    """

    root: Path
    shards: tuple[Shard, ...] = dataclasses.field(repr=False)
    sizes: dict[tuple[int, int, int], int] = dataclasses.field(repr=False)
    sha256: str
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
        content = record[_LABEL.size :]
        item: Item = {"image": read(content, name=name, max_pixels=self.reading.max_pixels)}
        if "label" in self.columns:
            item["label"] = np.int32(_LABEL.unpack_from(record)[0])
        return item

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield those of the images, of which the index has the first of each shape."""
        if column == "image":
            for shape, index in self.sizes.items():
                yield f"{self.name} (item {index})", shape

    def identity(self) -> Iterator[bytes]:
        """Yield the digest of all records."""
        yield self.sha256.encode()


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
        sha256=index.sha256,
        records=grain.sources.ArrayRecordDataSource(paths),
        reading=reading,
    )


def _read_index(path: Path) -> _Index:
    try:
        facts = json.loads(path.read_text())
        version = facts["version"]
        if version == _VERSION:
            return cattrs.Converter(forbid_extra_keys=True).structure(facts, _Index)
    except (OSError, ValueError, KeyError, TypeError, cattrs.BaseValidationError) as error:
        raise UserError(f"{path} is no index that `jaxgan data pack` wrote: pack again") from error
    raise UserError(f"{path} has version {version}, expected {_VERSION}: pack again")


def pack(
    folder: str | Path,
    out: str | Path,
    *,
    size: int | None = None,
    shard_images: int = 8192,
    reading: Reading = USUAL,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Pack a folder of images, flat or one sub-folder per class, into ArrayRecord shards.

    Every image is decoded on the way, so that a damaged one is found now. Files are kept as they
    are, bit for bit; with `size`, those of another size become PNGs of size x size, made of the
    largest centred square with the filter of `Fit`. The folder appears under its name when it is
    complete; a pack that fails leaves nothing behind.

    Args:
      folder: What `--data FOLDER` takes.
      out: The folder to write, which must not exist.
      size: Side of the images, in pixels; None keeps them as they are.
      shard_images: Images a file.
      reading: How images are read.
      progress: Called with how many images have been packed, and how many there are.

    Raises:
      UserError: No such folder, or one without images; an image that cannot be decoded, by name;
        `out` exists or cannot be written.
    """
    out, root = Path(out).expanduser(), Path(folder).expanduser()
    for option, value in (("size", size), ("shard-images", shard_images)):
        if value is not None and value < 1:
            raise UserError(f"--{option} is {value}: it must be at least 1")
    if not root.is_dir():
        raise UserError(f"{folder} is no folder: give a folder of images")
    if out.exists():
        raise UserError(f"{out} exists: choose another name, or remove it")
    if not out.parent.is_dir():
        raise UserError(f"{out} cannot be written: there is no folder {out.parent}")
    if root.resolve() in out.resolve().parents:
        raise UserError(f"{out} lies in {folder}, which is to be packed: choose a place outside")
    source = open_folder(str(folder), reading)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            index = _write(source, temporary, size, shard_images, progress)
            text = json.dumps(dataclasses.asdict(index), indent=1) + "\n"
            (temporary / INDEX).write_text(_ROWS.sub(lambda row: " ".join(row[0].split()), text))
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except (OSError, RuntimeError) as error:
        # ArrayRecord's writer raises RuntimeError where the disk is full.
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{out} cannot be written: {reason}") from error
    return open_packed(str(out), reading)


def _umask() -> int:
    # The only way to ask for it is to set it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _write(
    source: Folder,
    out: Path,
    size: int | None,
    shard_images: int,
    progress: Callable[[int, int], None] | None,
) -> _Index:
    count = -(-len(source) // shard_images)
    digest, shards = hashlib.sha256(), []
    shapes: dict[tuple[int, int, int], int] = {}
    encoded = _encoded(source, size)
    for number in range(count):
        path = out / f"images-{number:05d}-of-{count:05d}.array_record"
        first = number * shard_images
        images = min(shard_images, len(source) - first)
        # Image files do not shrink, and one a group is what reading at random wants.
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        try:
            for item in range(first, first + images):
                content, shape = next(encoded)
                label = -1 if source.labels is None else int(source.labels[item])
                record = _LABEL.pack(label) + content
                shapes.setdefault(shape, item)
                digest.update(struct.pack("<q", len(record)) + record)
                writer.write(record)
                if progress is not None:
                    progress(item + 1, len(source))
        finally:
            writer.close()
        shards.append(Shard(file=path.name, images=images, bytes=path.stat().st_size))
    counts = [] if source.labels is None else np.bincount(source.labels).tolist()
    return _Index(
        version=_VERSION,
        classes=list(zip(source.classes, counts, strict=True)),
        shards=shards,
        shapes=[(*shape, item) for shape, item in shapes.items()],
        sha256=digest.hexdigest(),
    )


def _encoded(source: Folder, size: int | None) -> Iterator[tuple[bytes, tuple[int, int, int]]]:
    """Yield every image's file, as it will be stored, with the shape that it decodes to."""

    def encode(file: str) -> tuple[bytes, tuple[int, int, int]]:
        content, image = load(source.root / file, max_pixels=source.reading.max_pixels)
        height, width, channels = image.shape
        if size is None or (height, width) == (size, size):
            return content, (height, width, channels)
        image = Fit(shape=(size, size, channels), resize=True)(image)
        file_ = io.BytesIO()
        Pillow.fromarray(image[:, :, 0] if channels == 1 else image).save(file_, "PNG")
        return file_.getvalue(), (size, size, channels)

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(source), _PORTION):
            yield from pool.map(encode, source.files[start : start + _PORTION])
