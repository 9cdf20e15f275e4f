import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.nn.stddev import minibatch_stddev
from jaxgan.parallel.mesh import batch_sharding, make_mesh


def test_groups_are_strided(rng):
    """Samples i and i + 2, i + 4, i + 6 of eight make a group."""
    x = rng.normal(size=(8, 3, 3, 5)).astype(np.float32)
    y = np.asarray(minibatch_stddev(x, 4))
    np.testing.assert_array_equal(y[..., :-1], x)
    for i in range(8):
        expected = np.sqrt(np.var(x[i % 2 :: 2], 0, dtype=np.float64) + 1e-8).mean()
        np.testing.assert_allclose(y[i, ..., -1], expected, rtol=1e-5)


def test_identical_samples_leave_the_root_of_epsilon():
    y = minibatch_stddev(np.ones((4, 2, 2, 3), np.float32))
    np.testing.assert_allclose(y[..., -1], 1e-4, rtol=1e-5)


def test_a_batch_below_the_group_is_one_group(rng):
    x = rng.normal(size=(2, 1, 1, 4)).astype(np.float32)
    expected = np.sqrt(np.var(x, 0) + 1e-8).mean()
    np.testing.assert_allclose(minibatch_stddev(x)[..., -1], expected, rtol=1e-5)


def test_devices_do_not_change_the_groups(rng):
    x = rng.normal(size=(16, 4, 4, 8)).astype(np.float32)
    results = [
        jax.jit(minibatch_stddev)(jax.device_put(x, batch_sharding(make_mesh(n), leading=0)))
        for n in (1, 8)
    ]
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_a_batch_that_is_no_multiple_is_refused():
    with pytest.raises(UserError, match="batch is 6"):
        minibatch_stddev(np.zeros((6, 1, 1, 1), np.float32))


def test_the_whole_batch_and_several_maps(rng):
    x = rng.normal(size=(6, 3, 3, 4)).astype(np.float32)
    y = np.asarray(minibatch_stddev(x, 0, maps=2))
    deviations = np.sqrt(np.var(x, 0, dtype=np.float64) + 1e-8)
    expected = [deviations[..., :2].mean(), deviations[..., 2:].mean()]
    np.testing.assert_allclose(y[..., 4:], np.broadcast_to(expected, (6, 3, 3, 2)), rtol=1e-5)
    with pytest.raises(UserError, match="4 channels have no 3 equal parts"):
        minibatch_stddev(x, 0, maps=3)
