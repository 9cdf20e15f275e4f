"""Sums in the CPU's form against float64, and closed-form gradients against automatic ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.backend import target
from jaxgan.nn.reduce import (
    add_bias,
    batch_normalize,
    channel_sum,
    position_sum,
    scale_shift,
    standardize,
)

SHAPES = [(4, 8, 8, 3), (2, 5, 7, 3), (6, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_channel_sum(rng, shape, backend):
    x = rng.normal(10, 1, size=shape).astype(np.float32)
    with target(backend):
        got = channel_sum(x)
    np.testing.assert_allclose(got, x.astype(np.float64).reshape(-1, 3).sum(0), rtol=1e-6)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 64, 64, 3), (1, 100, 100, 3)])
@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_position_sum(rng, shape, backend):
    x = rng.normal(10, 1, size=shape).astype(np.float32)
    with target(backend):
        got = position_sum(x)
    want = x.astype(np.float64).reshape(len(x), -1, 3).sum(1)
    np.testing.assert_allclose(got, want, rtol=1e-6 if backend == "cpu" else 1e-5)


def plain_normalize(x, scale, shift):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + 1e-5) * scale + shift


def normalize(x, scale, shift):
    return batch_normalize(x, scale, shift, 1e-5)[0]


def plain_standardize(x):
    axes = tuple(range(1, x.ndim - 1))
    return (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-5)


def per_sample_map(function):
    """`function` with scale and shift of [b, 1, ..., c], as the plain formulas take them."""
    return lambda x, *maps: function(x, *(m.reshape(len(x), -1) for m in maps))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_plain_formulas(rng, shape):
    x, g = rng.normal(1, 2, size=(2, *shape)).astype(np.float32)
    a, b = rng.normal(size=(2, 3)).astype(np.float32)
    per_sample = rng.normal(size=(2, shape[0], 3)).astype(np.float32)
    spread = per_sample.reshape(2, shape[0], *(1,) * (len(shape) - 2), 3)
    pairs = [
        (add_bias, lambda x, b: x + b, (x, b)),
        (scale_shift, lambda x, a, b: x * a + b, (x, a, b)),
        (per_sample_map(scale_shift), lambda x, a, b: x * a + b, (x, *spread)),
        (normalize, plain_normalize, (x, a, b)),
        (per_sample_map(normalize), plain_normalize, (x, *spread)),
        (lambda x: standardize(x, 1e-5), plain_standardize, (x,)),
    ]
    for ours, plain, inputs in pairs:
        got, pull = jax.vjp(ours, *inputs)
        with jax.enable_x64(True):
            exact = [jnp.asarray(v, jnp.float64) for v in (*inputs, g)]
            want, plain_pull = jax.vjp(plain, *exact[:-1])
            want, gradients = np.asarray(want), [np.asarray(v) for v in plain_pull(exact[-1])]
        np.testing.assert_allclose(got, want, atol=1e-5)
        for mine, theirs in zip(pull(g), gradients, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-4)


def test_moments_come_back(rng):
    x = rng.normal(3, 2, size=(4, 8, 8, 3)).astype(np.float32)
    _, mean, var = batch_normalize(x, jnp.ones(3), jnp.zeros(3), 1e-5)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("side", [64, 100, 250])
def test_a_constant_map_is_near_zero_when_it_is_standardized(side):
    y = standardize(np.full((1, side, side, 2), 3.3, np.float32), 1e-5)
    assert np.abs(y).max() < 0.02
