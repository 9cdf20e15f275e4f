import argparse
import copy

import jax
import numpy as np
import pytest
import safetensors.numpy
import torch

from jaxgan import convert
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.stylegan2_rosinality import Discriminator, Generator


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    generator = Generator()
    average = copy.deepcopy(generator)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return {"g": generator, "d": Discriminator(), "g_ema": average}


def checkpoint(networks):
    """What that code's train.py writes."""
    states = {name: network.state_dict() for name, network in networks.items()}
    adam = torch.optim.Adam(networks["g"].parameters())
    for parameter in networks["g"].parameters():
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    return states | {"g_optim": adam.state_dict(), "args": argparse.Namespace(size=16), "p": 0.1}


def test_equals_pytorch(tmp_path, rng, networks):
    networks = copy.deepcopy(networks)
    content = checkpoint(networks)
    torch.save(content, tmp_path / "010000.pt")
    converted = convert.load("stylegan2_rosinality", tmp_path / "010000.pt")
    system = converted.system
    assert (system.shape, system.widths(), system.latent) == ((16, 16, 3), (8, 8, 6), 10)
    assert system.mapping_layers == 3
    z, x, _ = originals.inputs(rng, system, 4)
    stats, module = converted.stats["generator"], system.networks()["generator"]
    draw = jax.jit(lambda params: module.apply({"params": params, **stats}, z, train=False))
    for name, params in (("g", converted.params), ("g_ema", converted.averages)):
        expected = originals.torch_draw(networks[name], z)
        np.testing.assert_allclose(draw(params["generator"]), expected, atol=1e-4)
    logits = originals.torch_judge(networks["d"], x)
    np.testing.assert_allclose(originals.judge(converted, x), logits, atol=1e-4)

    # The mean style is that of random latents; a converted file has its own.
    mean = stats["average"]["mapping"]["style"]
    with torch.no_grad():
        styles = networks["g"].style(torch.randn(20_000, 10))
    assert np.abs(mean - styles.mean(0).numpy()).max() < 5 * (styles.std(0) / 4096**0.5).max()
    assert any("4,096 latents" in note for note in converted.notes)
    given = torch.randn(1, 10)
    torch.save({"g_ema": content["g_ema"], "latent_avg": given}, tmp_path / "ffhq.pt")
    alone = convert.load("stylegan2_rosinality", tmp_path / "ffhq.pt")
    mean = alone.stats["generator"]["average"]["mapping"]["style"]
    np.testing.assert_array_equal(mean, given[0])
    assert (alone.notes, list(alone.params)) == ((), ["generator"])


def test_safetensors_of_the_same_names(tmp_path, networks):
    state = networks["g_ema"].state_dict()
    arrays = {f"g_ema.{name}": x.numpy() for name, x in state.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    torch.save({"g_ema": state}, tmp_path / "a.pt")
    one, other = (
        convert.load("stylegan2_rosinality", tmp_path / name).params
        for name in ("a.safetensors", "a.pt")
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_what_does_not_fit_is_named_in_one_line(tmp_path, networks):
    def refused(message, content, *discriminator):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(UserError, match=message) as caught:
            convert.load("stylegan2_rosinality", tmp_path / "a.pt", *discriminator)
        assert "\n" not in str(caught.value)

    state = networks["g_ema"].state_dict()
    refused("one file too many", {"g_ema": state}, tmp_path / "a.pt")
    refused(r"no tensor g_ema\.input\.input", {"d": networks["d"].state_dict()})
    taps = {"convs.0.conv.blur.kernel": torch.ones(4, 4)}
    refused("another filter than", {"g_ema": state | taps})
    refused("is a SWAGAN", {"g_ema": state | {"to_rgbs.0.iwt.ll": torch.ones(2, 2)}})
    refused(
        "has no tensor .*noise_4", {"g_ema": {n: x for n, x in state.items() if "e_4" not in n}}
    )
