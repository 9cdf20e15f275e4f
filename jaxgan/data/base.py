"""What every data set is to the rest of the library: items, read in any order."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, UInt8

from jaxgan.errors import UserError

Item = dict[str, Any]
"""By key: "image", an array; where the source has classes, "label", an int32 scalar; where images
come with what they are to be made from, "input", an array."""

Transform = Callable[[UInt8[np.ndarray, "h w c"]], UInt8[np.ndarray, "H W C"]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source(abc.ABC):
    """A data set read in any order: `source[i]` is item i, the same at every call, from any thread.

    "image" is whatever the generator imitates, so that systems need one name: uint8 [h, w, c] in
    0..255, or float32 [d] for points. "label" is there exactly when `classes` is not empty.
    "input", uint8 [h, w, c] too, is what a system that translates makes an image from (A in
    pix2pix's terms); it is there exactly when `aligned` is not None.

    Attributes:
      name: As the user typed it.
      shape: Of every item's "image"; None where items may differ.
      classes: Names, by label; empty when unlabelled.
      labels: Of all items, where they can be had without reading the items; None otherwise.
      input_shape: Of every item's "input"; None where items may differ, or have none.
      aligned: Whether the input of an item belongs to its image; None where items have none.
    """

    name: str
    shape: tuple[int, ...] | None
    classes: tuple[str, ...] = ()
    labels: Int32[np.ndarray, " n"] | None = dataclasses.field(default=None, repr=False)
    input_shape: tuple[int, ...] | None = None
    aligned: bool | None = None

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

    def fitted(
        self,
        transform: Transform,
        shape: tuple[int, ...],
        input_transform: Transform | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> "Source":
        """Return this source with every image passed through `transform`, which gives `shape`.

        Inputs go through `input_transform`, which gives `input_shape`; without it they are dropped.
        """
        return _Fitted(
            name=self.name,
            shape=shape,
            classes=self.classes,
            labels=self.labels,
            input_shape=input_shape,
            aligned=None if input_transform is None else self.aligned,
            source=self,
            transform=transform,
            input_transform=input_transform,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Fitted(Source):
    source: Source
    transform: Transform
    input_transform: Transform | None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        item = self.source[index]
        item = {**item, "image": self.transform(item["image"])}
        given = item.pop("input", None)
        if self.input_transform is not None:
            item["input"] = self.input_transform(given)
        return item

    def identity(self) -> Iterator[bytes]:
        return self.source.identity()


class Arrays(Source):
    """A data set held in memory: yours, or one of the embedded ones.

    Args:
      images: uint8 [n, h, w, c] in 0..255, or float32 [n, d] for points.
      labels: [n] in 0..len(classes) - 1; left out when unlabelled.
      classes: Names, by label.
      name: What messages call it.
      inputs: uint8 [n, h, w, c], what each image is to be made from; left out where there is none.

    Raises:
      UserError: dtype, number of axes, labels or inputs are not as above.
    """

    images: np.ndarray
    inputs: np.ndarray | None

    def __init__(
        self,
        images: np.ndarray,
        labels: Int[np.ndarray, " n"] | None = None,
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
        if inputs is not None and (
            (inputs.dtype, inputs.ndim) != (np.uint8, 4) or len(inputs) != len(images)
        ):
            raise UserError(
                f"{name}: inputs are {inputs.dtype} {inputs.shape}, expected uint8 [n, h, w, c] "
                f"with n = {len(images)}, as there are images"
            )
        super().__init__(
            name=name,
            shape=images.shape[1:],
            classes=tuple(classes),
            labels=labels,
            input_shape=None if inputs is None else inputs.shape[1:],
            aligned=None if inputs is None else True,
        )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "inputs", inputs)

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {"image": self.images, "label": self.labels, "input": self.inputs}
        return {key: array for key, array in columns.items() if array is not None}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        return {key: array[index] for key, array in self._columns().items()}

    def take(self, indices: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the items at `indices`, stacked: one gather per array, not a loop."""
        return {key: array[indices] for key, array in self._columns().items()}

    def fitted(
        self,
        transform: Transform,
        shape: tuple[int, ...],
        input_transform: Transform | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> "Arrays":
        """Return the same data with every image transformed, now and once."""
        images, inputs = np.stack([transform(image) for image in self.images]), None
        if input_transform is not None and self.inputs is not None:
            inputs = np.stack([input_transform(image) for image in self.inputs])
        return Arrays(images, self.labels, self.classes, name=self.name, inputs=inputs)

    def identity(self) -> Iterator[bytes]:
        """Yield the arrays' shape, type and bytes."""
        for array in (self.images, self.labels, self.inputs):
            if array is not None:
                yield f"{array.shape} {array.dtype}".encode()
                yield np.ascontiguousarray(array).tobytes()
