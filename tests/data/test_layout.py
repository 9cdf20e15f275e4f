"""One set of images, as a folder, a zip, and tar files; their labels, captions and leftovers."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxgan.data import fingerprint, open_source, store
from jaxgan.data.match import match, refuse_unsuitable
from jaxgan.errors import UserError
from jaxgan.fields import Label, Points, Text
from jaxgan.fields.pixels import USUAL, Reading
from jaxgan.systems.stackgan import StackGAN
from tests.data.made import FORMS, folder, pixels, png, tarred, zipped
from tests.data.short import batches, scan

DEEP = Reading(recursive=True)

CLASSES = {f"{name}/{i}.png": png(i) for i, name in enumerate(["dog", "cat", "dog", "a-b", "a"])}
ORDER = [4, 3, 1, 0, 2]  # by folder and name: a, a-b, cat, dog
NAMES = ("a", "a-b", "cat", "dog")


def refused(name: str, message: str, reading: Reading = USUAL) -> str:
    with pytest.raises(UserError, match=message) as caught:
        open_source(name, reading)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_classes(form):
    source = open_source(form(CLASSES))
    assert source.columns["label"] == Label(classes=4, names=NAMES)
    assert source.labels.tolist() == [0, 1, 2, 3, 3]
    copy = pickle.loads(pickle.dumps(source))
    for i, seed in enumerate(ORDER):
        for each in (source, copy):
            np.testing.assert_array_equal(each[i]["image"], pixels(seed))
            assert each[i]["label"] == source.labels[i]
    report = scan(source, shape=(6, 5, 3), classes=4)
    assert report.classes == {"a": 1, "a-b": 1, "cat": 1, "dog": 2}
    assert report.notes == ()


def test_flat(form):
    source = open_source(form({"b.png": png(1), "a.png": png(0)}))
    assert (source.files, source.labels) == (("a.png", "b.png"), None)


def test_worker_processes_read_it(tmp_path):
    members = CLASSES | {"metadata.jsonl": lines(*({"file_name": n, "label": n} for n in CLASSES))}
    name = zipped(tmp_path / "in.zip", members)
    arguments = {"shape": (6, 5, 3), "classes": 5, "batch": 4, "seed": 3}
    plain = batches(open_source(name), **arguments)
    stream = batches(open_source(name), **arguments, workers=1).iterate(1)
    for key, value in next(stream).items():
        np.testing.assert_array_equal(value, plain[1][key], strict=True)
    stream.close()


def test_identity_is_content(form):
    first = fingerprint(open_source(form(CLASSES)))
    assert fingerprint(open_source(form(CLASSES))) == first
    swapped = {**CLASSES, "dog/0.png": CLASSES["dog/2.png"], "dog/2.png": CLASSES["dog/0.png"]}
    assert sorted(map(len, swapped.values())) == sorted(map(len, CLASSES.values()))
    assert fingerprint(open_source(form(swapped))) != first


def test_a_scan_lists_what_is_skipped(form, monkeypatch):
    monkeypatch.setattr("jaxgan.fields.pixels._reads_heif", lambda: False)
    others = {f"{i}.HEIC": b"x" for i in range(1200)} | {f"{i}.psd": b"x" for i in range(3)}
    others |= {"notes.txt": b"x", "Thumbs.db": b"x", ".DS_Store": b"x", "__MACOSX/._a.png": b"x"}
    others |= {"README": b"x", "desktop.ini": b"x"}
    source = open_source(form({"a.png": png(), **others}))
    (line,) = scan(source, shape=(6, 5, 3), classes=0).text().splitlines()[1:]
    assert line == (
        "  skipped 1,200 .heic (pip install 'jaxgan[heic]'), 3 .psd (convert them to PNG), "
        "1 .txt, 1 without a known ending"
    )


def test_a_folder_of_nothing_that_can_be_read_says_what_would(form, monkeypatch):
    monkeypatch.setattr("jaxgan.fields.pixels._reads_heif", lambda: False)
    refused(form({"a.heic": b"x"}), r"no images but 1 .heic \(pip install 'jaxgan\[heic\]'\), exp")
    refused(form({"c/a.raw": b"x", "d/b.png": png()}), r"/c holds no images but 1 .raw, expected")


def test_many_kinds_are_not_all_listed(form):
    source = open_source(form({"a.png": png()} | {f"x.a{i}": b"" for i in range(12)}))
    assert (
        source.notes[0].endswith("1 .a7, 4 of other kinds") or "of other kinds" in source.notes[0]
    )


def test_endings_of_strangers_are_not_printed(tmp_path):
    source = open_source(folder(tmp_path, {"a.png": png(), "x.\x1b[31m": b"", "y.ä": b""}))
    assert source.notes == ("skipped 2 without a known ending",)


# --- nested


NESTED = {
    "cat/1/a.png": png(0),
    "cat/b.png": png(1),
    "dog/2/3/c.png": png(2),
    "docs/readme.txt": b"x",
}


def test_nested_folders_are_refused_or_asked_for(form):
    name = form(NESTED)
    refused(name, "nested too deep .*add --recursive to read all, cat and so on being the classes")
    source = open_source(name, DEEP)
    assert source.files == ("cat/1/a.png", "cat/b.png", "dog/2/3/c.png")
    assert source.labels.tolist() == [0, 0, 1]
    assert source.notes == (
        f"classes are the 2 sub-folders of {name}",
        "skipped 1 .txt",
        "no images in 1 of 3 sub-folders (docs)",
    )


def test_images_beside_folders_are_refused_or_have_no_classes(form):
    name = form({"a.png": png(), "cat/b.png": png()})
    refused(name, r"both images \(a.png\) and sub-folders \(cat\).*or add --recursive")
    source = open_source(name, DEEP)
    assert (len(source), source.labels) == (2, None)
    assert source.notes == ("no classes, for 1 images lie beside the sub-folders",)


def test_a_folder_that_holds_itself_is_read_once(tmp_path):
    folder(tmp_path, {"cat/a.png": png()})
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    assert open_source(str(tmp_path), DEEP).files == ("cat/a.png",)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_one_folder_that_holds_all_of_an_archive_is_passed_through(kind, tmp_path):
    source = open_source(FORMS[kind](tmp_path, {f"set/{k}": v for k, v in CLASSES.items()}))
    assert source.columns["label"].names == NAMES
    assert source.notes == ("all in the folder set",)
    flat = open_source(FORMS[kind](tmp_path, {"set/a.png": png()}))
    assert (flat.labels, flat.notes) == (None, ("all in the folder set",))


# --- metadata.jsonl


def lines(*entries: dict) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in entries).encode()


FILES = {"x/0.png": png(0), "1.png": png(1), "2.png": png(2)}


def test_metadata_is_columns(form):
    entries = [
        {"file_name": "2.png", "label": "dog", "text": "two", "age": 2, "box": [1, 2.5], "odd": {}},
        {"file_name": "./x/0.png", "label": "cat", "text": "zero", "age": 0.5, "box": [0, 0]},
    ]
    name = form({**FILES, "metadata.jsonl": lines(*entries), "more.txt": b"x"})
    source = open_source(name)
    assert source.columns["label"] == Label(classes=2, names=("cat", "dog"))
    assert source.columns["text"] == Text()
    assert (source.columns["age"], source.columns["box"]) == (Points((1,)), Points((2,)))
    assert source.labels.tolist() == [1, 0]
    item = source[0]
    np.testing.assert_array_equal(item["image"], pixels(2))
    assert (item["label"], item["text"], item["age"], item["box"].tolist()) == (
        1,
        "two",
        2,
        [1, 2.5],
    )
    where = source.store.place(source.store.members.index("metadata.jsonl"))
    assert source.notes == (
        f"skipped 1 images that {where} does not name (1.png)",
        f"{where}: 'odd' is not read, for 1 have none (first: entry 2)",
        "skipped 1 .txt",
    )
    several = [entries[0] | {"text": ["two", " ", "deux"]}, entries[1]]
    again = open_source(form({**FILES, "metadata.jsonl": lines(*several)}))
    assert [again[i]["text"] for i in range(2)] == [["two", "deux"], "zero"]
    other = [entries[0] | {"text": "deux"}, entries[1]]
    first = fingerprint(source)
    assert fingerprint(open_source(form({**FILES, "metadata.jsonl": lines(*other)}))) != first


def test_labels_are_whole_numbers_or_names(form):
    def labelled(*labels):
        entries = [{"file_name": f, "label": k} for f, k in zip(FILES, labels, strict=True)]
        return form({**FILES, "metadata.jsonl": lines(*entries)})

    source = open_source(labelled(1, 3, 1))
    assert source.columns["label"] == Label(classes=4)
    assert source.notes == ("2 of 4 classes have no images (first: 0)",)
    refused(labelled(1, "a", 2), r"entry 1 has the label 1|entry 2 has the label 'a'")
    refused(labelled(0, -1, 0), r"entry 2 has the label -1, expected 0 to 999,999")
    refused(labelled(0, 10**12, 0), r"expected 0 to 999,999")
    refused(labelled(0, 0.5, 0), r"entry 2 has the label 0.5, expected whole numbers")
    refused(labelled(0, None, 0), r"entry 2 has the label None")
    refused(labelled(True, 0, 0), r"entry 1 has the label True")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "metadata.jsonl is empty"),
        (b"{", "metadata.jsonl line 1 is no JSON"),
        (b"[]", "line 1 is no JSON object"),
        (b'{"file_name": "1.png", "a": NaN}', "line 1 is no JSON .NaN"),
        (b'{"file_name": "1.png", "file_name": "2.png"}', "'file_name' stands there twice"),
        (b'{"file_name": "1.png"}\n\xff', "line 2 is no JSON"),
        (b"[" * 100_000, "line 1 is no JSON"),
        (lines({"file": "1.png"}), "entry 1 has no file_name"),
        (lines({"file_name": 3}), "entry 1 has no file_name"),
        (lines({"file_name": "../1.png"}), r"names '../1.png', expected a path within"),
        (lines({"file_name": "/etc/passwd"}), r"names '/etc/passwd', expected a path within"),
        (
            lines({"file_name": "9.png"}),
            r"names 1 files of 1 that are not there \(first: '9.png'\)",
        ),
        (lines({"file_name": "1.psd"}), r"1 files of 1 that cannot be read: 1 .psd \(convert them"),
        (lines(*[{"file_name": "1.png"}] * 2), "names '1.png' twice"),
        (
            lines({"file_name": "1.png", "label": 0}, {"file_name": "2.png"}),
            r"1 of 2 have no label \(first: entry 2\)",
        ),
        (b'{"file_name": "1.png", "a": "' + b"x" * 2**20 + b'"}', "the most is 1,048,576"),
    ],
)
def test_metadata_that_cannot_be(form, content, message):
    refused(form({**FILES, "1.psd": b"x", "metadata.jsonl": content}), message)


@pytest.mark.parametrize("described", ["metadata.jsonl", "dataset.json"])
def test_descriptions_that_are_too_large_are_no_images(form, monkeypatch, described):
    content = {"metadata.jsonl": lines({"file_name": "a.png"}), "dataset.json": b'{"labels": null}'}
    name = form({"a.png": png(), described: content[described]})
    if Path(name).is_dir():
        os.truncate(Path(name, described), store.LARGEST + 1)
    else:
        check = store._check_size
        monkeypatch.setattr(store, "_check_size", lambda what, size, limit: check(what, size, 1))
    message = refused(name, rf"{described} has more than 268,435,456 bytes, .*give sentences")
    assert "expected an image" not in message


def test_vectors_lie_beside_images_in_tar_files(tmp_path):
    """As configs/stackgan_coco256.py has it."""
    members = {}
    for i in range(3):
        members |= {f"{i}.png": png(i), f"{i}.json": json.dumps({"text": [0.5 * i] * 6}).encode()}
    source = open_source(tarred(tmp_path / "coco.tar", members))
    (group, other) = StackGAN(shape=(16, 16, 3), sketch=8, embedding=6).data()
    found = match((group, other), source)
    assert [each.columns for each in found] == [
        {"image": "image", "caption": "text"},
        {"other": "text"},
    ]
    refuse_unsuitable(source, found)
    np.testing.assert_array_equal(source.column("text"), [[0.0] * 6, [0.5] * 6, [1.0] * 6])


def test_folders_are_no_classes_where_metadata_describes(form):
    name = form(
        {
            "a/1.png": png(),
            "b/2.png": png(),
            "metadata.jsonl": lines({"file_name": "a/1.png"}, {"file_name": "b/2.png"}),
        }
    )
    source = open_source(name)
    assert source.labels is None
    assert source.notes[0].startswith("sub-folders are no classes")


def test_metadata_of_one_folder_is_not_passed_over(form):
    files = {"train/a.png": png(), "train/metadata.jsonl": lines({"file_name": "a.png"})}
    message = r"holds train/metadata.jsonl, which describes .*did you mean .*train\?"
    refused(form({**files, "test/b.png": png()}), message)
    refused(form({**files, "test/b.png": png()}), message, DEEP)


def test_classes_that_are_called_like_splits_are_told_of(form):
    name = form({"train/a.png": png(), "Test/b.png": png()})
    assert open_source(name).notes == (f"classes are called Test, train: give {name}/Test for one",)


# --- StyleGAN's dataset.json


def stylegan(labels) -> dict[str, bytes]:
    files = {"00000/img0.png": png(0), "00000/img1.png": png(1), "00001/img2.png": png(2)}
    return {**files, "dataset.json": json.dumps({"labels": labels}).encode()}


def test_the_labels_of_stylegan(form):
    files = ["00001/img2.png", "00000/img0.png", "00000/img1.png"]
    source = open_source(form(stylegan([[f, k] for f, k in zip(files, [1, 0, 1], strict=True)])))
    assert source.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(source[0]["image"], pixels(2))
    assert open_source(form(stylegan(None))).labels is None
    vectors = open_source(form(stylegan([[f, [0.5]] for f in files])))
    assert "they are vectors" in vectors.notes[0]
    refused(form(stylegan([1])), r"dataset.json: expected labels as \[\[file, class\]")
    refused(form(stylegan([["no.png", 1]])), "1 files of 1 that are not there")
    other = {"a.png": png(), "dataset.json": b'{"images": []}'}
    assert open_source(form(other)).notes == ("skipped 1 .json",)


# --- WebDataset


def test_webdataset(tmp_path):
    first = {"s/0.jpg": png(0), "s/0.cls": b"2\n", "s/0.json": b'{"score": 1.5}'}
    second = {"s/0.jpg": png(1), "s/0.cls": b"0", "s/0.json": b'{"score": 2}', "s/9.txt": b"lost"}
    tarred(tmp_path / "t-000.tar", first)
    tarred(tmp_path / "t-001.tar", second)
    for pattern in ("t-{000..001}.tar", "t-*.tar", "t-{000,001}.tar"):
        source = open_source(str(tmp_path / pattern))
        assert source.labels.tolist() == [2, 0]
        np.testing.assert_array_equal(source[1]["image"], pixels(1))
        assert [item["score"].tolist() for item in (source[0], source[1])] == [[1.5], [2]]
        assert source.notes[-1] == "1 of 3 classes have no images (first: 1)"
        assert "skipped 1 .txt" in source.notes
    captions = tarred(tmp_path / "c.tar", {"0.png": png(), "0.txt": "ein Hünd".encode()})
    assert open_source(captions)[0]["text"] == "ein Hünd"
    captions = tarred(tmp_path / "l.tar", {"0.png": png(), "0.txt": b"one\r\n\n two \n"})
    assert open_source(captions)[0]["text"] == ["one", "two"]
    refused(
        tarred(tmp_path / "d.tar", {"0.a.png": png(), "0.b.png": png(), "0.cls": b"1"}),
        r"d.tar: 0.b.png: there are two images of the key '0'",
    )
    refused(tarred(tmp_path / "e.tar", {"0.png": png(), "0.txt": b"\xff"}), "0.txt is no UTF-8")
    refused(tarred(tmp_path / "f.tar", {"0.png": png(), "0.json": b"["}), "0.json is no JSON")
    refused(str(tmp_path / "t-{000..005}.tar"), r"there is no file .*t-002.tar")
    refused(str(tmp_path / "u-*.tar"), "no files .*u-")
    refused(str(tmp_path / "t-{000,0*}.tar"), "stands for some files twice")
    refused(str(tmp_path / "t-{0..999999999}.tar"), "is no range of numbers")
    refused(str(tmp_path / "t-{3..1}.tar"), "is no range of numbers")
    refused(str(tmp_path / "{0..999}{0..999}.tar"), "stands for 1,000,000 files")


def test_descriptions_of_far_more_than_there_is(tmp_path):
    many = b'{"labels": [' + b"[]," * 200_000 + b"[]]}"
    root = folder(tmp_path / "lists", {"a.png": png(pixels(0)), "dataset.json": many})
    with pytest.raises(UserError, match=r"dataset\.json is no JSON \(it has more than 104,096 v"):
        open_source(root)
    lines = b"{}\n" * 10**6  # the first is told of before the others are read
    root = folder(tmp_path / "lines", {"a.png": png(pixels(0)), "metadata.jsonl": lines})
    with pytest.raises(UserError, match=r"metadata\.jsonl: entry 1 has no file_name"):
        open_source(root)
    lines = b'{"file_name": "b.png"}\n' * 300_000
    root = folder(tmp_path / "names", {"a.png": png(pixels(0)), "metadata.jsonl": lines})
    with pytest.raises(UserError, match=r"names 100,002 files of 100,002 that are not there"):
        open_source(root)
