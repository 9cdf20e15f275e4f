"""Closed forms of directions against NumPy and scikit-learn (specification 24)."""

import numpy as np
import pytest

from jaxgan import UserError
from jaxgan.latent import algebra


def cosine(a, b):
    return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)


def test_sefa_of_a_linear_map_is_its_right_singular_vectors(rng):
    matrix = rng.standard_normal((40, 12))
    vectors, values = algebra.sefa(matrix, unit_rows=False)
    _, singular, right = np.linalg.svd(matrix)
    for found, true in zip(vectors, right, strict=True):
        assert cosine(found, true) > 1 - 1e-6
    np.testing.assert_allclose(values, singular**2)
    assert (np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1) > 0).all()


def test_sefa_with_unit_rows_ignores_their_scale(rng):
    matrix = rng.standard_normal((40, 12))
    scaled = np.concatenate([matrix * rng.uniform(0.1, 9, (40, 1)), np.zeros((2, 12))])
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    found, _ = algebra.sefa(scaled, 3)
    np.testing.assert_allclose(found, algebra.sefa(unit, 3, unit_rows=False)[0], atol=1e-9)


@pytest.mark.parametrize("size", [12, 2100])
def test_principal_components_recover_the_order(rng, size):
    sigma = np.full(size, 0.01)
    sigma[[3, 0, 7, 5]] = 4, 3, 2, 1
    x = rng.standard_normal((3000, size), np.float32) * sigma.astype(np.float32) + 5
    found = algebra.principal(x, 4)
    assert list(np.abs(found.vectors).argmax(1)) == [3, 0, 7, 5]
    np.testing.assert_allclose(found.sigma, [4, 3, 2, 1], rtol=0.05)
    np.testing.assert_allclose(found.mean, 5, atol=0.3)
    assert found.share.sum() > 0.98
    again = algebra.principal(x, 4)
    np.testing.assert_array_equal(found.vectors, again.vectors)


def test_regression_finds_directions_of_linear_activations(rng):
    z = rng.standard_normal((500, 6))
    matrix = np.linalg.qr(rng.standard_normal((9, 6)))[0] * [6, 5, 4, 3, 2, 1]
    found = algebra.principal(z @ matrix.T, 6)
    coordinates = (z @ matrix.T - found.mean) @ found.vectors.T / found.sigma
    directions = algebra.regression(coordinates, z)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    for index in range(3):
        assert cosine(directions[index], np.eye(6)[index]) > 0.98
    np.testing.assert_allclose(algebra.spread(z, directions), 1, atol=0.15)


def test_the_machine_is_scikit_learns(rng):
    svm = pytest.importorskip("sklearn.svm")
    for gap in (0.2, 3.0):
        positive = np.arange(80) % 2 == 0
        x = rng.standard_normal((80, 10)) + gap * positive[:, None] * np.eye(10)[0]
        w, b = algebra.machine(x, positive, tolerance=1e-6)
        other = svm.SVC(kernel="linear", tol=1e-6).fit(x, positive)
        np.testing.assert_allclose(w, other.coef_[0], atol=1e-4)
        np.testing.assert_allclose(b, other.intercept_[0], atol=1e-4)


def test_the_boundary_of_linear_scores_is_their_direction(rng):
    codes = rng.standard_normal((20_000, 16))
    direction = algebra.unit(rng.standard_normal(16))
    found = algebra.boundary(codes, codes @ direction)
    assert found.normal @ direction > 0.99
    assert found.held > 0.99
    assert found.rest > 0.7
    np.testing.assert_array_equal(found.normal, algebra.boundary(codes, codes @ direction).normal)


def test_a_boundary_lies_where_scores_change(rng):
    codes = rng.standard_normal((20_000, 6)) + 3
    direction = algebra.unit(rng.standard_normal(6))
    middle = codes.mean(0) @ direction
    found = algebra.boundary(codes, codes @ direction)
    assert found.offset == pytest.approx(middle, abs=0.3)
    raised = codes @ direction > middle + 1
    found = algebra.boundary(codes, raised.astype(float), extremes=0.1)
    assert found.offset == pytest.approx(middle + 1, abs=0.3)
    assert ((codes @ found.normal > found.offset) == raised).mean() > 0.9


def test_a_conditioned_boundary_is_measured_as_it_is(rng):
    codes = rng.normal([3, -1, 0, 0], 1, (20_000, 4))
    whole = algebra.boundary(codes, codes[:, 0])
    others = algebra.unit(np.array([[1, 0.1, 0, 0]]))
    found = algebra.boundary(codes, codes[:, 0], others=others)
    np.testing.assert_allclose(found.normal, algebra.conditioned(whole.normal, others))
    # From the mean along the new normal to the new plane: there the old one is.
    mean = codes.mean(0)
    there = mean + (found.offset - mean @ found.normal) * found.normal
    assert there @ whole.normal == pytest.approx(whole.offset)
    # Little of the attribute is left: 0.1 of 2.4 sigma, against 1 sigma of all else.
    assert whole.held > 0.95
    assert 0.5 < found.held < 0.75
    assert found.rest < whole.rest - 0.2
    same = algebra.boundary(codes, codes[:, 0], others=np.array([[0.0, 0, 0, 0]]))
    assert same.offset == pytest.approx(whole.offset)
    with pytest.raises(UserError, match="nothing is left"):
        algebra.boundary(codes, codes[:, 0], others=whole.normal[None])


def test_boundaries_that_cannot_be(rng):
    codes = rng.standard_normal((200, 4))
    with pytest.raises(UserError, match="draw more"):
        algebra.boundary(codes[:20], codes[:20, 0])
    with pytest.raises(UserError, match="does not vary"):
        algebra.boundary(codes, np.zeros(200))


def test_conditioned_directions_are_orthogonal(rng):
    normal, others = algebra.unit(rng.standard_normal(32)), rng.standard_normal((3, 32))
    others = np.concatenate([others, others[:1] + 1e-9 * others[1:2]])  # nearly parallel
    found = algebra.conditioned(normal, others)
    assert np.abs(algebra.unit(others) @ found).max() < 1e-7
    np.testing.assert_allclose(np.linalg.norm(found), 1)
    first = algebra.unit(others[0])
    one = algebra.conditioned(normal, first[None])
    np.testing.assert_allclose(one, algebra.unit(normal - (normal @ first) * first))
    with pytest.raises(UserError, match="nothing is left"):
        algebra.conditioned(first, others)


def test_components_that_carry_nothing_are_left_out(rng):
    x = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8))
    assert len(algebra.principal(x.astype(np.float32), 6).vectors) == 3
    assert len(algebra.principal(np.zeros((5, 4)), 2).vectors) == 1
