import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgan.nn import fir


def reference(x, taps, padding, up, down):
    """Zero-insertion, padding, a grouped convolution, decimation: StyleGAN2's upfirdn."""
    x = torch.from_numpy(np.moveaxis(x, -1, 1))
    b, c, h, w = x.shape
    wide = torch.zeros(b, c, h, up, w, up)
    wide[:, :, :, 0, :, 0] = x
    low, high = padding
    wide = torch.nn.functional.pad(wide.reshape(b, c, h * up, w * up), (low, high, low, high))
    f = torch.tensor(taps, dtype=torch.float32)
    f = torch.outer(f, f)
    f = (f / f.sum() * up**2).expand(c, 1, -1, -1).flip(2, 3)
    y = torch.nn.functional.conv2d(wide, f, groups=c)[:, :, ::down, ::down]
    return np.moveaxis(y.numpy(), 1, -1)


@pytest.mark.parametrize(
    ("taps", "padding", "up", "down"),
    [
        (fir.BINOMIAL3, (1, 1), 1, 1),
        (fir.BINOMIAL4, (2, 1), 2, 1),
        (fir.BINOMIAL4, (1, 1), 1, 2),
        (fir.BINOMIAL4, (2, 2), 1, 1),
        (fir.BINOMIAL4, (-1, 2), 2, 2),
    ],
)
def test_filters_match_torch(rng, taps, padding, up, down):
    x = rng.normal(size=(2, 6, 8, 3)).astype(np.float32)
    y = fir.fir(x, taps, padding, up=up, down=down)
    np.testing.assert_allclose(y, reference(x, taps, padding, up, down), atol=1e-5)


def test_an_unsymmetric_filter_is_correlated():
    x = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2].set(1)
    y = fir.fir(x, (1.0, 2.0, 4.0), (1, 1))[0, :, :, 0] * 49
    np.testing.assert_allclose(y[2], [0, 8, 4, 2, 0], atol=1e-5)


def test_constant_images_stay_constant_inside():
    x = np.ones((1, 8, 8, 2), np.float32)
    for y in (fir.blur(x), fir.upsample(x), fir.downsample(x)):
        np.testing.assert_allclose(y[:, 1:-1, 1:-1], 1, rtol=1e-6)
    assert fir.upsample(x).shape == (1, 16, 16, 2)
    assert fir.downsample(x).shape == (1, 4, 4, 2)


def test_down_is_the_adjoint_of_up(rng):
    """Up to the gain of 4."""
    x = rng.normal(size=(1, 4, 4, 1)).astype(np.float32)
    y = rng.normal(size=(1, 8, 8, 1)).astype(np.float32)
    back = jax.vjp(fir.upsample, x)[1](y)[0]
    np.testing.assert_allclose(back / 4, fir.downsample(y), atol=1e-5)
