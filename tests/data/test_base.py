import numpy as np
import pytest

from jaxgan.data import Arrays
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label


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
