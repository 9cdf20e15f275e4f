"""Equalised learning rate: weights of unit variance, scaled when they are used.

Karras et al. 2018 (ProGAN), section 4.1. Adam takes steps of one size whatever a weight's scale, so
with weights of one scale all layers learn at one rate.
"""

import math
from functools import partial
from typing import Any

from flax import linen as nn
from jax.nn import initializers as jinit
from jaxtyping import Array, Float

from jaxgan.nn.initializers import Init


class EqualizedRate(nn.Module):
    """W -> gain / sqrt(fan_in): the factor of a kernel, for the layers of `jaxgan.nn.layers`.

    Attributes:
        gain: sqrt(2) where a ReLU follows and its gain is meant to be here (He et al. 2015).
    """

    gain: float = 1.0

    @nn.compact
    def __call__(self, kernel: Float[Array, "..."]) -> float:
        """The factor of a kernel (h, w, in, out) or (in, out)."""
        return self.gain / math.sqrt(math.prod(kernel.shape[:-1]))


def equalized(gain: float = 1.0, *, rate: float = 1.0, bias: float = 0.0) -> dict[str, Any]:
    """Settings of a layer with equalised learning rate: `Conv(512, **equalized(2**0.5))`.

    Args:
        gain: of the kernel.
        rate: what steps of this layer are multiplied by (StyleGAN's mapping: 0.01). Weights and
            biases are stored as many times smaller steps would need them, and scaled back.
        bias: where biases start, as they are used.
    """
    kernel = jinit.normal(1 / rate)
    return {
        "initializer": Init(kernel, lambda fan_in: jinit.constant(bias / rate)),
        "reparam": partial(EqualizedRate, gain * rate),
        "bias_scale": rate,
    }
