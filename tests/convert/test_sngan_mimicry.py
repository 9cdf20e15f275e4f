import numpy as np
import pytest
import torch

from jaxgan import convert
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.sngan_mimicry import Discriminator, Generator


def checkpoint(network, path):
    """A file as mimicry writes it: with the optimiser."""
    adam = torch.optim.Adam(network.parameters())
    torch.save(
        {
            "model_state_dict": network.state_dict(),
            "optimizer_state_dict": adam.state_dict(),
            "global_step": 3,
        },
        path,
    )
    return path


@pytest.mark.parametrize("classes", [0, 4])
def test_equals_pytorch(tmp_path, rng, classes):
    generator = originals.scattered(Generator(classes=classes))
    discriminator = Discriminator(classes=classes)
    label = () if not classes else (torch.arange(2),)
    discriminator(torch.randn(2, 3, 32, 32), *label)  # moves u and v once, in training mode
    discriminator = originals.scattered(discriminator)
    converted = convert.load(
        "sngan_mimicry",
        checkpoint(generator, tmp_path / "netG_3_steps.pth"),
        checkpoint(discriminator, tmp_path / "netD_3_steps.pth"),
    )
    system = converted.system
    assert (system.shape, system.latent, system.classes) == ((32, 32, 3), 9, classes)
    assert system.generator_channels == system.discriminator_channels == (8, 8, 8, 8)
    z, x, y = originals.inputs(rng, system)
    labels = (y,) if classes else ()
    images = originals.torch_draw(generator, z, *labels)
    np.testing.assert_allclose(originals.draw(converted, z, *labels), images, atol=1e-5)
    logits = originals.torch_judge(discriminator, x, *labels)
    np.testing.assert_allclose(originals.judge(converted, x, *labels), logits, atol=1e-4)


def test_a_generator_alone_has_the_discriminator_of_its_size(tmp_path):
    converted = convert.load("sngan_mimicry", checkpoint(Generator(), tmp_path / "netG.pth"))
    assert converted.system.discriminator_channels == (128,) * 4
    assert converted.system.halvings == 2
    assert converted.system.last_bias


def test_other_sizes_are_refused(tmp_path):
    network = Generator()
    network.l1 = torch.nn.Linear(9, 8 * 5**2)
    with pytest.raises(UserError, match="40 pixels, but mimicry's SNGAN has 32, 48, 64, 128"):
        convert.load("sngan_mimicry", checkpoint(network, tmp_path / "netG.pth"))
