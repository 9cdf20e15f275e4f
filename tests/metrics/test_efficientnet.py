import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_image

from jaxgan import backend
from jaxgan.errors import UserError
from jaxgan.metrics import efficientnet, features
from jaxgan.pretrained import weights

BELL_COTE, DAISY = 442, 985  # among ImageNet's classes


@pytest.fixture(scope="module")
def extractor():
    return features.extractor("efficientnet")


def test_logits_and_classes_of_photographs_as_pytorch_has_them(extractor):
    temple, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    path = weights.find_weights(weights.EFFICIENTNET)
    network.load_state_dict(torch.load(path, weights_only=True))
    apply = jax.jit(extractor.apply)
    images = np.stack([temple, flower])
    planes = [
        [
            np.asarray(Image.fromarray(plane).resize((224, 224), Image.Resampling.BICUBIC))
            for plane in np.moveaxis(image.astype(np.float32), -1, 0)
        ]
        for image in images
    ]
    x = torch.from_numpy((np.array(planes, np.float32) - 127) / 128)
    with torch.no_grad():
        expected = network.extract_features(x).mean((2, 3)).numpy(), network(x).numpy()
    got = apply(extractor.params, images)
    assert [y.shape for y in got] == [(2, 1280), (2, 1000)]
    np.testing.assert_allclose(got[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-4)
    np.testing.assert_array_equal(np.argmax(got[1], 1), [BELL_COTE, DAISY])
    np.testing.assert_array_equal(np.argmax(expected[1], 1), [BELL_COTE, DAISY])


def test_a_state_without_all_of_a_batch_norm_is_refused():
    state = torch.load(weights.find_weights(weights.EFFICIENTNET), weights_only=True)
    arrays = {name: x.numpy() for name, x in state.items() if name != "_bn0.weight"}
    with pytest.raises(UserError):
        efficientnet.params_from_torch(arrays)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_depthwise_forms_agree(rng, kernel, stride, size):
    layer = efficientnet.DepthwiseConv(kernel, stride)
    x = jnp.asarray(rng.standard_normal((2, *size, 4)), jnp.float32)
    variables = layer.init(jax.random.key(0), x)
    taps = layer.apply(variables, x)
    with backend.target("tpu"):
        grouped = layer.apply(variables, x)
    assert taps.shape == grouped.shape
    np.testing.assert_allclose(taps, grouped, atol=1e-5)
