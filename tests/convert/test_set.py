"""What files do not say is guessed aloud, and can be set."""

import json

import jax
import numpy as np
import pytest
import torch

import jaxgan
from jaxgan import convert
from jaxgan.cli import main
from tests.reference import originals
from tests.reference.biggan_pytorch import Generator
from tests.reference.cyclegan_pytorch import PatchGAN, ResNet, UNet, batch_norm
from tests.reference.dcgan_pytorch import Generator as DCGenerator
from tests.reference.port import images_from_torch, images_to_torch


def imported(tmp_path, format, file, *options):
    assert main(["import", format, str(file), "--out", str(tmp_path / "run"), *options]) == 0
    facts = json.loads((tmp_path / "run" / "import.json").read_text())
    return jaxgan.open(tmp_path / "run").system, facts


@torch.no_grad()
def test_epsilon_of_biggan(tmp_path, rng, capsys):
    """Statistics are small, so that it matters."""
    generator = originals.scattered(Generator(latent=7, hier=False))
    for name, tensor in generator.state_dict().items():
        if name.endswith("stored_var"):
            tensor.mul_(1e-4)
    file = originals.saved(generator, tmp_path / "G_ema.pth")
    system, facts = imported(tmp_path, "biggan_pytorch", file, "--set", "epsilon=1e-4")
    out = capsys.readouterr().out
    assert "set: epsilon 0.0001" in out
    assert "guessed, for the files do not say: spectral_epsilon 1e-06" in out
    assert (system.epsilon, facts["set"], "epsilon" in facts["guessed"]) == (
        1e-4,
        {"epsilon": 1e-4},
        False,
    )
    converted = convert.load("biggan_pytorch", file, adjust=lambda found: system)
    z, _, y = originals.inputs(rng, system)
    ours = originals.draw(converted, z, y)
    functional = torch.nn.functional.batch_norm

    def at(eps):
        return lambda x, mean, var, **rest: functional(x, mean, var, eps=eps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "batch_norm", at(1e-4))
        right = originals.torch_draw(generator, z, y)
    assert np.abs(right - originals.torch_draw(generator, z, y)).max() > 1e-2
    np.testing.assert_allclose(ours, right, atol=1e-4)


def test_resolution_of_cyclegan(tmp_path, capsys):
    file = originals.saved(ResNet(blocks=1), tmp_path / "horse2zebra.pth")
    guessed = convert.load("cyclegan_pytorch", file).guessed
    assert guessed["shape"] == (
        (128, 128, 3),
        "128 pixels of 1 blocks, as in the paper; --resolution sets it",
    )
    system, facts = imported(tmp_path, "cyclegan_pytorch", file, "--resolution", "64", "48")
    assert system.shape == (64, 48, 3)
    assert facts["set"] == {"shape": [64, 48, 3]}
    assert list(facts["guessed"]) == ["patch_halvings"]
    assert "guessed, for the files do not say: patch_halvings 3 (70x70" in capsys.readouterr().out


@torch.no_grad()
def test_pix2pix_as_its_authors_evaluate_it(tmp_path, rng):
    """With --eval: running statistics, no dropout."""
    generator = originals.scattered(UNet(halvings=5))
    file = originals.saved(generator, tmp_path / "latest_net_G.pth")
    system, facts = imported(tmp_path, "pix2pix_pytorch", file, "--set", "statistics=running")
    assert (system.statistics, facts["set"]) == ("running", {"statistics": "running"})
    x = rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    view = jaxgan.open(tmp_path / "run").view
    ours = jax.jit(lambda x: view("generator", x, jax.random.split(jax.random.key(0), 3)))(x)
    np.testing.assert_allclose(ours, images_from_torch(generator(images_to_torch(x))), atol=1e-4)
    assert not [name for name in facts["left_out"] if "running" in name]
    assert facts["guessed"].keys() == {"dropout", "patch_halvings"}


def test_unlike_widths_and_channels(tmp_path):
    def states(**networks):
        for name, network in networks.items():
            torch.save(network.state_dict(), tmp_path / f"latest_net_{name}.pth")

    states(G=UNet(halvings=5), D=PatchGAN(width=8, channels=6, norm=batch_norm, halvings=2))
    pix2pix = convert.load(
        "pix2pix_pytorch", tmp_path / "latest_net_G.pth", tmp_path / "latest_net_D.pth"
    ).system
    assert (pix2pix.width, pix2pix.discriminator_width, pix2pix.patch_halvings) == (4, 8, 2)

    one, three = {"channels": 1}, {"channels": 3}
    ab, ba = ResNet(blocks=1), ResNet(blocks=1)
    ab.model[1], ba.model[-2] = torch.nn.Conv2d(1, 4, 7), torch.nn.Conv2d(4, 1, 7)
    states(G_A=ab, G_B=ba, D_A=PatchGAN(width=8, **three), D_B=PatchGAN(width=8, **one))
    for first in ("G_A", "G_B"):
        converted = convert.load("cyclegan_pytorch", tmp_path / f"latest_net_{first}.pth")
        system = converted.system
        assert (system.shape[-1], system.input_channels, system.discriminator_width) == (3, 1, 8)
        assert (system.identity, len(converted.params)) == (0, 4)
        assert converted.guessed["identity"][0] == 0
    a, b = system.data()[1]["input"], system.data()[0]["image"]
    assert (a.shape, b.shape) == ((128, 128, 1), (128, 128, 3))


def test_cross_replica_is_told(tmp_path):
    file = originals.saved(Generator(kind="cross_replica"), tmp_path / "G_ema.pth")
    (note,) = convert.load("biggan_pytorch", file).notes
    assert "adds them in evaluation; here they multiply" in note


def test_mistakes_are_told_in_one_line(tmp_path, capsys):
    file = originals.saved(DCGenerator(layers=2), tmp_path / "netG.pth")
    cycle = originals.saved(ResNet(blocks=1), tmp_path / "G.pth")
    for format, options, expected in [
        ("dcgan_pytorch", ["--set", "widht=8"], "DCGAN has no field widht; did you mean width?"),
        (
            "dcgan_pytorch",
            ["--set", "width=8"],
            "generator's conv1/kernel has shape (4, 4, 10, 16)",
        ),
        ("dcgan_pytorch", ["--set", "width"], "give FIELD=VALUE"),
        ("dcgan_pytorch", ["--set", "width=x"], "--set width=x: "),
        ("dcgan_pytorch", ["--set", "shape=8,8,3"], "given by --resolution"),
        ("dcgan_pytorch", ["--resolution", "32"], "has shape"),
        ("dcgan_pytorch", ["--resolution", "1", "2", "3"], "--resolution is 1 2 3"),
        ("cyclegan_pytorch", ["--resolution", "30"], "multiples of 4"),
        ("cyclegan_pytorch", ["--set", "pool=-1"], "pool is -1"),
    ]:
        source = file if format[0] == "d" else cycle
        given = ["import", format, source, "--out", str(tmp_path / "run"), *options]
        assert main(given) == 2, options
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert expected in err, err
    assert not (tmp_path / "run").exists()
