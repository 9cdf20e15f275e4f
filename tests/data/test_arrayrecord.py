import io
import json
import pickle
import struct

import grain
import numpy as np
import pytest
from PIL import Image

from jaxgan.data import Fit, fingerprint, open_folder, open_source, pack, read
from jaxgan.errors import UserError
from tests.data.short import batches, scan


def draw(path, size=(9, 7), mode="RGB", seed=0, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, len(mode)), np.uint8)
    Image.fromarray(pixels.squeeze()).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    for i in range(7):
        draw(tmp_path / "in" / ("cat", "dog")[i % 2] / f"{i}.png", seed=i)
    return tmp_path / "in"


def same(one, other) -> None:
    assert len(one) == len(other)
    assert one.columns == other.columns
    for i in range(len(one)):
        a, b = one[i], other[i]
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], strict=True)
            assert a[key].dtype == b[key].dtype


def test_items_are_those_of_the_folder(folder, tmp_path):
    draw(folder / "cat/x.jpg", size=(40, 30), quality=80)
    draw(folder / "dog/y.webp", size=(8, 8), mode="RGBA")
    draw(folder / "dog/z.bmp", size=(5, 6), mode="L")
    pack(folder, tmp_path / "out", shard_images=3)
    packed, plain = open_source(str(tmp_path / "out")), open_folder(str(folder))
    assert len(list((tmp_path / "out").glob("*.array_record"))) == 4
    same(packed, plain)
    np.testing.assert_array_equal(packed.labels, plain.labels, strict=True)
    same(pickle.loads(pickle.dumps(packed)), plain)


def test_a_flat_folder_has_no_labels(tmp_path):
    for i in range(3):
        draw(tmp_path / f"in/{i}.png", seed=i)
    packed = pack(tmp_path / "in", tmp_path / "out")
    assert ("label" in packed.columns, packed.labels) == (False, None)
    same(packed, open_folder(str(tmp_path / "in")))


def test_records_are_a_label_and_the_file_itself(folder, tmp_path):
    pack(folder, tmp_path / "out")
    (shard,) = (tmp_path / "out").glob("*.array_record")
    records = grain.sources.ArrayRecordDataSource(str(shard))
    source = open_folder(str(folder))
    for i, file in enumerate(source.files):
        expected = struct.pack("<i", source.labels[i]) + (folder / file).read_bytes()
        assert records[i] == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_the_same_seed_and_step_give_the_same_batch(folder, tmp_path, workers):
    pack(folder, tmp_path / "out", shard_images=2)
    arguments = {"shape": (4, 4, 3), "classes": 2, "batch": 4, "seed": 3, "flip": True, "crop": 6}
    arguments |= {"resize": True, "draws": 2}
    plain = batches(open_source(str(folder)), **arguments)
    stream = batches(open_source(str(tmp_path / "out")), **arguments, workers=workers).iterate(1)
    for step in range(1, 4):
        batch = next(stream)
        for key, value in plain[step].items():
            np.testing.assert_array_equal(batch[key], value, strict=True)
    stream.close()


def test_resizing_keeps_files_that_have_the_size(tmp_path):
    draw(tmp_path / "in/a.jpg", size=(12, 20), quality=90)
    draw(tmp_path / "in/b.jpg", size=(8, 8), seed=1, quality=90)
    draw(tmp_path / "in/c.png", size=(30, 9), mode="LA", seed=2)
    plain = open_folder(str(tmp_path / "in"))
    packed = pack(tmp_path / "in", tmp_path / "out", size=8)
    contents = [record[4:] for record in packed.records]
    assert contents[1] == (tmp_path / "in/b.jpg").read_bytes()
    for i, channels in ((0, 3), (2, 2)):
        assert contents[i].startswith(b"\x89PNG")
        expected = Fit(shape=(8, 8, channels), resize=True)(plain[i]["image"])
        np.testing.assert_array_equal(packed[i]["image"], expected)
    assert scan(packed, shape=(8, 8, 3), classes=0).found == "8x8x2 or 3"


def test_a_scan_finds_in_the_index_what_it_finds_in_the_folder(folder, tmp_path):
    draw(folder / "dog/large.png", size=(30, 20))
    pack(folder, tmp_path / "out")
    arguments = {"shape": (4, 4, 3), "classes": 2, "resize": True}
    found = [scan(open_source(str(p)), **arguments) for p in (folder, tmp_path / "out")]
    assert found[0].found == found[1].found == "9x7 to 30x20"
    assert found[0].classes == found[1].classes == {"cat": 4, "dog": 4}
    with pytest.raises(UserError, match=r"out \(item 7\) is 30x20.*add --resize"):
        scan(open_source(str(tmp_path / "out")), shape=(9, 7, 3), classes=2)


def test_fingerprints_are_of_content(folder, tmp_path):
    one, other = (pack(folder, tmp_path / name) for name in ("one", "other"))
    assert fingerprint(one) == fingerprint(other)
    path = folder / "cat/0.png"
    image = read(io.BytesIO(path.read_bytes()))
    Image.fromarray(255 - image).save(path)
    assert fingerprint(pack(folder, tmp_path / "third")) != fingerprint(one)


def everything(place) -> list:
    return sorted(place.rglob("*"))


def test_a_pack_that_fails_leaves_nothing(folder, tmp_path):
    (folder / "dog/5.png").write_bytes((folder / "dog/5.png").read_bytes()[:60])
    before = everything(tmp_path)
    with pytest.raises(UserError, match=r"in/dog/5.png: found a damaged.*replace or remove"):
        pack(folder, tmp_path / "out", shard_images=2)
    assert everything(tmp_path) == before


def test_nor_does_one_that_is_interrupted(folder, tmp_path):
    before = everything(tmp_path)

    def interrupt(done: int, total: int) -> None:
        assert total == 7
        assert not (tmp_path / "out").exists()
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(folder, tmp_path / "out", shard_images=2, progress=interrupt)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", "out"), "no data set .*nothing', and no folder or file"),
        (("in", "in2"), "in2 exists: choose another name, or remove it"),
        (("in", "in/out"), "lies in .*: choose a place outside"),
        (("in", "where/out"), "there is no folder .*where"),
        (("in2", "out"), "in2 holds no images"),
        (("in", "out", {"size": 0}), "--size is 0: it must be at least 1"),
        (("in", "out", {"shard_images": 0}), "--shard-images is 0"),
    ],
)
def test_what_cannot_be_packed(folder, tmp_path, arguments, message):
    (tmp_path / "in2").mkdir()
    before = everything(tmp_path)
    source, out, *options = arguments
    with pytest.raises(UserError, match=message) as caught:
        pack(tmp_path / source, tmp_path / out, **(options[0] if options else {}))
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == before


def flip_a_byte(shard) -> None:
    content = bytearray(shard.read_bytes())
    content[shard.stat().st_size // 8] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda shard: shard.unlink(), "images-00001-of-00002.array_record is missing: copy"),
        (lambda shard: shard.write_bytes(b"x"), "00001-of-00002.array_record has 1 bytes, not"),
        (flip_a_byte, r"00001-of-00002.array_record is damaged at item \d \(.*\): copy"),
    ],
)
def test_a_damaged_shard_is_one_line(tmp_path, damage, message):
    for i in range(8):
        draw(tmp_path / f"in/{i}.png", size=(64, 64), seed=i)
    pack(tmp_path / "in", tmp_path / "out", shard_images=4)
    damage(tmp_path / "out" / "images-00001-of-00002.array_record")

    def read_all() -> None:
        source = open_source(str(tmp_path / "out"))
        for i in range(8):
            source[i]

    with pytest.raises(UserError, match=message) as caught:
        read_all()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: "{", "is no index"),
        (lambda facts: "[]", "is no index"),
        (lambda facts: json.dumps({**facts, "version": 2}), "has version 2, expected 1"),
        (lambda facts: json.dumps({**facts, "shards": 3}), "is no index"),
    ],
)
def test_an_index_of_something_else(folder, tmp_path, change, message):
    pack(folder, tmp_path / "out")
    index = tmp_path / "out" / "packed.json"
    index.write_text(change(json.loads(index.read_text())))
    with pytest.raises(UserError, match=message):
        open_source(str(tmp_path / "out"))
