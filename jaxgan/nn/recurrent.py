"""Recurrent cells as PyTorch has them."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxgan.nn.initializers import Init, symmetric_uniform
from jaxgan.nn.layers import Dense


class GRUCell(nn.Module):
    """Gated recurrent unit (Cho et al. 2014), as PyTorch's `GRUCell`: two biases, gates r, z, n.

    The reset gate scales what the new state takes of the old one after its bias is added, where
    the paper scales the old state itself. Computed in float32.

    Attributes:
        features: size of the state.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b i"], h: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """The next state [b, features], of an input [b, i] and the state before [b, features]."""
        uniform = symmetric_uniform(self.features**-0.5)
        start = Init(uniform, lambda fan_in: uniform)
        gates = (
            Dense(3 * self.features, initializer=start, name=name)(each)
            for name, each in (("input", x), ("hidden", h))
        )
        (r, z, n), (hr, hz, hn) = (jnp.split(each, 3, -1) for each in gates)
        r, z = jax.nn.sigmoid(r + hr), jax.nn.sigmoid(z + hz)
        return (1 - z) * jnp.tanh(n + r * hn) + z * h
