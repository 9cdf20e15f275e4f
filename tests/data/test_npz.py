import zipfile

import numpy as np
import pytest

from jaxgan.data import fingerprint, open_source
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label
from tests.data.short import batches, scan


def saved(path, **arrays) -> str:
    np.savez(path, **arrays)
    return str(path)


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), np.uint8)


def test_what_sample_writes(tmp_path):
    name = saved(tmp_path / "a.npz", images=IMAGES, labels=np.array([2, 0, 2, 1, 0]))
    source = open_source(name)
    assert source.columns == {
        "image": Image((6, 4, 3)),
        "label": Label(classes=3),
    }
    assert source.labels.tolist() == [2, 0, 2, 1, 0]
    np.testing.assert_array_equal(source[3]["image"], IMAGES[3])
    batch = batches(source, shape=(6, 4, 3), classes=3, batch=5)[0]
    assert sorted(batch["label"].tolist()) == [0, 0, 1, 2, 2]
    assert scan(source, shape=(6, 4, 3), classes=3).notes == ()
    assert fingerprint(source) == fingerprint(open_source(name))
    assert fingerprint(source) != fingerprint(open_source(saved(tmp_path / "b.npz", images=IMAGES)))


def test_names_of_classes(tmp_path):
    labels, names = np.array([1, 0, 1, 1, 0]), ["cat", "dog"]
    name = saved(tmp_path / "a.npz", images=IMAGES, labels=labels, classes=names)
    assert open_source(name).columns["label"] == Label(classes=2, names=("cat", "dog"))
    with pytest.raises(UserError, match="entry 1 has the label 2, expected 0 to 1"):
        open_source(saved(tmp_path / "b.npz", images=IMAGES, labels=labels + 1, classes=names))


def test_other_ways_to_keep_images(tmp_path):
    adm = open_source(saved(tmp_path / "adm.npz", arr_0=IMAGES, arr_1=np.arange(5)))
    assert adm.labels.tolist() == [0, 1, 2, 3, 4]
    grey = open_source(saved(tmp_path / "grey.npz", images=IMAGES[..., 0]))
    assert grey.columns == {"image": Image((6, 4, 1))}
    more = open_source(saved(tmp_path / "m.npz", images=IMAGES, labels=np.full(5, 3), z=IMAGES))
    assert more.notes == ("3 of 4 classes have no images (first: 0)", "not read: z")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds nothing, expected `images`"),
        ({"mu": np.zeros(3), "sigma": np.zeros(3)}, "holds mu, sigma, expected `images`"),
        (
            {"images": IMAGES.astype(np.float32)},
            r"images is float32 \(5, 6, 4, 3\), expected uint8",
        ),
        ({"images": IMAGES[0, 0]}, "expected uint8"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8)}, "1 to 4 channels"),
        ({"images": IMAGES, "labels": np.arange(4)}, r"labels is \(4,\), expected \(5,\)"),
        ({"images": IMAGES, "labels": np.zeros(5)}, "entry 1 has the label 0.0, expected whole"),
        ({"images": IMAGES, "labels": np.full(5, -1)}, "the label -1, expected 0 to"),
        ({"images": IMAGES, "labels": np.full(5, 2**62)}, "expected 0 to 999,999"),
        (
            {"images": np.array([{}], object)},
            "not an npz file of images \\(images holds Python objects",
        ),
    ],
)
def test_arrays_that_are_no_images(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message) as caught:
        open_source(saved(tmp_path / "a.npz", **arrays))
    assert "\n" not in str(caught.value)


def test_a_file_that_asks_for_more_than_it_holds(tmp_path):
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6, 10, 3)}
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w") as archive,
        archive.open("images.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UserError, match=r"images is uint8 .* of 30,000,000,000,000 bytes, but"):
        open_source(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (5, 0, 8, 3), (10**9, 10**9, 0, 3)])
def test_images_without_pixels(tmp_path, shape):
    np.savez(tmp_path / "a.npz", images=np.empty(shape, np.uint8))
    with pytest.raises(UserError, match=r"a\.npz: images is \(.*\), which holds no pixels"):
        open_source(str(tmp_path / "a.npz"))
