"""Which column of the data each field of a system is."""

import numpy as np
import pytest

from jaxgan import data
from jaxgan.data import Columns, match
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Image, Label, Mask, Points, Text

IMAGE, LABEL, WORDS = Image((4, 4, 1)), Label(classes=2), Text((8,))


def holding(**fields) -> Columns:
    """Two items of each column."""
    made = {
        Image: np.zeros((2, 4, 4, 1), np.uint8),
        Mask: np.zeros((2, 4, 4, 1), np.uint8),
        Clip: np.zeros((2, 3, 4, 4, 1), np.uint8),
        Label: np.arange(2),
        Points: np.zeros((2, 2), np.float32),
        Text: ["one", "two"],
    }
    return Columns({name: made[type(field)] for name, field in fields.items()}, fields, name="toy")


def found(source, *groups, **renames) -> dict[str, str]:
    matches = match(groups, source, renames)
    return {name: column for each in matches for name, column in each.columns.items()}


def refused(source, *groups, **renames) -> str:
    with pytest.raises(UserError) as caught:
        match(groups, source, renames)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_field_is_the_column_of_its_name():
    source = holding(image=Image(), other=Image(), label=LABEL)
    assert found(source, {"image": IMAGE, "label": LABEL}) == {"image": "image", "label": "label"}
    assert found(source, {"image": IMAGE}, {"other": IMAGE}) == {"image": "image", "other": "other"}
    assert found(source, {"picture": Image((4, 4, 1), column="other")}) == {"picture": "other"}


def test_a_rename_goes_before_the_name():
    source = holding(image=Image(), photo=Image())
    assert found(source, {"image": IMAGE}, image="photo") == {"image": "photo"}
    swapped = found(source, {"image": IMAGE, "photo": IMAGE}, image="photo", photo="image")
    assert swapped == {"image": "photo", "photo": "image"}
    # By the field's own name, or by what it is called in the data.
    shown = Image((4, 4, 1), column="image")
    assert found(source, {"shown": shown}, shown="photo") == {"shown": "photo"}
    both = found(source, {"image": IMAGE}, {"shown": shown}, image="photo")
    assert both == {"image": "photo", "shown": "photo"}


def test_the_only_column_of_a_kind_needs_no_name():
    source = holding(photo=Image(), breed=LABEL, caption=Text(), outline=Mask((4, 4, 2)))
    group = {"image": IMAGE, "label": LABEL, "text": WORDS, "mask": Mask((4, 4, 2))}
    assert found(source, group) == {
        "image": "photo",
        "label": "breed",
        "text": "caption",
        "mask": "outline",
    }
    # One that is found by its name leaves the other.
    two = holding(photo=Image(), input=Image())
    assert found(two, {"image": IMAGE, "input": IMAGE}) == {"image": "photo", "input": "input"}
    # What is called like a column of another group is where that one is.
    wrong = {"other": Image((4, 4, 1), column="image")}
    assert found(source, {"image": IMAGE}, wrong) == {"image": "photo", "other": "photo"}


def test_two_candidates_are_refused_by_name():
    source = holding(left=Image(), right=Image())
    message = "toy has left and right, each of which could be image: say which, as in"
    assert message in refused(source, {"image": IMAGE})
    message = refused(source, {"image": IMAGE, "input": IMAGE})
    assert message.endswith("could be image or input: say which, as in --data.columns image=left")
    assert found(source, {"image": IMAGE, "input": IMAGE}, image="right")["input"] == "left"


def test_what_is_missing_is_named():
    source = holding(image=Image())
    assert refused(source, {"image": IMAGE, "label": LABEL}) == (
        "toy has no labels, the system is conditional on 2 classes: use one sub-folder per class, "
        "or a form of the system without (--system.classes 0, --system.no-labelled)"
    )
    alone = refused(source, {"image": IMAGE, "input": IMAGE})
    assert alone.startswith("toy holds images alone, the system makes one image from another")
    assert "unpaired" not in alone
    assert "unpaired:DATA,DATA" in refused(source, {"image": IMAGE}, {"input": IMAGE})
    assert refused(source, {"image": IMAGE, "text": WORDS}) == (
        "toy has no text, the system takes text 8: it has image (image)"
    )


def test_a_wrong_rename_is_told_the_nearest():
    source = holding(image=Image(), photo=Image())
    message = "--data.columns image=foto: toy has image, photo, not foto; did you mean photo?"
    assert refused(source, {"image": IMAGE}, image="foto") == message
    assert "the system takes image, not imag; did you mean image?" in refused(
        source, {"image": IMAGE}, imag="photo"
    )


def test_fields_of_a_group_lie_in_one_set():
    source = data.open_source("unpaired:digits,digits")
    pair = {"image": Image((8, 8, 1)), "input": Image((8, 8, 1))}
    assert "does not tell which images belong together" in refused(source, pair)
    first, second = match([{name: field} for name, field in pair.items()], source)
    assert (set(first.source.columns), set(second.source.columns)) == (
        {"image", "label"},
        {"input"},
    )


@pytest.mark.parametrize(
    ("field", "column", "message"),
    [
        (IMAGE, Points((2,)), "holds points of 2 numbers, the system draws 4x4x1 images: choose"),
        (Points((2,)), Image((4, 4, 1)), "holds 4x4x1 images, the system draws points of 2"),
        (IMAGE, Clip((3, 4, 4, 1)), "holds 3x4x4x1 clips, the system draws 4x4x1 images"),
        (Clip((5, 4, 4, 1)), Clip((3, 4, 4, 1)), "has 3 frames, the system draws 5: leave out"),
        (IMAGE, Mask((4, 4, 2)), "holds 4x4x2 masks, the system draws 4x4x1 images"),
        (WORDS, Text(), "holds sentences, and the system has no encoder of them: give their"),
        (WORDS, LABEL, "holds labels of 2 classes, the system draws texts of 8: choose"),
        (LABEL, IMAGE, "holds 4x4x1 images, the system draws labels of 2 classes: choose"),
        (Label(classes=3), LABEL, "has 2 classes, the system expects 3: set --system.classes 2"),
    ],
)
def test_a_column_of_another_kind_is_refused(field, column, message):
    with pytest.raises(UserError) as caught:
        data.scan(holding(it=column), ({"it": field},))
    assert str(caught.value).startswith(f"toy {message}")


def test_only_the_data_know_the_names_of_classes():
    source = data.open_source("digits")
    found = data.about(source, ({"image": Image((8, 8, 1)), "label": Label(classes=10)},))
    assert found == {"image": {}, "label": {"names": list("0123456789")}}
