"""Sums in the CPU's form against float64, and closed-form gradients against automatic ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.backend import target
from jaxgan.nn.reduce import add_bias, channel_sum, scale_shift, standardize

SHAPES = [(4, 8, 8, 3), (2, 5, 7, 3), (6, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_channel_sum(rng, shape, backend):
    x = rng.normal(10, 1, size=shape).astype(np.float32)
    with target(backend):
        got = channel_sum(x)
    np.testing.assert_allclose(got, x.astype(np.float64).reshape(-1, 3).sum(0), rtol=1e-6)


def plain_standardize(x, epsilon):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + epsilon)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_plain_formulas(rng, shape):
    x, g = rng.normal(1, 2, size=(2, *shape)).astype(np.float32)
    a, b = rng.normal(size=(2, 3)).astype(np.float32)
    per_sample = rng.normal(size=(2, shape[0], 3)).astype(np.float32)
    spread = per_sample.reshape(2, shape[0], *(1,) * (len(shape) - 2), 3)
    pairs = [
        (add_bias, lambda x, b: x + b, (x, b)),
        (scale_shift, lambda x, a, b: x * a + b, (x, a, b)),
        (
            lambda x, a, b: scale_shift(x, a.reshape(shape[0], 3), b.reshape(shape[0], 3)),
            lambda x, a, b: x * a + b,
            (x, *spread),
        ),
        (lambda x: standardize(x, 1e-5)[0], lambda x: plain_standardize(x, 1e-5), (x,)),
    ]
    for ours, plain, inputs in pairs:
        got, pull = jax.vjp(ours, *inputs)
        want, plain_pull = jax.vjp(plain, *inputs)
        np.testing.assert_allclose(got, want, atol=1e-5)
        for mine, theirs in zip(pull(g), plain_pull(g), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=2e-5)


def test_moments_come_back(rng):
    x = rng.normal(3, 2, size=(4, 8, 8, 3)).astype(np.float32)
    _, mean, var = standardize(x, 1e-5)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-4)
