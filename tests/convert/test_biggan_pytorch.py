import numpy as np
import pytest
import torch

from jaxgan import convert
from jaxgan.errors import UserError
from jaxgan.systems.biggan import BigGAN
from jaxgan.systems.biggan_deep import BigGANDeep
from tests.reference import originals
from tests.reference.biggan_pytorch import Discriminator, Generator
from tests.using import call


def loaded(generator, tmp_path, discriminator=None):
    files = [originals.saved(generator, tmp_path / "G_ema.pth")]
    if discriminator is not None:
        files.append(originals.saved(discriminator, tmp_path / "D.pth"))
    return convert.load("biggan_pytorch", *files)


CASES = {
    "hierarchical, attention": (
        {"latent": 20, "shared": 6, "attention": (16,)},
        {"attended": (0, 1, 2, 3)},
        {"latent": 20, "shared": 6, "hierarchical": True, "generator_attention": (16,)},
    ),
    "tables, cross-replica": (
        {"latent": 7, "shared": 0, "hier": False, "kind": "cross_replica"},
        {},
        {"latent": 7, "shared": 0, "hierarchical": False, "generator_attention": ()},
    ),
    "shared alone, own batch norm, two singular values": (
        {"latent": 7, "shared": 6, "hier": False, "kind": "mybn", "values": 2},
        None,
        {"latent": 7, "shared": 6, "hierarchical": False, "singular_values": 2},
    ),
    "attention at two sizes": (
        {"latent": 20, "shared": 6, "attention": (8, 16)},
        {},
        {"latent": 20, "generator_attention": (8, 16), "discriminator_attention": ()},
    ),
    "deep, attention at two sizes": (
        {"latent": 7, "shared": 6, "attention": (8, 16), "deep": True},
        None,
        {"latent": 7, "generator_attention": (8, 16), "discriminator_attention": (16,)},
    ),
    "deep, attention": (
        {"latent": 7, "shared": 6, "attention": (16,), "deep": True},
        {"attended": (0, 1, 2), "deep": True},
        {"latent": 7, "shared": 6, "hierarchical": True, "generator_attention": (16,)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(tmp_path, rng, case):
    options, of_discriminator, expected = CASES[case]
    generator = originals.scattered(Generator(**options))
    discriminator = None
    if of_discriminator is not None:
        discriminator = originals.scattered(Discriminator(**of_discriminator))
    converted = loaded(generator, tmp_path, discriminator)
    system = converted.system
    assert type(system) is (BigGANDeep if options.get("deep") else BigGAN)
    assert (system.shape, system.classes, system.channels) == ((32, 32, 3), 5, 8)
    assert {name: getattr(system, name) for name in expected} == expected
    z, x, y = originals.inputs(rng, system, 4)
    images = originals.torch_draw(generator, z, y)
    assert np.abs(images[0] - originals.torch_draw(generator, z, (y + 1) % 5)[0]).max() > 1e-2
    np.testing.assert_allclose(originals.draw(converted, z, y), images, atol=1e-4)
    if system.generator_attention:
        made = call(system, originals.view_of(converted), "attention", z=z, label=y)
        attention = made["attention"]
        generator(torch.from_numpy(z), torch.from_numpy(y))
        theirs = [m.map for m in generator.modules() if hasattr(m, "theta")][-1].detach()
        np.testing.assert_allclose(attention, theirs, atol=1e-4)
    if discriminator is not None:
        attended = (16,) if of_discriminator.get("attended") else ()
        assert system.discriminator_attention == attended
        logits = originals.torch_judge(discriminator, x, y)
        np.testing.assert_allclose(originals.judge(converted, x, y), logits, atol=1e-4)


def test_other_widths_of_the_discriminator_are_multiples(tmp_path, rng):
    generator = Generator(size=64, width=2, latent=10, shared=6)
    discriminator = originals.scattered(Discriminator(size=64, width=8, attended=(0,)))
    converted = loaded(generator, tmp_path, discriminator)
    system = converted.system
    assert system.discriminator_multipliers == (4, 8, 16, 32, 64)
    assert (system.generator_attention, system.discriminator_attention) == ((), (32,))
    _, x, y = originals.inputs(rng, system)
    logits = originals.torch_judge(discriminator, x, y)
    np.testing.assert_allclose(originals.judge(converted, x, y), logits, rtol=1e-4, atol=1e-4)


def test_what_is_left_out_is_the_log_of_singular_values(tmp_path):
    generator = Generator(values=2)
    converted = loaded(generator, tmp_path)
    logs = [name for name in generator.state_dict() if name.rpartition(".")[2].startswith("sv")]
    assert sorted(converted.left_out) == sorted(logs)
    assert logs


def test_what_no_system_here_is_like_is_refused(tmp_path):
    def refused(message, generator, discriminator=None):
        with pytest.raises(UserError, match=message) as caught:
            loaded(generator, tmp_path, discriminator)
        assert "\n" not in str(caught.value)

    refused("attention after blocks 0, 1", Generator(), Discriminator(attended=(0, 1)))
    refused("multiples of 8", Generator(), Discriminator(width=5))
    refused(r"D\.pth", Generator(), Discriminator(classes=6))
    refused(r"D\.pth", Generator(), Discriminator(size=64))
    refused("0 groups of blocks", torch.nn.Linear(2, 2))
    summing = Generator(kind="mybn")
    summing.output_layer[0].bn.accumulation_counter += 16
    refused("standing statistics", summing)
    plain = Generator()
    del plain.linear.u0
    refused(r"no tensor linear\.u0|not those of", plain)
