import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.errors import UserError
from jaxgan.nn.norm import LayerNorm
from jaxgan.systems.wgan_gp import MLPWGANGP, GoodBlock, GoodCritic, GoodWGANGP, ResNetWGANGP
from jaxgan.training.step import init, make_step
from jaxgan.view import View

ACGAN = ResNetWGANGP(
    shape=(8, 8, 1),
    classes=3,
    latent=4,
    generator_channels=(4, 4),
    discriminator_channels=(4, 4),
    halvings=1,
)


def points(**options):
    """A system of points and, without hidden layers, a critic linear in them."""
    return MLPWGANGP(hidden=(), **options)


def linear(kernel, bias=0.0):
    return {"output": {"kernel": jnp.asarray(kernel)[:, None], "bias": jnp.full(1, bias)}}


@pytest.fixture(scope="module")
def acgan():
    return init(ACGAN)


def test_penalty_of_a_linear_critic_is_that_of_its_slope(rng):
    system = points(shape=(3,), latent=3, penalty=10.0)
    w = np.array([1.0, -2.0, 2.0], np.float32)  # of norm 3
    params = {"discriminator": linear(w), "generator": {"output": {"kernel": jnp.eye(3)}}}
    params["generator"]["output"]["bias"] = jnp.zeros(3)
    view = View(system.networks(), params, {}, train=True)
    real = rng.normal(size=(5, 3)).astype(np.float32)
    loss, metrics = system.discriminator_loss(view, {"image": real}, jax.random.key(0))
    np.testing.assert_allclose(metrics["penalty"], (3 - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["real_logits"], (real @ w).mean(), rtol=1e-5)
    expected = metrics["fake_logits"] - metrics["real_logits"] + 10 * metrics["penalty"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_slope_between_two_points():
    """Fakes at 0, real ones at W = 2: slope 1 + W / (2 lambda) = 1.1, so a gap of 2.2 and not 2."""
    system = points(shape=(1,), latent=1, penalty=10.0, learning_rate=0.01, decay=(0, 60))
    (stage,) = system.stages()
    stage = dataclasses.replace(stage, players=stage.players[:1])
    state = init(system)
    params = {"discriminator": linear(np.zeros(1, np.float32))}
    params["generator"] = linear(np.zeros(1, np.float32))  # makes 0 of any latent
    state = state.replace(params=params)
    step = make_step(system, stage)
    batch = {"image": np.full((5, 2, 1), 2, np.float32)}
    for _ in range(60):
        state, metrics = step(state, batch)
    np.testing.assert_allclose(state.params["discriminator"]["output"]["kernel"], 1.1, rtol=1e-3)
    gap = metrics["discriminator"]["real_logits"] - metrics["discriminator"]["fake_logits"]
    np.testing.assert_allclose(gap, 2.2, rtol=1e-3)


def test_step_size_falls_to_zero_after_the_critics_updates():
    """`decay` counts iterations; the critic makes several updates in each, all of one size."""
    system = points(decay=(1, 3), discriminator_updates=2, learning_rate=1.0)
    params, gradient = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}
    sizes = {}
    for player in system.stages()[0].players:
        state, sizes[player.name] = player.optimizer.init(params), []
        for _ in range(8):
            updates, state = player.optimizer.update(gradient, state, params)
            sizes[player.name].append(-float(updates["w"][0]))
    # Adam's update is the step size where all gradients are equal.
    expected = [1, 1, 1, 1, 0.5, 0.5, 0, 0]
    np.testing.assert_allclose(sizes["discriminator"], expected, atol=1e-5)
    np.testing.assert_allclose(sizes["generator"], [1, 1, 0.5, 0, 0, 0, 0, 0], atol=1e-5)


def test_dequantization_adds_uniform_noise_to_real_samples():
    system = points(shape=(1,), latent=1, dequantization=0.5)
    params = {"discriminator": linear(np.ones(1, np.float32))}
    params["generator"] = linear(np.zeros(1, np.float32))
    view = View(system.networks(), params, {}, train=True)
    batch = {"image": np.zeros((4096, 1), np.float32)}
    _, metrics = system.discriminator_loss(view, batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["real_logits"], 0.25, atol=0.01)


def test_micro_batches_train():
    system = MLPWGANGP(hidden=(8,), dequantization=0.1)
    batch = {"image": np.random.default_rng(0).normal(size=(5, 2, 4, 2)).astype(np.float32)}
    _, metrics = make_step(system, micro=2)(init(system), batch)
    assert np.isfinite(jax.tree.leaves(metrics)).all()


def test_no_sample_influences_the_score_of_another(rng):
    """As a penalty on single gradients needs."""
    critic = GoodCritic(channels=(4, 8), classes=0)
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(functools.partial(critic.init, train=True))(jax.random.key(0), x)
    assert set(variables) == {"params"}
    score = jax.jit(functools.partial(critic.apply, variables, train=True))
    first, second = score(x)
    x[1] += 1
    assert score(x)[0] == first
    assert score(x)[1] != second


def test_good_block_is_its_layers_in_order(rng):
    """With constant maps, where a convolution is a matrix away from the border."""
    block = GoodBlock(6, LayerNorm, "down")
    x = np.broadcast_to(rng.normal(size=4), (1, 16, 16, 4)).astype(np.float32)
    params = jax.jit(block.init)(jax.random.key(0), x)["params"]
    assert "bias" not in params["conv1"]

    def norm(h):
        return (h - h.mean()) / np.sqrt(h.var() + 1e-5)

    def matrix(name):
        return np.asarray(params[name]["kernel"]).sum((0, 1))

    taps = np.asarray(params["conv1"]["kernel"])
    h = np.maximum(norm(x[0, 0, 0]), 0)
    padded = np.zeros((18, 18, 4))
    padded[1:-1, 1:-1] = h
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    h = np.maximum(norm(np.einsum("yxihw,hwio->yxo", windows, taps)), 0)
    expected = h[8, 8] @ matrix("conv2") + x[0, 0, 0] @ matrix("shortcut")
    np.testing.assert_allclose(block.apply({"params": params}, x)[0, 4, 4], expected, atol=1e-5)


def test_classifier_is_trained_on_real_images_alone(acgan, rng):
    """The head's cross entropy adds to the loss, and its gradient ignores what fakes score."""
    batch = {
        "image": rng.uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32),
        "label": rng.integers(0, 3, 6),
    }

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params):
        params = {**acgan.params, "discriminator": params}
        view = View(ACGAN.networks(), params, acgan.stats, train=True)
        return ACGAN.discriminator_loss(view, batch, jax.random.key(0))

    (value, metrics), gradient = loss(acgan.params["discriminator"])
    rest = metrics["fake_logits"] - metrics["real_logits"] + 10 * metrics["penalty"]
    np.testing.assert_allclose(value - rest, metrics["class_loss"], rtol=1e-4)
    # The gradient of a cross entropy: probabilities minus frequencies, which sum to 0.
    view = View(ACGAN.networks(), acgan.params, acgan.stats, train=True)
    frequencies = np.bincount(batch["label"], minlength=3) / 6
    logits = view("discriminator", batch["image"])[1]
    expected = jax.nn.softmax(logits).mean(0) - frequencies
    np.testing.assert_allclose(
        gradient["classifier"]["bias"], expected, atol=2e-3
    )  # dequantisation moves the images


def test_generator_is_asked_for_classes(acgan):
    view = View(ACGAN.networks(), acgan.params, acgan.stats, train=True)
    batch = {"image": np.zeros((4, 8, 8, 1), np.float32)}
    key = jax.random.key(3)
    loss, metrics = ACGAN.generator_loss(view, batch, key)
    drawn = view.draw(ACGAN.latents(), key, 8)  # twice the critic's batch
    label = drawn["label"]
    images = view("generator", drawn["z"], label)
    scores, logits = view("discriminator", images)
    class_loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
    np.testing.assert_allclose(metrics["class_loss"], class_loss, rtol=1e-5)
    np.testing.assert_allclose(loss, -scores.mean() + 0.1 * class_loss, rtol=1e-5)


def test_shapes_that_blocks_cannot_make_are_refused():
    with pytest.raises(UserError, match="multiples of 8"):
        ResNetWGANGP(shape=(28, 28, 1))
    with pytest.raises(UserError, match="multiples of 16"):
        GoodWGANGP(shape=(72, 72, 3))
