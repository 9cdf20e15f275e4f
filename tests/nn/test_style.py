import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn import fir, resample
from jaxgan.nn.style import Mapping, ModulatedConv, draw_noise, mix, random_cutoff, truncate


@pytest.mark.parametrize("up", [False, True])
def test_scaling_in_and_out_equals_weights_of_each_sample(rng, up):
    """Demodulated weights, one convolution a sample, in plain form."""
    x = rng.normal(size=(3, 6, 6, 5)).astype(np.float32)
    style = rng.normal(size=(3, 4)).astype(np.float32)
    layer = ModulatedConv(7, up=up)
    y, variables = layer.init_with_output(jax.random.key(0), x, style)
    params = variables["params"]
    scale = style @ params["affine"]["kernel"] / 4**0.5 + params["affine"]["bias"]
    np.testing.assert_array_equal(params["affine"]["bias"], 1)
    for image, s, result in zip(x, scale, y, strict=True):
        w = np.asarray(params["kernel"]) / (9 * 5) ** 0.5 * np.asarray(s)[:, None]
        w /= np.sqrt((w**2).sum((0, 1, 2)) + 1e-8)
        if up:
            wide = np.zeros((1, 12, 12, 5), np.float32)
            wide[0, ::2, ::2] = image
            plain = resample.conv(np.pad(wide, [(0, 0), (2, 1), (2, 1), (0, 0)]), w, form="native")
            plain = 4 * fir.fir(plain, fir.BINOMIAL4, (1, 1))
        else:
            plain = resample.conv(image[None], w, padding=1)
        np.testing.assert_allclose(result, plain[0], atol=2e-5)


@pytest.mark.parametrize("up", [False, True])
def test_white_images_come_out_with_variance_one(rng, up):
    x = rng.normal(size=(4, 32, 32, 64)).astype(np.float32)
    style = 3 * rng.normal(size=(4, 8)).astype(np.float32)
    y, _ = ModulatedConv(32, up=up).init_with_output(jax.random.key(0), x, style)
    inner = np.asarray(y)[:, 3:-3, 3:-3]
    # [1, 3, 3, 1] takes from a white map dilated by 2 what interpolation takes.
    expected = (10 / 16) ** 2 if up else 1.0
    assert inner.std() ** 2 == pytest.approx(expected, rel=0.25 if up else 0.05)


def test_the_running_mean_of_styles_moves_in_training_alone(rng):
    z = rng.normal(size=(16, 6)).astype(np.float32)
    mapping = Mapping(5, 2, 2**0.5, jax.nn.leaky_relu, keep=0.9)
    variables = mapping.init(jax.random.key(0), z, train=True)
    np.testing.assert_array_equal(variables["average"]["style"], np.zeros(5))
    w, after = mapping.apply(variables, z, train=True, mutable=["average"])
    np.testing.assert_allclose(after["average"]["style"], 0.1 * w.mean(0), rtol=1e-5)
    _, still = mapping.apply(variables, z, train=False, mutable=["average"])
    np.testing.assert_array_equal(still["average"]["style"], np.zeros(5))


def test_styles_are_mixed_at_the_cutoff(rng):
    a, b = rng.normal(size=(2, 3, 4)).astype(np.float32)
    mixed = mix(a, b, 2, 5)
    for layer in range(5):
        np.testing.assert_array_equal(mixed[:, layer], a if layer < 2 else b)
    np.testing.assert_array_equal(mix(a, b, 5, 5), np.stack([a] * 5, 1))


def test_cutoffs_are_uniform_or_none():
    cuts = jax.vmap(lambda key: random_cutoff(key, 0.9, 5))(
        jax.random.split(jax.random.key(0), 4000)
    )
    shares = np.bincount(cuts, minlength=6) / 4000
    np.testing.assert_allclose(shares, [0, *[0.9 / 4] * 4, 0.1], atol=0.02)


def test_truncation_leaves_the_later_layers(rng):
    styles, average = rng.normal(size=(2, 5, 4)).astype(np.float32), jnp.arange(4.0)
    near = truncate(styles, average, 0.0, 3)
    np.testing.assert_array_equal(near[:, :3], jnp.broadcast_to(average, (2, 3, 4)))
    np.testing.assert_array_equal(near[:, 3:], styles[:, 3:])
    half = truncate(styles, average, 0.5, 5)
    np.testing.assert_allclose(half, (styles + average) / 2, atol=1e-6)


def test_psi_is_of_each_image_and_1_leaves_it_as_it_is(rng):
    styles, average = rng.normal(size=(3, 5, 4)).astype(np.float32), jnp.arange(4.0)
    near = truncate(styles, average, jnp.array([1.0, 0.0, 0.5]), 5)
    np.testing.assert_array_equal(near[0], styles[0])
    np.testing.assert_array_equal(near[1], jnp.broadcast_to(average, (5, 4)))
    np.testing.assert_array_equal(near[2], truncate(styles, average, 0.5, 5)[2])


def test_noise_is_of_the_key_of_its_row(rng):
    keys = jax.random.split(jax.random.key(0), 5)
    noise = draw_noise(keys, (4, 4, 8))
    assert [maps.shape for maps in noise] == [(5, 4, 4, 1), (5, 4, 4, 1), (5, 8, 8, 1)]
    assert (noise[0] != noise[1]).any()
    for maps, alone in zip(noise, draw_noise(keys[3:], (4, 4, 8)), strict=True):
        np.testing.assert_array_equal(maps[3:], alone)
