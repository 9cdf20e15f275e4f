import jax
import numpy as np
import pytest
import torch

from jaxgan.errors import UserError
from jaxgan.metrics import inception
from tests.reference import fidelity
from tests.reference.port import randomise


@pytest.fixture(scope="module")
def network():
    with pytest.MonkeyPatch.context() as monkeypatch:
        network = fidelity.inception(monkeypatch)
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):  # keeps what images differ by through 48 layers
            torch.nn.init.kaiming_normal_(module.weight)
    return randomise(network)


@pytest.fixture(scope="module")
def state(network):
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def variables(state):
    return inception.params_from_torch(state)


@pytest.fixture(scope="module")
def apply():
    """`inception.apply`, of which what follows the resizing is compiled once for all sizes."""
    compiled = jax.jit(inception.Inception().apply)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(inception.Inception, "apply", lambda _, *inputs: compiled(*inputs))
        yield inception.apply


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 41, 1), (299, 299, 3), (380, 512, 3)])
def test_features_and_logits_as_torch_fidelity_has_them(rng, network, variables, apply, shape):
    images = rng.integers(0, 256, (2, *shape), np.uint8)
    images[0] //= 4
    features, logits = apply(variables, images)
    x = np.broadcast_to(images, (*images.shape[:3], 3))
    x = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    with torch.no_grad():
        for got, expected in zip((features, logits), network(x), strict=True):
            assert got.shape == expected.shape
            scale = expected.abs().max().item()
            np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-4 * scale)
    # Random weights have not lost what the images differ by.
    assert np.linalg.norm(features[0] - features[1]) > 0.01 * np.linalg.norm(features[0])


def test_another_networks_state_is_refused(state):
    with pytest.raises(UserError, match=r"lack .*fc/kernel of Inception"):
        inception.params_from_torch({k: v for k, v in state.items() if k != "fc.weight"})
    with pytest.raises(UserError, match=r"fc\.weight of shape \(1000, 2048\)"):
        inception.params_from_torch({**state, "fc.weight": np.zeros((1000, 2048), np.float32)})
    with pytest.raises(UserError, match=r"AuxLogits\.fc\.weight"):
        inception.params_from_torch({**state, "AuxLogits.fc.weight": np.zeros((2, 2))})
