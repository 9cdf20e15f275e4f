"""What learned compression needs: rounding, bounds and likelihoods of whole numbers.

Ballé et al. 2018, "Variational image compression with a scale hyperprior"; Minnen et al. 2018.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

LEAST = 1e-9
"""Likelihoods are no smaller."""

# In files, scales and means of Gaussians, and logits of cumulative functions, are whole numbers.

LEAST_SCALE, LARGEST_SCALE = 0.11, 256.0
LEVELS = 64
"""That scales are brought to, evenly spaced by their logarithms."""

MEANS = 16
"""Means are brought to multiples of one over this."""

LOGITS = 1024
"""And logits to multiples of one over this."""


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def lower_bound(x: Float[Array, "*s"], bound: float) -> Float[Array, "*s"]:
    """max(x, bound), with a gradient also below the bound where a step would raise x.

    The gradient of a plain maximum is zero there, and what is once below stays.
    """
    return jnp.maximum(x, bound)


def _forward(x: Array, bound: float) -> tuple[Array, Array]:
    return jnp.maximum(x, bound), x


def _backward(bound: float, x: Array, gradient: Array) -> tuple[Array]:
    return (jnp.where((x >= bound) | (gradient < 0), gradient, 0),)


lower_bound.defvjp(_forward, _backward)


def round_through(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The nearest whole numbers, with the gradient of the identity (straight-through)."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def gaussian_likelihood(
    x: Float[Array, "*s"], mean: Float[Array, "*s"], scale: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """Mass of N(mean, scale^2) within a half of x, at least 1e-9.

    Both ends are taken on the lower side of the mean, where differences keep their digits.
    """
    distance = jnp.abs(x - mean)
    upper, lower = ((half - distance) / scale for half in (0.5, -0.5))
    mass = (jax.lax.erfc(-upper / 2**0.5) - jax.lax.erfc(-lower / 2**0.5)) / 2
    return lower_bound(mass, LEAST)


def bits(likelihood: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """Information of each row: minus the sum of its likelihoods' binary logarithms."""
    return -jnp.log2(likelihood).reshape(len(likelihood), -1).sum(1)


class FactorizedDensity(nn.Module):
    """A density for each channel, learned without a form (Ballé et al. 2018, appendix 6.1).

    Its cumulative function is a small monotone network, followed by a sigmoid: matrices are
    positive by softplus, and between them stands x + tanh(a) tanh(x), which rises too.

    Attributes:
        channels: of what is modelled; places of a channel are alike and independent.
        widths: of the networks' hidden layers.
        start: about how wide densities are at first.
    """

    channels: int
    widths: tuple[int, ...] = (3, 3, 3)
    start: float = 10.0

    def setup(self) -> None:
        """Parameters, by layer."""
        sizes = (1, *self.widths, 1)
        scale = self.start ** (1 / (len(sizes) - 1))
        layers = []
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            start = nn.initializers.constant(float(np.log(np.expm1(1 / scale / outputs))))
            centred = partial(_centred, 0.5)
            matrix = self.param(f"matrix{index}", start, (self.channels, outputs, inputs))
            bias = self.param(f"bias{index}", centred, (self.channels, outputs))
            factor = None
            if index < len(self.widths):
                zeros = nn.initializers.zeros
                factor = self.param(f"factor{index}", zeros, (self.channels, outputs))
            layers.append((matrix, bias, factor))
        self.layers = tuple(layers)

    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b c"]:
        """Mass within a half of x, at least 1e-9."""
        upper, lower = (self.logits(x + half, train=train) for half in (0.5, -0.5))
        # On the side of the median where sigmoids are small, differences keep their digits.
        side = jax.lax.stop_gradient(jnp.where(upper + lower > 0, -1.0, 1.0))
        mass = jnp.abs(nn.sigmoid(side * upper) - nn.sigmoid(side * lower))
        return lower_bound(mass, LEAST)

    def logits(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b c"]:
        """Logits of the cumulative function at x, float32."""
        del train
        h = x.astype(jnp.float32)[..., None]
        for matrix, bias, factor in self.layers:
            # Written out: products of matrices this small are slow, and less exact on accelerators.
            h = (nn.softplus(matrix) * h[..., None, :]).sum(-1) + bias
            if factor is not None:
                h = h + jnp.tanh(factor) * jnp.tanh(h)
        return h[..., 0]


def _centred(limit: float, key: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, jnp.float32, -limit, limit)
