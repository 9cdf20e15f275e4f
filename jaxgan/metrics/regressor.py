"""A small network that reads images: from pixels to the vector of what they show.

It learns from real images and their sentences' vectors alone, and never saw a generator. So it can
be asked whether a generated image shows what its sentence says (`r_precision`).
"""

import hashlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxgan import data
from jaxgan.metrics import classifier
from jaxgan.metrics.features import Extractor, digest

_TEMPERATURE = 0.1


def similarity(made: Float[Array, "*n d"], wanted: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Cosines of pairs of vectors."""
    sizes = jnp.linalg.norm(made, axis=-1) * jnp.linalg.norm(wanted, axis=-1)
    return (made * wanted).sum(-1) / jnp.maximum(sizes, 1e-8)


def loss(made: Float[Array, "b d"], wanted: Float[Array, "b d"]) -> Float[Array, ""]:
    """Cross entropy of finding an image's own vector among a batch's, by cosines.

    Vectors that equal an image's own are none of the others.
    """
    cosines = similarity(made[:, None], wanted[None]) / _TEMPERATURE
    same = jnp.square(wanted[:, None] - wanted[None]).sum(-1) < 1e-6
    own = jnp.diagonal(cosines)
    others = jnp.where(same & ~jnp.eye(len(made), dtype=bool), -jnp.inf, cosines)
    return (jax.nn.logsumexp(others, -1) - own).mean()


def train(
    images: UInt8[np.ndarray, "n h w c"],
    vectors: Float[np.ndarray, "n d"],
    *,
    steps: int = 800,
    batch: int = 128,
    seed: int = 0,
) -> Extractor:
    """A network whose logits are the vectors of what images show; arguments as the classifier's.

    Raises:
        UserError: images are too small.
    """
    network = classifier.network_for(images, vectors.shape[1])
    variables = classifier.fit(network, images, vectors, loss, steps=steps, batch=batch, seed=seed)
    return classifier.extractor_of(network, variables, "regressor")


def of_data(source: data.Source, folder: Path, *, steps: int = 800) -> Extractor:
    """A regressor of a data set's columns "image" and "text" (vectors), kept in `folder`.

    It learns from as many images as `classifier.chosen` takes.

    Raises:
        UserError: images are too small.
    """
    taken = source.take(classifier.chosen(source, "regressor"))
    facts = f"{data.fingerprint(source)} {taken['image'].shape} {digest(taken['text'])} {steps}"
    path = folder / f"regressor-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npz"
    learn = partial(train, taken["image"], taken["text"], steps=steps)
    return classifier.kept(path, learn, "regressor")


def read(regressor: Extractor, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n d"]:
    """The vectors of what images show."""
    predict = jax.jit(regressor.apply)  # compiled once a network: `apply` is the same each time
    parts = [images[start : start + 500] for start in range(0, len(images), 500)]
    return np.concatenate([np.asarray(predict(regressor.params, part)[1]) for part in parts])
