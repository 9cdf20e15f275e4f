"""Attributes of images, as numbers: classes, colours, or what a user's function says.

| spec | attributes |
|---|---|
| `classes` | log probability of each class, by a small classifier of the run's own data |
| `colours` | brightness, contrast; red, green, blue, saturation; opacity, where there are such |
| `FILE.py:NAME` | what the function NAME makes of uint8 images [n, h, w, c]: [n], or [n, k] |
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from jaxgan import code, data
from jaxgan.backend import cache
from jaxgan.errors import UserError, nearest
from jaxgan.fields import Image, Label
from jaxgan.metrics import classifier
from jaxgan.pictures import to_uint8
from jaxgan.run.open import Run
from jaxgan.run.scored import real_images, scored

_CHUNK = 250


@dataclasses.dataclass(frozen=True, eq=False)
class Attributes:
    """Numbers that say what is in an image.

    Attributes:
        names: of the numbers.
        function: (arrays, images [b, h, w, c] in [-1, 1]) -> [b, k].
        arrays: that the function takes.
        pure: whether it is of JAX operations alone, so that it has gradients.
    """

    names: tuple[str, ...]
    function: Callable[[PyTree, Any], Any]
    arrays: PyTree = ()
    pure: bool = True

    def of(self, images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        """The numbers of images, as networks see these."""
        function = jax.jit(self.function) if self.pure else self.function
        parts = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
        return np.concatenate([np.asarray(function(self.arrays, part)) for part in parts])

    def index(self, name: str) -> int:
        """Which number has a name, or, where none has it, the place from 0 that its digits say.

        Raises:
            UserError: none.
        """
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise UserError(
            f"no attribute {name!r}: there are {', '.join(self.names)}{nearest(name, self.names)}"
        )


def attributes(run: Run, spec: str) -> Attributes:
    """Attributes by their spec, as the table above has them.

    Raises:
        UserError: no such attributes; data without classes; a file that has no such function.
    """
    if spec == "classes":
        return classes(run)
    if spec == "colours":
        return colours(run)
    if ".py:" in spec:
        return by_function(spec)
    raise UserError(
        f"no scores {spec!r}: give classes, colours, or FILE.py:NAME, a function of images"
        f"{nearest(spec, ('classes', 'colours'))}"
    )


def classes(run: Run, half: int = 0, *, steps: int = 800) -> Attributes:
    """Log probabilities of classes, by a classifier of one half of the run's images.

    The two halves are disjoint, and their classifiers start from other weights: one can guard what
    gradients of the other find. They are kept for the next time.

    Args:
        run: whose data.
        half: 0 or 1.
        steps: of the classifier's training.

    Raises:
        UserError: the data are not at hand, or have no classes.
    """
    source, label = _labelled(run)
    if (channels := source.columns["image"].shape[-1]) not in (1, 3):
        raise UserError(
            f"{run.name} has images of {channels} channels, and classifiers see grey or RGB: score "
            "them by colours, or by a function of your own (--scores FILE.py:NAME)"
        )
    mine = _half(source, half)

    def learn() -> classifier.Extractor:
        taken = source.take(mine)
        return classifier.train(
            taken["image"], taken["label"], classes=label.classes, steps=steps, seed=half
        )

    facts = data.fingerprint(source)
    shape = "x".join(str(n) for n in source.columns["image"].shape)
    name = f"half{half}-{facts[:24].replace('/', '-')}-{shape}-{steps}.npz"
    found = classifier.kept(cache() / "classifiers" / name, learn)

    def function(params: PyTree, images: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
        _, logits = found.apply(params, (images + 1) * 127.5)
        return jax.nn.log_softmax(jnp.asarray(logits))

    names = label.names or tuple(map(str, range(label.classes)))
    return Attributes(tuple(names), function, found.params)


def guard_accuracy(run: Run, guard: Attributes) -> float:
    """Accuracy of the classifier of the second half on images of the first, which it never saw."""
    source, _ = _labelled(run)
    taken = source.take(_half(source, 0)[:2000])
    images = taken["image"].astype(np.float32) / 127.5 - 1
    return float((guard.of(images).argmax(1) == taken["label"]).mean())


def _labelled(run: Run) -> tuple[data.Source, Label]:
    source = run.source()
    if not isinstance(source, data.Source):
        raise UserError(f"{run.name} learned from points: classes are for images")
    shape, _ = scored(run.system)
    found = real_images(run.experiment, source, shape).source
    label = found.columns.get("label")
    if not isinstance(label, Label):
        raise UserError(
            f"{source.name} has no classes to learn: give --scores colours, or FILE.py:NAME"
        )
    return found, label


def _half(source: data.Source, half: int) -> np.ndarray:
    return classifier.chosen(source, "classifier")[half::2]


def colours(run: Run) -> Attributes:
    """Statistics of colours, of images in [0, 1]; those of RGBA images weighed by opacity.

    Brightness and contrast are the mean and the deviation of the channels' mean; red, green and
    blue are means of the channels less brightness; saturation is the mean of max - min.
    """
    _, field = next(iter(run.gives("generate").items()))
    if not isinstance(field, Image):
        raise UserError(f"{run.name} draws {field.text()}: colours are for images")
    channels = field.shape[-1] or 0
    names = ["brightness", "contrast"]
    names += ["red", "green", "blue", "saturation"] if channels > 2 else []
    names += ["opacity"] if channels in (2, 4) else []

    def function(arrays: PyTree, images: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
        del arrays
        images = (jnp.clip(images, -1, 1) + 1) / 2
        opaque = channels in (2, 4)
        weight = images[..., -1:] if opaque else jnp.ones_like(images[..., :1])
        colour = images[..., :-1] if opaque else images
        total = weight.sum((1, 2)) + 1e-6

        def mean(x: Float[Array, "b h w k"]) -> Float[Array, "b k"]:
            return (x * weight).sum((1, 2)) / total

        grey = colour.mean(-1, keepdims=True)
        bright = mean(grey)
        parts = [bright, jnp.sqrt(mean((grey - bright[:, None, None]) ** 2) + 1e-12)]
        if channels > 2:
            strong = colour.max(-1, keepdims=True) - colour.min(-1, keepdims=True)
            parts += [mean(colour) - bright, mean(strong)]
        if opaque:
            parts.append(weight.mean((1, 2)))
        return jnp.concatenate(parts, -1)

    return Attributes(tuple(names), function)


def by_function(spec: str) -> Attributes:
    """Attributes by a user's function, `FILE.py:NAME`; naming the file runs it.

    The function gets uint8 images [n, h, w, c] and returns [n] numbers, or [n, k] with names in its
    attribute `names`, if it has one.

    Raises:
        UserError: no such file or function; from `of`: it returns something else.
    """
    function: Any = code.function(spec)
    names = tuple(map(str, getattr(function, "names", (spec.rpartition(":")[2],))))

    def of(arrays: PyTree, images: Float[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b k"]:
        del arrays
        pixels: UInt8[np.ndarray, "b h w c"] = to_uint8(jnp.asarray(images))
        found = np.asarray(function(pixels), np.float32)
        found = found[:, None] if found.ndim == 1 else found
        if found.shape != (len(images), len(names)):
            raise UserError(
                f"{spec} returns an array of {found.shape} for {len(images)} images: expected "
                f"({len(images)},) or ({len(images)}, {len(names)})"
            )
        return found

    return Attributes(names, of, pure=False)
