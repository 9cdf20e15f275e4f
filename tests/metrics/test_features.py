import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import features
from jaxgan.metrics.efficientnet import EfficientNetLite0
from jaxgan.metrics.inception import Inception
from jaxgan.pretrained.vgg import VGG16
from jaxgan.pretrained.weights import INCEPTION, VARIABLE

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)


def _channel_means(params, images):
    return images.mean((1, 2)) * params["scale"]


def test_inception_is_the_default_where_its_weights_are(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    default = features.extractor()
    assert default.name == "efficientnet-lite0"
    assert default.weights.startswith("57934424")
    assert (default.size, default.classes) == (1280, 1000)
    (tmp_path / INCEPTION.files[0]).touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="6726825d"):  # of an empty file
        features.extractor()
    with pytest.raises(UserError, match="6726825d"):
        features.extractor(weights=tmp_path / INCEPTION.files[0])


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"'resnet'.*inception, efficientnet, vgg"):
        features.extractor("resnet")


@pytest.mark.parametrize("name", features.EXTRACTORS)
def test_what_an_extractor_says_of_itself(name):
    known = features.EXTRACTORS[name]
    network, side = {
        "inception": (Inception(), 299),
        "efficientnet": (EfficientNetLite0(), 224),
        "vgg": (VGG16(), 224),
    }[name]
    assert f"to {side}x{side}" in known.resize
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    images = jax.ShapeDtypeStruct((3, 10, 12, 1), jnp.uint8)
    shapes = jax.eval_shape(known.network.apply, variables, images)
    assert [(x.shape, x.dtype) for x in shapes] == [
        ((3, known.size), jnp.float32),
        ((3, known.classes), jnp.float32),
    ]


def test_a_function_of_the_users():
    params = {"scale": np.float32([1, 2, 3])}
    mine = features.from_function("means", _channel_means, params, size=3)
    got, logits = jax.jit(mine.apply)(mine.params, IMAGES)
    assert logits is None
    np.testing.assert_allclose(got, IMAGES.mean((1, 2)) * [1, 2, 3], rtol=1e-6)
    other = features.from_function("means", _channel_means, {"scale": np.ones(3)}, size=3)
    assert len(mine.weights) == 64
    assert mine.weights != other.weights
    assert mine.weights == features.digest({"scale": jnp.asarray(params["scale"])})
    both = features.from_function(
        "both", lambda _, x: (x.mean((1, 2)), x.max((1, 2, 3))[:, None]), size=3, classes=1
    )
    assert both.apply(both.params, IMAGES)[1].shape == (2, 1)


def test_a_function_that_returns_something_else_is_refused():
    params = {"scale": np.ones(3, np.float32)}
    for size, classes in ((4, 0), (3, 10)):
        mine = features.from_function("means", _channel_means, params, size=size, classes=classes)
        with pytest.raises(UserError, match=r"means returns arrays of shapes \[\(2, 3\)\]"):
            mine.apply(params, IMAGES)
