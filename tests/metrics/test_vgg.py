import jax
import numpy as np
import pytest
import torch

from jaxgan.metrics import lpips, vgg
from jaxgan.pretrained.weights import LPIPS, VGG
from tests.reference.port import images_to_torch
from tests.reference.resize import bilinear_tf1
from tests.reference.vgg import VGG16
from tests.reference.vgg import lpips as reference_lpips


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = VGG16().eval()
    for module in network.features:
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return network


@pytest.fixture(scope="module")
def linear():
    generator = np.random.default_rng(1)
    return [generator.uniform(0, 1, c).astype(np.float32) for c in (64, 128, 256, 512, 512)]


@pytest.fixture(scope="module")
def distance(network, linear):
    """LPIPS with the networks' weights in place of the published files."""
    states = {
        VGG: ({k: v.numpy() for k, v in network.state_dict().items()}, "aa"),
        LPIPS: (
            {f"lin{i}.model.1.weight": w[None, :, None, None] for i, w in enumerate(linear)},
            "bb",
        ),
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(lpips, "read_weights", lambda published, _: states[published])
        return lpips.lpips()


def test_fc2_and_logits(rng, network, distance):
    images = rng.integers(0, 256, (2, 40, 31, 3), np.uint8)
    with torch.no_grad():
        x = images_to_torch(bilinear_tf1(images.astype(np.float32), 224))
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
        expected = network((x / 255 - mean) / std)
    got = jax.jit(vgg.apply)(distance.params["vgg"], images)
    for ours, theirs, width in zip(got, expected, (4096, 1000), strict=True):
        assert ours.shape == (2, width)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_lpips(rng, network, linear, distance):
    a, b = rng.uniform(-1, 1, (2, 3, 32, 49, 3)).astype(np.float32)
    b[1] = a[1]
    got = jax.jit(distance.apply)(distance.params, a, b)
    inputs = images_to_torch(a), images_to_torch(b)
    expected = reference_lpips(network, [torch.from_numpy(w) for w in linear], *inputs)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert got[1] < 1e-9
    assert got[0] > 0.01
    assert distance.weights == "aa+bb"


def test_lpips_has_a_gradient_where_maps_are_zero(distance):
    # Of weights that are zero; the root of a vector's squared length has no slope there.
    params = jax.tree.map(np.zeros_like, distance.params)
    a, b = np.zeros((2, 1, 16, 16, 3), np.float32)
    slope = jax.jit(jax.grad(lambda a, params: distance.apply(params, a, b).sum()))(a, params)
    np.testing.assert_array_equal(slope, np.zeros_like(a))
