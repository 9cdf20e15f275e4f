"""Against data sets that are prepared here, so nothing is downloaded."""

import io
import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgan.data import fingerprint, open_source
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Label, Text
from jaxgan.fields import Image as ImageField
from jaxgan.fields.pixels import Reading
from tests.data.short import batches, scan


def png(*shape: int, value: int) -> io.BytesIO:
    # TFDS needs TensorFlow to encode an array, but takes an encoded file as it is.
    file = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(file, "PNG")
    file.seek(0)
    return file


class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES: dict

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.FEATURES)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "test": self._generate_examples(4)}


class JaxganLabelled(Prepared):
    FEATURES = {  # noqa: RUF012
        "image": tfds.features.Image(shape=(6, 6, 3)),
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
        "objects": tfds.features.Sequence({"box": tfds.features.BBoxFeature()}),
    }

    def _generate_examples(self, count):
        for i in range(count):
            # One image is grey in a set of colour images, as in ImageNet.
            image = png(6, 6, value=i) if i == 3 else png(6, 6, 3, value=i)
            yield i, {"image": image, "label": i % 2, "objects": []}


class JaxganUnlabelled(JaxganLabelled):
    """As test splits of competitions are: every label is -1."""

    def _generate_examples(self, count):
        for i, example in super()._generate_examples(count):
            yield i, {**example, "label": -1}


class JaxganSizes(Prepared):
    FEATURES = {"image": tfds.features.Image(shape=(None, None, 1))}  # noqa: RUF012

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": png(6 + i % 2, 6, value=i)}


class JaxganWords(Prepared):
    FEATURES = {"text": tfds.features.Text()}  # noqa: RUF012

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"text": str(i)}


class JaxganCaptions(Prepared):
    FEATURES = {  # noqa: RUF012
        "image": tfds.features.Image(shape=(6, 6, 3)),
        "title": tfds.features.Text(),
        "said": tfds.features.Sequence(tfds.features.Text()),
        "captions": tfds.features.Sequence({"id": np.int64, "text": np.str_}),
        "number": np.int64,
    }

    def _generate_examples(self, count):
        for i in range(count):
            captions = [{"id": k, "text": f"größe {i} {k}"} for k in range(1 + i % 3)]
            rest = {"title": f"title {i}", "said": ["a", "b"], "captions": captions, "number": i}
            yield i, {"image": png(6, 6, 3, value=i), **rest}


class JaxganFilm(Prepared):
    """As videos are, whose own feature needs TensorFlow."""

    FEATURES = {  # noqa: RUF012
        "video": tfds.features.Sequence(tfds.features.Image(shape=(6, 6, 3))),
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
    }

    def _generate_examples(self, count):
        for i in range(count):
            frames = [png(6, 6, 3, value=10 * i + t) for t in range(3 + i % 3)]
            yield i, {"video": frames, "label": i % 2}


class JaxganAbsent(JaxganWords):
    pass


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    for name in (
        "jaxgan_labelled",
        "jaxgan_unlabelled",
        "jaxgan_sizes",
        "jaxgan_words",
        "jaxgan_captions",
        "jaxgan_film",
    ):
        tfds.builder(name, data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def place(prepared, monkeypatch):
    # What the environment variable TFDS_DATA_DIR sets, but TFDS reads that when it is imported.
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(prepared))


def test_videos_are_clips_whose_frames_are_decoded_when_they_are_taken():
    source = open_source("tfds:jaxgan_film")
    assert source.columns == {
        "clip": Clip((None, 6, 6, 3)),
        "label": Label(classes=2, names=("even", "odd")),
    }
    by_length = {len(source[i]["clip"]) for i in range(20)}
    assert by_length == {3, 4, 5}
    clip = source[7]["clip"]
    frames = np.stack(clip[np.array([2, 0])])[:, 0, 0, 0].astype(int)
    assert (clip.shape[1:], frames[0] - frames[1]) == ((6, 6, 3), 2)
    with pytest.raises(UserError, match="has frames without times"):
        open_source("tfds:jaxgan_film", Reading(fps=3))
    with pytest.raises(UserError, match=r"no data set 'ucf101': .* need TensorFlow: pip install"):
        open_source("tfds:ucf101")


def test_it_is_read_at_random_and_without_tensorflow():
    source = open_source("tfds:jaxgan_labelled")
    assert len(source) == 20
    assert source.columns == {
        "image": ImageField((6, 6, 3)),
        "label": Label(classes=2, names=("even", "odd")),
    }
    items = [source[i] for i in (7, 2, 7)]
    assert set(items[0]) == {"image", "label"}
    np.testing.assert_array_equal(items[0]["image"], items[2]["image"])
    for item in (source[i] for i in range(20)):
        assert item["image"].shape == (6, 6, 3)
        assert item["image"].dtype == np.uint8
        assert item["label"] == item["image"][0, 0, 0] % 2
        assert item["label"].dtype == np.int32
    assert "tensorflow" not in sys.modules


def test_features_of_text_are_sentences():
    source = open_source("tfds:jaxgan_captions")
    texts = {name for name, field in source.columns.items() if field == Text()}
    assert texts == {"title", "said", "captions.text"}
    for item in (source[i] for i in range(20)):
        number = item["image"][0, 0, 0]
        assert item["captions.text"] == [f"größe {number} {k}" for k in range(1 + number % 3)]
        assert (item["title"], item["said"]) == (f"title {number}", ["a", "b"])
    assert list(source.column("title")) == [source[i]["title"] for i in range(20)]


def test_splits_and_versions():
    assert len(open_source("tfds:jaxgan_labelled:test")) == 4
    assert len(open_source("tfds:jaxgan_labelled:train[:25%]")) == 5
    assert len(open_source("tfds:jaxgan_labelled:1.0.0:test")) == 4
    assert fingerprint(open_source("tfds:jaxgan_labelled")) == fingerprint(
        open_source("tfds:jaxgan_labelled:1.0.0:train")
    )
    assert fingerprint(open_source("tfds:jaxgan_labelled")) != fingerprint(
        open_source("tfds:jaxgan_labelled:test")
    )


def test_it_is_identified_by_the_bytes_of_its_shards(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "copy"))
    shutil.copytree(prepared, tmp_path / "copy")
    specs = [f"tfds:jaxgan_labelled:{split}" for split in ("test", "train[:25%]", "test+train")]
    before = [fingerprint(open_source(spec)) for spec in specs]
    assert len(set(before)) == 3
    (shard,) = (tmp_path / "copy/jaxgan_labelled").rglob("*-train.array_record*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 8] ^= 1  # in a record
    shard.write_bytes(content)
    after = [fingerprint(open_source(spec)) for spec in specs]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, False]


def test_batches_hold_every_item_with_its_label():
    source = open_source("tfds:jaxgan_labelled")
    report = scan(source, shape=(6, 6, 3), classes=2)
    assert report.text() == "tfds:jaxgan_labelled: 20 images, 6x6x3, 2 classes"
    batch = batches(source, shape=(6, 6, 3), classes=2, batch=20)[0]
    values = np.rint((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int)
    assert sorted(values) == list(range(20))
    np.testing.assert_array_equal(batch["label"], values % 2)


def test_one_prepared_for_sequential_reading_is_refused(tmp_path, prepared, monkeypatch):
    shutil.copytree(prepared, tmp_path / "tfds")
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    folder = tmp_path / "tfds/jaxgan_labelled/1.0.0"
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    for file in folder.glob("*.array_record-*"):
        file.rename(folder / file.name.replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"prepared as tfrecord in .*: delete that folder and run"):
        open_source("tfds:jaxgan_labelled")


def test_labels_that_are_none_are_found():
    source = open_source("tfds:jaxgan_unlabelled")
    with pytest.raises(UserError, match="has the label -1, expected 0 to 1: choose a split"):
        scan(source, shape=(6, 6, 3), classes=2)
    assert scan(source, shape=(6, 6, 3), classes=0).count == 20


def test_it_can_be_sent_to_worker_processes():
    source = pickle.loads(pickle.dumps(open_source("tfds:jaxgan_labelled")))
    assert source[3]["image"].shape == (6, 6, 3)


def test_images_of_many_sizes():
    source = open_source("tfds:jaxgan_sizes")
    assert source.columns == {"image": ImageField()}
    with pytest.raises(
        UserError, match=r"different sizes \(height x width: tfds:jaxgan_sizes .*add --resize$"
    ):
        scan(source, shape=(6, 6, 1), classes=0)
    assert scan(source, shape=(6, 6, 1), classes=0, resize=True).found == "6x6 to 7x6"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tfds:jaxgan_labeled", r"no data set 'jaxgan_labeled': did you mean tfds:jaxgan_labelled"),
        ("tfds:jaxgan_labelled:valid", r"no split 'valid', expected one of test, train$"),
        ("tfds:jaxgan_labelled:9.9.9", r"cannot be loaded at version 9.9.9"),
        ("tfds:jaxgan_words", r"has the features text, expected one called 'image'"),
        (
            "tfds:jaxgan_absent",
            r"not prepared in .*: run python -c .*data_source\('jaxgan_absent'\)",
        ),
        ("tfds:", r"expected tfds:NAME or tfds:NAME:SPLIT$"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_line(spec, message):
    with pytest.raises(UserError, match=message) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


def test_a_prepared_set_names_no_code(prepared, tmp_path, monkeypatch):
    """TFDS imports the module of any feature that a set's features.json names."""
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "copy"))
    shutil.copytree(prepared / "jaxgan_labelled", tmp_path / "copy/received")
    (tmp_path / "evil_feature.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    (path,) = (tmp_path / "copy").rglob("features.json")
    text = path.read_text()
    path.write_text(text.replace("tensorflow_datasets.core.features.image_feature", "evil_feature"))
    assert path.read_text() != text
    with pytest.raises(
        UserError, match=r"names 'evil_feature\.Image', which is no feature of TFDS"
    ):
        open_source("tfds:received")
    assert "evil_feature" not in sys.modules
    for name in ("tfds:x/data_dir=/tmp", "tfds:../x", "tfds:kaggle:x/y", "tfds:huggingface:"):
        with pytest.raises(UserError):
            open_source(name)
