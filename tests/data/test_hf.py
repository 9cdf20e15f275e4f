"""Parquet files and the library `datasets`, on files that the tests write."""

import builtins
import logging
import pickle
import shutil

import numpy as np
import pytest

from jaxgan.data import fingerprint, open_source, pack
from jaxgan.errors import UserError
from jaxgan.fields import Label, Points, Text
from jaxgan.fields.pixels import USUAL, Reading
from tests.data.made import pixels, png
from tests.data.short import batches, scan

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The library's own cache, elsewhere."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


def table(numbers, name: str = "image", **columns):
    """A data set of encoded noise, with a class label."""
    features = {name: datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "emu"])}
    made = {name: [{"bytes": png(i), "path": None} for i in numbers]}
    made["label"] = [i % 2 for i in numbers]
    for key, (kind, values) in columns.items():
        features[key], made[key] = kind, values
    return datasets.Dataset.from_dict(made, datasets.Features(features))


def refused(name, message: str, reading: Reading = USUAL) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_source(str(name), reading)
    assert "\n" not in str(caught.value)


def test_a_parquet_file(tmp_path):
    text, score = ["zero", "one", "two"], [0.5, 1, 2]
    made = table(
        range(3),
        text=(datasets.Value("string"), text),
        score=(datasets.Value("float32"), score),
        box=(datasets.List(datasets.Value("int64")), [[1, 2]] * 3),
        said=(datasets.List(datasets.Value("string")), [["a"], ["b", "c"], ["d"]]),
        odd=({"a": datasets.Value("int64")}, [{"a": 1}] * 3),
    )
    made.to_parquet(tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"))
    assert source.columns["label"] == Label(classes=3, names=("cat", "dog", "emu"))
    assert (source.columns["text"], source.columns["box"]) == (Text(), Points((2,)))
    assert source.columns["said"] == Text()
    assert source.labels.tolist() == [0, 1, 0]
    assert source.notes == (
        "'odd' is not read, for it is dict",
        "1 of 3 classes have no images (first: emu)",
    )
    for each in (source, pickle.loads(pickle.dumps(source))):
        item = each[1]
        np.testing.assert_array_equal(item["image"], pixels(1))
        assert (item["label"], item["text"], item["score"].tolist()) == (1, "one", [1])
        assert item["said"] == ["b", "c"]
    assert scan(source, shape=(6, 5, 3), classes=3).classes == {"cat": 2, "dog": 1, "emu": 0}
    batch = batches(source, shape=(6, 5, 3), classes=3, batch=3)[0]
    assert sorted(batch["label"].tolist()) == [0, 0, 1]
    packed = pack(tmp_path / "a.parquet", tmp_path / "packed")
    assert packed.columns["label"] == source.columns["label"]
    assert [record[4:] for record in packed.records] == [png(i) for i in (0, 2, 1)]


def test_folders_and_splits(tmp_path):
    (tmp_path / "hub/data").mkdir(parents=True)
    table(range(4)).to_parquet(tmp_path / "hub/data/train-00000-of-00002.parquet")
    table(range(4, 6)).to_parquet(tmp_path / "hub/data/train-00001-of-00002.parquet")
    table([9]).to_parquet(tmp_path / "hub/data/test-00000-of-00001.parquet")
    (tmp_path / "hub/README.md").write_text("A data set.")
    for name in (str(tmp_path / "hub"), f"hf:{tmp_path}/hub", f"hf:{tmp_path}/hub:train"):
        source = open_source(name)
        assert len(source) == 6
        np.testing.assert_array_equal(source[5]["image"], pixels(5))
    assert open_source(str(tmp_path / "hub")).notes[0] == "split train, not test"
    assert len(open_source(f"hf:{tmp_path}/hub:test")) == 1
    part = open_source(f"hf:{tmp_path}/hub:train[50%:]")
    np.testing.assert_array_equal(part[0]["image"], pixels(3))
    assert fingerprint(part) != fingerprint(source)
    refused(f"hf:{tmp_path}/hub:valid", "no split 'valid', expected one of train, test")
    refused(f"hf:{tmp_path}/hub:train[3]", r"'\[3\]' is no part of a split")
    refused(f"hf:{tmp_path}/hub:train[6:]", "has no rows of 6")
    table(range(2), name="photo").save_to_disk(tmp_path / "saved")
    saved = open_source(f"hf:{tmp_path}/saved")
    np.testing.assert_array_equal(saved[1]["image"], pixels(1))


def test_a_set_of_the_hub_is_found_in_the_cache(tmp_path):
    """As the library leaves it behind when somebody has loaded it with a network."""
    (tmp_path / "hub").mkdir()
    table(range(3)).to_parquet(tmp_path / "hub/train-00000-of-00001.parquet")
    open_source(f"hf:{tmp_path}/hub")
    (built,) = (tmp_path / "cache/hub").glob("default*/0.0.0/*/")
    kept = tmp_path / "cache/user___name/default/0.0.0" / ("a" * 40)
    shutil.copytree(built, kept)
    for file in kept.glob("hub-*"):
        file.rename(kept / file.name.replace("hub-", "name-"))
    source = open_source("hf:user/name:train[1:]")
    assert (len(source), source.labels.tolist()) == (2, [1, 0])
    np.testing.assert_array_equal(source[0]["image"], pixels(1))


def test_identity_is_content(tmp_path):
    prints = set()
    for name, rows in {"a": table(range(3)), "b": table(range(3)), "c": table(range(1, 4))}.items():
        rows.to_parquet(tmp_path / f"{name}.parquet")
        prints.add(fingerprint(open_source(str(tmp_path / f"{name}.parquet"))))
    assert len(prints) == 2
    memory = datasets.Dataset.from_dict({"image": [{"bytes": png(), "path": None}]})
    memory.to_parquet(tmp_path / "d.parquet")  # without the library's own types
    refused(tmp_path / "d.parquet", r"has the columns image \(.*\), expected one of images")


def test_images_beside_the_table_are_part_of_its_identity(tmp_path):
    prints = set()
    for seed in (0, 1):
        (tmp_path / "x.png").write_bytes(png(seed))
        rows = datasets.Dataset.from_dict(
            {"image": [{"bytes": None, "path": str(tmp_path / "x.png")}]},
            datasets.Features({"image": datasets.Image()}),
        )
        rows.save_to_disk(tmp_path / f"saved{seed}")
        source = open_source(f"hf:{tmp_path}/saved{seed}")
        np.testing.assert_array_equal(source[0]["image"], pixels(seed))
        prints.add(fingerprint(source))
    assert len(prints) == 2


def test_damaged_rows(tmp_path):
    broken = datasets.Dataset.from_dict(
        {"image": [{"bytes": png(0), "path": None}, {"bytes": b"x", "path": None}, None]},
        datasets.Features({"image": datasets.Image()}),
    )
    broken.to_parquet(tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"))
    with pytest.raises(UserError, match=r"a.parquet \(row 1\): found no image but b'x'"):
        scan(source, shape=(6, 5, 3), classes=0)
    with pytest.raises(UserError, match=r"a.parquet \(row 2\): found no image, expected one"):
        source[2]
    refused(tmp_path / "a.parquet", "2 of 3 files are damaged", Reading(skip_broken=True))


def test_what_cannot_be_opened(tmp_path, monkeypatch):
    refused(
        "hf:nobody/nothing", r"^hf:nobody/nothing cannot be opened by datasets \(nothing is down"
    )
    refused("hf:", "'hf:' names no data set")
    (tmp_path / "no.parquet").write_text("no table")
    logged = []
    monkeypatch.setattr(logging.getLogger("datasets"), "handle", logged.append)
    refused(tmp_path / "no.parquet", "cannot be opened by datasets: Parquet magic bytes")
    assert not logged
    (tmp_path / "code").mkdir()
    (tmp_path / "code/code.py").write_text("raise SystemExit('ran')")
    refused(f"hf:{tmp_path}/code", "cannot be opened by datasets")
    datasets.Dataset.from_dict({"n": [1]}).to_parquet(tmp_path / "n.parquet")
    refused(tmp_path / "n.parquet", r"has the columns n \(int64\), expected one of images")
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    refused("hf:x", r"the package datasets, which is not installed: pip install 'jaxgan\[hf\]'")


def test_a_folder_leads_to_no_network(tmp_path):
    (tmp_path / "set").mkdir()
    table(range(2)).to_parquet(tmp_path / "set" / "a.parquet")
    readme = tmp_path / "set" / "README.md"
    for words in (
        'data_files: "http://127.0.0.1:9/x.parquet"',
        "configs:\n- config_name: default\n  data_files: hf://datasets/a/b/x.parquet",
    ):
        readme.write_text(f"---\n{words}\n---\nWords.\n")
        refused(f"hf:{tmp_path / 'set'}", "files are to be had from an address")
    readme.write_text("---\nlicense_link: https://example.org\n---\nhttps://example.org\n")
    assert len(open_source(f"hf:{tmp_path / 'set'}")) == 2


def test_a_saved_set_leads_to_no_other_folder(tmp_path):
    table(range(2)).save_to_disk(tmp_path / "set")
    state = tmp_path / "set" / "state.json"
    whole = state.read_text()
    state.write_text(whole.replace('"filename": "', '"filename": "../'))
    refused(f"hf:{tmp_path / 'set'}", "names a file outside of its folder")
    state.write_text("[]")
    refused(f"hf:{tmp_path / 'set'}", "is broken: save the data set anew")
