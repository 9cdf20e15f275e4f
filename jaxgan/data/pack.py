"""Data sets packed into ArrayRecord shards, for `jaxgan.data.arrayrecord` to read."""

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

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Int
from PIL import Image as Pillow

from jaxgan.data.arrayrecord import INDEX, LABEL, VERSION, Index, Packed, Shard, open_packed
from jaxgan.data.base import Source
from jaxgan.data.encoded import Encoded
from jaxgan.data.scan import notes_of
from jaxgan.data.source import open_source
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label
from jaxgan.fields.pixels import USUAL, Fit, Reading
from jaxgan.files import refuse_bucket

SKIPPED = "skipped.txt"
"""The file that lists damaged images that were left out."""

_ROWS = re.compile(r"\[[^][{}]+\]")  # innermost lists, which JSON with an indent spreads out
_PORTION = 512
"""Images in memory at a time while packing."""


def pack(
    source: str | Path | Source,
    out: str | Path,
    *,
    size: int | None = None,
    shard_images: int = 8192,
    reading: Reading = USUAL,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Pack a data set of images into ArrayRecord shards, with their classes.

    Every image is decoded on the way, so that a damaged one is found now. Files are kept as they
    are, bit for bit, and arrays become PNGs; with `size`, those of another size become PNGs of size
    x size, made of the largest centred square with the filter of `Fit`. Items are put in order of
    their classes. The folder appears under its name when it is complete; a pack that fails leaves
    nothing behind.

    Returns:
      The packed set, whose notes are those of the data set and on what of it was not packed.

    Args:
      source: What `--data` takes, or a data set.
      out: The folder to write, which must not exist.
      size: Side of the images, in pixels; None keeps them as they are.
      shard_images: Images a file.
      reading: How files are read, of a name.
      progress: Called with how many images have been packed, and how many there are.

    Raises:
      UserError: No such data set, or one without images; an image that cannot be decoded, by
        name; `out` exists or cannot be written.
    """
    refuse_bucket(Path(out), "OUT")
    out = Path(out).expanduser()
    for option, value in (("size", size), ("shard-images", shard_images)):
        if value is not None and value < 1:
            raise UserError(f"--{option} is {value}: it must be at least 1")
    if out.exists():
        raise UserError(f"{out} exists: choose another name, or remove it")
    if not out.parent.is_dir():
        raise UserError(f"{out} cannot be written: there is no folder {out.parent}")
    name = source.name if isinstance(source, Source) else str(source)
    if Path(name).expanduser().resolve() in out.resolve().parents:
        raise UserError(f"{out} lies in {name}, which is to be packed: choose a place outside")
    source = source if isinstance(source, Source) else open_source(name, reading)
    if isinstance(source, Packed) or not isinstance(source.columns.get("image"), Image):
        holds = "is packed already" if isinstance(source, Packed) else "holds no images"
        raise UserError(
            f"{source.name} {holds}: give a folder of images, or what else --data reads"
        )
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            index = _write(source, temporary, size, shard_images, progress)
            text = json.dumps(dataclasses.asdict(index), indent=1) + "\n"
            (temporary / INDEX).write_text(_ROWS.sub(lambda row: " ".join(row[0].split()), text))
            if source.skipped:
                (temporary / SKIPPED).write_text("".join(f"{line}\n" for line in source.skipped))
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except (OSError, RuntimeError) as error:
        # ArrayRecord's writer raises RuntimeError where the disk is full.
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{out} cannot be written: {reason}") from error
    left = [f"{name} is not packed" for name in source.columns if name not in ("image", "label")]
    notes = (*notes_of(source), *left)
    return dataclasses.replace(open_packed(str(out), reading), notes=notes)


def _umask() -> int:
    # The only way to ask for it is to set it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _write(
    source: Source,
    out: Path,
    size: int | None,
    shard_images: int,
    progress: Callable[[int, int], None] | None,
) -> Index:
    count = -(-len(source) // shard_images)
    digest, shards = hashlib.sha256(), []
    shapes: dict[tuple[int, int, int], int] = {}
    labels, classes = _labels(source)
    # The index knows no other order than that of classes.
    order = np.argsort(labels, kind="stable")
    encoded = _encoded(source, size, order)
    for number in range(count):
        path = out / f"images-{number:05d}-of-{count:05d}.array_record"
        first = number * shard_images
        images = min(shard_images, len(source) - first)
        # Image files do not shrink, and one a group is what reading at random wants.
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        try:
            for item in range(first, first + images):
                content, shape = next(encoded)
                record = LABEL.pack(int(labels[order[item]])) + content
                shapes.setdefault(shape, item)
                digest.update(struct.pack("<q", len(record)) + record)
                writer.write(record)
                if progress is not None:
                    progress(item + 1, len(source))
        finally:
            writer.close()
        shards.append(Shard(file=path.name, images=images, bytes=path.stat().st_size))
    return Index(
        version=VERSION,
        classes=classes,
        shards=shards,
        shapes=[(*shape, item) for shape, item in shapes.items()],
        sha256=digest.hexdigest(),
    )


def _labels(source: Source) -> tuple[Int[np.ndarray, " n"], list[tuple[str, int]]]:
    """The class of each item, -1 where there are none, and [name, items] of each class."""
    field = source.columns.get("label")
    if not isinstance(field, Label):
        return np.full(len(source), -1), []
    labels = source.labels
    if labels is None:  # they lie in the items
        labels = np.array([field.fit(source[item]["label"]) for item in range(len(source))])
    counts = np.bincount(labels, minlength=field.classes).tolist()
    return labels, [(field.name(number), count) for number, count in enumerate(counts)]


def _encoded(
    source: Source, size: int | None, order: Int[np.ndarray, " n"]
) -> Iterator[tuple[bytes, tuple[int, int, int]]]:
    """Yield every image's file, as it will be stored, with the shape that it decodes to."""

    def encode(number: int) -> tuple[bytes, tuple[int, int, int]]:
        index = int(order[number])
        if isinstance(source, Encoded):
            content, image = source.load(index)
        else:
            content, image = b"", source[index]["image"]
        height, width, channels = image.shape
        if content and (size is None or (height, width) == (size, size)):
            return content, (height, width, channels)
        if size is not None:
            image = Fit(shape=(size, size, channels), resize=True)(image)
        file = io.BytesIO()
        Pillow.fromarray(image[:, :, 0] if channels == 1 else image).save(file, "PNG")
        return file.getvalue(), image.shape

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(source), _PORTION):
            yield from pool.map(encode, range(start, min(start + _PORTION, len(source))))
