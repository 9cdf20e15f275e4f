import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.metrics import resize
from tests.reference import recorded
from tests.reference.resize import bilinear_tf1


@pytest.mark.parametrize("size", recorded.RESIZED)
def test_bilinear_as_tensorflow_1_and_torch_fidelity_have_it(size):
    images = recorded.images((*size, 3)).astype(np.float32)
    got = np.asarray(resize.bilinear_tf1(jnp.asarray(images), 299))
    np.testing.assert_allclose(got, bilinear_tf1(images, 299), rtol=1e-6, atol=1e-4)
    expected = recorded.recorded()[f"bilinear_tf1 {size}"]
    np.testing.assert_allclose(recorded.thin(got), expected, rtol=1e-6, atol=1e-4)


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
