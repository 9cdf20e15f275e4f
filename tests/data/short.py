"""Batches and scans as most tests want them: for a system of images, with labels or inputs."""

from typing import Any

from jaxgan import data
from jaxgan.fields import Field, Framing, Image, Label, Points

ORDER = ("batch", "draws", "micro", "seed", "begin", "seen", "process", "processes")
FRAMING = ("resize", "crop", "jitter", "draft")


def groups(
    shape: tuple[int, ...],
    classes: int = 0,
    input_shape: tuple[int, ...] | None = None,
    aligned: bool = True,
) -> tuple[dict[str, Field], ...]:
    """What a system learns from: images or points, labels, and inputs, which may be unrelated."""
    first: dict[str, Field] = {"image": Points(shape) if len(shape) == 1 else Image(shape)}
    if classes:
        first["label"] = Label(classes=classes)
    given = {} if input_shape is None else {"input": Image(input_shape)}
    return ({**first, **given},) if aligned or not given else (first, given)


def batches(
    source: data.Source,
    *,
    shape: tuple[int, ...],
    classes: int = 0,
    input_shape: tuple[int, ...] | None = None,
    aligned: bool = True,
    **rest: Any,
) -> data.Batches:
    """Batches of images."""
    order = data.Order(**{name: rest.pop(name) for name in ORDER if name in rest})
    framing = Framing(**{name: rest.pop(name) for name in FRAMING if name in rest})
    asked = groups(shape, classes, input_shape, aligned)
    return data.batches(source, asked, order, framing=framing, **rest)


def scan(
    source: data.Source,
    *,
    shape: tuple[int, ...],
    classes: int = 0,
    input_shape: tuple[int, ...] | None = None,
    aligned: bool = True,
    **framing: Any,
) -> data.Report:
    """A scan for images."""
    asked = groups(shape, classes, input_shape, aligned)
    return data.scan(source, asked, framing=Framing(**framing))
