"""The classifier learns, is the same for the same seed, and its features order distortions."""

import jax
import numpy as np
import pytest

from jaxgan.data.embedded import EMBEDDED
from jaxgan.errors import UserError
from jaxgan.metrics import classifier
from jaxgan.metrics.frechet import Moments, frechet_distance


def colours(rng, count, side=12):
    """Noise with a tint, red, green or blue: the label."""
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 120, (count, side, side, 3))
    images[np.arange(count), :, :, labels] += 100
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def digits():
    data = EMBEDDED["digits"]()
    order = np.random.default_rng(0).permutation(len(data))
    return data.images[order], data.labels[order]


@pytest.fixture(scope="module")
def trained(digits):
    images, labels = digits
    return classifier.train(images[:1200], labels[:1200], classes=10, steps=120)


def test_learns_digits(digits, trained):
    images, labels = digits
    assert classifier.accuracy(trained, images[1200:], labels[1200:]) > 0.93
    shuffled = np.random.default_rng(0).permutation(labels[1200:])
    assert classifier.accuracy(trained, images[1200:], shuffled) < 0.2


def test_features_order_distortions(digits, trained, rng):
    images, _ = digits
    apply = jax.jit(trained.apply)

    def moments(images):
        return Moments.of(np.asarray(apply(trained.params, images)[0]))

    real = moments(images[:600])
    distances = [
        frechet_distance(real, moments(np.clip(images[600:1200] + noise, 0, 255).astype(np.uint8)))
        for strength in (0, 20, 60, 150)
        for noise in [rng.normal(size=images[600:1200].shape) * strength]
    ]
    assert distances == sorted(distances)
    assert distances[-1] > 5 * distances[0]


def test_accuracy_score_tells_what_the_generator_lacks(rng):
    real, real_labels = colours(rng, 300)
    fake, fake_labels = colours(rng, 300)
    good = classifier.train(fake, fake_labels, classes=3, steps=40, batch=32)
    assert classifier.accuracy(good, real, real_labels, batch=77) > 0.98  # a last batch is cut
    dropped = fake_labels != 2  # the generator makes no blue
    poor = classifier.train(fake[dropped], fake_labels[dropped], classes=3, steps=40, batch=32)
    share = (real_labels != 2).mean()
    assert abs(classifier.accuracy(poor, real, real_labels) - share) < 0.05


def test_the_seed_decides_every_bit(rng):
    images, labels = colours(rng, 40)
    options = {"classes": 3, "steps": 3, "batch": 16}
    first = classifier.train(images, labels, **options)
    assert classifier.train(images, labels, **options).weights == first.weights
    assert classifier.train(images, labels, seed=1, **options).weights != first.weights
    assert classifier.train(images, 2 - labels, **options).weights != first.weights


@pytest.mark.parametrize("shape", [(8, 8, 1), (20, 36, 3), (64, 64, 3)])
def test_an_extractor_for_any_size(rng, shape):
    images = rng.integers(0, 256, (4, *shape)).astype(np.uint8)
    made = classifier.train(images, np.arange(4) % 2, classes=2, steps=1, batch=4)
    features, logits = jax.jit(made.apply)(made.params, images)
    assert features.shape == (4, made.size) == (4, 128)
    assert logits.shape == (4, made.classes) == (4, 2)
    assert features.dtype == logits.dtype == np.float32
    assert made.name == "classifier"
    assert made.resize == "none"
    assert np.isfinite(features).all()


def test_saved_and_loaded_it_is_the_same(digits, trained, tmp_path):
    classifier.save(trained, tmp_path / "classifier.npz")
    loaded = classifier.load(tmp_path / "classifier.npz")
    assert (loaded.weights, loaded.classes) == (trained.weights, trained.classes)
    for ours, theirs in zip(
        loaded.apply(loaded.params, digits[0][:5]),
        trained.apply(trained.params, digits[0][:5]),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        classifier.load(tmp_path / "none.npz")
    path = tmp_path / "bad.npz"
    for content in ({"x": np.zeros(2)}, {"params/logits/kernel": np.array([object()])}):
        np.savez(path, **content)
        with pytest.raises(UserError, match=r"bad\.npz: not a.* classifier"):
            classifier.load(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"bad\.npz: not a.* classifier"):
        classifier.load(path)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((4, 7, 8, 1), [0, 1, 0, 1], "7x8"),
        ((4, 8, 8, 1), [0, 1, 0], r"\(3,\)"),
        ((0, 8, 8, 1), [], "at least one"),
        ((4, 8, 8, 1), [0, 1, 2, 1], "from 0 to 2, expected 0 to 1"),
        ((4, 8, 8, 1), [-1, 1, 0, 1], "from -1 to 1"),
        ((4, 8, 8, 2), [0, 1, 0, 1], "2 channels"),
    ],
)
def test_mistakes(shape, labels, message):
    with pytest.raises(UserError, match=message):
        classifier.train(np.zeros(shape, np.uint8), np.array(labels, int), classes=2, steps=1)


def test_accuracy_of_wrong_things(digits, trained):
    images, labels = digits
    with pytest.raises(UserError, match="one label an image"):
        classifier.accuracy(trained, images[:3], labels[:2])
    from jaxgan.metrics.features import from_function

    plain = from_function("plain", lambda params, images: images.mean((1, 2)), size=1)
    with pytest.raises(UserError, match="plain has no logits"):
        classifier.accuracy(plain, images[:3], labels[:3])
