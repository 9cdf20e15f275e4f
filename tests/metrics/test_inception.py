import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import inception
from tests.reference import recorded


@pytest.fixture(scope="module")
def state():
    return recorded.inception_state(recorded.recorded()["inception"])


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


@pytest.mark.parametrize("shape", recorded.SCORED)
def test_features_and_logits_as_torch_fidelity_has_them(variables, apply, shape):
    features, logits = apply(variables, recorded.images(shape))
    assert (features.shape, logits.shape) == ((2, 2048), (2, 1008))
    for kind, made in (("features", features), ("logits", logits)):
        expected = recorded.recorded()[f"inception_{kind} {shape}"]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(recorded.thin(made), expected, rtol=1e-4, atol=1e-4 * scale)
    # Random weights have not lost what the images differ by.
    assert np.linalg.norm(features[0] - features[1]) > 0.01 * np.linalg.norm(features[0])


def test_another_networks_state_is_refused(state):
    with pytest.raises(UserError, match=r"lack .*fc/kernel of Inception"):
        inception.params_from_torch({k: v for k, v in state.items() if k != "fc.weight"})
    with pytest.raises(UserError, match=r"fc\.weight of shape \(1000, 2048\)"):
        inception.params_from_torch({**state, "fc.weight": np.zeros((1000, 2048), np.float32)})
    with pytest.raises(UserError, match=r"AuxLogits\.fc\.weight"):
        inception.params_from_torch({**state, "AuxLogits.fc.weight": np.zeros((2, 2))})
