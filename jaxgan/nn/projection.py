"""The end of a conditional discriminator: a projection, or an auxiliary classifier.

Miyato, Koyama, "cGANs with Projection Discriminator", ICLR 2018, section 3; Odena, Olah, Shlens,
"Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxgan.nn.initializers import Init
from jaxgan.nn.layers import Dense, Embed, Reparam

Scores = Float[Array, " b"] | tuple[Float[Array, " b"], Float[Array, "b classes"]]
"""What a discriminator says of images: logits or, if it classifies, those and class logits."""


def projection(
    h: Float[Array, "b h w c"],
    classes: int,
    label: tuple[Int[Array, " b"] | Float[Array, "b d"], ...],
    initializer: Init,
    reparam: Reparam,
    *,
    use_bias: bool = True,
    classify: bool = False,
) -> Scores:
    """Logits psi(phi) + <embed(y), phi>; phi is the sum over places of the last map after a ReLU.

    To be called inside of a network, whose layers "dense" and "embed", or "classifier", it makes.

    Args:
        h: the last map.
        classes: rows of the embedding; 0: no projection, just psi.
        label: (y,), or () if there are no classes. Where y is a vector of the class instead of its
            number, "embed" is a linear layer.
        initializer: of psi and of the embedding.
        reparam: reparametrisation of both, which takes an `axis`.
        use_bias: psi has a bias.
        classify: class logits, linear in phi, in place of the projection; the label is ignored.
    """
    phi = nn.relu(h).astype(jnp.float32).sum((1, 2))
    psi = Dense(1, use_bias=use_bias, initializer=initializer, reparam=reparam, name="dense")
    logits = psi(phi)[:, 0]
    if classify:
        classifier = Dense(classes, initializer=initializer, reparam=reparam, name="classifier")
        return logits, classifier(phi)
    if classes:
        layer: Any = partial(Dense, use_bias=False, reparam=reparam)
        if label[0].ndim == 1:
            layer = partial(Embed, classes=classes, reparam=partial(reparam, axis=0))  # type: ignore[call-arg]
        embed = layer(phi.shape[-1], initializer=initializer, name="embed")
        logits += jnp.sum(embed(*label) * phi, -1)
    return logits
