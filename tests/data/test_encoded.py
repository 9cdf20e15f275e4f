"""Damaged files that are named, or skipped and counted; formats."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image as Pillow

from jaxgan.cli import main
from jaxgan.data import Encoded, Part, Source, fingerprint, open_source, pack, skipped_of
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label
from jaxgan.fields.pixels import Reading
from tests.data.made import FORMS, folder, pixels, png
from tests.data.short import scan

SKIP = Reading(skip_broken=True)

MEMBERS = {f"{'ab'[i % 2]}/{i}.png": png(i) for i in range(8)}
DAMAGED = {"b/3.png": b"hello", "a/4.png": png(4)[:60]}


def test_the_first_damaged_file_is_named(form):
    source = open_source(form(MEMBERS | DAMAGED))
    with pytest.raises(UserError, match=r"a/4.png: found .*damaged"):
        scan(source, shape=(6, 5, 3), classes=2)


def test_damaged_files_are_skipped_and_counted(form, monkeypatch):
    name = form(MEMBERS | DAMAGED)
    source = open_source(name, SKIP)
    assert source.files == ("a/0.png", "a/2.png", "a/6.png", "b/1.png", "b/5.png", "b/7.png")
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(source[5]["image"], pixels(7))
    assert source[5]["label"] == 1
    first = source.store.place(source.store.members.index("a/4.png"))
    assert source.notes == (f"skipped 2 damaged of 8 files (first: {first})",)
    assert [line.partition(": found")[0] for line in skipped_of(source)] == [
        first,
        source.store.place(source.store.members.index("b/3.png")),
    ]
    # They have been decoded: not again.
    loads = []
    load = Encoded.load
    monkeypatch.setattr(Encoded, "load", lambda self, i: loads.append(i) or load(self, i))
    report = scan(source, shape=(6, 5, 3), classes=2)
    assert (report.count, report.classes, report.found) == (6, {"a": 3, "b": 3}, "6x5x3")
    assert loads == list(range(6))  # the first items, to be fitted
    assert fingerprint(source) != fingerprint(open_source(form(MEMBERS), SKIP))


def test_more_damaged_than_whole_is_refused(form):
    broken = dict.fromkeys(list(MEMBERS)[:5], b"x")
    with pytest.raises(UserError, match=r"5 of 8 files are damaged, more than half \(first: .*a/0"):
        open_source(form(MEMBERS | broken), SKIP)
    with pytest.raises(UserError, match="8 of 8 files are damaged"):
        open_source(form(dict.fromkeys(MEMBERS, b"")), SKIP)


def test_of_pairs_both_are_skipped(tmp_path):
    folder(tmp_path / "p", {f"{side}/{i}.png": png(i) for side in "ab" for i in range(5)})
    (tmp_path / "p/a/1.png").write_bytes(b"x")
    (tmp_path / "p/b/3.png").write_bytes(b"x")
    source = open_source(f"pairs:{tmp_path}/p", SKIP)
    assert len(source) == 3
    for item, seed in zip(range(3), (0, 2, 4), strict=True):
        for side in ("image", "input"):
            np.testing.assert_array_equal(source[item][side], pixels(seed))
    assert len(skipped_of(source)) == 2
    with pytest.raises(UserError, match=r"leave out --recursive"):
        open_source(f"pairs:{tmp_path}/p", Reading(recursive=True))


def test_sets_made_of_others_pass_notes_on(tmp_path):
    name = folder(tmp_path / "in", MEMBERS | DAMAGED | {"a/x.psd": b""})
    source = open_source(f"part:1/2:edges:{name}", SKIP)
    assert isinstance(source, Part)
    notes = scan(source, shape=(6, 5, 3), classes=2).notes
    assert [note.partition(name)[2][:12] for note in notes] == [": skipped 1 ", ": skipped 2 "]
    assert len(skipped_of(source)) == 2


def test_a_run_lists_what_was_skipped(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "in", {f"{i}.png": png(i, (8, 8)) for i in range(6)} | {"2.png": b"x"})
    options = (
        "--system.shape 8 8 3 --system.width 2 --batch 8 --steps 1 --log.samples 5 --log.grid 4"
    )
    command = ["train", "dcgan_celeba64", "--data", "in", "--crop", "None", "--out", "run"]
    command += options.split()
    assert main(command) == 2
    assert "in/2.png: found no image but b'x'" in capsys.readouterr().err
    assert main([*command, "--skip-broken"]) == 0
    assert "skipped 1 damaged of 6 files (first: in/2.png)" in capsys.readouterr().err
    assert (tmp_path / "run/skipped.txt").read_text().startswith("in/2.png: found no image")
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["skip_broken"] is True
    (tmp_path / "in/2.png").write_bytes(png(2, (8, 8)))
    assert main([*command, "--skip-broken", "--steps", "2"]) == 2
    assert "data has changed" in capsys.readouterr().err


def test_everything_can_be_packed(tmp_path, capsys):
    forms = {name: form(tmp_path, MEMBERS) for name, form in FORMS.items()}
    packs = [pack(each, tmp_path / f"out-{name}") for name, each in forms.items()]
    assert len({fingerprint(each) for each in packs}) == 1
    np.savez(tmp_path / "a.npz", images=np.stack([pixels(0), pixels(1)]), labels=[1, 0])
    made = pack(tmp_path / "a.npz", tmp_path / "out-npz")
    assert made.labels.tolist() == [0, 1]  # in order of classes
    for item, seed in ((0, 1), (1, 0)):
        np.testing.assert_array_equal(made[item]["image"], pixels(seed))
        assert made[item]["label"] == item
    folder(tmp_path / "in", MEMBERS | DAMAGED | {"x.psd": b""})
    command = ["data", "pack", str(tmp_path / "in"), str(tmp_path / "skipped"), "--skip-broken"]
    assert main(command) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("skipped 1 .psd (convert them to PNG)")
    assert "skipped 2 damaged of 8 files" in told[1]
    assert told[2].endswith(f"6 images, 2 classes; train with --data {tmp_path}/skipped")
    assert (tmp_path / "skipped/skipped.txt").read_text().count("\n") == 2
    with pytest.raises(UserError, match="is packed already"):
        pack(tmp_path / "skipped", tmp_path / "again")
    with pytest.raises(UserError, match="ring holds no images"):
        pack("ring", tmp_path / "again")


def test_labels_that_lie_in_items_are_packed(tmp_path):
    class Odd(Source):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return {"image": pixels(index), "label": np.int32(index % 2)}

        def identity(self):
            yield b"odd"

    packed = pack(
        Odd(name="odd", columns={"image": Image(), "label": Label(classes=2)}), tmp_path / "o"
    )
    assert packed.labels.tolist() == [0, 0, 1, 1]
    assert packed.columns["label"] == Label(classes=2, names=("0", "1"))
    for item, seed in enumerate((0, 2, 1, 3)):
        np.testing.assert_array_equal(packed[item]["image"], pixels(seed))


def test_what_a_pack_leaves_out_is_said(tmp_path):
    line = json.dumps({"file_name": "0.png", "text": "zero"}).encode()
    packed = pack(folder(tmp_path / "in", {"0.png": png(), "metadata.jsonl": line}), tmp_path / "o")
    assert packed.notes == ("text is not packed",)


def test_names_that_are_no_text_are_listed(tmp_path):
    folder(tmp_path / "in", {"a.png": png(), "b.png": png(), "c\nd.png": b"x"})
    (tmp_path / "in" / os.fsdecode(b"\xff.png")).write_bytes(png())
    source = open_source(str(tmp_path / "in"), SKIP)
    assert len(source) == 3
    fingerprint(source)
    pack(tmp_path / "in", tmp_path / "out", reading=SKIP)
    (line,) = (tmp_path / "out/skipped.txt").read_text().splitlines()
    assert "c\\nd.png: found no image" in line


# --- formats


def encoded(image: Pillow.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_formats_without_loss(tmp_path):
    image = Pillow.fromarray(pixels())
    members = {
        "a.tif": encoded(image, "TIFF"),
        "b.TIFF": encoded(image, "TIFF", compression="tiff_lzw"),
        "c.bmp": encoded(image, "BMP"),
        "d.webp": encoded(image, "WEBP", lossless=True),
        "e.avif": encoded(image, "AVIF", quality=100, subsampling="4:4:4"),
        "f.gif": encoded(image.quantize(256), "GIF"),
        "g.jfif": encoded(image, "JPEG", quality=100, subsampling=0),
    }
    source = open_source(folder(tmp_path / "in", members))
    assert (len(source), source.notes) == (7, ())
    for item in range(7):
        limit = 0 if item in (0, 1, 2, 3) else 12
        error = np.abs(source[item]["image"].astype(int) - pixels())
        assert error.max() <= limit, source.files[item]


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    grey = np.full((64, 64, 3), (200, 40, 90), np.uint8)
    heif.from_pillow(Pillow.fromarray(grey)).save(file, quality=100)
    name = folder(tmp_path / "in", {"a.heic": file.getvalue(), "b.HEIF": file.getvalue()})
    source = open_source(name)
    assert len(source) == 2
    assert np.abs(source[0]["image"].astype(int) - grey).max() <= 4


def test_heic_without_its_decoder_says_what_would_read_it(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgan.fields.pixels._reads_heif", lambda: False)
    content = b"\0\0\0\x18ftypheic" + bytes(40)
    name = folder(tmp_path / "in", {"a.png": content})
    with pytest.raises(UserError, match=r"a.png is an image in HEIF: pip install 'jaxgan\[heic\]'"):
        open_source(name)[0]


def test_sixteen_bits_become_eight(tmp_path):
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    name = folder(tmp_path / "in", {"a.tif": encoded(Pillow.fromarray(deep), "TIFF")})
    assert open_source(name)[0]["image"].ravel().tolist() == [0, 1, 128, 255]
    floats = Pillow.fromarray(np.zeros((2, 2), np.float32))
    folder(tmp_path / "in", {"a.tif": encoded(floats, "TIFF")})
    with pytest.raises(UserError, match=r"a.tif: found pixels of 32 bits"):
        open_source(name)[0]
