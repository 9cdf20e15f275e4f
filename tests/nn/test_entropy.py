import jax
import jax.numpy as jnp
import numpy as np
import torch
from scipy.stats import norm

from jaxgan.nn.entropy import (
    FactorizedDensity,
    bits,
    gaussian_likelihood,
    lower_bound,
    round_through,
)
from tests.reference.hific import density


def test_rounding_has_the_gradient_of_the_identity():
    x = jnp.array([-1.7, -0.2, 0.4, 2.6])
    np.testing.assert_array_equal(round_through(x), [-2, 0, 0, 3])
    np.testing.assert_array_equal(jax.grad(lambda x: round_through(x).sum())(x), 1)


def test_a_bound_lets_pass_gradients_that_lead_back():
    x = jnp.array([0.05, 0.05, 0.5, 0.5])
    slopes = jnp.array([1.0, -1.0, 1.0, -1.0])
    np.testing.assert_allclose(lower_bound(x, 0.11), [0.11, 0.11, 0.5, 0.5])
    gradient = jax.grad(lambda x: (lower_bound(x, 0.11) * slopes).sum())(x)
    np.testing.assert_array_equal(gradient, [0, -1, 1, -1])  # a step is against the gradient


def test_mass_of_a_gaussian_in_the_bulk_and_in_both_tails():
    x = np.array([0.0, 1.0, -1.0, 4.0, -4.0, 30.0])
    mean, scale = np.full(6, 0.3), np.full(6, 0.9)
    want = norm.cdf(np.abs(x - mean) * -1 + 0.5, 0, scale)
    want -= norm.cdf(np.abs(x - mean) * -1 - 0.5, 0, scale)
    got = gaussian_likelihood(*(jnp.asarray(each, jnp.float32) for each in (x, mean, scale)))
    np.testing.assert_allclose(got[:5], want[:5], rtol=2e-4)
    assert got[5] == np.float32(1e-9)


def test_bits_are_binary_logarithms():
    np.testing.assert_allclose(bits(jnp.array([[0.5, 0.25], [1.0, 0.125]])), [3, 3])


def test_densities_rise_sum_to_one_and_equal_pytorchs(rng):
    module = FactorizedDensity(5)
    params = module.init(jax.random.key(0), jnp.zeros((1, 5)), train=True)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 43 * 5
    params = jax.tree.map(lambda x: x + rng.normal(0, 0.3, x.shape).astype(np.float32), params)
    x = np.arange(-400, 401, dtype=np.float32)
    mass = module.apply(params, jnp.broadcast_to(x[:, None], (801, 5)), train=False)
    np.testing.assert_allclose(mass.sum(0), 1, atol=1e-4)
    given = {name: torch.tensor(np.asarray(v)) for name, v in params["params"].items()}
    want = density(given, torch.tensor(x).expand(5, -1)).numpy().T
    np.testing.assert_allclose(mass, np.maximum(want, 1e-9), atol=2e-6)
    logits = module.apply(
        params, jnp.broadcast_to(x[:, None], (801, 5)), train=False, method="logits"
    )
    assert (np.diff(logits, axis=0) > 0).all()
