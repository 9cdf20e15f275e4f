import importlib.util

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import fingerprint, open_source
from jaxgan.errors import UserError
from jaxgan.fields import Image as ImageField
from tests.data.short import batches


def test_a_file_is_a_data_set_of_one_image(tmp_path, rng):
    pixels = rng.integers(0, 256, (9, 14, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    source = open_source(f"image:{tmp_path / 'a.png'}")
    assert (len(source), source.columns) == (1, {"image": ImageField((9, 14, 3))})
    np.testing.assert_array_equal(source[0]["image"], pixels)
    Image.fromarray(255 - pixels).save(tmp_path / "b.png")
    assert fingerprint(source) != fingerprint(open_source(f"image:{tmp_path / 'b.png'}"))


@pytest.mark.parametrize("name", ["china", "flower"])
def test_photographs_of_scikit_learn(name):
    datasets = pytest.importorskip("sklearn.datasets")
    source = open_source(f"image:{name}")
    expected = datasets.load_sample_image(f"{name}.jpg")
    np.testing.assert_array_equal(source[0]["image"], expected)


def test_mistakes(tmp_path, monkeypatch):
    (tmp_path / "notes.png").write_text("text")
    for spec, message in (
        ("image:nothing.png", "'nothing.png' does not exist: give an image, or one of china"),
        (f"image:{tmp_path}", "is a folder"),
        (f"image:{tmp_path / 'notes.png'}", "found no image"),
        (str(tmp_path / "notes.png"), "or image:"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(spec)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jaxgan\[demo\]'"):
        open_source("image:china")


def test_a_stage_of_any_height_and_width_is_resampled(tmp_path, rng):
    pixels = rng.integers(0, 256, (18, 22, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    source = open_source(f"image:{tmp_path / 'a.png'}")
    small = batches(source, shape=(18, 22, 3), classes=0, batch=1, resolution=(12, 15))
    expected = Image.fromarray(pixels).resize((15, 12), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(
        small[0]["image"][0], np.asarray(expected, np.float32) / 127.5 - 1, atol=1e-6
    )
    whole = batches(source, shape=(18, 22, 3), classes=0, batch=1, resolution=(18, 22))
    np.testing.assert_allclose(
        whole[5]["image"][0], pixels.astype(np.float32) / 127.5 - 1, atol=1e-6
    )
