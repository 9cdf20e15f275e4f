import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import init, make_step
from jaxgan.errors import UserError
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.systems.cyclegan import CycleGAN, draw_words, empty_pool, exchange
from jaxgan.training.apply import apply
from jaxgan.training.step import state_shapes
from jaxgan.view import View

TINY = CycleGAN(shape=(8, 8, 1), width=4, blocks=1, patch_halvings=1, pool=20, learning_rate=1e-3)


def numbered(first, count):
    """Images that are their numbers."""
    return jnp.arange(first, first + count, dtype=jnp.float32)[:, None]


def words_of(seed, count):
    """Coins and places, of a key for each image."""
    return draw_words(jax.random.split(jax.random.key(seed), count))


def one_by_one(held, size, images, words):
    """The pool of CycleGAN's code, in Python; `held` is changed."""
    given = []
    for image, (coin, place) in zip(images, words, strict=True):
        if len(held) < size:
            held.append(image)
            given.append(image)
        elif coin >> 31:
            slot = int(place) % size
            given.append(held[slot])
            held[slot] = image
        else:
            given.append(image)
    return given


@pytest.mark.parametrize("count", [1, 4, 7])
def test_the_pool_is_that_of_the_code(count):
    """Images one after the other, also within a batch, and across its filling."""
    pool, held = empty_pool(6, (1,)), []
    for step in range(20):
        images = numbered(1 + step * count, count)
        words = words_of(step, count)
        pool, given = exchange(pool, images, words)
        expected = one_by_one(held, 6, [float(x) for x in images[:, 0]], np.asarray(words))
        assert given[:, 0].tolist() == expected
        assert pool["images"][: len(held), 0].tolist() == held
        assert int(pool["count"]) == len(held)


def test_two_batches_are_one_of_both_in_order():
    words = words_of(0, 12)
    pool, given = exchange(empty_pool(5, (1,)), numbered(1, 12), words)
    part, first = exchange(empty_pool(5, (1,)), numbered(1, 6), words[:6])
    part, second = exchange(part, numbered(7, 6), words[6:])
    jax.tree.map(np.testing.assert_array_equal, pool, part)
    np.testing.assert_array_equal(given, np.concatenate([first, second]))


def test_the_pool_gives_old_images_half_of_the_time():
    pool, given = exchange(empty_pool(50, (1,)), numbered(0, 50), words_of(0, 50))
    np.testing.assert_array_equal(given, numbered(0, 50))
    pool, given = exchange(pool, numbered(50, 1000), words_of(1, 1000))
    old = given[:, 0] < jnp.arange(50, 1050)
    assert abs(old.mean() - 0.5) < 0.06  # the deviation is 0.016
    assert len(set(pool["images"][:, 0].tolist())) == 50


@pytest.fixture(scope="module")
def view():
    state = init(TINY)
    return View(TINY.networks(), state.params, state.stats, train=True, memory=state.memory)


def batch(rng, count):
    draw = lambda: rng.uniform(-1, 1, (count, *TINY.shape)).astype(np.float32)  # noqa: E731
    return {"image": draw(), "input": draw()}


class Identity(View):
    """Generators that change nothing."""

    def __call__(self, network, *inputs, **options):
        if network.startswith("generator"):
            return inputs[0]
        return super().__call__(network, *inputs, **options)


def test_identities_pay_for_nothing_but_being_told(view, rng):
    same = Identity(TINY.networks(), view._params, view.stats, train=True)
    loss, metrics = TINY.generator_loss(same, batch(rng, 2), jax.random.key(0))
    assert metrics["cycle"] == metrics["identity"] == 0
    assert loss == metrics["adversarial"]
    np.testing.assert_array_equal(same.out["fake_b"].shape, (2, *TINY.shape))


def test_losses_are_weighed_as_in_the_paper(view, rng):
    pairs = batch(rng, 2)
    loss, m = TINY.generator_loss(view, pairs, jax.random.key(0))
    expected = m["adversarial"] + 10 * m["cycle"] + 5 * m["identity"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    a, b = pairs["input"], pairs["image"]
    ab, ba = (lambda x, name=name: view(f"generator_{name}", x) for name in ("ab", "ba"))
    mean = lambda x, y: abs(x - y).mean()  # noqa: E731
    np.testing.assert_allclose(m["cycle"], mean(ba(ab(a)), a) + mean(ab(ba(b)), b), rtol=1e-5)
    np.testing.assert_allclose(m["identity"], mean(ba(a), a) + mean(ab(b), b), rtol=1e-5)
    judged = [(view("discriminator_b", ab(a)) - 1) ** 2, (view("discriminator_a", ba(b)) - 1) ** 2]
    np.testing.assert_allclose(m["adversarial"], sum(x.mean() for x in judged), rtol=1e-5)
    plain = dataclasses.replace(TINY, identity=0.0)
    loss, m = plain.generator_loss(view, pairs, jax.random.key(0))
    np.testing.assert_allclose(loss, m["adversarial"] + 10 * m["cycle"], rtol=1e-6)


def test_discriminators_pay_half_of_the_squared_errors(view, rng):
    pairs = batch(rng, 3)
    fakes = {"fake_a": pairs["image"] / 2, "fake_b": pairs["input"] / 2}
    loss, _ = TINY.discriminator_loss(view, {**pairs, **fakes}, jax.random.key(0))
    expected = 0.0
    for kind, real in (("a", pairs["input"]), ("b", pairs["image"])):
        on_real, on_fake = (view(f"discriminator_{kind}", x) for x in (real, fakes[f"fake_{kind}"]))
        expected += (((on_real - 1) ** 2).mean() + (on_fake**2).mean()) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_without_a_pool_there_is_none_in_the_state():
    system = dataclasses.replace(TINY, pool=0)
    state = state_shapes(system)
    image = jax.ShapeDtypeStruct((2, *TINY.shape), jnp.float32)
    after, _ = jax.eval_shape(make_step(system), state, {"image": image, "input": image})
    assert set(after.stats) == set(state.stats) == set(system.networks())
    assert after.memory == state.memory == {}


def test_uses_go_there_and_back(rng):
    state, given = init(TINY), batch(rng, 3)
    there = apply(TINY, state, "AtoB", {"input": given["input"]}, chunk=4).made["image"]
    back = apply(TINY, state, "BtoA", {"image": there}, chunk=4).made["input"]
    made = apply(TINY, state, "cycle", given, chunk=4).made
    assert next(iter(TINY.uses())) == "cycle"
    np.testing.assert_allclose(made["fake_b"], there, atol=1e-5)
    np.testing.assert_allclose(made["back_a"], back, atol=1e-5)
    fake_a = apply(TINY, state, "BtoA", {"image": given["image"]}, chunk=4).made["input"]
    np.testing.assert_allclose(made["fake_a"], fake_a, atol=1e-5)
    assert made["back_b"].shape == (3, *TINY.shape)


def test_all_that_is_judged_is_augmented(view, rng):
    seen = []
    watched = View(
        TINY.networks(),
        view._params,
        view.stats,
        train=True,
        memory=view.memory,
        augment=lambda _, images: seen.append(images.shape) or images,
    )
    pairs = batch(rng, 2)
    TINY.generator_loss(watched, pairs, jax.random.key(0))
    assert len(seen) == 2
    TINY.discriminator_loss(watched, {**pairs, **watched.out}, jax.random.key(0))
    assert seen == [(2, *TINY.shape)] * 6


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one_and_keep_what_the_generators_made(rng):
    """Pools included, which are full in the second of four steps.

    The sums' order differs, and instance norm over few places makes much of it: at 8x8 pixels no
    start agrees to 1e-5. At 16x16 one of two does; the other meets a kink of an absolute value.
    """
    system = dataclasses.replace(TINY, shape=(16, 16, 1), learning_rate=2e-4)
    pairs = [
        {
            name: rng.uniform(-1, 1, (16, 16, 16, 1)).astype(np.float32)
            for name in ("image", "input")
        }
        for _ in range(4)
    ]
    states = []
    for mesh in (make_mesh(1), make_mesh(8)):
        step, state = make_step(system, mesh=mesh), init(system, 1, mesh=mesh)
        start = View(system.networks(), jax.device_get(state.params), {}, train=True)
        for number, each in enumerate(pairs):
            state, _ = step(state, jax.device_put(each, batch_sharding(mesh, leading=0)))
            if number == 0:
                pool = jax.device_get(state.memory["pool_b"])
        states.append(jax.device_get(state))
        assert pool["count"] == 16
        np.testing.assert_allclose(
            pool["images"][:16], start("generator_ab", pairs[0]["input"]), atol=1e-5
        )
        assert not pool["images"][16:].any()
        assert states[-1].memory["pool_a"]["count"] == 20
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (30, 32, 3)}, "multiples of 4"),
        ({"pool": -1}, "pool is -1: it must be at"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CycleGAN(**settings)
