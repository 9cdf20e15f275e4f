"""Lines and arcs between latents, against torch-fidelity's."""

import numpy as np
import torch

from jaxgan.interpolate import lerp, slerp
from tests.reference import features as reference


def test_slerp_agrees_with_torch_fidelity(rng):
    theirs = reference.module("torch_fidelity.noise").batch_slerp_any
    a, b = rng.normal(size=(2, 20, 8)).astype(np.float32)
    b[3], b[4] = 2 * a[3], -a[4]  # on one line through the origin
    t = rng.uniform(size=20).astype(np.float32)
    expected = theirs(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(t[:, None]))
    np.testing.assert_allclose(slerp(a, b, t), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(slerp(a, b, np.zeros(20)), a, atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, np.ones(20)), b, atol=1e-6)


def test_latents_per_layer_interpolate_as_one(rng):
    a, b = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    t = np.linspace(0, 1, 5, dtype=np.float32)
    for way in (lerp, slerp):
        flat = way(a.reshape(5, 12), b.reshape(5, 12), t)
        np.testing.assert_array_equal(way(a, b, t), flat.reshape(a.shape))
