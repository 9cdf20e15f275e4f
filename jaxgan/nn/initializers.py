"""Initialisers that the papers name: one for a layer's kernel and one for its bias, together."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers as jinit
from jax.typing import DTypeLike

Initializer = Callable[..., jax.Array]


class Init(NamedTuple):
    """How a layer starts.

    kernel: JAX initialiser `(key, shape, dtype) -> array`; shapes are (h, w, in, out) or (in, out).
    bias: from the layer's fan-in to a JAX initialiser (PyTorch's default bias depends on it).
    """

    kernel: Initializer
    bias: Callable[[int], Initializer] = lambda fan_in: jinit.zeros


def symmetric_uniform(limit: float) -> Initializer:
    """U(-limit, limit)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def shifted_normal(mean: float, std: float) -> Initializer:
    """N(mean, std^2); DCGAN draws the gains of its batch norms from N(1, 0.02^2)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return mean + std * jax.random.normal(key, shape, dtype)

    return init


def normal(std: float) -> Init:
    """N(0, std^2) kernels, zero biases (DCGAN: std 0.02)."""
    return Init(jinit.normal(std))


def glorot_uniform(gain: float = 1.0) -> Init:
    """Glorot's uniform kernels times `gain` (SNGAN: sqrt(2) in residual blocks), zero biases."""
    return Init(jinit.variance_scaling(gain**2, "fan_avg", "uniform"))


def he_fan_avg_uniform() -> Init:
    """Uniform kernels of std sqrt(4 / (fan_in + fan_out)): WGAN-GP's main convolutions."""
    return Init(jinit.variance_scaling(2.0, "fan_avg", "uniform"))


def orthogonal(gain: float = 1.0) -> Init:
    """Orthogonal (out, h*w*in) matrices times `gain`, zero biases (Saxe et al. 2013; BigGAN)."""
    return Init(jinit.orthogonal(gain))


#: PyTorch's default for linear and convolution layers: U(+-1/sqrt(fan_in)) for kernels and biases.
TORCH = Init(
    jinit.variance_scaling(1 / 3, "fan_in", "uniform"),
    lambda fan_in: symmetric_uniform(fan_in**-0.5),
)


def _torch_transposed(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    limit = (shape[0] * shape[1] * shape[-1]) ** -0.5
    return jax.random.uniform(key, shape, dtype, -limit, limit)


#: PyTorch's default for transposed convolutions: it reads their fan-in off the output side.
TORCH_TRANSPOSED = Init(_torch_transposed, TORCH.bias)
