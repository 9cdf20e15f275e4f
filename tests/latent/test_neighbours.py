import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.latent.neighbours import memorisation, neighbours, picture
from jaxgan.metrics.features import pixels
from jaxgan.metrics.images import Drawn, Stored
from jaxgan.run import Run
from jaxgan.systems.cgan import CGAN
from jaxgan.systems.pix2pix import Pix2Pix

SHAPE = (6, 5, 3)
PIXELS = pixels(SHAPE)


def images(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def stored(array):
    return Stored(data.Arrays(array, name="real"))


class Copies(Run):
    """A run that draws these images."""

    system, name = CGAN(), "Copies"

    def __init__(self, array):
        self.array = array

    def drawn(self, num, **how):
        return Drawn(
            sample=lambda count, start: {"image": self.array[start : start + count]},
            num=num,
            name=self.name,
            shape=SHAPE,
            step=0,
            ema=False,
            truncation=None,
            seed=0,
        )


def test_the_nearest_are_those_of_all_distances():
    real, queries = images(950, 0), images(7, 1)  # more than a batch, and the last one smaller
    flat = [x.reshape(len(x), -1).astype(np.float64) for x in (queries, real)]
    apart = np.linalg.norm(flat[0][:, None] - flat[1][None], axis=-1)
    found = neighbours(Copies(queries), stored(real), 7, k=5, extractor=PIXELS)
    np.testing.assert_array_equal(found.rows, np.argsort(apart, 1)[:, :5])
    np.testing.assert_allclose(found.distances, np.sort(apart, 1)[:, :5], rtol=1e-9)
    np.testing.assert_array_equal(found.images, real[found.rows])
    np.testing.assert_array_equal(found.samples, queries)


def test_a_copy_is_found_at_distance_0():
    real = images(300, 0)
    found = neighbours(Copies(real[[5, 250]]), stored(real), 2, k=1, extractor=PIXELS)
    assert found.rows.ravel().tolist() == [5, 250]
    np.testing.assert_allclose(found.distances, 0, atol=1e-4)


def test_copies_are_told_from_new_images():
    real, new, others = images(200, 0), images(60, 1), images(60, 2)
    copies = memorisation(Copies(real[:60]), stored(real), stored(others), 60, extractor=PIXELS)
    assert copies.nearer == 1
    assert "a sample lies nearer than a held-out image with probability 1.000" in copies.text()
    honest = memorisation(Copies(new), stored(real), stored(others), 60, extractor=PIXELS)
    assert 0.35 < honest.nearer < 0.65
    same = memorisation(Copies(others), stored(real), stored(others), 60, extractor=PIXELS)
    assert same.nearer == pytest.approx(0.5)


def test_a_picture_has_a_row_for_each_sample():
    found = neighbours(Copies(images(3, 1)), stored(images(20, 0)), 3, k=4, extractor=PIXELS)
    shown = np.asarray(picture(found))
    # 13-fold to 78x65; a line of 14 below, gaps of 2, and one of 16 after the sample.
    assert shown.shape == (3 * (78 + 14), 5 * 67 + 16, 3)
    np.testing.assert_array_equal(shown[:78:13, :65:13], found.samples[0])
    np.testing.assert_array_equal(shown[92 : 92 + 78 : 13, 83 : 83 + 65 : 13], found.images[1, 0])


def test_mistakes_are_told():
    real = stored(images(3, 0))
    with pytest.raises(UserError, match="3 images, fewer than 6 neighbours"):
        neighbours(Copies(images(8, 1)), real, extractor=PIXELS)
    other = Copies(images(8, 1))
    other.system = Pix2Pix()
    with pytest.raises(UserError, match=r"cannot draw samples.*it has AtoB; .*CGAN"):
        neighbours(other, real, extractor=PIXELS)
