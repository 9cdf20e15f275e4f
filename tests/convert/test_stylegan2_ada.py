import copy

import jax
import numpy as np
import pytest
import safetensors.numpy
import torch

import jaxgan
from jaxgan import convert
from jaxgan.cli import main
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.stylegan2_ada import Discriminator, Generator, Persistence


@pytest.fixture
def persistence(monkeypatch):
    return Persistence(monkeypatch, "raise AssertionError('it was executed')")


@torch.no_grad()
def snapshot(judge=None, **settings):
    """{"G", "D", "G_ema"}, all different; `judge`: settings of D alone."""
    torch.manual_seed(0)
    generator = Generator(**settings)
    shared = ("widths", "channels", "classes", "clamp")
    both = {name: settings[name] for name in shared if name in settings}
    average = copy.deepcopy(generator)
    for parameter in average.parameters():
        parameter += 0.1 * torch.randn(parameter.shape)
    return {"G": generator, "D": Discriminator(**both, **(judge or {})), "G_ema": average}


@pytest.mark.parametrize(
    ("settings", "judge", "expected"),
    [
        (
            {"widths": (8, 6)},
            {"group": 2},
            {"width": 48, "max_channels": 8, "group": 2, "discriminator_architecture": "resnet"},
        ),
        (
            {"widths": (16, 12, 6), "channels": 1, "layers": 3, "architecture": "resnet"},
            {"architecture": "orig", "group": None, "maps": 2},
            {"mapping_layers": 3, "group": 0, "group_maps": 2, "generator_architecture": "resnet"}
            | {"width": 96, "max_channels": 16, "discriminator_architecture": "orig"},
        ),
        (
            {"architecture": "orig", "classes": 5, "clamp": 0.7},
            {"architecture": "skip", "maps": 0, "label_layers": 3},
            {"generator_architecture": "orig", "discriminator_architecture": "skip", "clamp": 0.7}
            | {"classes": 5, "group_maps": 0, "label_layers": 3, "latent": 10},
        ),
        (
            {"architecture": "resnet", "classes": 3, "clamp": 0.5, "widths": (8, 6)},
            {"architecture": "resnet"},
            {"clamp": 0.5, "classes": 3, "group_maps": 1, "label_layers": 8},
        ),
    ],
)
def test_equals_pytorch(tmp_path, rng, persistence, settings, judge, expected):
    networks = snapshot(judge, **settings)
    settings = persistence.EasyDict(class_name="training.dataset.ImageFolderDataset")
    pipe = torch.nn.Module()
    pipe.register_buffer("p", torch.tensor(0.3))
    tree = {"training_set_kwargs": settings, **networks, "augment_pipe": pipe}
    path = persistence.save(tree, tmp_path / "network-snapshot-000200.pkl")
    converted = convert.load("stylegan2_ada", path)
    system = converted.system
    for name, value in expected.items():
        assert getattr(system, name) == value, name
    assert (system.latent, system.ada_target, converted.guessed) == (10, 0.6, {})

    z, x, y = originals.inputs(rng, system, 4)
    label = (y,) if system.classes else ()
    module, stats = system.networks()["generator"], converted.stats["generator"]
    draw = jax.jit(lambda params: module.apply({"params": params, **stats}, z, *label, train=False))
    images = originals.torch_draw(networks["G"], z, *label)
    np.testing.assert_allclose(draw(converted.params["generator"]), images, atol=1e-4)
    averaged = originals.torch_draw(networks["G_ema"], z, *label)
    assert np.abs(averaged - images).max() > 0.1
    np.testing.assert_allclose(draw(converted.averages["generator"]), averaged, atol=1e-4)
    logits = originals.torch_judge(networks["D"], x, *label)
    np.testing.assert_allclose(originals.judge(converted, x, *label), logits, atol=1e-4)
    np.testing.assert_array_equal(stats["average"]["mapping"]["style"], networks["G"].mapping.w_avg)
    if system.clamp:
        assert np.abs(images).max() == np.float32(system.clamp)


@pytest.mark.parametrize("widths", [(8, 8, 8), (8, 8, 6, 3), (25, 12, 6, 3)])
def test_widths_of_any_multiplier(tmp_path, persistence, widths):
    path = persistence.save(snapshot(widths=widths), tmp_path / "a.pkl")
    assert convert.load("stylegan2_ada", path).system.widths() == widths


def test_a_run_keeps_the_average_beside_the_generator(tmp_path, persistence, capsys):
    networks = snapshot(widths=(8, 6))
    file = persistence.save(networks, tmp_path / "a.pkl", protocol=3)
    run = str(tmp_path / "run")
    assert main(["import", "stylegan2_ada", file, "--out", run]) == 0
    assert "starts anew" not in capsys.readouterr().out
    state = jaxgan.open(run).state
    for name, tree in (("G", state.params["generator"]), ("G_ema", state.ema["generator"])):
        bias = tree.get("params", tree)["synthesis"]["bias0"]
        np.testing.assert_array_equal(bias, networks[name].synthesis.b4.conv1.bias.detach())


def test_states_in_a_pth_file(tmp_path):
    networks = snapshot()
    states = {name: networks[name].state_dict() for name in ("D", "G_ema")}
    torch.save(states, tmp_path / "a.pth")
    converted = convert.load("stylegan2_ada", tmp_path / "a.pth")
    assert (converted.system.group, converted.system.ada_target) == (4, 0.0)
    assert list(converted.guessed) == ["clamp", "group"]
    assert (list(converted.params), converted.averages) == (["generator", "discriminator"], {})
    torch.save({"G": networks["G"].state_dict()}, tmp_path / "b.pth")
    alone = convert.load("stylegan2_ada", tmp_path / "b.pth")
    assert (list(alone.params), alone.averages) == (["generator"], {})
    arrays = {name: x.numpy() for name, x in networks["G"].state_dict().items()}
    safetensors.numpy.save_file(arrays, tmp_path / "c.safetensors")
    bare = convert.load("stylegan2_ada", tmp_path / "c.safetensors").params
    jax.tree.map(np.testing.assert_array_equal, bare, alone.params)


def test_names_of_the_original_at_8_pixels():
    conv = {"weight", "bias", "resample_filter"}
    affine = {"affine.weight", "affine.bias"}
    layer = conv | affine | {"noise_strength", "noise_const"}
    generator = {f"mapping.fc{k}.{name}" for k in (0, 1) for name in ("weight", "bias")}
    generator |= {"mapping.w_avg", "synthesis.b4.const"}
    for block in ("b4.conv1", "b8.conv0", "b8.conv1"):
        generator |= {f"synthesis.{block}.{name}" for name in layer}
    for block in ("b4", "b8"):
        generator |= {f"synthesis.{block}.torgb.{name}" for name in {"weight", "bias"} | affine}
        generator |= {f"synthesis.{block}.resample_filter"}
    assert set(Generator(widths=(8, 6)).state_dict()) == generator
    discriminator = {f"b8.{part}.{name}" for part in ("conv0", "conv1") for name in conv}
    discriminator |= {"b8.skip.weight", "b8.skip.resample_filter", "b8.resample_filter"}
    discriminator |= {f"b4.conv.{name}" for name in conv} | {"b8.fromrgb.resample_filter"}
    for part in ("b8.fromrgb", "b4.fc", "b4.out"):
        discriminator |= {f"{part}.weight", f"{part}.bias"}
    assert set(Discriminator(widths=(8, 6)).state_dict()) == discriminator


def test_what_does_not_fit_is_named_in_one_line(tmp_path):
    def refused(message, networks, *discriminator):
        states = {name: network.state_dict() for name, network in networks.items()}
        torch.save(states, tmp_path / "a.pth")
        with pytest.raises(UserError, match=message) as caught:
            convert.load("stylegan2_ada", tmp_path / "a.pth", *discriminator)
        assert "\n" not in str(caught.value)

    networks = snapshot()
    refused("one file too many", networks, tmp_path / "a.pth")
    refused(r"no tensor G_ema\.synthesis\.b4\.const", {"D": networks["D"]})
    refused("does not fit", {**networks, "D": Discriminator(channels=1)})
    refused("has no tensor D.mapping", {**snapshot(classes=3), "D": Discriminator()})
    refused("tensors that stylegan2_ada does not know", {**networks, "E": Generator()})
    third = torch.nn.Module()
    third.synthesis = torch.nn.Module()
    third.synthesis.input = torch.nn.Module()
    third.synthesis.input.register_buffer("freqs", torch.ones(3))
    refused("is a StyleGAN3 pickle", {"G_ema": third})


def set_filter(networks):
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    networks["G_ema"].synthesis.b8.conv0.resample_filter = torch.outer(taps, taps)


def set_activation(networks):
    networks["D"].b8.conv1.activation = "relu"


def set_gain(networks):
    networks["G"].synthesis.b4.conv1.act_gain = 1.5


def set_rate(networks):
    networks["G_ema"].mapping.fc1.bias_gain = 0.1


def set_clamp(networks):
    networks["D"].b4.conv.conv_clamp = 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_filter, r"G_ema\.synthesis\.b8\.conv0\.resample_filter is of taps \[1, 2, 1\]"),
        (set_activation, r"D\.b8\.conv1\.activation is 'relu', but StyleGAN2 here has 'lrelu'"),
        (set_gain, r"G\.synthesis\.b4\.conv1\.act_gain is 1\.5"),
        (set_rate, r"G_ema\.mapping\.fc1\.bias_gain is 0\.1, but StyleGAN2 here has 0\.01"),
        (set_clamp, r"clamped to 0\.0, 256\.0"),
    ],
)
def test_settings_that_would_be_drawn_wrongly_are_refused(tmp_path, persistence, change, message):
    networks = snapshot(widths=(8, 6))
    change(networks)
    path = persistence.save(networks, tmp_path / "a.pkl")
    with pytest.raises(UserError, match=message) as caught:
        convert.load("stylegan2_ada", path)
    assert "\n" not in str(caught.value)
