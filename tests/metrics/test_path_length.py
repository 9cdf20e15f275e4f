"""Perceptual path length of generators whose path lengths are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.path_length import lerp, perceptual_path_length, slerp
from tests.reference.recorded import latents as recorded_latents
from tests.reference.recorded import recorded

MATRIX = np.random.default_rng(1).normal(size=(6, 12)).astype(np.float32)


def linear(latents):
    return (latents @ MATRIX).reshape(-1, 2, 2, 3)


def draw(key, count):
    return jax.random.normal(key, (count, 6))


def squared(a, b):
    return jnp.square(a - b).sum((1, 2, 3))


def latents(num, batch, seed=0):
    """What the score draws: pairs for each batch, from a key of its own."""
    pairs = []
    for index in range(-(-num // batch)):
        a, b, _ = jax.random.split(jax.random.fold_in(jax.random.key(seed), index), 3)
        pairs.append((draw(a, batch), draw(b, batch)))
    return tuple(np.concatenate(side)[:num].astype(float) for side in zip(*pairs, strict=True))


@pytest.mark.parametrize("ends", [False, True])
def test_of_a_linear_generator_it_is_the_squared_length_of_the_whole_path(ends):
    score = perceptual_path_length(
        linear, draw, squared, interpolation=lerp, ends=ends, num=230, batch=50
    )
    a, b = latents(230, 50)
    lengths = np.sort(np.square((b - a) @ MATRIX).sum(1))
    # 1% of 229 intervals is 2.29: the lower neighbour, number 2, is the first to stay.
    np.testing.assert_allclose(score, lengths[2:-2].mean(), rtol=2e-3)


def test_on_the_arc_it_is_the_squared_angle():
    def sphere(latents):  # on the unit sphere a step of ε on an arc of angle Ω has length Ω ε
        return (latents / jnp.linalg.norm(latents, axis=1, keepdims=True))[:, None, None]

    def units(key, count):
        return sphere(draw(key, count))[:, 0, 0]

    score = perceptual_path_length(sphere, units, squared, num=200, epsilon=1e-3)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in latents(200, 50))
    angles = np.sort(np.square(np.arccos((a * b).sum(1))))
    np.testing.assert_allclose(score, angles[1:-1].mean(), rtol=2e-3)


def test_noise_of_a_place_in_the_batch_does_not_count():
    noise = np.random.default_rng(2).normal(size=(20, 2, 2, 3)).astype(np.float32)
    options = {"interpolation": lerp, "num": 40, "batch": 20, "epsilon": 1e-2}
    plain = perceptual_path_length(linear, draw, squared, **options)
    noisy = perceptual_path_length(lambda z: linear(z) + noise, draw, squared, **options)
    np.testing.assert_allclose(noisy, plain, rtol=1e-4)


def test_steps_start_anywhere_or_at_the_first_latent_only():
    def bent(latents):  # quadratic: the path's speed depends on where it is
        return jnp.square(latents)[:, None, None]

    options = {"interpolation": lerp, "num": 2000, "batch": 500, "epsilon": 1e-3}
    a, b = latents(2000, 500)
    # d/dt (a + t (b - a))² = 2 (b - a)(a + t (b - a)), squared: at 0, and its mean over t.
    start = np.square(2 * (b - a) * a).sum(1)
    anywhere = (4 * (b - a) ** 2 * (a * a + a * b + b * b) / 3).sum(1)
    score = perceptual_path_length(bent, draw, squared, ends=True, **options)
    kept = np.sort(start)[19:-19]
    np.testing.assert_allclose(score, kept.mean(), rtol=0.01)
    score = perceptual_path_length(bent, draw, squared, **options)
    np.testing.assert_allclose(score, anywhere.mean(), rtol=0.1)
    assert score < 0.8 * kept.mean()
    assert perceptual_path_length(bent, draw, squared, seed=1, **options) != score


def test_slerp_agrees_with_torch_fidelity():
    a, b, t = recorded_latents()
    np.testing.assert_allclose(slerp(a, b, t), recorded()["slerp"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(slerp(a, b, np.zeros(20)), a, atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, np.ones(20)), b, atol=1e-6)


def test_latents_per_layer_interpolate_as_one(rng):
    a, b = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    t = np.linspace(0, 1, 5, dtype=np.float32)
    for way in (lerp, slerp):
        flat = way(a.reshape(5, 12), b.reshape(5, 12), t)
        np.testing.assert_array_equal(way(a, b, t), flat.reshape(a.shape))


def test_mistakes():
    with pytest.raises(UserError, match="0 steps"):
        perceptual_path_length(linear, draw, squared, num=0)
    with pytest.raises(UserError, match="not finite"):
        perceptual_path_length(lambda z: linear(z) * jnp.nan, draw, squared, num=5, batch=5)
