import jax
import numpy as np
import pytest
import torch

from jaxgan.metrics import vgg
from tests.reference.port import images_to_torch
from tests.reference.resize import bilinear_tf1
from tests.reference.vgg import VGG16


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = VGG16().eval()
    for module in network.features:
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return network


def test_fc2_and_logits(rng, network):
    images = rng.integers(0, 256, (2, 40, 31, 3), np.uint8)
    with torch.no_grad():
        x = images_to_torch(bilinear_tf1(images.astype(np.float32), 224))
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
        expected = network((x / 255 - mean) / std)
    params = vgg.params_from_torch({k: v.numpy() for k, v in network.state_dict().items()})
    got = jax.jit(vgg.apply)(params, images)
    for ours, theirs, width in zip(got, expected, (4096, 1000), strict=True):
        assert ours.shape == (2, width)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
