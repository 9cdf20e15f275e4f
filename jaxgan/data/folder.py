"""Folders of images, flat or one sub-folder per class."""

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgan.data.base import Item, Source
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label
from jaxgan.fields.pixels import USUAL, Reading, read

_PORTION = 32
"""Files that a thread decodes at a time."""

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Folder(Source):
    """A folder of image files, in sorted order; made by `open_folder`.

    Attributes:
      root: The folder.
      files: Paths below it, with forward slashes, as class/name or name.
      reading: How they are read.
    """

    root: Path
    files: tuple[str, ...] = dataclasses.field(repr=False)
    reading: Reading = USUAL

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Item:
        item: Item = {"image": self.read(self.files[index])}
        return item if self.labels is None else {**item, "label": self.labels[index]}

    def read(self, file: str) -> UInt8[np.ndarray, "h w c"]:
        """Decode one of the files."""
        return read(self.root / file, max_pixels=self.reading.max_pixels)

    def shapes(self, column: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield path and shape of every image, in order: a damaged one is found now."""
        if column != "image":
            return
        # Files in portions, so that a million of them are not a million tasks.
        portions = [self.files[i : i + _PORTION] for i in range(0, len(self), _PORTION)]
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            # In order, so that of several damaged files it is always the first that is named.
            for portion, shapes in zip(portions, pool.map(self._shapes, portions), strict=True):
                for file, shape in zip(portion, shapes, strict=True):
                    yield str(self.root / file), shape

    def _shapes(self, files: tuple[str, ...]) -> list[tuple[int, ...]]:
        return [self.read(file).shape for file in files]

    def identity(self) -> Iterator[bytes]:
        """Yield every file's path below the root and its size in bytes."""
        for file in self.files:
            yield f"{file} {(self.root / file).stat().st_size}".encode(errors="surrogateescape")


def open_folder(name: str, reading: Reading = USUAL) -> Folder:
    """List a folder: PATH/*.png for unlabelled images, PATH/CLASS/*.png for labelled ones.

    Names are sorted, and so are classes. Files of other types and hidden ones are passed over.

    Raises:
      UserError: No images; images beside sub-folders; folders within sub-folders (whose labels
        would be a guess); a sub-folder without images.
    """
    root = Path(name).expanduser()
    folders, images = listing(root)
    if folders and images:
        raise UserError(
            f"{name} holds both images ({images[0]}) and sub-folders ({folders[0]}), expected one "
            "or the other: move the images into one sub-folder per class"
        )
    if not folders:
        if not images:
            raise UserError(f"{name} holds no images, expected files in {', '.join(EXTENSIONS)}")
        return Folder(
            name=name,
            columns={"image": Image()},
            root=root,
            files=tuple(images),
            reading=reading,
        )
    files: list[str] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        nested, images = listing(root / folder)
        if nested:
            raise UserError(
                f"{name} is nested too deep ({folder}/{nested[0]}), expected one sub-folder per "
                f"class with only images in it: did you mean {Path(name, folder)}?"
            )
        if not images:
            raise UserError(
                f"{Path(name, folder)} holds no images, expected files in "
                f"{', '.join(EXTENSIONS)}: add some or remove the sub-folder"
            )
        files += (f"{folder}/{image}" for image in images)
        labels += [label] * len(images)
    return Folder(
        name=name,
        columns={"image": Image(), "label": Label(classes=len(folders), names=tuple(folders))},
        labels=np.array(labels, np.int32),
        root=root,
        files=tuple(files),
        reading=reading,
    )


def listing(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of a folder's sub-folders and of its images, sorted, without hidden ones."""
    folders, images = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            # macOS leaves __MACOSX beside what it unpacks.
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(EXTENSIONS):
                images.append(entry.name)
    return sorted(folders), sorted(images)
