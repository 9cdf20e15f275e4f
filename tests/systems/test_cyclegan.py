import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import View, init, make_step
from jaxgan.errors import UserError
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.systems.cyclegan import CycleGAN, draw_words, empty_pool, exchange

TINY = CycleGAN(shape=(8, 8, 1), width=4, blocks=1, patch_halvings=1, pool=20, learning_rate=1e-3)


def numbered(first, count):
    """Images that are their numbers."""
    return jnp.arange(first, first + count, dtype=jnp.float32)[:, None]


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
        words = draw_words(jax.random.key(step), count)
        pool, given = exchange(pool, images, words)
        expected = one_by_one(held, 6, [float(x) for x in images[:, 0]], np.asarray(words))
        assert given[:, 0].tolist() == expected
        assert pool["images"][: len(held), 0].tolist() == held
        assert int(pool["count"]) == len(held)


def test_the_pool_gives_old_images_half_of_the_time():
    pool, given = exchange(empty_pool(50, (1,)), numbered(0, 50), draw_words(jax.random.key(0), 50))
    np.testing.assert_array_equal(given, numbered(0, 50))
    pool, given = exchange(pool, numbered(50, 1000), draw_words(jax.random.key(1), 1000))
    old = given[:, 0] < jnp.arange(50, 1050)
    assert abs(old.mean() - 0.5) < 0.06  # the deviation is 0.016
    assert len(set(pool["images"][:, 0].tolist())) == 50


@pytest.fixture(scope="module")
def view():
    state = init(TINY)
    return View(TINY.networks(), state.params, state.stats, train=True)


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


def test_without_a_pool_there_is_none_in_the_state(rng):
    system = dataclasses.replace(TINY, pool=0)
    state, _ = make_step(system)(init(system), batch(rng, 2))
    assert set(state.stats) == set(system.networks())


def test_training_keeps_the_fakes_that_the_generators_made(rng):
    state = init(TINY)
    view = View(TINY.networks(), jax.tree.map(jnp.copy, state.params), state.stats, train=True)
    pairs = batch(rng, 4)
    fake_b = view("generator_ab", pairs["input"])
    state, _ = make_step(TINY)(state, pairs)
    assert int(state.stats["pool_b"]["count"]) == 4
    np.testing.assert_allclose(state.stats["pool_b"]["images"][:4], fake_b, atol=1e-6)
    assert not state.stats["pool_b"]["images"][4:].any()


@pytest.mark.parametrize("micro", [1, 2])
def test_eight_devices_and_micro_batches_equal_one(rng, micro):
    """Pools included, which are full after two of four steps."""
    pairs = [batch(rng, 16) for _ in range(4)]
    system = dataclasses.replace(TINY, learning_rate=2e-4)  # Adam scales up rounding by it
    states = []
    for mesh, parts in ((make_mesh(1), 1), (make_mesh(8 // micro), micro)):
        step = make_step(system, mesh=mesh, micro=parts)
        state, sharding = init(system, 1, mesh=mesh), batch_sharding(mesh, leading=int(parts > 1))
        for each in pairs:
            cut = {
                k: x.reshape(parts, -1, *x.shape[1:]) if parts > 1 else x for k, x in each.items()
            }
            state, _ = step(state, jax.device_put(cut, sharding))
        states.append(jax.device_get(state))
    assert int(states[0].stats["pool_a"]["count"]) == 20
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"shape": (30, 32, 3)}, "multiples of 4"), ({"pool": -1}, "0 images or more")],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CycleGAN(**settings)
