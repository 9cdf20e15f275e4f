"""Kernel distance against its definition, pair by pair, a known case and torch-fidelity."""

import itertools

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import kernel
from jaxgan.metrics.kernel import KID, kernel_distance
from tests.reference.recorded import kernel_sets, recorded


def test_a_known_case():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1000, 8))
    mean, deviation = kernel_distance(x, y, subsets=1)
    np.testing.assert_allclose(mean, -0.0014906, atol=5e-8)
    assert deviation == 0


def test_the_definition_pair_by_pair(rng):
    x, y = rng.normal(size=(2, 7, 3)) + np.array([[[0.0]], [[0.5]]])

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    expected = (
        np.mean([k(a, b) for a, b in itertools.permutations(x, 2)])
        + np.mean([k(a, b) for a, b in itertools.permutations(y, 2)])
        - 2 * np.mean([k(a, b) for a, b in itertools.product(x, y)])
    )
    mean, deviation = kernel_distance(x, y, subsets=3, size=7)  # each subset is the whole
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    assert deviation < 1e-12


def test_gaussians_whose_distance_is_known(rng):
    # E (x y / d + 1)³ in one dimension, with x of mean a and variance 1, y of mean b:
    # E (xy)³ + 3 E (xy)² + 3 E xy + 1, of the product's independent factors.
    def k(a, b):
        moment = lambda m: (m, m**2 + 1, m**3 + 3 * m)  # noqa: E731
        (a1, a2, a3), (b1, b2, b3) = moment(a), moment(b)
        return a3 * b3 + 3 * a2 * b2 + 3 * a1 * b1 + 1

    exact = k(0, 0) + k(0.3, 0.3) - 2 * k(0, 0.3)
    x, y = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1)) + 0.3
    mean, deviation = kernel_distance(x, y, subsets=60, size=400)
    whole, _ = kernel_distance(x, y, subsets=1, size=4000)
    # Unbiased: the mean over small subsets is the estimate from all, up to its own error.
    assert abs(mean - whole) < 4 * deviation / np.sqrt(60)
    assert abs(whole - exact) < 4 * deviation / np.sqrt(10)


def test_agrees_with_torch_fidelity():
    x, y = kernel_sets()
    mean, _ = kernel_distance(x, y, subsets=1, size=300)
    np.testing.assert_allclose(mean, recorded()["kid 1 300"][0], rtol=1e-10)
    mean, deviation = kernel_distance(x, y, subsets=30, size=60)
    expected = recorded()["kid 30 60"]
    # Other subsets, so equal up to their error.
    np.testing.assert_allclose(mean, expected[0], atol=6 * deviation / np.sqrt(30))
    np.testing.assert_allclose(deviation, expected[1], rtol=0.6)


def test_the_seed_alone_decides(rng):
    x, y = rng.normal(size=(2, 50, 4)).astype(np.float32)
    once = kernel_distance(x, y, subsets=5, size=20)
    assert kernel_distance(x, y, subsets=5, size=20) == once
    assert kernel_distance(x, y, subsets=5, size=20, seed=1) != once


@pytest.mark.parametrize("real", [60, 61, 500])
def test_one_subset_has_no_deviation(rng, real):
    """Where the subset is the whole of a side, subsets share it: they do not deviate enough."""
    score = KID()
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(real, 4))
    score.add({"features": x}, {"features": y})
    mean, deviation = score.result()["kid"]
    assert deviation is None
    if real == 60:
        assert mean == pytest.approx(kernel_distance(x, y, subsets=1, size=60)[0])


@pytest.mark.parametrize(("count", "has"), [(1500, False), (2000, True)])
def test_subsets_that_share_most_images_have_no_deviation(rng, monkeypatch, count, has):
    monkeypatch.setattr(kernel, "kernel_distance", lambda *_, **__: (0.5, 0.1))
    score = KID()
    score.add(*({"features": np.zeros((count, 1))} for _ in range(2)))
    assert score.result()["kid"] == (0.5, 0.1 if has else None)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (999, 4), "subsets of 1000 samples from sides of 1000 and 999"),
        ({}, (1000, 3), "4 and 3 dimensions"),
        ({"subsets": 0}, (1000, 4), "0 subsets of 1000"),
        ({"size": 1}, (1000, 4), "100 subsets of 1"),
    ],
)
def test_mistakes(options, shape, message):
    with pytest.raises(UserError, match=message):
        kernel_distance(np.zeros((1000, 4)), np.zeros(shape), **options)
