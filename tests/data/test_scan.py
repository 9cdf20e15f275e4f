import numpy as np
import pytest
from PIL import Image as Pillow

from jaxgan import data
from jaxgan.data import Arrays, Columns, Encoded, open_source
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Framing, Image, Mask, Text
from tests.data.short import scan


def folder(root, files: dict[str, tuple[int, int]], mode: str = "RGB"):
    for name, (height, width) in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.new(mode, (width, height)).save(path)
    return open_source(str(root))


def refused(source, message: str, **arguments) -> None:
    with pytest.raises(UserError, match=message) as caught:
        scan(source, **{"shape": (8, 8, 3), "classes": 0, **arguments})
    assert "\n" not in str(caught.value)


def labelled(*counts: int) -> Arrays:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 8, 8, 3), np.uint8)
    return Arrays(images, labels, [f"class{i}" for i in range(len(counts))], name="toy")


def test_a_report_counts_classes():
    report = scan(labelled(3, 1200), shape=(8, 8, 3), classes=2)
    assert (report.name, report.count, report.shape) == ("toy", 1203, (8, 8, 3))
    assert report.classes == {"class0": 3, "class1": 1200}
    assert report.text() == (
        "toy: 1,203 images, 8x8x3, 2 classes\n  class0         3\n  class1     1,200"
    )


def test_a_report_on_many_classes_is_short():
    report = scan(labelled(*range(1, 31)), shape=(8, 8, 3), classes=0)
    assert "30 classes (not used)" in report.text()
    assert report.text().splitlines()[-1] == "  ... and 10 more of 21 to 30 each"
    assert len(report.text().splitlines()) == 22


def test_a_report_says_what_resizing_starts_from(tmp_path):
    source = folder(tmp_path, {"a.png": (20, 10), "b.png": (8, 8), "c.png": (30, 40)})
    report = scan(source, shape=(8, 8, 3), classes=0, resize=True)
    assert report.text() == f"{tmp_path}: 3 images, 8x8 to 30x40 made 8x8x3"


def test_points_are_reported():
    assert (
        scan(open_source("ring"), shape=(2,), classes=0).text()
        == "ring: 100,000 points of 2 numbers"
    )


def test_files_of_any_channels_suit_any_system(tmp_path):
    for mode in ("L", "RGBA", "P"):
        Pillow.new(mode, (8, 8)).save(tmp_path / f"{mode}.png")
    source = open_source(str(tmp_path))
    assert scan(source, shape=(8, 8, 3), classes=0).found == "8x8x1 or 3 or 4"
    assert scan(source, shape=(8, 8, 1), classes=0).shape == (8, 8, 1)


def test_the_first_damaged_file_is_named(tmp_path):
    names = [f"{i:03d}.png" for i in range(100)]
    source = folder(tmp_path, dict.fromkeys(names, (8, 8)))
    whole = (tmp_path / names[0]).read_bytes()
    (tmp_path / names[90]).write_text("hello")
    refused(source, rf"^{tmp_path}/090.png: found no image but b'hello'.*replace or remove")
    (tmp_path / names[70]).write_bytes(b"")
    refused(source, r"070.png: found an empty file, expected an image")
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Pillow.fromarray(noisy).save(tmp_path / names[50])
    (tmp_path / names[50]).write_bytes((tmp_path / names[50]).read_bytes()[:2000])
    refused(source, r"050.png: found a damaged image \(.*truncated")
    (tmp_path / names[20]).write_bytes(whole[:30])
    refused(source, r"020.png: found")
    (tmp_path / names[10]).unlink()
    refused(source, r"010.png: found No such file")


def test_mixed_sizes_name_two_files(tmp_path):
    source = folder(tmp_path, {"a.png": (8, 8), "b.png": (8, 8), "c.png": (6, 9)})
    refused(
        source,
        r"different sizes \(height x width: .*/c.png is 6x9, .*/a.png is 8x8\).*: add --resize$",
    )
    assert scan(source, shape=(8, 8, 3), classes=0, resize=True).count == 3


def test_one_wrong_size_names_a_file(tmp_path):
    source = folder(tmp_path, {"a.png": (6, 6)})
    refused(
        source, r"/a.png is 6x6, the system draws 8x8x3: add --resize, or set the system to 6x6$"
    )


def test_crop(tmp_path):
    source = folder(tmp_path, {"a.png": (10, 8), "b.png": (9, 12)})
    assert scan(source, shape=(8, 8, 3), classes=0, crop=8).count == 2
    refused(source, r"/a.png is 10x8, too small for --crop 9", crop=9)
    refused(source, r"/a.png is 10x8, cropped to 6x6, the system draws 8x8x3", crop=6)
    refused(source, r"--crop 0: expected at least 1 pixel", crop=0)
    assert scan(source, shape=(8, 8, 3), classes=0, crop=6, resize=True).shape == (8, 8, 3)


def test_a_source_of_one_shape_is_refused_by_it():
    digits = open_source("digits")
    refused(digits, r"^digits is 8x8x1, the system draws 32x32x3: add --resize", shape=(32, 32, 3))
    refused(digits, r"^digits is 8x8x1, the system draws 8x8x3: add --resize, which converts")
    refused(digits, r"expected 1 \(grey\), 3 \(RGB\) or 4", shape=(8, 8, 2))
    assert scan(digits, shape=(8, 8, 3), classes=10, resize=True).shape == (8, 8, 3)


def test_points_and_images_are_not_confused(tmp_path):
    ring = open_source("ring")
    refused(ring, r"^ring holds points of 2 numbers, the system draws 8x8x3 images")
    refused(ring, r"the system draws points of 3 numbers", shape=(3,))
    refused(ring, r"drop --resize and --crop", shape=(2,), resize=True)
    refused(open_source("digits"), r"holds 8x8x1 images, the system draws points", shape=(2,))
    refused(folder(tmp_path, {"a.png": (8, 8)}), r"holds images, the system draws", shape=(2,))


def test_classes_must_agree(tmp_path):
    refused(labelled(2, 2), r"toy has 2 classes.*expects 3: set --system.classes 2$", classes=3)
    refused(labelled(4), r"toy has only the class 'class0'.*a form of the system", classes=1)
    flat = folder(tmp_path, {"a.png": (8, 8)})
    refused(flat, r"has no labels, .*conditional on 10 classes: use one sub-folder", classes=10)
    assert not scan(labelled(2, 2), shape=(8, 8, 3), classes=0).conditional


def test_nothing_is_refused():
    refused(Arrays(np.zeros((0, 8, 8, 3), np.uint8), name="none"), r"^none is empty")


def test_other_columns_are_told_of():
    items = {
        "image": np.zeros((3, 8, 8, 3), np.uint8),
        "mask": np.zeros((3, 8, 8, 1), np.uint8),
        "caption": ["a", "b", "c"],
        "depth": np.zeros((3, 8, 8, 1), np.uint8),
    }
    fields = {"image": Image(), "mask": Mask((8, 8, 2)), "caption": Text(), "depth": Image()}
    source = Columns(items, fields, name="toy")
    groups = ({"image": Image((8, 8, 3)), "mask": Mask((8, 8, 2)), "caption": WORDS},)
    assert data.scan(source, groups).text() == (
        "toy: 3 images, 8x8x3, each with its mask, each with its caption (depths not used)"
    )
    clips = Columns({"clip": [np.zeros((5 + i, 8, 9, 1), np.uint8) for i in range(3)]}, name="toy")
    groups = ({"clip": Clip((5, 8, 8, 1))},)
    report = data.scan(clips, groups, framing=Framing(resize=True))
    assert report.text() == "toy: 3 clips, 5x8x9 to 7x8x9 made 5x8x8x1"
    with pytest.raises(UserError, match=r"toy \(item 0\) has 5 frames, the system draws 6"):
        data.scan(clips, ({"clip": Clip((6, 8, 8, 1))},), framing=Framing(resize=True))


def encode(sentences: list[str]) -> np.ndarray:
    return np.zeros((len(sentences), 4), np.float32)


WORDS = Text((4,), encode=encode)


def test_the_first_items_are_fitted():
    """What no shape says: masks of other classes, encoders of other vectors."""
    masks = np.zeros((3, 8, 8, 1), np.uint8)
    masks[2, 0, 0] = 5
    source = Columns({"mask": masks}, {"mask": Mask((8, 8, 3))}, name="toy")
    with pytest.raises(UserError, match=r"^toy \(item 2\): a mask has the class 5, .* 0 to 2"):
        data.scan(source, ({"mask": Mask((8, 8, 3))},))
    source = Columns({"caption": ["a", "b"]}, name="toy")
    with pytest.raises(UserError, match=r"^toy: caption: the encoder makes vectors of \(4,\)"):
        data.scan(source, ({"caption": Text((5,), encode=encode)},))


def test_a_damaged_file_is_found_in_any_column(tmp_path, monkeypatch):
    """Of two groups, the second one's files, too; a set is read once for all fields."""
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "a", {"0.png": (8, 8), "1.png": (8, 8)})
    folder(tmp_path / "b", {"0.png": (8, 8), "1.png": (8, 8)})
    reads = []
    load = Encoded.load
    monkeypatch.setattr(Encoded, "load", lambda self, i: reads.append(i) or load(self, i))
    groups = ({"image": Image((8, 8, 3))}, {"again": Image((8, 8, 3), column="image")})
    data.scan(open_source("a"), groups)
    assert reads[:2] == [0, 1]
    assert len(reads) == 6  # each once, and the first items once a group to be fitted
    (tmp_path / "b" / "1.png").write_text("broken")
    apart = ({"image": Image((8, 8, 3))}, {"input": Image((8, 8, 3))})
    with pytest.raises(UserError, match=r"b/1.png: found no image"):
        data.scan(open_source("unpaired:b,a"), apart)
