import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import init, make_step
from jaxgan.errors import UserError
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.systems.pix2pix import Pix2Pix
from jaxgan.training.apply import apply
from jaxgan.view import View

TINY = Pix2Pix(shape=(8, 8, 1), input_channels=2, width=4, patch_halvings=1, learning_rate=1e-3)


def batch(rng, count):
    return {
        "image": rng.uniform(-1, 1, (count, 8, 8, 1)).astype(np.float32),
        "input": rng.uniform(-1, 1, (count, 8, 8, 2)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def view():
    state = init(TINY)
    return View(TINY.networks(), state.params, state.stats, train=True)


def test_a_generator_that_is_right_pays_no_l1(view, rng, monkeypatch):
    pairs = batch(rng, 2)
    monkeypatch.setattr(Pix2Pix, "_made", lambda *_: jnp.asarray(pairs["image"]))
    loss, metrics = TINY.generator_loss(view, pairs, jax.random.key(0))
    assert metrics["l1"] == 0
    assert loss == metrics["adversarial"]


def test_l1_weighs_a_hundred_times_its_mean(view, rng, monkeypatch):
    pairs = batch(rng, 2)
    monkeypatch.setattr(Pix2Pix, "_made", lambda *_: jnp.asarray(pairs["image"] + 0.25))
    loss, metrics = TINY.generator_loss(view, pairs, jax.random.key(0))
    np.testing.assert_allclose(loss - metrics["adversarial"], 25, rtol=1e-5)


def test_a_discriminator_that_knows_nothing_loses_ln_2(rng):
    """Half of 2 ln 2: the factor 1/2 of the code."""
    state = init(TINY)
    params = {
        **state.params,
        "discriminator": jax.tree.map(jnp.zeros_like, state.params["discriminator"]),
    }
    blind = View(TINY.networks(), params, state.stats, train=True)
    loss, _ = TINY.discriminator_loss(blind, batch(rng, 2), jax.random.key(0))
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_the_discriminator_sees_input_and_image(view, rng):
    pairs = batch(rng, 2)
    other = {**pairs, "input": pairs["input"][::-1].copy()}
    (_, a), (_, b) = (TINY.discriminator_loss(view, x, jax.random.key(0)) for x in (pairs, other))
    assert a["real_logits"] != b["real_logits"]


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_and_micro_batches_equal_one(rng):
    pairs = [batch(rng, 16) for _ in range(3)]
    system = dataclasses.replace(TINY, learning_rate=2e-4)  # Adam scales up rounding by it
    states = []
    for mesh, parts in ((make_mesh(1), 1), (make_mesh(8), 2)):
        step = make_step(system, mesh=mesh, micro=parts)
        state, sharding = init(system, 1, mesh=mesh), batch_sharding(mesh, leading=int(parts > 1))
        for each in pairs:
            cut = {
                k: x.reshape(parts, -1, *x.shape[1:]) if parts > 1 else x for k, x in each.items()
            }
            state, _ = step(state, jax.device_put(cut, sharding))
        states.append(jax.device_get(state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


def test_step_size_falls_to_zero(rng):
    system = dataclasses.replace(TINY, decay=(1, 3))
    step, state = make_step(system), init(system)
    moved = []
    for _ in range(4):
        before = jax.device_get(state.params)
        state, _ = step(state, batch(rng, 2))
        apart = jax.tree.map(lambda a, b: abs(a - b).max(), before, jax.device_get(state.params))
        moved.append(max(jax.tree.leaves(apart)))
    assert moved[0] > 1e-4
    assert moved[3] == 0


def test_an_output_depends_on_its_input_and_its_number_alone(rng):
    """Its number says which noise it has: the dropout stays on."""
    state, given = init(TINY), batch(rng, 3)["input"]
    made = apply(TINY, state, "AtoB", {"input": given}, chunk=4).made["image"]
    assert made.shape == (3, 8, 8, 1)
    alone = apply(TINY, state, "AtoB", {"input": given[2:]}, numbers=np.array([2]), chunk=4)
    np.testing.assert_array_equal(alone.made["image"][0], made[2])
    other = apply(TINY, state, "AtoB", {"input": given[2:]}, numbers=np.array([0]), chunk=4)
    assert (other.made["image"][0] != made[2]).any()


def test_a_pair_is_augmented_as_one_image(view, rng):
    seen = []
    watched = View(
        TINY.networks(),
        view._params,
        view.stats,
        train=True,
        augment=lambda _, images: seen.append(images.shape) or images,
    )
    TINY.discriminator_loss(watched, batch(rng, 2), jax.random.key(0))
    TINY.generator_loss(watched, batch(rng, 2), jax.random.key(0))
    assert seen == [(2, 8, 8, 3)] * 3


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 32, 3), (4, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match="side 8, 16, 32"):
        Pix2Pix(shape=shape)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (16, 16, 3)}, "judges images of at least 24 pixels a side"),
        ({"decay": (80, 40)}, "the second number must be at least the first"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Pix2Pix(**settings)
