"""A small classifier of the data at hand: features for data unlike ImageNet, and labels' accuracy.

Its features make scores of toy sets meaningful, its logits an Inception-like score. Trained on
generated images and tested on real ones it gives the classification accuracy score (Ravuri &
Vinyals 2019, "Classification accuracy score for conditional generative models"):

    accuracy(train(fakes, labels, classes=10), reals, real_labels)
"""

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, PyTree, UInt8

from jaxgan import data, npz
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label
from jaxgan.metrics.base import warn
from jaxgan.metrics.features import Extractor, from_function
from jaxgan.metrics.images import as_images
from jaxgan.metrics.resize import rgb
from jaxgan.nn.initializers import Init
from jaxgan.nn.layers import Conv, Dense

FEATURES = 128
_AT_MOST = 50_000  # images of a data set that are learnt from
_BYTES = 2 * 2**30  # of these
_HE = Init(jax.nn.initializers.he_normal())


class Network(nn.Module):
    """Convolutions of stride two down to at most 4x4 pixels, one more, a hidden layer, logits.

    Widths double as sides halve, so that images of 64 pixels cost little more than those of 28.

    Attributes:
        classes: of the logits.
        halvings: how often the side is halved.
    """

    classes: int
    halvings: int

    @nn.compact
    def __call__(
        self, images: UInt8[Array, "b h w c"]
    ) -> tuple[Float[Array, "b 128"], Float[Array, "b classes"]]:
        """Features, which are not negative, and logits."""
        h = rgb(images) / 127.5 - 1
        conv = partial(Conv, padding=1, initializer=_HE)
        for level in range(self.halvings):
            width = max(FEATURES >> (self.halvings - 1 - level), 8)
            h = nn.relu(conv(width, stride=2, name=f"conv{level}")(h))
        h = nn.relu(conv(FEATURES, name="last")(h))
        h = h.reshape(len(h), -1)
        h = nn.relu(Dense(FEATURES, initializer=_HE, name="hidden")(h))
        return h, Dense(self.classes, name="logits")(h)


def train(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    *,
    classes: int,
    steps: int = 800,
    batch: int = 128,
    seed: int = 0,
) -> Extractor:
    """A classifier of these images, by cross entropy and AdamW; a minute on two cores at 28 pixels.

    The same images, labels and seed give the same weights, bit for bit on one kind of machine.

    Args:
      images: grey or RGB, of at least 8 pixels a side.
      labels: 0..classes - 1.
      classes: how many there are, also if some have no image.
      steps: of the optimiser.
      batch: images a step.
      seed: of the first weights and of the order of images.

    Raises:
      UserError: too small images, or labels that are not as above.
    """
    if labels.shape != images.shape[:1] or not len(labels):
        raise UserError(
            f"{len(images)} images and labels of shape {labels.shape}: expected one label an "
            "image, and at least one image"
        )
    if not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(
            f"labels run from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )
    network = network_for(images, classes)

    def loss(logits: Float[Array, "b classes"], labels: Int[Array, " b"]) -> Float[Array, ""]:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    labels = labels.astype(np.int32)
    variables = fit(network, images, labels, loss, steps=steps, batch=batch, seed=seed)
    return extractor_of(network, variables)


def network_for(images: UInt8[np.ndarray, "n h w c"], outputs: int) -> Network:
    """The network for images of this size.

    Raises:
      UserError: they are too small.
    """
    if min(images.shape[1:3]) < 8:
        raise UserError(
            f"images of {images.shape[1]}x{images.shape[2]} pixels are too small to classify: "
            "expected at least 8x8"
        )
    return Network(outputs, halvings=(max(images.shape[1:3]) - 1).bit_length() - 2)


def fit(
    network: Network,
    images: UInt8[np.ndarray, "n h w c"],
    targets: np.ndarray,
    loss: Callable[[Array, Array], Float[Array, ""]],
    *,
    steps: int,
    batch: int,
    seed: int,
) -> PyTree:
    """Variables that make a loss of logits [b, ...] and targets [b, ...] small, by AdamW."""
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, 3e-3))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(
        variables: PyTree,
        state: optax.OptState,
        images: UInt8[Array, "b h w c"],
        targets: Array,
    ) -> tuple[PyTree, optax.OptState]:
        def of(variables: PyTree) -> Float[Array, ""]:
            _, logits = network.apply(variables, images)
            return loss(jnp.asarray(logits), targets)

        updates, state = optimizer.update(jax.grad(of)(variables), state, variables)
        return optax.apply_updates(variables, updates), state

    variables = jax.jit(network.init)(jax.random.key(seed), images[:1])
    state = jax.jit(optimizer.init)(variables)
    rng = np.random.default_rng(seed)
    epochs = -(-steps * batch // len(images))
    order = np.concatenate([rng.permutation(len(images)) for _ in range(epochs)])
    for index in order[: steps * batch].reshape(steps, batch):
        variables, state = step(variables, state, images[index], targets[index])
    return jax.device_get(variables)


def of_data(source: data.Source, folder: Path, *, fingerprint: str | None = None) -> Extractor:
    """A classifier of a data set, kept in `folder` for the next time.

    It learns from all images, or from a random 50,000 that are at most 2 GiB; a line says so.

    Args:
      source: the data set.
      folder: where it is kept.
      fingerprint: of the images; None: that of the data set.

    Raises:
      UserError: the data has no classes, or its images are too small.
    """
    label = source.columns.get("label")
    if not isinstance(label, Label):
        raise UserError(
            f"{source.name} has no classes to learn: choose another extractor than classifier"
        )
    facts = f"{fingerprint or data.fingerprint(source)} {_looked_at(source).shape}"
    path = folder / f"classifier-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npz"

    def learn() -> Extractor:
        taken = as_images(source.take(chosen(source, "classifier")))
        return train(taken["image"], taken["label"], classes=label.classes)

    return kept(path, learn)


def chosen(source: data.Source, learner: str) -> Int[np.ndarray, " n"]:
    """Which images of a data set are learnt from, for they are held in memory; it is told."""
    size = math.prod(n or 1 for n in _looked_at(source).shape)
    most = max(1, min(_AT_MOST, _BYTES // size))
    if most < len(source):
        warn(
            f"{source.name}: the {learner} learns from {most:,} of {len(source):,} images, at "
            f"random: from at most {_AT_MOST:,}, and {_BYTES / 2**30:.3g} GiB of them"
        )
    return np.random.default_rng(0).permutation(len(source))[:most]


def _looked_at(source: data.Source) -> Image:
    """The images of a data set, or its clips."""
    return next(each for each in source.columns.values() if isinstance(each, Image))


def kept(path: Path, learn: Callable[[], Extractor], name: str = "classifier") -> Extractor:
    """A network in a file, which is made where it is not there yet."""
    if path.is_file():
        return load(path, name)
    learnt = learn()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save(learnt, unfinished)
    unfinished.replace(path)
    return learnt


def accuracy(
    classifier: Extractor,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    *,
    batch: int = 500,
) -> float:
    """Share of images whose largest logit is that of their label.

    Raises:
      UserError: the extractor has no logits, or there is not one label an image.
    """
    if not classifier.classes:
        raise UserError(
            f"{classifier.name} has no logits: accuracy needs an extractor with classes"
        )
    if labels.shape != images.shape[:1] or not len(labels):
        raise UserError(
            f"{len(images)} images and labels of shape {labels.shape}: expected one label an "
            "image, and at least one image"
        )

    @jax.jit
    def predict(params: PyTree, images: UInt8[Array, "b h w c"]) -> Int[Array, " b"]:
        _, logits = classifier.apply(params, images)
        assert logits is not None  # classes > 0
        return logits.argmax(-1)

    right = [
        np.asarray(predict(classifier.params, images[start : start + batch]))
        == labels[start : start + batch]
        for start in range(0, len(images), batch)
    ]
    return float(np.concatenate(right).mean())


def save(classifier: Extractor, path: str | Path) -> None:
    """Write the weights as npz, for `load`."""
    with open(path, "wb") as file:
        np.savez(file, **flatten_dict(classifier.params, sep="/"))


def load(path: str | Path, name: str = "classifier") -> Extractor:
    """Read what `save` wrote.

    Raises:
      UserError: no such file, or not such a file. Pickled objects are refused.
    """
    variables = unflatten_dict(npz.read(path, f"a {name}'s weights"), sep="/")
    params = variables.get("params", {})
    if not {"hidden", "logits"} <= params.keys():
        raise UserError(f"{path}: not a {name}'s weights; delete it and train anew")
    network = Network(
        len(params["logits"]["bias"]), halvings=sum(each.startswith("conv") for each in params)
    )
    return extractor_of(network, variables, name)


def extractor_of(network: Network, variables: PyTree, name: str = "classifier") -> Extractor:
    """The network as an extractor."""
    extractor = from_function(
        name, network.apply, variables, size=FEATURES, classes=network.classes
    )
    return dataclasses.replace(extractor, known=True)
