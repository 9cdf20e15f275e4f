"""Classes of both sides of a score are matched by name, and images are compared in colour."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from jaxgan import data
from jaxgan.cli.evaluate import Options, _against, _of_files
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label
from jaxgan.metrics import base, classifier
from jaxgan.metrics.classes import matched
from jaxgan.metrics.classification_accuracy import CAS
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.features import from_function
from jaxgan.metrics.images import Stored, of_source, shape_of

PIXELS = from_function("pixels", lambda _, x: x.mean((1, 2)) / 255, np.zeros(1), size=3)


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base.warn.cache_clear()


def label(*names, classes=0):
    return Label(classes=classes or len(names), names=names)


def test_names_decide_which_classes_are_alike(caplog):
    table, both = matched(("a", label("cat", "bee")), ("b", label("ant", "bee", "cat")))
    assert table.tolist() == [2, 1]
    assert both == {1, 2}
    assert caplog.messages == [
        "a lacks 'ant' of b: scores by class are of the 2 classes that both have"
    ]
    table, both = matched(("a", label("x", "bee")), ("b", label("bee")))
    assert table.tolist() == [1, 0]  # x is a number that no class of b has
    assert both == {0}
    assert "b lacks 'x' of a: scores by class are of the one class that both" in caplog.messages[1]


def test_the_same_classes_in_another_order_lack_nothing(caplog):
    table, both = matched(("a", label("2", "10", "1")), ("b", label("1", "10", "2")))
    assert (table.tolist(), both, caplog.messages) == ([2, 1, 0], {0, 1, 2}, [])


def test_labels_without_names(caplog):
    table, _ = matched(("a", label(classes=3)), ("b", label(classes=3)))
    assert (table.tolist(), caplog.messages) == ([0, 1, 2], [])
    # The names of digits are their numbers.
    table, both = matched(("a", label(classes=2)), ("b", label("0", "1", "2")))
    assert (table.tolist(), both) == ([0, 1], {0, 1})
    caplog.clear()
    table, _ = matched(("a", label(classes=2)), ("b", label("cat", "dog")))
    assert table.tolist() == [0, 1]
    assert caplog.messages == ["a has no names of classes: they are taken by number, as in b"]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (
            label("a"),
            label("b", "c"),
            "a has the classes 'a', b has 'b', 'c': scores by class",
        ),
        (label(classes=9), label("x", "y"), "a has no names of classes, and a has 9 of them, b 2"),
        (label("x", "y"), label(classes=9), "b has no names of classes, and a has 2 of them, b 9"),
        (label(*"abcde"), label("z"), "'a', 'b', 'c' and 2 more"),
    ],
)
def test_what_cannot_be_matched_is_refused(ours, theirs, said):
    with pytest.raises(UserError, match=said):
        matched(("a", ours), ("b", theirs))


def coloured(names, order, name):
    """Twenty images a class, each class of a brightness of its own."""
    rng = np.random.default_rng(5)
    bright = {each: 40 * number for number, each in enumerate(names)}
    pixels = {n: rng.integers(bright[n], bright[n] + 40, (20, 8, 8, 3)) for n in names}
    images = np.concatenate([pixels[n] for n in order]).astype(np.uint8)
    return data.Arrays(images, np.arange(len(order)).repeat(20), order, name=name)


@pytest.mark.parametrize("order", [("bee", "cat"), ("cat", "ant", "bee")])
def test_intra_fid_of_equal_classes_is_zero_in_any_order(order, caplog):
    names = ("ant", "bee", "cat")
    real, fake = coloured(names, names, "real"), coloured(names, order, "fake")
    (record,) = evaluate(Stored(fake), Stored(real), "intra_fid", extractor=PIXELS)
    assert record.value == pytest.approx(0, abs=1e-9)
    assert record.classes == f"{len(order)} of 3"
    said = [message for message in caplog.messages if "lacks" in message]
    assert said == [
        "fake lacks 'ant' of real: scores by class are of the 2 classes that both have"
    ] * (len(order) == 2)


def test_cas_is_of_the_classes_of_both_sides(monkeypatch):
    names, seen = ("ant", "bee", "cat"), {}

    def train(images, labels, *, classes, seed):
        seen.update(images=images, labels=labels, classes=classes)

    def accuracy(network, images, labels):
        ours, theirs = (
            sorted(zip(y.tolist(), x.sum((1, 2, 3)).tolist(), strict=True))
            for x, y in ((seen["images"], seen["labels"]), (images, labels))
        )
        return float(ours == theirs)

    monkeypatch.setattr(classifier, "train", train)
    monkeypatch.setattr(classifier, "accuracy", accuracy)
    real, fake = coloured(names, names, "real"), coloured(names, ("bee", "cat"), "fake")
    (record,) = evaluate(Stored(fake), Stored(real), "cas", extractor=PIXELS)
    assert (record.value, record.classes, seen["classes"]) == (1.0, "2 of 3", 2)


def test_cas_of_fewer_images_than_there_are_is_told(monkeypatch, caplog):
    monkeypatch.setattr(classifier, "train", lambda *_, **__: None)
    monkeypatch.setattr(classifier, "accuracy", lambda *_: 0.5)
    score = CAS()
    images = np.zeros((9, 8, 8, 1), np.uint8)
    score.add(*({"image": images[:n], "label": np.arange(n) % 3} for n in (6, 9)))
    assert score.result() == {"cas": 0.5}
    assert "learns from 6 generated images, where there are 9 real ones" in caplog.text


def test_a_file_of_images_is_compared_with_another(tmp_path):
    """The same images, in another order of the classes, of which the file keeps the names."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    first, second = str(tmp_path / "a.npz"), str(tmp_path / "b.npz")
    np.savez(first, images=images, labels=np.arange(40) // 20, classes=["cat", "dog"])
    np.savez(second, images=images, labels=1 - np.arange(40) // 20, classes=["dog", "cat"])
    real = _against(Options(against=second), None)
    assert isinstance(real, data.Source)
    fake = _of_files(data.open_source(first), real, Options())
    (record,) = evaluate(fake, Stored(real), "intra_fid", extractor=PIXELS)
    assert record.value == pytest.approx(0, abs=1e-9)
    np.savez(second, mu=np.zeros(3), sigma=np.eye(3))
    assert isinstance(_against(Options(against=second), None), Path)


@pytest.fixture
def mixed(tmp_path):
    """Folders of ten images in colour; in "first-..." the first one is of another mode."""
    rng = np.random.default_rng(0)
    for folder, mode in (("colour", "RGB"), ("grey", "L"), ("first-grey", "L"), ("first-la", "LA")):
        (tmp_path / folder).mkdir()
        pixels = rng.integers(0, 256, (10, 1, 1, 3)) * np.ones((1, 8, 8, 1))
        for index, image in enumerate(pixels.astype(np.uint8)):
            changed = index == 0 or folder == "grey"
            Pillow.fromarray(image).convert(mode if changed else "RGB").save(
                tmp_path / folder / f"{index}.png"
            )
    return tmp_path


def test_images_are_in_colour_where_any_is(mixed, caplog):
    def shape(name):
        return shape_of(data.open_source(str(mixed / name)))

    assert shape("colour") == shape("first-grey") == shape("first-la") == (8, 8, 3)
    assert shape("grey") == (8, 8, 1)
    assert "has images with transparency" in caplog.text
    assert "first-la/0.png" in caplog.text


@pytest.mark.parametrize("folder", ["colour", "first-grey", "first-la"])
def test_the_first_image_does_not_decide(mixed, folder):
    """Colour against its own grey: distances are those of the pixels, whatever the first one is."""
    images = data.open_source(str(mixed / folder))
    grey = Stored(of_source(images, (8, 8, 1)).source)
    real = of_source(grey.source, (8, 8, 3))
    fake = _of_files(images, grey.source, Options())
    means = fake.source.take(np.arange(10))["image"].mean((1, 2)) / 255
    luma = grey.source.take(np.arange(10))["image"].mean((1, 2)).repeat(3, 1) / 255
    from jaxgan.metrics.frechet import Moments, frechet_distance

    expected = frechet_distance(Moments.of(means), Moments.of(luma))
    (record,) = evaluate(fake, real, "fid", extractor=PIXELS)
    assert record.shape == "8x8x3"
    assert record.value == pytest.approx(expected, rel=1e-4)
    assert record.value > 0.01


def test_grey_images_are_compared_in_colour_with_images_that_have_some(mixed):
    grey, colour = (data.open_source(str(mixed / name)) for name in ("grey", "colour"))
    assert _of_files(grey, colour, Options()).shape == (8, 8, 3)
    assert _of_files(grey, grey, Options()).shape == (8, 8, 1)


def test_images_of_several_sizes_are_refused(tmp_path):
    for index, side in enumerate((8, 9)):
        Pillow.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{index}.png")
    with pytest.raises(UserError, match=r"different sizes \(height x width: .*8x8, .*9x9\)"):
        shape_of(data.open_source(str(tmp_path)))


def test_what_holds_no_images_is_refused():
    with pytest.raises(UserError, match="scores are for images"):
        shape_of(data.open_source("ring"))


def test_four_channels_are_put_on_white():
    clear = data.Arrays(np.zeros((3, 8, 8, 4), np.uint8))
    assert shape_of(clear) == (8, 8, 3)
    made = _of_files(clear, clear, Options()).source.take(np.arange(3))["image"]
    assert (made == 255).all()
    assert isinstance(clear.columns["image"], Image)


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.WARNING, "jaxgan")
