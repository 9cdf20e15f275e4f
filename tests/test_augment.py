import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import Data, Experiment, UserError, init, make_step
from jaxgan import augment as module
from jaxgan.augment import DIFF_NUMBERS, NUMBERS, SYM6, augment, diff_augment, parse_policy
from jaxgan.nn import fir
from jaxgan.systems.dcgan import DCGAN
from tests.toys import TinyGAN

GEOMETRY = {
    name: getattr(module, f"_{name}")
    for name in ("FLIP", "QUARTER", "MOVE", "SCALE", "BEFORE", "STRETCH", "AFTER", "DRIFT")
}


def numbers(count=1, **values):
    """No operation happens but those named, with these numbers."""
    u = np.full((count, NUMBERS), 0.5, np.float32)
    u[:, : module._OPERATIONS] = 1.0
    for name, value in values.items():
        index = getattr(module, f"_{name}")
        u[:, index] = 0
        u[:, module._OPERATIONS + index] = value
    return u


@pytest.fixture
def images(rng):
    return rng.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)


def smooth(images):
    for _ in range(4):
        images = fir.blur(images)
    return np.asarray(images)


def test_the_filter_is_that_of_an_orthonormal_basis():
    taps = np.array(SYM6)
    np.testing.assert_allclose(taps.sum(), 2**0.5, atol=1e-9)
    for shift in range(0, 12, 2):
        product = (taps[shift:] * taps[: 12 - shift]).sum()
        np.testing.assert_allclose(product, shift == 0, atol=1e-9)


def test_probability_0_leaves_images_as_they_are(images):
    u = np.random.default_rng(0).uniform(size=(2, NUMBERS)).astype(np.float32)
    np.testing.assert_allclose(augment(images, u, 0.0), images, atol=1e-5)


@pytest.mark.parametrize(
    ("operation", "value", "expected"),
    [
        ("FLIP", 0.2, lambda x: x),
        ("FLIP", 0.7, lambda x: x[:, :, ::-1]),
        ("QUARTER", 0.1, lambda x: x),
        ("QUARTER", 0.6, lambda x: x[:, ::-1, ::-1]),
        ("BEFORE", 1.0, lambda x: x[:, ::-1, ::-1]),
        ("BRIGHTNESS", 0.8413447, lambda x: x + 0.2),
        ("CONTRAST", 0.8413447, lambda x: x * 2**0.5),
        ("LUMA", 0.2, lambda x: x),
        ("LUMA", 0.7, lambda x: x - 2 * x.mean(-1, keepdims=True)),
        ("HUE", 0.5, lambda x: x),
        ("HUE", 0.5 + 1 / 3, lambda x: np.roll(x, 1, -1)),
        (
            "SATURATION",
            0.8413447,
            lambda x: 2 * x - x.mean(-1, keepdims=True),
        ),
    ],
)
def test_single_operations(images, operation, value, expected):
    """ndtri(0.8413) = 1: one standard deviation."""
    if operation in GEOMETRY:  # the filter is not quite symmetric, which fine detail shows
        images = smooth(images)
    out = np.asarray(augment(images, numbers(2, **{operation: value}), 0.5))
    np.testing.assert_allclose(out, expected(images), atol=0.025 if operation in GEOMETRY else 2e-3)


def test_quarter_turns_are_the_two_directions(images):
    images = smooth(images)
    turned = [augment(images, numbers(2, QUARTER=value), 0.5) for value in (0.3, 0.9)]
    found = sorted(
        min((np.abs(turn - np.rot90(images, k, (1, 2))).max(), k) for k in range(4))[1]
        for turn in turned
    )
    assert found == [1, 3]


def test_images_are_moved_by_whole_pixels(images):
    u = numbers(2, MOVE=0.75)  # (2 * 0.75 - 1) / 8 of 16 pixels: one to the right
    out = np.asarray(augment(images, u, 0.5))
    np.testing.assert_allclose(out[:, :, 1:], images[:, :, :-1], atol=1e-4)
    np.testing.assert_allclose(out[:, :, 0], images[:, :, 1], atol=0.2)  # reflected


def test_operations_happen_with_their_probability():
    """Exactly: by what each gate of many uniform numbers opens; and for turns, either of both."""
    u = jax.random.uniform(jax.random.key(0), (20_000, NUMBERS))
    p = 0.36
    share = {}
    gates = np.asarray(u[:, : module._OPERATIONS] < p)
    turns = np.asarray(u[:, [module._BEFORE, module._AFTER]] < 1 - np.sqrt(1 - p))
    for name in ("FLIP", "SCALE", "HUE"):
        share[name] = gates[:, getattr(module, f"_{name}")].mean()
    share["turns"] = turns.any(1).mean()
    for value in share.values():
        assert value == pytest.approx(p, abs=0.011)
    # And in images: of a constant grey one brightness alone shows.
    grey = jnp.zeros((2000, 8, 8, 1))
    changed = np.abs(augment(grey, u[:2000], p)).max((1, 2, 3)) > 1e-6
    assert changed.mean() == pytest.approx(p, abs=0.04)


def test_gradients_flow_into_images_and_are_finite(images):
    u = jax.random.uniform(jax.random.key(1), (2, NUMBERS))
    gradient = jax.grad(lambda x: jnp.square(augment(x, u, 1.0)).sum())(images)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    # Linear in the image but for brightness: the sum's second derivative is that of a square.
    a, b = (augment(images * s, u, 1.0) for s in (1.0, 2.0))
    zero = augment(images * 0, u, 1.0)
    np.testing.assert_allclose(b - zero, 2 * (a - zero), atol=1e-4)


def test_grey_images(rng):
    grey = rng.uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    out = augment(grey, numbers(2, CONTRAST=0.8413447, HUE=0.9), 0.5)
    np.testing.assert_allclose(out, grey * 2**0.5, atol=2e-3)
    # Flipped luma inverts them, as it inverts three equal colours.
    flipped = numbers(2, BRIGHTNESS=0.8413447, LUMA=0.7, SATURATION=0.9)
    out, colours = (augment(x, flipped, 0.5) for x in (grey, np.repeat(grey, 3, -1)))
    np.testing.assert_allclose(out, -grey - 0.2, atol=2e-3)
    np.testing.assert_allclose(colours, np.repeat(out, 3, -1), atol=1e-5)


ALL = ("color", "translation", "cutout")


def test_diff_augment_by_hand(images):
    u = np.zeros((2, DIFF_NUMBERS), np.float32)
    u[:] = [0.8, 0.25, 0.7, 0.999, 0.0, 0.5, 0.0]
    x = images + 0.3
    grey = x.mean(-1, keepdims=True)
    x = (x - grey) * 0.5 + grey
    grey = x.mean((1, 2, 3), keepdims=True)
    coloured = (x - grey) * 1.2 + grey
    np.testing.assert_allclose(diff_augment(images, u, ("color",)), coloured, atol=1e-5)
    moved = diff_augment(images, u, ("translation",))  # two up, two to the right
    np.testing.assert_array_equal(moved[:, :14, 2:], images[:, 2:, :14])
    assert not moved[:, 14:].any()
    assert not moved[:, :, :2].any()
    cut = np.array(diff_augment(images, u, ("cutout",)))  # about row 8, column 0
    assert not cut[:, 4:12, :4].any()
    cut[:, 4:12, :4] = images[:, 4:12, :4]
    np.testing.assert_array_equal(cut, images)
    np.testing.assert_array_equal(diff_augment(images, u, ()), images)


def test_diff_augment_moves_by_every_distance_alike():
    point = jnp.zeros((6000, 16, 16, 1)).at[:, 8, 8].set(1)
    u = jax.random.uniform(jax.random.key(0), (6000, DIFF_NUMBERS))
    moved = np.asarray(diff_augment(point, u, ("translation",))).mean(0)[:, :, 0]
    np.testing.assert_allclose(moved[6:11, 6:11], 1 / 25, atol=0.01)
    covered = np.asarray(diff_augment(jnp.ones_like(point), u, ("cutout",))).mean(0)[:, :, 0]
    # Of 17 centres a side, 8 hide a place away from the border.
    np.testing.assert_allclose(1 - covered[8, 8], (8 / 17) ** 2, atol=0.02)


def test_policies_are_parsed():
    assert parse_policy("") == ()
    assert parse_policy("color, cutout") == ("color", "cutout")
    with pytest.raises(UserError, match="names 'colour'"):
        parse_policy("colour")
    with pytest.raises(UserError, match="no discriminator of images"):
        Experiment(system=TinyGAN(), data=Data(source="ring"), augment="color")


def test_discriminators_alone_see_augmented_images(rng):
    """Every application with numbers of its own."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Watched(DCGAN):
        def discriminator_loss(self, view, batch, key):
            seen = [view.augment(batch["image"]) for _ in range(2)]
            first, second = (view.frozen("discriminator", images) for images in seen)
            apart = jnp.abs(first - second).mean()
            loss, metrics = super().discriminator_loss(view, batch, key)
            return loss, {**metrics, "apart": apart}

    watched = Watched(shape=(16, 16, 1), width=4, latent=4)
    images = rng.uniform(-1, 1, (8, 16, 16, 1)).astype(np.float32)
    for text in ("", ",".join(ALL)):
        step = make_step(watched, augment=text)
        _, metrics = step(init(watched), {"image": images})
        assert (metrics["discriminator"]["apart"] > 0) == bool(text)
