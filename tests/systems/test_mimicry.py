import jax.numpy as jnp
import numpy as np
import torch

from jaxgan.describe import parameter_counts
from jaxgan.systems.mimicry import MimicrySNGAN, double
from tests.reference.port import images_from_torch, images_to_torch


def test_parameter_counts_are_those_of_the_library():
    assert parameter_counts(MimicrySNGAN()) == {"generator": 4_276_739, "discriminator": 1_053_825}
    conditional = parameter_counts(MimicrySNGAN(classes=10))
    assert conditional == {"generator": 4_304_387, "discriminator": 1_055_105}


def test_the_discriminator_moves_first():
    players = MimicrySNGAN().stages()[0].players
    assert [(p.name, p.repeats, p.reuse) for p in players] == [
        ("discriminator", 5, False),
        ("generator", 1, True),
    ]


def test_double_is_bilinear_interpolation(rng):
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        images_to_torch(x), scale_factor=2, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(double(jnp.asarray(x)), images_from_torch(theirs), atol=1e-6)
    np.testing.assert_allclose(double(jnp.ones((1, 2, 2, 1))), np.ones((1, 4, 4, 1)), atol=1e-6)
