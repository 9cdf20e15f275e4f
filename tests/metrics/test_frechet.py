"""Fréchet distance against closed forms, scipy's square root of a matrix and pytorch-fid."""

import functools
import logging
import operator

import numpy as np
import pytest
from scipy import linalg

from jaxgan.errors import UserError
from jaxgan.metrics import base
from jaxgan.metrics.frechet import FID, IntraFID, Moments, expected_bias, frechet_distance
from tests.reference.recorded import correlated, frechet_sets, recorded


def gaussian(mean, variances):
    return Moments(np.asarray(mean, float), np.diag(np.asarray(variances, float)), None)


def with_square_root(a, b):
    """The definition, with a square root of the product itself."""
    root = linalg.sqrtm(a.covariance @ b.covariance)
    trace = np.trace(a.covariance + b.covariance - 2 * root.real)
    return np.square(a.mean - b.mean).sum() + trace


def test_closed_forms():
    assert frechet_distance(gaussian([3, 3], [1, 4]), gaussian([3, 3], [4, 1])) == 2.0
    shift = np.array([0.3, -0.4])
    distance = frechet_distance(gaussian([0, 0], [2, 5]), gaussian(shift, [2, 5]))
    np.testing.assert_allclose(distance, shift @ shift, rtol=1e-12)
    # Commuting covariances: the sum of squared differences of standard deviations.
    a, b = np.array([0, 1e-9, 1, 7]), np.array([3, 2, 0, 5])
    expected = np.square(np.sqrt(a) - np.sqrt(b)).sum()
    distance = frechet_distance(gaussian(np.zeros(4), a), gaussian(np.zeros(4), b))
    np.testing.assert_allclose(distance, expected, rtol=1e-12)


@pytest.mark.parametrize("samples", [500, 12])  # 12: covariances of rank 11 in 48 dimensions
def test_identical_sets_are_at_distance_zero(rng, samples):
    moments = Moments.of(correlated(rng, samples, 48))
    assert 0 <= frechet_distance(moments, moments) < 1e-12 * 48


def test_full_rank_agrees_with_the_square_root_of_the_product(rng):
    a = Moments.of(correlated(rng, 500, 48))
    b = Moments.of(1.1 * correlated(rng, 400, 48) + 0.05)
    np.testing.assert_allclose(frechet_distance(a, b), with_square_root(a, b), rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(a, b), frechet_distance(b, a), rtol=1e-9)


@pytest.mark.parametrize(("m", "n"), [(12, 9), (12, 400), (400, 12)])
def test_singular_covariances(rng, m, n):
    x, y = correlated(rng, m, 48), correlated(rng, n, 48) + np.float32(0.05)
    a, b = Moments.of(x), Moments.of(y)
    # Tr (A Aᵀ B Bᵀ)^½ is the sum of the singular values of Aᵀ B: of centred samples, so no
    # covariance and no root of a rounding error comes in.
    one = (x - a.mean).astype(float) / np.sqrt(m - 1)
    other = (y - b.mean).astype(float) / np.sqrt(n - 1)
    root = linalg.svdvals(one @ other.T).sum()
    spread = np.square(one).sum() + np.square(other).sum()
    expected = np.square(a.mean - b.mean).sum() + spread - 2 * root
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-6)
    np.testing.assert_allclose(frechet_distance(b, a), expected, rtol=1e-6)


@pytest.mark.parametrize("samples", [600, 20])
def test_agrees_with_pytorch_fid(samples):
    a, b = map(Moments.of, frechet_sets(samples))
    np.testing.assert_allclose(frechet_distance(a, b), recorded()[f"fid {samples}"], rtol=1e-5)


def test_merged_moments_are_those_of_all_samples(rng):
    x = correlated(rng, 101, 8) + np.float32(1000)  # raw second moments would lose six digits
    whole = Moments.of(x)
    np.testing.assert_allclose(whole.mean, x.mean(0, dtype=np.float64), rtol=1e-15)
    np.testing.assert_allclose(whole.covariance, np.cov(x.astype(float).T), rtol=1e-8)
    for edges in ([1, 2, 60], [100], [30, 31]):  # batches of one sample too
        merged = functools.reduce(operator.add, map(Moments.of, np.split(x, edges)))
        assert merged.count == whole.count == 101
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-14)
        np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-8)
        assert frechet_distance(merged, whole) < 1e-12


def test_files_keep_every_bit(rng, tmp_path):
    moments = Moments.of(correlated(rng, 20, 8))
    moments.save(tmp_path / "statistics")  # exactly that name
    loaded = Moments.load(tmp_path / "statistics")
    assert loaded.count == 20
    np.testing.assert_array_equal(loaded.mean, moments.mean)
    np.testing.assert_array_equal(loaded.covariance, moments.covariance)


def test_files_of_pytorch_fid_are_read(rng, tmp_path):
    x = correlated(rng, 20, 8)
    np.savez(tmp_path / "theirs.npz", mu=x.mean(0), sigma=np.cov(x.T))
    loaded = Moments.load(tmp_path / "theirs.npz")
    assert loaded.count is None
    assert frechet_distance(loaded, Moments.of(x)) < 1e-6
    loaded.save(tmp_path / "again.npz")
    assert Moments.load(tmp_path / "again.npz").count is None
    with pytest.raises(UserError, match="without a count"):
        loaded + Moments.of(x)


class Malicious:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize(
    "content",
    [
        {"mu": np.zeros(2)},
        {"mu": np.zeros(2), "sigma": np.zeros((3, 3))},
        {"mu": np.full(2, np.nan), "sigma": np.eye(2)},
        {"mu": np.array(["a", "b"]), "sigma": np.eye(2)},
        {"mu": np.array([Malicious()]), "sigma": np.eye(1)},
    ],
)
def test_files_that_are_none_are_refused(tmp_path, content):
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(UserError, match=r"bad\.npz: "):
        Moments.load(tmp_path / "bad.npz")


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Moments.load(tmp_path / "none.npz")
    for content in (b"", b"PK\x03\x04 cut off", b"text"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(UserError, match="not an npz file of statistics"):
            Moments.load(tmp_path / "bad.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(UserError, match="not an npz file of statistics"):
        Moments.load(tmp_path / "array.npy")


def test_mistakes(rng):
    x = rng.normal(size=(5, 3))
    with pytest.raises(UserError, match="3 and 2 dimensions"):
        frechet_distance(Moments.of(x), Moments.of(x[:, :2]))
    with pytest.raises(UserError, match="3 and 2 dimensions"):
        Moments.of(x) + Moments.of(x[:, :2])
    with pytest.raises(UserError, match="2 samples a side, got 1"):
        frechet_distance(Moments.of(x), Moments.of(x[:1]))
    with pytest.raises(UserError, match="at least one"):
        Moments.of(x[:0])
    x[2, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        Moments.of(x)


@pytest.mark.parametrize(("count", "other"), [(2000, 10_000), (500, 10_000), (300, 300)])
def test_the_expected_bias_is_what_equal_distributions_score(rng, count, other):
    variances = np.logspace(0, -2, 48)
    samples = [
        [Moments.of(rng.normal(size=(n, 48)) * np.sqrt(variances)) for n in (count, other)]
        for _ in range(5)
    ]
    measured = np.mean([frechet_distance(*pair) for pair in samples])
    assert expected_bias(np.diag(variances), count, other) == pytest.approx(measured, rel=0.1)
    endless = expected_bias(np.diag(variances), count)
    assert endless == pytest.approx(expected_bias(np.diag(variances), count, 10**12))


def test_few_images_are_warned_of_once(rng, caplog):
    base.warn.cache_clear()

    def score(count, size):
        fid = FID()
        fid.add({"features": rng.normal(size=(count, size))})
        fid.real = Moments.of(real[:, :size])
        fid.result()

    real = rng.normal(size=(3000, 2100)).astype(np.float32)
    with caplog.at_level(logging.WARNING, "jaxgan"):
        score(2000, 8)
        assert not caplog.messages
        score(100, 8)
        score(100, 8)
        (message,) = caplog.messages
        assert message.startswith("fid of 100 images against 3,000, by features of 8 dimensions:")
        assert message.endswith(
            f"about {expected_bias(np.cov(real[:, :8].T), 100, 3000):.3g}, not 0"
        )
        score(2000, 2100)  # fewer than dimensions
        assert len(caplog.messages) == 2


def test_classes_are_scored_each_for_itself(rng):
    score = IntraFID()
    features = rng.normal(size=(2, 90, 3))
    labels = np.arange(90) % 4  # the real ones lack class 3, and have a class 5
    real_labels = np.where(labels == 3, 5, labels)
    for part in (slice(40), slice(40, 90)):
        score.add({"features": features[0][part], "label": labels[part]})
        score.add(real={"features": features[1][part], "label": real_labels[part]})
    expected = [
        frechet_distance(*(Moments.of(side[labels == k]) for side in features)) for k in range(3)
    ]
    np.testing.assert_allclose(score.result()["intra_fid"], np.mean(expected), rtol=1e-9)
    score = IntraFID()
    score.add(
        {"features": features[0], "label": labels}, {"features": features[1], "label": labels + 9}
    )
    with pytest.raises(UserError, match="no class is on both sides"):
        score.result()
