"""What every data set is to the rest of the library: items, read in any order."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, UInt8

from jaxgan.errors import UserError

Item = dict[str, Any]
"""By key: "image", an array, and, where the source has classes, "label", an int32 scalar."""

Transform = Callable[[UInt8[np.ndarray, "h w c"]], UInt8[np.ndarray, "H W C"]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source(abc.ABC):
    """A data set read in any order: `source[i]` is item i, the same at every call, from any thread.

    "image" is whatever the generator imitates, so that systems need one name: uint8 [h, w, c] in
    0..255, or float32 [d] for points. "label" is there exactly when `classes` is not empty.

    Attributes:
      name: As the user typed it.
      shape: Of every item's "image"; None where items may differ.
      classes: Names, by label; empty when unlabelled.
      labels: Of all items, where they can be had without reading the items; None otherwise.
    """

    name: str
    shape: tuple[int, ...] | None
    classes: tuple[str, ...] = ()
    labels: Int32[np.ndarray, " n"] | None = dataclasses.field(default=None, repr=False)

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Item: ...

    @abc.abstractmethod
    def identity(self) -> Iterator[bytes]:
        """Yield what tells this data set from another; `fingerprint` hashes it."""

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the items at `indices`, stacked: [n, ...] by key, the caller's to change."""
        items = [self[int(i)] for i in indices]
        return {key: np.stack([item[key] for item in items]) for key in items[0]}

    def fitted(self, transform: Transform, shape: tuple[int, ...]) -> "Source":
        """Return this source with every image passed through `transform`, which gives `shape`."""
        return _Fitted(
            name=self.name,
            shape=shape,
            classes=self.classes,
            labels=self.labels,
            source=self,
            transform=transform,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Fitted(Source):
    source: Source
    transform: Transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        item = self.source[index]
        return {**item, "image": self.transform(item["image"])}

    def identity(self) -> Iterator[bytes]:
        return self.source.identity()


class Arrays(Source):
    """A data set held in memory: yours, or one of the embedded ones.

    Args:
      images: uint8 [n, h, w, c] in 0..255, or float32 [n, d] for points.
      labels: [n] in 0..len(classes) - 1; left out when unlabelled.
      classes: Names, by label.
      name: What messages call it.

    Raises:
      UserError: dtype, number of axes, or labels are not as above.
    """

    images: np.ndarray

    def __init__(
        self,
        images: np.ndarray,
        labels: Int[np.ndarray, " n"] | None = None,
        classes: Sequence[str] = (),
        *,
        name: str = "arrays",
    ):
        if (images.dtype, images.ndim) not in ((np.uint8, 4), (np.float32, 2)):
            raise UserError(
                f"{name}: images are {images.dtype} with {images.ndim} axes, expected uint8 "
                "[n, h, w, c] or, for points, float32 [n, d]"
            )
        if (labels is None) != (len(classes) == 0):
            raise UserError(f"{name}: labels and classes go together, only one of them was given")
        if labels is not None:
            if labels.shape != images.shape[:1]:
                raise UserError(
                    f"{name}: labels have shape {labels.shape}, expected {images.shape[:1]}"
                )
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
                raise UserError(
                    f"{name}: labels run from {labels.min()} to {labels.max()}, expected 0 to "
                    f"{len(classes) - 1}"
                )
            labels = labels.astype(np.int32)
        super().__init__(name=name, shape=images.shape[1:], classes=tuple(classes), labels=labels)
        object.__setattr__(self, "images", images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        item = {"image": self.images[index]}
        return item if self.labels is None else {**item, "label": self.labels[index]}

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the items at `indices`, stacked: one gather per array, not a loop."""
        taken = {"image": self.images[indices]}
        return taken if self.labels is None else {**taken, "label": self.labels[indices]}

    def fitted(self, transform: Transform, shape: tuple[int, ...]) -> "Arrays":
        """Return the same data with every image transformed, now and once."""
        images = np.stack([transform(image) for image in self.images])
        return Arrays(images, self.labels, self.classes, name=self.name)

    def identity(self) -> Iterator[bytes]:
        """Yield the arrays' shape, type and bytes."""
        for array in (self.images, self.labels):
            if array is not None:
                yield f"{array.shape} {array.dtype}".encode()
                yield np.ascontiguousarray(array).tobytes()
