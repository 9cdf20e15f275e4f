import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.systems.cgan import CGAN, planes
from jaxgan.training.step import init, make_step
from jaxgan.view import View

TINY = CGAN(shape=(8, 8, 1), latent=4, width=8, classes=2, learning_rate=1e-3)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


def counts(system):
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    return [sum(x.size for x in jax.tree.leaves(params[name])) for name in sorted(params)]


def test_planes_are_ones_for_the_class_alone():
    y = np.array([2, 0])
    p = np.asarray(planes(y, 3, (4, 5)))
    assert p.shape == (2, 4, 5, 3)
    for sample, label in enumerate(y):
        for k in range(3):
            assert (p[sample, :, :, k] == (k == label)).all()


def test_parameter_counts_grow_with_classes():
    """512 filters of 4x4 in the generator's first layer, 64 in the discriminator's."""
    assert counts(CGAN(classes=10)) == [2_775_808, 3_658_624]
    assert counts(CGAN(classes=1)) == [2_775_808 - 9 * 1024, 3_658_624 - 9 * 8192]


def test_both_networks_use_the_label(state):
    view = View(TINY.networks(), state.params, state.stats, train=False)
    z = np.ones((2, 4), np.float32)
    images = TINY.make(view, {"z": z, "label": np.array([0, 1])})
    assert abs(images[0] - images[1]).max() > 1e-3
    logits = view("discriminator", np.zeros((2, 8, 8, 1), np.float32), np.array([0, 1]))
    assert abs(logits[0] - logits[1]) > 1e-5


def test_learns_each_class(state, rng):
    """Dark and light images: the mean of each class is found."""
    means = np.array([-0.6, 0.4], np.float32)
    step, state = make_step(TINY), jax.tree.map(jnp.copy, state)
    for _ in range(200):
        label = rng.integers(0, 2, 32)
        noise = 0.1 * rng.normal(size=(32, 8, 8, 1))
        image = (means[label][:, None, None, None] + noise).astype(np.float32)
        state, _ = step(state, {"image": image, "label": label})
    view = View(TINY.networks(), state.params, state.stats, train=False)
    z = jax.random.normal(jax.random.key(1), (64, 4))
    for label, mean in enumerate(means):
        images = TINY.make(view, {"z": z, "label": np.full(64, label)})
        assert abs(images.mean() - mean) < 0.25


def test_no_classes_are_refused():
    with pytest.raises(UserError, match="CGAN needs at least 1"):
        CGAN(classes=0)
