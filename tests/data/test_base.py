import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import Arrays, Columns, Source
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Framing, Image, Label, Points, Text


def images(count: int = 3) -> np.ndarray:
    return np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2, 1)


def test_arrays_are_a_source():
    source = Arrays(images(), np.array([1, 0, 1]), ("a", "b"))
    assert len(source) == 3
    assert source.columns == {
        "image": Image((2, 2, 1)),
        "label": Label(classes=2, names=("a", "b")),
    }
    item = source[2]
    np.testing.assert_array_equal(item["image"], images()[2])
    assert item["label"] == 1
    assert item["label"].dtype == np.int32
    assert set(Arrays(images())[0]) == {"image"}


def test_take_is_a_copy_of_the_items_in_the_order_asked_for():
    source = Arrays(images(), np.array([1, 0, 1]), ("a", "b"))
    taken = source.take(np.array([2, 0, 2]))
    np.testing.assert_array_equal(taken["image"], images()[[2, 0, 2]])
    np.testing.assert_array_equal(taken["label"], [1, 1, 1])
    taken["image"][:] = 9
    np.testing.assert_array_equal(source.images, images())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((images().astype(np.float32),), "images are float32 with 4 axes, expected uint8"),
        ((images()[0],), "images are uint8 with 3 axes"),
        ((images(), np.array([0, 1, 0])), "labels and classes go together"),
        ((images(), None, ("a",)), "labels and classes go together"),
        ((images(), np.array([0, 1]), ("a", "b")), r"labels have shape \(2,\), expected \(3,\)"),
        ((images(), np.array([0, 1, 2]), ("a", "b")), "from 0 to 2, expected 0 to 1"),
    ],
)
def test_other_arrays_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Arrays(*arguments)


def test_columns_have_names_and_kinds():
    source = Columns(
        {"photo": images(), "caption": ["a", "b", "c"], "kind": np.array([2, 0, 1])}, name="mine"
    )
    assert source.columns == {
        "photo": Image((2, 2, 1)),
        "caption": Text(),
        "kind": Label(classes=3, names=("0", "1", "2")),
    }
    assert (len(source), source[1]["caption"], source[1]["kind"]) == (3, "b", 0)
    assert source.labels.tolist() == [2, 0, 1]
    taken = source.take(np.array([2, 0]))
    assert taken["caption"].tolist() == ["c", "a"]
    assert taken["kind"].dtype == np.int32


def test_items_of_many_sizes_are_a_list():
    pictures = [np.full((2 + i, 3, 3), i, np.uint8) for i in range(4)]
    source = Columns({"image": pictures}, name="mine")
    assert source.columns == {"image": Image()}
    assert [shape for _, shape in source.shapes("image")] == [(2 + i, 3, 3) for i in range(4)]
    groups = ({"image": Image((2, 3, 3))},)
    report = data.scan(source, groups, framing=Framing(resize=True))
    assert report.text() == "mine: 4 images, 2x3 to 5x3 made 2x3x3"
    made = data.batches(source, groups, data.Order(batch=4), framing=Framing(resize=True))[0]
    assert sorted(np.rint((made["image"][:, 0, 0, 0] + 1) * 127.5)) == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"mine holds images of different sizes \(height x width"):
        data.scan(source, groups)


def test_fitting_leaves_exactly_the_columns_that_are_named():
    source = Arrays(images(), np.array([1, 0, 1]), ("a", "b"))
    fitted = source.fitted(
        {"half": lambda image: image[:1], "label": None},
        {"half": Image((1, 2, 1), column="image"), "label": source.columns["label"]},
    )
    assert fitted.columns == {"half": Image((1, 2, 1)), "label": source.columns["label"]}
    np.testing.assert_array_equal(fitted.items["half"], images()[:, :1])
    assert set(fitted[0]) == {"half", "label"}
    # What need not be changed is not copied.
    same = source.fitted({"image": lambda image: image}, {"image": source.columns["image"]})
    assert same.items["image"] is source.images


class Squares(Source):
    """Item i is a grey square; all that a data set of one's own needs."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return {"image": np.full((4, 4, 1), index, np.uint8)}

    def identity(self):
        yield b"five squares"


def test_a_source_of_ones_own():
    source = data.as_source(Squares(name="squares", columns={"image": Image((4, 4, 1))}))
    groups = ({"image": Image((4, 4, 1))},)
    assert data.scan(source, groups).text() == "squares: 5 images, 4x4x1"
    made = data.batches(source, groups, data.Order(batch=5))[0]["image"]
    assert sorted(np.rint((made[:, 0, 0, 0] + 1) * 127.5)) == list(range(5))
    assert len(data.fingerprint(source)) == 32


def test_what_python_users_give_becomes_a_source():
    source = data.as_source("digits")
    assert source.name == "digits"
    assert data.as_source(source) is source
    assert data.as_source(images()).columns == {"image": Image((2, 2, 1))}
    points = np.zeros((5, 2), np.float32)
    assert data.as_source(points).columns == {"image": Points((2,))}
    many = data.as_source(
        {"clip": np.zeros((2, 3, 4, 4, 1), np.uint8), "at": points[:2], "kind": [1, 0]}
    )
    assert many.columns == {
        "clip": Clip((3, 4, 4, 1)),
        "at": Points((2,)),
        "kind": Label(classes=2, names=("0", "1")),
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "data are a int, expected a name, an array, a dict of arrays"),
        (np.zeros((2, 4, 4, 3)), "images are float64 with 4 axes, expected uint8"),
        ({"a": np.zeros((2, 4, 4, 3))}, "arrays: a is float64 with 4 axes, expected uint8"),
        ({"a": images(3), "b": ["x"]}, "arrays has 3 of a, 1 of b: give as many of each"),
        ({"a": np.array([0, -1])}, "labels run from -1 to 0"),
        ({"a": [images(1)[0], "x"]}, "arrays: a is a list, expected uint8"),
        ({}, "arrays has no columns"),
    ],
)
def test_what_is_no_data_is_refused(value, message):
    with pytest.raises(UserError, match=message) as caught:
        data.as_source(value)
    assert "\n" not in str(caught.value)


def test_columns_that_are_not_what_their_field_says_are_refused():
    with pytest.raises(UserError, match="items of a have 3 axes, expected 4 as of any clip"):
        Columns({"a": images()}, {"a": Clip()})
    with pytest.raises(UserError, match="items of a and fields of b: give both"):
        Columns({"a": images()}, {"b": Image()})


def test_fingerprints_of_columns_know_names_and_content():
    def of(**columns):
        return data.fingerprint(Columns(columns))

    assert of(a=images()) == of(a=images())
    others = [of(b=images()), of(a=images() + 1), of(a=list(images())), of(a=["x", "y"])]
    assert len({of(a=images()), *others}) == 5
