"""Recurrent cells: GRU as PyTorch has it, and convolutional LSTM."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxgan.nn.initializers import Init, symmetric_uniform
from jaxgan.nn.layers import Conv, Dense


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


class ConvLSTMCell(nn.Module):
    """Long short-term memory whose products are convolutions (Shi et al. 2015), without peepholes.

    One convolution of input and state makes the gates i, f, o and the candidate g; zeros lie
    beyond the edges. Gates and memory are float32.

    Attributes:
        features: channels of state and memory.
        kernel_size: taps a side.
        dtype: compute type of the convolution.
    """

    features: int
    kernel_size: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], state: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array]:
        """The next state and memory [b, h, w, features], of an input and those before; None: 0."""
        if state is None:
            zeros = jnp.zeros((*x.shape[:-1], self.features))
            state = zeros, zeros
        h, memory = state
        both = jnp.concatenate([x, h.astype(x.dtype)], -1)
        size = 4 * self.features
        gates = Conv(size, kernel_size=self.kernel_size, dtype=self.dtype, name="gates")(both)
        i, f, o, g = jnp.split(gates.astype(jnp.float32), 4, -1)
        memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(memory), memory
