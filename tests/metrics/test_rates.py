import numpy as np
import pytest
from PIL import features

from jaxgan.codec import standard
from jaxgan.data import as_source
from jaxgan.metrics import rates
from jaxgan.metrics.features import pixels
from jaxgan.metrics.images import Stored
from jaxgan.metrics.records import Record


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
    smooth = coarse.repeat(4, 1).repeat(4, 2)
    return Stored(as_source(smooth))


def test_curves_rise_and_what_lies_between_is_interpolated(images):
    found = rates.curves(images, "psnr,bpp,fid", extractor=pixels((32, 32, 3)), qualities=(10, 90))
    assert set(found) == set(standard.available()) >= {"JPEG"}
    assert ("AVIF" in found) == features.check("avif")
    for curve in found.values():
        low, high = curve
        assert low["bpp"] < high["bpp"]
        assert low["psnr"] < high["psnr"]
        between = rates.at_rate(curve, "psnr", (low["bpp"] * high["bpp"]) ** 0.5)
        np.testing.assert_allclose(between, (low["psnr"] + high["psnr"]) / 2)
        assert rates.at_rate(curve, "psnr", high["bpp"] * 1.01) is None
    record = Record(
        **dict.fromkeys(Record.__dataclass_fields__, None) | {"metric": "psnr", "value": 30.0}
    )
    other = Record(
        **dict.fromkeys(Record.__dataclass_fields__, None) | {"metric": "bpp", "value": 1.0}
    )
    assert rates.picture(found, [record, other]).width > 300


def test_only_scores_of_pairs_are_drawn_and_only_beside_bits():
    assert rates.compared("psnr,bpp,lpips,fid") == ["psnr", "lpips"]
    assert rates.compared("psnr,lpips") == []


def test_all_bytes_of_a_standard_file_are_counted(rng):
    image = rng.integers(0, 256, (5, 9, 3), np.uint8)
    for format in standard.available():
        size, back = standard.coded(image, format, 80)
        assert back.shape == image.shape
        assert size > 20
