import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.metrics import resize
from tests.reference import fidelity
from tests.reference.port import images_from_torch, images_to_torch


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (28, 28), (299, 299), (310, 480)])
def test_bilinear_as_tensorflow_1_had_it(rng, size):
    images = rng.integers(0, 256, (2, *size, 3)).astype(np.float32)
    theirs = fidelity.submodule("interpolate_compat_tensorflow")
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(
        images_to_torch(images), size=(299, 299), align_corners=False
    )
    got = resize.bilinear_tf1(jnp.asarray(images), 299)
    np.testing.assert_allclose(got, images_from_torch(expected), rtol=1e-6, atol=1e-4)


def test_bilinear_repeats_the_last_pixel():
    row = jnp.asarray([0.0, 100.0]).reshape(1, 1, 2, 1)
    got = resize.bilinear_tf1(row, 4)
    np.testing.assert_array_equal(got[0, :, :, 0], [[0, 50, 100, 100]] * 4)


@pytest.mark.parametrize("size", [(6, 9), (24, 24), (61, 40)])
def test_bicubic_as_pillow_does_it(rng, size):
    image = rng.uniform(0, 255, size).astype(np.float32)
    expected = Image.fromarray(image).resize((24, 24), Image.Resampling.BICUBIC)
    got = resize.bicubic(jnp.asarray(image)[None, :, :, None], 24)
    np.testing.assert_allclose(got[0, :, :, 0], np.asarray(expected), rtol=1e-5, atol=1e-3)


def test_rgb():
    grey = jnp.asarray([[[[7], [255]]]], jnp.uint8)
    got = resize.rgb(grey)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, [[[[7, 7, 7], [255, 255, 255]]]])
    np.testing.assert_array_equal(resize.rgb(got.astype(jnp.uint8)), got)
    with pytest.raises(UserError, match="4 channels"):
        resize.rgb(jnp.zeros((1, 2, 2, 4), jnp.uint8))
