import jax
import numpy as np
import pytest
import torch

from jaxgan import convert
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.cyclegan_pytorch import PatchGAN, ResNet, UNet, batch_norm, instance_norm
from tests.reference.port import images_from_torch, images_to_torch


def singly(network, x):
    """What a network in training makes of each image alone, as the original does."""
    network.train()
    with torch.no_grad():
        return torch.cat([network(image[None]) for image in images_to_torch(x)])


@pytest.mark.parametrize(("halvings", "inputs", "outputs"), [(5, 3, 3), (6, 1, 2)])
def test_equals_pytorch(tmp_path, rng, halvings, inputs, outputs):
    torch.manual_seed(0)
    generator = originals.scattered(UNet(inputs=inputs, outputs=outputs, halvings=halvings))
    discriminator = PatchGAN(channels=inputs + outputs, halvings=halvings - 3, norm=batch_norm)
    originals.scattered(discriminator)
    converted = convert.load(
        "pix2pix_pytorch",
        originals.saved(generator, tmp_path / "latest_net_G.pth"),
        originals.saved(discriminator, tmp_path / "latest_net_D.pth"),
    )
    system, side = converted.system, 1 << halvings
    shapes = {name: field.shape for name, field in system.data()[0].items()}
    assert shapes == {"image": (side, side, outputs), "input": (side, side, inputs)}
    assert (system.width, system.patch_halvings) == (4, halvings - 3)
    norms = 2 * halvings - 3 + system.patch_halvings
    assert len(converted.left_out) == 3 * norms

    x = rng.uniform(-1, 1, (2, side, side, inputs + outputs)).astype(np.float32)
    view = originals.view_of(converted)
    images = jax.jit(lambda x: view("generator", x))(x[..., :inputs])  # no noise: no dropout
    expected = images_from_torch(singly(generator, x[..., :inputs]))
    assert expected.std() > 0.05
    np.testing.assert_allclose(images, expected, atol=1e-4)
    expected = singly(discriminator, x).numpy()
    np.testing.assert_allclose(originals.judge(converted, x), expected, atol=1e-4)


def test_names_of_the_original():
    """Places in its nested levels with eight halvings, and in the discriminator."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"model.model.0.weight", "model.model.3.weight", "model.model.3.bias"}
    level = "model.model.1"
    for _ in range(6):
        expected |= {f"{level}.model.{k}.weight" for k in (1, 5)}
        expected |= {f"{level}.model.{k}.{name}" for k in (2, 6) for name in norm}
        level += ".model.3"
    expected |= {f"{level}.model.{k}.weight" for k in (1, 3)}
    expected |= {f"{level}.model.4.{name}" for name in norm}
    assert set(UNet(halvings=8).state_dict()) == expected
    expected = {f"model.{k}.weight" for k in (0, 2, 5, 8, 11)} | {"model.0.bias", "model.11.bias"}
    expected |= {f"model.{k}.{name}" for k in (3, 6, 9) for name in norm}
    assert set(PatchGAN(channels=6, norm=batch_norm).state_dict()) == expected


def test_a_generator_alone(tmp_path):
    file = originals.saved(UNet(halvings=5), tmp_path / "facades_label2photo.pth")
    converted = convert.load("pix2pix_pytorch", file)
    assert list(converted.params) == ["generator"]
    assert (converted.system.patch_halvings, [*converted.system.uses()]) == (3, ["AtoB"])


def test_what_does_not_fit_is_named_in_one_line(tmp_path):
    def refused(message, generator, discriminator):
        paths = [
            originals.saved(network, tmp_path / f"latest_net_{name}.pth")
            for name, network in (("G", generator), ("D", discriminator))
        ]
        with pytest.raises(UserError, match=message) as caught:
            convert.load("pix2pix_pytorch", *paths)
        assert "\n" not in str(caught.value)

    unet, patches = UNet(halvings=5), PatchGAN(channels=6, norm=batch_norm)
    refused("has instance norm", UNet(halvings=5, norm=instance_norm), patches)
    refused("no levels", ResNet(blocks=1), patches)
    refused(r"net_D\.pth has no convolutions", unet, torch.nn.Conv2d(6, 4, 1))
    refused(r"net_D\.pth: model\.2\.bias has no place", unet, PatchGAN(channels=6))
    refused(r"net_D\.pth: model\.0\.weight does not fit", unet, PatchGAN(norm=batch_norm))
