"""Looking at the data before training: a mistake found now costs seconds, later hours."""

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxgan.data.arrayrecord import Packed
from jaxgan.data.base import Arrays, Source
from jaxgan.data.folder import Folder
from jaxgan.data.image import Fit, load, text
from jaxgan.data.pairs import Edges, Inverted, SideBySide, TwoSets, half_shape
from jaxgan.errors import UserError

_SAMPLE = 8
"""Items that are read of a source whose writer has checked them already (TFDS, packed)."""

_PORTION = 32
"""Files that a thread decodes at a time."""

_ROWS = 20
"""Classes that a report lists."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a scan found.

    Attributes:
      name: As the user typed it.
      count: Items.
      shape: Of every item as the system sees it.
      found: What the items were before: one shape, or the smallest and the largest.
      classes: Items by class; None where counting would mean reading them all.
      conditional: Whether the system uses the classes.
      crop: Side of the centre crop, pixels; None for none.
      inputs: What is to be told of the inputs.
    """

    name: str
    count: int
    shape: tuple[int, ...]
    found: str
    classes: dict[str, int | None]
    conditional: bool
    crop: int | None = None
    inputs: str = ""

    def text(self) -> str:
        """Return one line on the data set, then one on each of the first classes."""
        line = f"{self.name}: {self.count:,} "
        if len(self.shape) == 1:
            line += _holds(self.shape)
        else:
            line += f"images, {self.found}"
            if self.crop is not None:
                line += f" cropped to the middle {self.crop}x{self.crop}"
            if self.found != text(self.shape):
                line += f" made {text(self.shape)}"
        line += self.inputs
        if self.classes:
            unused = "" if self.conditional else " (not used)"
            line += f", {len(self.classes)} classes{unused}"
        counts = {name: count for name, count in self.classes.items() if count is not None}
        rows = dict(list(counts.items())[:_ROWS])
        width = max(map(len, rows), default=0)
        lines = [line, *(f"  {name:<{width}} {count:>9,}" for name, count in rows.items())]
        if len(counts) > _ROWS:
            rest = list(counts.values())[_ROWS:]
            lines.append(f"  ... and {len(rest):,} more of {min(rest):,} to {max(rest):,} each")
        return "\n".join(lines)


def check(
    source: Source,
    *,
    shape: tuple[int, ...],
    classes: int,
    resize: bool = False,
    crop: int | None = None,
    jitter: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    aligned: bool = True,
) -> None:
    """Refuse what can be refused without reading an item; arguments as for `scan`."""
    if not len(source):
        raise UserError(f"{source.name} is empty, expected at least one image")
    if crop is not None and crop < 1:
        raise UserError(f"--crop {crop}: expected at least 1 pixel")
    if jitter is not None and (len(shape) != 3 or jitter < shape[0]):
        raise UserError(
            f"--jitter {jitter}: expected the height of images that {text(shape)} is cut out of, "
            "or None"
        )
    resize = resize or jitter is not None
    if input_shape is not None:
        _check_inputs(source, input_shape, aligned, resize, crop)
    if classes:
        found = len(source.classes)
        if found < 2:
            has = f"only the class {source.classes[0]!r}" if found else "no labels"
            raise UserError(
                f"{source.name} has {has}, the system is conditional on {classes} classes: use one "
                "sub-folder per class, or --system.classes 0"
            )
        if found != classes:
            raise UserError(
                f"{source.name} has {found} classes, the system expects {classes}: "
                f"set --system.classes {found}"
            )
    _check_shape(source, shape, resize, crop)


def _check_inputs(
    source: Source,
    shape: tuple[int, ...],
    aligned: bool,
    resize: bool,
    crop: int | None,
) -> None:
    if source.aligned is None:
        raise UserError(
            f"{source.name} holds images alone, the system makes one image from another: give "
            "pairs:FOLDER, edges:DATA" + ("" if aligned else " or unpaired:DATA,DATA")
        )
    if aligned and not source.aligned:
        raise UserError(
            f"{source.name} does not tell which images belong together, from which the system "
            "learns: give pairs:FOLDER or edges:DATA"
        )
    if isinstance(source, TwoSets):
        if not len(source.inputs):
            raise UserError(f"{source.inputs.name} is empty, expected at least one image")
        _check_shape(source.inputs, shape, resize, crop)


def _check_shape(source: Source, shape: tuple[int, ...], resize: bool, crop: int | None) -> None:
    if len(shape) == 1 or (source.shape is not None and len(source.shape) == 1):
        if source.shape != shape:
            holds = _holds(source.shape)
            raise UserError(
                f"{source.name} holds {holds}, the system draws {_holds(shape)}: "
                "choose another data set or another system"
            )
        if resize or crop is not None:
            raise UserError(f"{source.name} holds {_holds(shape)}: drop --resize and --crop")
        return
    if shape[2] not in (1, 3, 4):
        raise UserError(
            f"the system draws {text(shape)}, expected 1 (grey), 3 (RGB) or 4 (RGBA) channels"
        )
    if source.shape is not None:
        fit = Fit(shape=_image_shape(shape), resize=resize, crop=crop)
        if problem := fit.problem(source.shape):
            raise UserError(f"{source.name} {problem}")
        if source.shape[2] != shape[2] and not resize:
            raise UserError(
                f"{source.name} is {text(source.shape)}, the system draws {text(shape)}: "
                f"add --resize, which converts channels too, or set the system to "
                f"{source.shape[2]} channels"
            )


def scan(
    source: Source,
    *,
    shape: tuple[int, ...],
    classes: int,
    resize: bool = False,
    crop: int | None = None,
    jitter: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    aligned: bool = True,
) -> Report:
    """Check that the system can learn from the data.

    Every file of a folder is decoded, in threads, so that a damaged one is found now; of a TFDS set
    or a packed folder only a few items are. A set smaller than a batch is fine: it repeats.
    Channels of image files are converted as the system needs them; a source whose one shape is
    known needs `resize` for that too.

    Args:
      source: The data set.
      shape: What the system draws: (height, width, channels), or (d,) for points.
      classes: What the system is conditional on; 0 if on nothing, labels are then dropped.
      resize: Whether images are brought to the system's size.
      crop: Side of a centre crop before that, in pixels; None for none.
      jitter: Height to which images are brought, to be cut at random; None for none.
      input_shape: What the system makes images from; None if from nothing.
      aligned: Whether an input must belong to its image.

    Raises:
      UserError: It cannot; the first damaged file in sorted order is named, and of two sizes
        without `resize` one file each.
    """
    check(
        source,
        shape=shape,
        classes=classes,
        resize=resize,
        crop=crop,
        jitter=jitter,
        input_shape=input_shape,
        aligned=aligned,
    )
    resize = resize or jitter is not None
    found = _found(source, shape, resize, crop, labelled=classes > 0)
    inputs = ""
    if input_shape is None:
        inputs = "" if source.aligned is None else " (inputs not used)"
    elif not isinstance(source, TwoSets):
        inputs = ", each with its input"
    else:
        other = _found(source.inputs, input_shape, resize, crop, labelled=False)
        whose = "each with its input" if source.aligned else f"and {len(source.inputs):,} inputs"
        inputs = f", {whose}, {other}"
    counts: list[int | None] = [None] * len(source.classes)
    if source.labels is not None:
        counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    return Report(
        name=source.name,
        count=len(source),
        shape=shape,
        found=found,
        classes=dict(zip(source.classes, counts, strict=True)),
        conditional=classes > 0,
        crop=crop,
        inputs=inputs,
    )


def _found(
    source: Source,
    shape: tuple[int, ...],
    resize: bool,
    crop: int | None,
    *,
    labelled: bool,
) -> str:
    """Check that all images of a source can be fitted; return what shapes they have."""
    if isinstance(source, TwoSets):
        return _found(source.images, shape, resize, crop, labelled=False)
    if isinstance(source, Edges | Inverted):
        return _found(source.source, shape, resize, crop, labelled=labelled)
    if isinstance(source, Arrays):
        return text(source.shape or ())
    fit = Fit(shape=_image_shape(shape), resize=resize, crop=crop)
    return _fits(source, fit, labelled=labelled)


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, count = shape
    return height, width, count


def _holds(shape: tuple[int, ...] | None) -> str:
    if shape is not None and len(shape) == 1:
        return f"points of {shape[0]} numbers"
    return "images" if shape is None else f"{text(shape)} images"


def _fits(source: Source, fit: Fit, *, labelled: bool) -> str:
    """Check that every image read can be fitted; return what shapes they have."""
    firsts: dict[tuple[int, ...], str] = {}
    for name, shape in _shapes(source, labelled=labelled):
        firsts.setdefault(shape, name)
    sizes: dict[tuple[int, ...], str] = {}
    for shape, name in firsts.items():
        sizes.setdefault(shape[:2], name)
    for size, name in sizes.items():
        if problem := fit.problem(size):
            others = [other for other in sizes if other != size]
            if others and not fit.resize and fit.crop is None:
                raise UserError(
                    f"{source.name} holds images of different sizes (height x width: {name} is "
                    f"{text(size)}, {sizes[others[0]]} is {text(others[0])}), the system draws "
                    f"{text(fit.shape)}: add --resize"
                )
            raise UserError(f"{name} {problem}")
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    if len(ordered) > 1:
        return f"{text(ordered[0])} to {text(ordered[-1])}"
    counts = sorted({shape[2] for shape in firsts})
    return f"{text(ordered[0])}x{' or '.join(map(str, counts))}"


def _shapes(source: Source, *, labelled: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of every file of a folder, in order, or of another source's first."""
    if isinstance(source, SideBySide):
        for name, shape in _shapes(source.source, labelled=False):
            yield name, half_shape(name, shape)
        return
    if isinstance(source, Packed):
        for shape, index in source.shapes.items():
            yield f"{source.name} (item {index})", shape
    if not isinstance(source, Folder):
        for index in range(min(_SAMPLE, len(source))):
            item = source[index]
            if labelled and not 0 <= item["label"] < len(source.classes):
                raise UserError(
                    f"{source.name}: item {index} has the label {item['label']}, expected 0 to "
                    f"{len(source.classes) - 1}: choose a split that is labelled"
                )
            yield f"{source.name} (item {index})", item["image"].shape
        return
    paths = [source.root / file for file in source.files]
    # Files in portions, so that a million of them are not a million tasks.
    portions = [paths[i : i + _PORTION] for i in range(0, len(paths), _PORTION)]
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        # In order, so that of several damaged files it is always the first that is named.
        for portion, shapes in zip(portions, pool.map(_decode, portions), strict=True):
            yield from zip(map(str, portion), shapes, strict=True)


def _decode(paths: list[Path]) -> list[tuple[int, ...]]:
    return [load(path)[1].shape for path in paths]
