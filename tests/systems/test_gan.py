import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.systems.gan import GAN
from jaxgan.training.step import init, make_step
from jaxgan.view import View

TINY = {"generator_hidden": (8, 8), "discriminator_hidden": (8,), "latent": 3}
MEAN = np.array([1.0, -0.5])


@pytest.fixture(scope="module")
def gaussians():
    """p = N(MEAN, I) is data; the generator is the identity, so q = N(0, I); D is linear in x."""
    system = GAN(
        shape=(2,),
        latent=2,
        generator_hidden=(),
        discriminator_hidden=(),
        output="linear",
        learning_rate=0.02,
    )
    state = init(system)
    generator = {"output": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}
    return system, state.replace(params={**state.params, "generator": generator})


@pytest.fixture(scope="module")
def images():
    system = GAN(shape=(2, 2, 1), **TINY)
    return system, init(system)


def alone(system, name):
    """The stage in which only one player moves."""
    (stage,) = system.stages()
    players = tuple(player for player in stage.players if player.name == name)
    return dataclasses.replace(stage, players=players)


def test_linear_discriminator_finds_the_log_density_ratio(gaussians):
    """log p/q = MEAN . x - |MEAN|^2 / 2, linear in x, is the optimum (section 4.1)."""
    system, state = gaussians
    state = jax.tree.map(jnp.copy, state)  # the step donates it
    step = make_step(system, alone(system, "discriminator"))
    rng = np.random.default_rng(0)
    kernel, bias = [], []
    for index in range(400):
        real = (MEAN + rng.normal(size=(2048, 2))).astype(np.float32)
        state, _ = step(state, {"image": real})
        if index >= 200:
            kernel.append(state.params["discriminator"]["output"]["kernel"][:, 0])
            bias.append(state.params["discriminator"]["output"]["bias"][0])
    np.testing.assert_allclose(np.mean(kernel, 0), MEAN, rtol=0.05)
    np.testing.assert_allclose(np.mean(bias), -MEAN @ MEAN / 2, rtol=0.05)


@pytest.mark.parametrize(
    ("loss", "optimum", "divergence"),
    [
        ("f_gan_kl", lambda u: 1 + u, MEAN @ MEAN / 2),
        ("f_gan_reverse_kl", lambda u: u, MEAN @ MEAN / 2),
        ("f_gan_squared_hellinger", lambda u: u / 2, 2 - 2 * math.exp(-MEAN @ MEAN / 8)),
    ],
)
def test_f_gan_bound_is_tight_at_the_optimum(gaussians, loss, optimum, divergence):
    system, state = gaussians
    system = dataclasses.replace(system, loss=loss)
    zero = optimum(0.0)
    scale = optimum(1.0) - zero
    discriminator = {
        "kernel": scale * jnp.asarray(MEAN, jnp.float32)[:, None],
        "bias": jnp.full(1, zero - scale * MEAN @ MEAN / 2),
    }
    params = {**state.params, "discriminator": {"output": discriminator}}
    view = View(system.networks(), params, state.stats, train=True)
    real = MEAN + jax.random.normal(jax.random.key(1), (100_000, 2))
    value, _ = system.discriminator_loss(view, {"image": real}, jax.random.key(2))
    np.testing.assert_allclose(-value, divergence, rtol=0.03)


@pytest.mark.parametrize(("shape", "output"), [((4, 4, 1), "tanh"), ((2,), "linear")])
def test_images_are_bounded_and_points_are_not(shape, output):
    latents = 100 * np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    network = GAN(shape=shape, output=output, **TINY).networks()["generator"]
    samples, _ = network.init_with_output(jax.random.key(0), latents, train=True)
    assert samples.shape == (4, *shape)
    assert (abs(samples).max() <= 1) == (output == "tanh")


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_player_moves_its_own_network_and_statistics(images, player):
    system, state = images
    before = jax.device_get(state)
    batch = {"image": np.zeros((4, 2, 2, 1), np.float32)}
    state = jax.tree.map(jnp.copy, state)  # the step donates it
    state, metrics = make_step(system, alone(system, player))(state, batch)
    for name in ("generator", "discriminator"):
        moved = jax.tree.map(
            lambda a, b: not np.array_equal(a, b), before.params[name], state.params[name]
        )
        assert any(jax.tree.leaves(moved)) == (name == player)
    mean = [s.stats["generator"]["batch_stats"]["norm2"]["mean"] for s in (before, state)]
    assert np.array_equal(*mean) == (player == "discriminator")
    assert ({"real_logits", "fake_logits"} <= set(metrics[player])) == (player == "discriminator")


def test_unknown_loss_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'saturating'"):
        GAN(loss="saturatin")
