import numpy as np
import pytest
import torch

from jaxgan import convert
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.dcgan_pytorch import Discriminator, Generator


@pytest.mark.parametrize(("colours", "layers"), [(3, 3), (1, 4)])
def test_equals_pytorch(tmp_path, rng, colours, layers):
    generator = originals.scattered(Generator(colours=colours, layers=layers))
    discriminator = originals.scattered(Discriminator(colours=colours, layers=layers))
    converted = convert.load(
        "dcgan_pytorch",
        originals.saved(generator, tmp_path / "netG.pth"),
        originals.saved(discriminator, tmp_path / "netD.pth"),
    )
    system = converted.system
    assert (system.shape, system.latent, system.width) == ((4 << layers,) * 2 + (colours,), 10, 4)
    z, x, _ = originals.inputs(rng, system)
    images = originals.torch_draw(generator, z)
    np.testing.assert_allclose(originals.draw(converted, z), images, atol=1e-5)
    logits = originals.torch_judge(discriminator, x)
    np.testing.assert_allclose(originals.judge(converted, x), logits, atol=1e-4)
    assert all(name.endswith("num_batches_tracked") for name in converted.left_out)
    assert len(converted.left_out) == 2 * layers - 1


def test_names_of_the_example_at_64_pixels():
    """Places of convolutions and batch norms in its two `nn.Sequential`."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for network, convs, norms in (
        (Generator(layers=4), (0, 3, 6, 9, 12), (1, 4, 7, 10)),
        (Discriminator(layers=4), (0, 2, 5, 8, 11), (3, 6, 9)),
    ):
        assert set(network.state_dict()) == {f"main.{i}.weight" for i in convs} | {
            f"main.{i}.{name}" for i in norms for name in norm
        }


def test_of_many_devices_and_alone(tmp_path, rng):
    generator = originals.scattered(Generator())
    alone = convert.load("dcgan_pytorch", originals.saved(generator, tmp_path / "a.pth"))
    parallel = torch.nn.DataParallel(generator)
    many = convert.load("dcgan_pytorch", originals.saved(parallel, tmp_path / "b.pth"))
    assert list(alone.params) == ["generator"]
    z, _, _ = originals.inputs(rng, alone.system)
    np.testing.assert_array_equal(originals.draw(alone, z), originals.draw(many, z))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("main.1.running_var"), r"has no tensor main\.1\.running_var"),
        (lambda s: s.update(extra=torch.ones(1)), "1 tensors that dcgan_pytorch does not know"),
        (lambda s: s.update({"main.1.weight": torch.ones(5)}), r"main\.1\.weight does not fit"),
        (lambda s: s.update({"main.3.weight": torch.ones(9)}), r"main\.3\.weight does not fit"),
        (lambda s: s.update({"main.3.bias": torch.ones(8)}), r"main\.3\.bias has no place"),
        (lambda s: s["main.0.weight"].fill_(torch.nan), r"main\.0\.weight is not finite"),
        (lambda s: s.pop("main.0.weight"), r"has no layers main\.0"),
        (lambda s: s.update({"main.0.weight": torch.ones(())}), "no network of dcgan_pytorch"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(tmp_path, change, message):
    state = Generator().state_dict()
    change(state)
    torch.save(state, tmp_path / "netG.pth")
    with pytest.raises(UserError, match=message) as caught:
        convert.load("dcgan_pytorch", tmp_path / "netG.pth")
    assert "\n" not in str(caught.value)


def test_a_discriminator_of_another_training_is_refused(tmp_path):
    generator = originals.saved(Generator(), tmp_path / "netG.pth")
    for discriminator in (
        Discriminator(colours=1),
        Discriminator(layers=4),
        Discriminator(layers=2),
    ):
        other = originals.saved(discriminator, tmp_path / "netD.pth")
        with pytest.raises(UserError, match=r"netD\.pth"):
            convert.load("dcgan_pytorch", generator, other)


def test_a_format_that_does_not_exist():
    with pytest.raises(UserError, match="did you mean dcgan_pytorch"):
        convert.load("dcgan_torch", "x.pth")
