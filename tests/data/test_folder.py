import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import fingerprint, open_source, pack
from jaxgan.errors import UserError
from jaxgan.fields import Image as ImageField
from jaxgan.fields import Label
from tests.data.short import scan


def draw(path, value: int = 0, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def test_a_flat_folder_is_sorted_and_unlabelled(tmp_path):
    for value, name in enumerate(["b.png", "a.JPG", "c.webp", "d.bmp"]):
        draw(tmp_path / name, 40 * value)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    source = open_source(str(tmp_path))
    assert source.files == ("a.JPG", "b.png", "c.webp", "d.bmp")
    assert (source.columns, source.labels) == ({"image": ImageField()}, None)
    assert set(source[1]) == {"image"}
    np.testing.assert_array_equal(source[1]["image"], np.zeros((4, 4, 1)))


def test_sub_folders_are_classes_by_sorted_name(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/1.png"):
        draw(tmp_path / name, len(name))
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / ".git").mkdir()
    source = open_source(str(tmp_path))
    assert source.columns["label"] == Label(classes=2, names=("cat", "dog"))
    assert source.files == ("cat/1.png", "cat/2.png", "dog/1.png")
    assert source.labels.tolist() == [0, 0, 1]
    assert source[2]["label"] == 1
    assert source[2]["label"].dtype == np.int32
    assert pickle.loads(pickle.dumps(source)).files == source.files


def test_the_users_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    draw(tmp_path / "photos/a.png")
    assert len(open_source("~/photos")) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"holds no images, expected files in \.png"),
        (["readme.txt"], "holds no images"),
        (["a.png", "cat/b.png"], r"both images \(a.png\) and sub-folders \(cat\)"),
        (
            ["train/cat/b.png"],
            r"nested too deep \(train/cat\).*did you mean .*/train\? Or add --recursive",
        ),
        (["cat/a.png", "dog/readme.txt"], "/dog holds no images.*add some or remove"),
    ],
)
def test_a_layout_that_would_be_a_guess_is_refused(tmp_path, files, message):
    for file in files:
        draw(tmp_path / file) if file.endswith("png") else (
            (tmp_path / file).parent.mkdir(exist_ok=True),
            (tmp_path / file).write_text("text"),
        )
    with pytest.raises(UserError, match=message) as caught:
        open_source(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_fingerprint_knows_names_and_sizes_but_not_the_place(tmp_path):
    for place in ("one", "two"):
        draw(tmp_path / place / "a.png")
        draw(tmp_path / place / "b.png")
    first, second = (fingerprint(open_source(str(tmp_path / p))) for p in ("one", "two"))
    assert first == second
    (tmp_path / "two/b.png").rename(tmp_path / "two/c.png")
    renamed = fingerprint(open_source(str(tmp_path / "two")))
    draw(tmp_path / "one/b.png", size=(40, 40))
    resized = fingerprint(open_source(str(tmp_path / "one")))
    assert len({first, renamed, resized}) == 3


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_photograph_of_broken_exif_is_trained_on_and_packed_upright(tmp_path):
    """An ImageWidth of a wrong type beside a good orientation, as cameras and editors write it."""
    rows = [(0x100, 7, 4, b"\1\2\3\4"), (0x112, 3, 1, struct.pack("<H", 6))]
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(rows))
    exif += b"".join(struct.pack("<HHI", *row[:3]) + row[3].ljust(4, b"\0") for row in rows)
    (tmp_path / "in").mkdir()
    stored = Image.new("RGB", (8, 4))
    stored.putpixel((0, 3), (255, 255, 255))  # lower left, which is upper left to the viewer
    stored.save(tmp_path / "in/a.jpg", exif=exif + bytes(4), quality=100, subsampling=0)
    for source in (open_source(str(tmp_path / "in")), pack(tmp_path / "in", tmp_path / "out")):
        assert scan(source, shape=(8, 4, 3), classes=0).found == "8x4x3"
        image = source[0]["image"]
        assert np.unravel_index(image.sum(-1).argmax(), (8, 4)) == (0, 0)
