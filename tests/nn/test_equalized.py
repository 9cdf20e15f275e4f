import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.equalized import equalized
from jaxgan.nn.layers import Conv, ConvTranspose, Dense


@pytest.mark.parametrize("width", [16, 256, 1024])
@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_variance_is_kept_at_every_width(rng, width, rate):
    """Weights are of unit variance (over the rate), outputs of the gain's."""
    x = rng.normal(size=(64, width)).astype(np.float32)
    layer = Dense(256, **equalized(2**0.5, rate=rate))
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert variables["params"]["kernel"].std() == pytest.approx(1 / rate, rel=0.05)
    assert y.std() == pytest.approx(2**0.5, rel=0.05)


def test_steps_of_kernel_and_bias_are_multiplied_by_the_rate(rng):
    x = rng.normal(size=(4, 9)).astype(np.float32)

    def output(rate):
        layer = Dense(3, **equalized(rate=rate, bias=1.0))
        return layer, layer.init(jax.random.key(0), x)

    (plain, its), (slow, other) = output(1.0), output(0.01)
    np.testing.assert_allclose(plain.apply(its, x), slow.apply(other, x), atol=1e-5)
    np.testing.assert_allclose(other["params"]["bias"], 100.0)
    step = jax.tree.map(jnp.ones_like, its)
    moved = plain.apply(jax.tree.map(jnp.add, its, step), x) - plain.apply(its, x)
    less = slow.apply(jax.tree.map(jnp.add, other, step), x) - slow.apply(other, x)
    np.testing.assert_allclose(less, 0.01 * moved, atol=1e-4)


def test_a_dense_layer_to_a_map_is_a_transposed_convolution(rng):
    """A gain of sqrt(2)/4 over fan-in 8 is one of sqrt(2) over fan-in 4x4x8."""
    z = rng.normal(size=(2, 8)).astype(np.float32)
    settings = {"kernel_size": 4, "stride": 1, "padding": 0, **equalized(2**0.5)}
    layer = ConvTranspose(6, **settings)
    y, variables = layer.init_with_output(jax.random.key(0), z[:, None, None])
    kernel = variables["params"]["kernel"][::-1, ::-1]
    expected = np.einsum("bi,hwio->bhwo", z, kernel) * (2**0.5 / 4) / 8**0.5
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_resampling_convolutions_take_the_factor(rng):
    x = rng.normal(size=(1, 4, 4, 8)).astype(np.float32)
    for scale in ("up", "down"):
        layer = Conv(8, scale=scale, **equalized())
        y, variables = layer.init_with_output(jax.random.key(0), x)
        plain = Conv(8, scale=scale).apply(variables, x)
        np.testing.assert_allclose(y, plain / 72**0.5, atol=1e-5)
