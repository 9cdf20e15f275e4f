"""Lines and arcs between latents, against torch-fidelity's."""

import jax.numpy as jnp
import numpy as np

from jaxgan.interpolate import lerp, slerp
from tests.reference.recorded import latents, recorded


def test_slerp_agrees_with_torch_fidelity():
    a, b, t = latents()
    np.testing.assert_allclose(slerp(a, b, t), recorded()["slerp"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(slerp(a, b, np.zeros(20)), a, atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, np.ones(20)), b, atol=1e-6)


def test_latents_per_layer_interpolate_as_one(rng):
    a, b = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    t = np.linspace(0, 1, 5, dtype=np.float32)
    for way in (lerp, slerp):
        flat = way(a.reshape(5, 12), b.reshape(5, 12), t)
        np.testing.assert_array_equal(way(a, b, t), flat.reshape(a.shape))


def test_from_the_origin_there_is_a_straight_line():
    a, b = jnp.zeros((2, 3)), jnp.array([[1.0, 2, 3], [0, 0, 0]])
    halfway = slerp(a, b, jnp.array([0.5, 0.25]))
    np.testing.assert_allclose(halfway, [[0.5, 1, 1.5], [0, 0, 0]])
