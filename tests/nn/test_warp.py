import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.scipy.ndimage import map_coordinates

from jaxgan.nn.warp import warp


def test_no_flow_is_the_identity_and_whole_flows_are_shifts(rng):
    x = rng.normal(size=(2, 6, 7, 3)).astype(np.float32)
    flow = np.zeros((2, 6, 7, 2), np.float32)
    np.testing.assert_array_equal(warp(x, flow), x)
    right = np.asarray(warp(x, flow + np.float32([1, 0])))
    np.testing.assert_array_equal(right[:, :, :-1], x[:, :, 1:])
    np.testing.assert_array_equal(right[:, :, -1], x[:, :, -1])  # the edge
    up = np.asarray(warp(x, flow + np.float32([0, -2])))
    np.testing.assert_array_equal(up[:, 2:], x[:, :-2])
    np.testing.assert_array_equal(up[:, :2], np.repeat(x[:, :1], 2, 1))
    far = np.asarray(warp(x, flow + np.float32([1e9, -1e9])))
    np.testing.assert_array_equal(far, np.broadcast_to(x[:, :1, -1:], x.shape))


def test_it_is_bilinear_as_in_jax_and_torch(rng):
    x = rng.normal(size=(2, 6, 7, 3)).astype(np.float32)
    flow = rng.normal(scale=3, size=(2, 6, 7, 2)).astype(np.float32)
    ours = warp(x, flow)
    rows, columns = np.mgrid[:6, :7]
    for row in range(2):
        places = [rows + flow[row, ..., 1], columns + flow[row, ..., 0]]
        for channel in range(3):
            theirs = map_coordinates(x[row, ..., channel], places, order=1, mode="nearest")
            np.testing.assert_allclose(ours[row, ..., channel], theirs, atol=1e-5)
    places = np.stack([2 * (columns + flow[..., 0]) / 6 - 1, 2 * (rows + flow[..., 1]) / 5 - 1], -1)
    theirs = torch.nn.functional.grid_sample(
        torch.from_numpy(np.moveaxis(x, -1, 1).copy()),
        torch.from_numpy(places.astype(np.float32)),
        padding_mode="border",
        align_corners=True,
    )
    np.testing.assert_allclose(ours, np.moveaxis(theirs.numpy(), 1, -1), atol=1e-5)


def test_its_gradients_are_those_of_finite_differences(rng):
    x = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
    whole = rng.integers(-1, 2, size=(1, 4, 5, 2))
    flow = (whole + rng.uniform(0.2, 0.8, size=whole.shape)).astype(np.float32)
    weights = rng.normal(size=x.shape).astype(np.float32)

    @jax.jit
    def loss(x, flow):
        return jnp.vdot(warp(x, flow), weights)

    for argument, gradient in enumerate(jax.grad(loss, (0, 1))(x, flow)):
        given = [x, flow]
        for place in np.ndindex(gradient.shape):
            sides = []
            for step in (0.1, -0.1):  # within a cell it is linear in each
                given[argument] = (x, flow)[argument].copy()
                given[argument][place] += step
                sides.append(float(loss(*given)))
            np.testing.assert_allclose(gradient[place], (sides[0] - sides[1]) / 0.2, atol=2e-4)


def test_it_is_in_float32_whatever_it_is_given():
    x = jnp.ones((1, 4, 4, 1), jnp.bfloat16)
    assert warp(x, jnp.zeros((1, 4, 4, 2), jnp.bfloat16)).dtype == jnp.float32
