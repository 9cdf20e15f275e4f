"""Manifold scores against closed cases, prdc, torch-fidelity and brute force in float64."""

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import manifold
from jaxgan.metrics.manifold import density_coverage, precision_recall
from tests.reference.recorded import manifold_sets, recorded


def brute_force(real, fake, k, ball):
    """All scores with distances of differences, squared, in float64 (exact for small integers)."""
    real, fake = real.astype(float), fake.astype(float)

    def distances(a, b):
        return np.square(a[:, None] - b[None]).sum(-1)

    real_radii = np.sort(distances(real, real), 1)[:, k]
    fake_radii = np.sort(distances(fake, fake), 1)[:, k]
    cross = distances(real, fake)
    in_real = ball(cross, real_radii[:, None])
    return (
        in_real.any(0).mean(),
        ball(cross, fake_radii[None]).any(1).mean(),
        in_real.sum(0).mean() / k,
        in_real.any(1).mean(),
    )


@pytest.fixture(params=[4096, 32], ids=["one block", "blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(manifold, "_BLOCK", request.param)


@pytest.fixture
def sets():
    return manifold_sets()


@pytest.mark.usefixtures("blocks")
def test_identical_sets(rng):
    x = rng.normal(size=(100, 6)).astype(np.float32) + 50
    assert precision_recall(x, x) == (1, 1)
    # A ball has its centre and k - 1 neighbours inside, the k-th on its surface: k, over k, is 1.
    assert density_coverage(x, x) == (1, 1)


@pytest.mark.usefixtures("blocks")
def test_disjoint_sets(rng):
    x = rng.normal(size=(100, 6)).astype(np.float32)
    assert precision_recall(x, x + 100) == (0, 0)
    assert density_coverage(x, x + 100) == (0, 0)


def test_fidelity_and_variety_are_told_apart(rng):
    real = rng.normal(size=(400, 2))
    real[:, 0] += 20 * (np.arange(400) % 4)  # four modes
    one_mode = real[::4] + 0.01 * rng.normal(size=(100, 2))
    precision, recall = precision_recall(real, one_mode)
    assert precision > 0.95
    assert recall < 0.3
    assert density_coverage(real, one_mode).coverage < 0.3
    spread = rng.uniform((-5, -5), (65, 5), (400, 2))  # all modes and all that lies between
    precision, recall = precision_recall(real, spread)
    assert precision < 0.6
    assert recall > 0.95


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [3, 5])
def test_agrees_with_prdc(sets, k):
    expected = recorded()[f"prdc {k}"]
    assert ((expected[:2] > 0) & (expected[:2] < 1)).all()
    # It has `<` throughout, which differs from `<=` only where distances tie.
    ours = (*precision_recall(*sets, k=k), *density_coverage(*sets, k=k))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("k", [3, 5])
def test_agrees_with_torch_fidelity(sets, k):
    expected = recorded()[f"precision_recall {k}"]
    np.testing.assert_allclose(precision_recall(*sets, k=k), expected, rtol=1e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("offset", [0, 1000])
def test_surfaces_belong_to_precision_and_recall_only(rng, offset):
    # On a lattice most distances tie, and duplicates have balls of radius 0.
    real, fake = (rng.integers(0, 4, (n, 3)).astype(np.float32) + offset for n in (90, 70))
    closed, opened = (brute_force(real, fake, 3, ball) for ball in (np.less_equal, np.less))
    assert closed[0] != opened[0]
    assert closed[1] != opened[1]
    np.testing.assert_allclose(precision_recall(real, fake), closed[:2], rtol=1e-12)
    np.testing.assert_allclose(density_coverage(real, fake, k=3), opened[2:], rtol=1e-12)


def test_features_far_from_the_origin_keep_their_distances(sets):
    # About the origin |x|² would be 1e7 times the distances squared: nothing of them would be left.
    far = tuple(x + np.float32(3000) for x in sets)
    for scores in (precision_recall, density_coverage):
        kept = [x.astype(np.float64) - 3000 for x in far]  # what float32 left of them
        assert scores(*far) == scores(*(x.astype(np.float32) for x in kept))


def test_memorised_samples_lie_in_each_others_balls(rng):
    # Distances between copies tie with the radii, found in another pass.
    real = rng.normal(size=(64, 30)).astype(np.float32)
    fake = np.concatenate([real[::2], rng.normal(size=(20, 30)).astype(np.float32)])
    expected = brute_force(real, fake, 3, np.less_equal)[:2]
    np.testing.assert_allclose(precision_recall(real, fake), expected, rtol=1e-12)


@pytest.mark.parametrize("scores", [precision_recall, density_coverage])
def test_mistakes(scores):
    x = np.zeros((6, 3), np.float32)
    with pytest.raises(UserError, match="3 and 2 dimensions"):
        scores(x, x[:, :2])
    with pytest.raises(UserError, match="4 nearest neighbours among 6 real and 4 generated"):
        scores(x, x[:4], k=4)
    with pytest.raises(UserError, match="0 nearest neighbours"):
        scores(x, x, k=0)
