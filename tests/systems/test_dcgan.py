import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgan.errors import UserError
from jaxgan.systems.dcgan import DCGAN, Discriminator, Generator
from jaxgan.training.step import init, make_step
from jaxgan.view import View
from tests.reference import dcgan as reference
from tests.reference.port import (
    images_from_torch,
    images_to_torch,
    randomise,
    to_flax,
    to_torch,
)

TINY = DCGAN(shape=(16, 16, 1), latent=5, width=4, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


@pytest.fixture(scope="module")
def tiny(state):
    return View(TINY.networks(), state.params, state.stats, train=True)


@torch.no_grad()
def test_generator_matches_torch(rng):
    network = randomise(reference.Generator(latent=12, width=8))
    z = rng.normal(size=(3, 12)).astype(np.float32)
    ours = Generator(8, (64, 64, 3)).apply(to_flax(network), z, train=False)
    theirs = images_from_torch(network(torch.from_numpy(z)))
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@torch.no_grad()
def test_discriminator_matches_torch(rng):
    network = randomise(reference.Discriminator(width=8))
    x = rng.uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    ours = Discriminator(8).apply(to_flax(network), x, train=False)
    theirs = network(images_to_torch(x))
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_weights_survive_the_way_to_flax_and_back():
    network = reference.Generator(latent=4, width=2)
    copy = reference.Generator(latent=4, width=2)
    to_torch(to_flax(network), copy)
    for name, value in network.state_dict().items():
        assert torch.equal(value, copy.state_dict()[name])


@pytest.mark.parametrize(("side", "first"), [(8, 8), (32, 32), (128, 128)])
def test_networks_are_derived_for_other_sizes(side, first):
    """The first map's channels double with each doubling of the image."""
    system = DCGAN(shape=(side, side, 3), width=8, latent=6)
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    assert params["generator"]["conv1"]["kernel"].shape == (4, 4, 6, first)
    outputs = jax.eval_shape(
        lambda key: [
            network.init_with_output(key, *system.inputs()[name], train=True)[0]
            for name, network in system.networks().items()
        ],
        jax.random.key(0),
    )
    assert [x.shape for x in outputs] == [(1, side, side, 3), (1,)]


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 32, 3), (4, 4, 3), (64,), (48, 48, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match="side 8, 16, 32"):
        DCGAN(shape=shape)


def test_untrained_images_are_grey_and_in_range(tiny):
    images = TINY.make(tiny, {"z": jax.random.normal(jax.random.key(1), (64, 5))})
    assert abs(images).max() < 1
    assert abs(images.mean()) < 0.1


def test_real_logits_do_not_depend_on_the_fakes(tiny, rng):
    """Batch norm sees real and generated images apart."""
    batch = {"image": rng.uniform(-1, 1, (4, 16, 16, 1)).astype(np.float32)}
    (_, a), (_, b) = (TINY.discriminator_loss(tiny, batch, jax.random.key(seed)) for seed in (0, 1))
    assert a["real_logits"] == b["real_logits"]
    assert a["fake_logits"] != b["fake_logits"]


def test_discriminator_learns_to_tell_real_images(state, rng):
    """White images against grey ones: a few steps separate them."""
    image = 1 - rng.uniform(0, 0.1, (8, 16, 16, 1)).astype(np.float32)
    step, state = make_step(TINY), jax.tree.map(jnp.copy, state)
    for _ in range(40):
        state, metrics = step(state, {"image": image})
    logits = metrics["discriminator"]
    assert logits["real_logits"] > logits["fake_logits"] + 1
