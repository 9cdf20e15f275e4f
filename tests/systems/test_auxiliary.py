"""AC-GAN's auxiliary classifier in each kind of system that can have one."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.systems.biggan import BigGAN
from jaxgan.systems.biggan_deep import BigGANDeep
from jaxgan.systems.cgan import CGAN
from jaxgan.systems.common.auxiliary import split
from jaxgan.systems.mimicry import MimicrySNGAN
from jaxgan.systems.sagan128 import SAGANResNet
from jaxgan.systems.sngan import SNGAN
from jaxgan.systems.wgan_gp import ResNetWGANGP
from jaxgan.training.step import init
from jaxgan.view import View

RESIDUAL = {"generator_channels": (4, 4), "discriminator_channels": (4, 4), "halvings": 1}
SMALL = {"classes": 3, "latent": 4}
TINY = {
    "shape": (32, 32, 1),
    "classes": 3,
    "shared": 5,
    "latent": 8,
    "generator_attention": (),
    "discriminator_attention": (),
}

SYSTEMS = {
    "SNGAN": SNGAN(shape=(8, 8, 1), **RESIDUAL, **SMALL),
    "MimicrySNGAN": MimicrySNGAN(shape=(8, 8, 1), **RESIDUAL, **SMALL),
    "CGAN": CGAN(shape=(8, 8, 1), width=4, **SMALL),
    "SAGANResNet": SAGANResNet(
        shape=(16, 16, 1),
        generator_channels=(8, 8, 8),
        discriminator_channels=(8, 8),
        halvings=2,
        **SMALL,
    ),
    "BigGAN": BigGAN(**TINY, channels=2),
    "BigGANDeep": BigGANDeep(**TINY, channels=4),
}
"""With classes, and without an auxiliary classifier; MimicrySNGAN and BigGANDeep have networks of
their own and the losses of the system before them."""


def classifying(system):
    return dataclasses.replace(system, class_weights=(2.0, 0.5))


def discriminator(system):
    """Its parameters' shapes."""
    network, inputs = system.networks()["discriminator"], system.inputs()["discriminator"]
    made = jax.eval_shape(partial(network.init, train=True), jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: leaf.shape, made["params"])


def cross_entropy(logits, label):
    logits = np.asarray(logits, np.float64)
    chosen = logits[np.arange(len(label)), label]
    return (np.log(np.exp(logits).sum(1)) - chosen).mean()


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_takes_the_place_of_the_label_and_leaves_the_rest(name):
    """What is left is the discriminator without classes, and a linear head."""
    system = SYSTEMS[name]
    assert "classifier" not in str(discriminator(system))
    ours = discriminator(classifying(system))
    head = ours.get("dcgan", ours).pop("classifier")
    assert head["kernel"][-1] == 3
    if name == "CGAN":
        assert ours["dcgan"]["conv1"]["kernel"] == (4, 4, 1, 4)  # the image, without planes
    else:
        assert ours == discriminator(dataclasses.replace(system, classes=0))


@pytest.mark.parametrize("name", ["SNGAN", "CGAN", "SAGANResNet", "BigGAN"])
def test_losses_gain_the_cross_entropy_of_real_and_of_asked_for_classes(name, rng):
    system = classifying(SYSTEMS[name])
    state = init(system)
    batch = {
        "image": jnp.asarray(rng.uniform(-1, 1, (4, *system.shape)), jnp.float32),
        "label": jnp.array([0, 2, 1, 2]),
    }

    def losses(weights, key):
        weighed = dataclasses.replace(system, class_weights=weights)
        view = View(system.networks(), state.params, state.stats, train=True)
        ours = weighed.discriminator_loss(view, batch, key)
        return ours, weighed.generator_loss(view, batch, key)

    @jax.jit
    def parts(key):
        """Losses at two weights, class logits of real and generated images, and their labels."""
        view = View(system.networks(), state.params, state.stats, train=True)
        fake, drawn = system.fakes(view, key, 4 * getattr(system, "generator_batch", 1))

        def class_logits(images, label):
            scores = view("discriminator", images, label)
            return split(scores[0] if name == "SAGANResNet" else scores)[1]

        on_real = class_logits(batch["image"], batch["label"])
        on_fake = [class_logits(fake, (drawn["label"] + shift) % 3) for shift in (0, 1)]
        return losses((2.0, 0.5), key), losses((1.0, 0.25), key), on_real, on_fake, drawn["label"]

    made = parts(jax.random.key(1))
    ((ours, seen), (theirs, asked)), ((bare, _), (plain, _)), on_real, on_fakes, label = made
    on_fake, elsewhere = on_fakes
    np.testing.assert_array_equal(on_fake, elsewhere)  # which do not see the label
    expected = cross_entropy(on_real, np.asarray(batch["label"]))
    np.testing.assert_allclose(seen["class_loss"], expected, rtol=1e-4)
    np.testing.assert_allclose(ours - bare, expected, rtol=1e-4)
    expected = cross_entropy(on_fake, np.asarray(label))
    np.testing.assert_allclose(asked["class_loss"], expected, rtol=1e-4)
    np.testing.assert_allclose(theirs - plain, 0.25 * expected, rtol=1e-3)


def test_without_classes_it_is_refused():
    for make in (SNGAN, SAGANResNet, BigGAN):
        with pytest.raises(UserError, match="without classes"):
            make(classes=0, class_weights=(1.0, 0.1))
    for blind in ({"shared_projection": True}, {"discriminator_norm": "class"}):
        with pytest.raises(UserError, match="sees no labels"):
            dataclasses.replace(classifying(SYSTEMS["BigGAN"]), **blind)


def test_wgan_gps_is_on_with_classes_alone():
    """Its own paper's, with the weights as defaults; zeros take the head away."""
    assert not ResNetWGANGP().classifies
    system = ResNetWGANGP(classes=3)
    assert "classifier" in discriminator(system)
    system = dataclasses.replace(system, class_weights=(0.0, 0.0))
    assert "classifier" not in discriminator(system)
