import json
from functools import partial

import jax
import numpy as np
import pytest
import torch

import jaxgan
from jaxgan import Run, convert
from jaxgan.cli import main
from jaxgan.convert.export import export_run
from jaxgan.convert.runs import import_run
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.cyclegan_pytorch import (
    PatchGAN,
    ResNet,
    UNet,
    batch_norm,
    instance_norm,
)
from tests.reference.port import images_from_torch, images_to_torch


def family(folder, seed=0, blocks=2, norm=instance_norm, halvings=3):
    """{name: network}, each in a file."""
    torch.manual_seed(seed)
    networks = {
        **{name: ResNet(blocks=blocks, norm=norm) for name in ("G_A", "G_B")},
        **{name: PatchGAN(halvings=halvings, norm=norm) for name in ("D_A", "D_B")},
    }
    for name, network in networks.items():
        torch.save(network.state_dict(), folder / f"latest_net_{name}.pth")
    return networks


@partial(jax.jit, static_argnums=0)
def forward(module, params, x):
    return module.apply({"params": params}, x, train=False)


def applied(converted, network, x):
    """Networks of one kind are compiled once."""
    return forward(converted.system.networks()[network], converted.params[network], x)


@torch.no_grad()
def test_equals_pytorch_all_four(tmp_path, rng):
    networks = family(tmp_path)
    converted = convert.load("cyclegan_pytorch", tmp_path / "latest_net_G_A.pth")
    system = converted.system
    assert (system.shape, system.width, system.blocks) == ((128, 128, 3), 4, 2)
    assert [file[-7:-4] for file in converted.files] == ["G_A", "G_B", "D_B", "D_A"]
    x = rng.uniform(-1, 1, (1, 24, 32, 3)).astype(np.float32)
    for ours, theirs in (("generator_ab", "G_A"), ("generator_ba", "G_B")):
        expected = images_from_torch(networks[theirs](images_to_torch(x)))
        np.testing.assert_allclose(applied(converted, ours, x), expected, atol=1e-4)
    # D_A judges what G_A makes, which is of kind B.
    for ours, theirs in (("discriminator_b", "D_A"), ("discriminator_a", "D_B")):
        expected = networks[theirs](images_to_torch(x)).numpy()
        np.testing.assert_allclose(applied(converted, ours, x), expected, atol=1e-4)


@torch.no_grad()
def test_a_pretrained_generator_alone_with_statistics_that_nobody_used(tmp_path, rng):
    network = ResNet(blocks=1, norm=partial(instance_norm, tracked=True))
    network(torch.randn(1, 3, 32, 32))
    path = originals.saved(network, tmp_path / "horse2zebra.pth")
    converted = convert.load("cyclegan_pytorch", path)
    assert list(converted.params) == ["generator_ab"]
    assert len(converted.left_out) == 3 * 7
    x = rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    expected = images_from_torch(network(images_to_torch(x)))  # as it trains
    np.testing.assert_allclose(applied(converted, "generator_ab", x), expected, atol=1e-4)


def test_what_no_file_held_is_not_used(tmp_path):
    path = originals.saved(ResNet(blocks=1), tmp_path / "horse2zebra.pth")
    import_run("cyclegan_pytorch", path, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.applied("AtoB") == {"generator_ab"}
    refusal = "needs generator_ba, which no imported file held: import"
    with pytest.raises(UserError, match=f"BtoA of .* {refusal}"):
        run.translate(np.zeros((1, 128, 128, 3), np.uint8), direction="BtoA")
    with pytest.raises(UserError, match=refusal):
        export_run(run, "stablehlo", tmp_path / "out", use="BtoA")


@pytest.mark.parametrize(("blocks", "side"), [(6, 128), (9, 256)])
def test_sizes_of_the_paper(tmp_path, blocks, side):
    path = originals.saved(ResNet(blocks=blocks), tmp_path / "G.pth")
    system = convert.load("cyclegan_pytorch", path).system
    assert (system.shape, system.blocks) == ((side, side, 3), blocks)


def test_discriminators_of_other_patches(tmp_path):
    family(tmp_path, halvings=2)
    converted = convert.load("cyclegan_pytorch", tmp_path / "latest_net_G_B.pth")
    assert converted.system.patch_halvings == 2
    assert len(converted.params) == 4


def test_names_of_the_original():
    """Places in its `nn.Sequential` with nine blocks."""
    places = ["1", "4", "7", "19", "22", "26"]
    places += [f"{10 + k}.conv_block.{part}" for k in range(9) for part in (1, 5)]
    expected = {f"model.{place}.{name}" for place in places for name in ("weight", "bias")}
    assert set(ResNet().state_dict()) == expected
    expected = {f"model.{k}.{name}" for k in (0, 2, 5, 8, 11) for name in ("weight", "bias")}
    assert set(PatchGAN().state_dict()) == expected


def test_a_run_that_translates_both_ways(tmp_path, capsys):
    family(tmp_path, blocks=1, halvings=1)
    (tmp_path / "latest_net_D_B.pth").unlink()
    run = str(tmp_path / "run")
    file = str(tmp_path / "latest_net_G_A.pth")
    assert main(["import", "cyclegan_pytorch", file, "--out", run]) == 0
    out = capsys.readouterr().out
    assert "generator_ba of cyclegan_pytorch" in out
    assert "the discriminator_a starts anew" in out
    assert f"jaxgan translate {run}" in out
    facts = json.loads((tmp_path / "run" / "import.json").read_text())
    assert facts["anew"] == ["discriminator_a"]
    assert len(facts["files"]) == 3
    run = jaxgan.open(run)
    assert (run.step, {"AtoB", "BtoA"} <= set(run.system.uses())) == (0, True)
    converted = convert.load("cyclegan_pytorch", file)
    for name, tree in converted.params.items():
        jax.tree.map(np.testing.assert_array_equal, run.state.params[name], tree)


def test_what_does_not_fit_is_named_in_one_line(tmp_path):
    def refused(message, file="G.pth", discriminator=None):
        with pytest.raises(UserError, match=message) as caught:
            convert.load("cyclegan_pytorch", tmp_path / file, discriminator)
        assert "\n" not in str(caught.value)

    originals.saved(ResNet(blocks=1, norm=batch_norm), tmp_path / "G.pth")
    refused(r"G\.pth has batch norm")
    refused("CycleGAN has two", discriminator="latest_net_D_A.pth")
    originals.saved(UNet(halvings=5, norm=instance_norm), tmp_path / "G.pth")
    refused("no residual blocks")
    state = ResNet(blocks=1).state_dict()
    state = {name.replace("block.5", "block.6"): tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / "G.pth")
    refused("has dropout")
    refused("no file", file="latest_net_G_A.pth")
    family(tmp_path)
    originals.saved(ResNet(width=8, blocks=2), tmp_path / "latest_net_G_B.pth")
    refused(r"net_G_B\.pth: model\.1\.weight does not fit", file="latest_net_G_A.pth")
    originals.saved(torch.nn.Conv2d(3, 4, 1), tmp_path / "latest_net_D_B.pth")
    refused(r"net_D_B\.pth has no convolutions", file="latest_net_G_A.pth")
