import io
import json
import os
import pickle
import struct

import grain
import numpy as np
import pytest
from PIL import Image

from jaxgan.data import Fit, fingerprint, open_folder, open_packed, open_source, pack, read
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


def changed(name, **facts):
    """An index whose first entry of a list says otherwise."""

    def change(index: dict) -> str:
        first, *rest = index[name]
        return json.dumps({**index, name: [{**first, **facts}, *rest]})

    return change


def test_an_index_or_shard_that_is_no_file_neither_hangs_nor_fills_the_memory(folder, tmp_path):
    pack(folder, tmp_path / "out")
    index, (shard,) = tmp_path / "out/packed.json", (tmp_path / "out").glob("*.array_record")
    content = index.read_text()
    os.truncate(index, 2**40)
    with pytest.raises(UserError, match=r"packed.json cannot be read: a file of 1,099,511"):
        open_packed(str(tmp_path / "out"))
    index.write_text(content)
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(UserError, match=r"array_record is missing"):
        open_packed(str(tmp_path / "out"))
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(UserError, match=r"packed.json cannot be read: a pipe"):
        open_packed(str(tmp_path / "out"))


def test_a_record_that_is_none_is_named(folder, tmp_path):
    packed = pack(folder, tmp_path / "out")
    object.__setattr__(packed, "records", [b"ab"] * 7)
    with pytest.raises(UserError, match=r"array_record is damaged at item 3 \(a record without"):
        packed[3]
    object.__setattr__(packed, "records", [bytes(4) + b"text"] * 7)
    with pytest.raises(UserError, match=r"out \(item 3\): found no image but b'text'"):
        packed[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: "{", "is no index"),
        (lambda facts: "[]", "is no index"),
        (lambda facts: json.dumps({**facts, "version": 2}), "has version 2, expected 1"),
        (lambda facts: json.dumps({**facts, "shards": 3}), "is no index"),
        (lambda facts: "[" * 100_000, "is no index"),
        (lambda facts: json.dumps({**facts, "version": 10**4000}), "has version"),
        (lambda facts: json.dumps({**facts, "more": 1}), "is no index"),
        (changed("shards", file="../photo"), "'../photo' is no name of a shard"),
        (changed("shards", file="/etc/passwd"), "is no name of a shard"),
        (changed("shards", file="a[0:9]"), "is no name of a shard"),
        (changed("shards", file="a\x1b[2J"), r"'a\\x1b\[2J' is no name of a shard"),
        (changed("shards", file=7), "7' instead of a value of type str"),
        (changed("shards", images=10**12), "1,000,000,000,000 images in"),
        (changed("shards", images=-1), "-1 images in"),
        (changed("shards", images=True), "'True' instead of a value of type int"),
        (changed("shards", images=6), "its classes have 7 images, its shards 6"),
        (changed("shards", bytes=2**62, images=2**60), "images, expected 1 to 268,435,456"),
        (lambda facts: json.dumps({**facts, "shards": facts["shards"] * 2}), "named twice"),
        (lambda facts: json.dumps({**facts, "shards": []}), "0 images, expected 1"),
        (lambda facts: json.dumps({**facts, "classes": [["a", 10**15]]}), "its classes have"),
        (lambda facts: json.dumps({**facts, "classes": [["a", 8], ["b", -1]]}), "than none"),
        (lambda facts: json.dumps({**facts, "classes": [["a", 3], ["a", 4]]}), "named twice"),
        (lambda facts: json.dumps({**facts, "shapes": [[9, 7, 5, 0]]}), "9x7x5 of item 0"),
        (lambda facts: json.dumps({**facts, "shapes": [[9, 7, 3, 7]]}), "9x7x3 of item 7"),
    ],
)
def test_an_index_of_something_else(folder, tmp_path, change, message):
    pack(folder, tmp_path / "out")
    index = tmp_path / "out" / "packed.json"
    index.write_text(change(json.loads(index.read_text())))
    with pytest.raises(UserError, match=message) as caught:
        open_source(str(tmp_path / "out"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
