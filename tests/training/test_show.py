"""Pictures of what a use took and made: what they show follows from its fields."""

import dataclasses

import numpy as np
import pytest

from jaxgan import UserError
from jaxgan.fields import Attention, Clip, Image, Label, Mask, Normal, Number, Points
from jaxgan.system import Use
from jaxgan.training.show import kept, picture, shown_use
from tests.toys import TinyGAN

GREY = {"image": Image((4, 5, 1))}


def shades(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def test_single_images_are_a_grid():
    made = {"image": shades(6, 4, 5, 1)}
    image = picture({"z": Normal((3,))}, GREY, {"z": np.zeros((6, 3))}, made, columns=4)
    assert image.size == (4 * 5 + 3 * 2, 2 * 4 + 2)
    pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[:4, :5], kept(GREY["image"], made["image"])[0, ..., 0])
    whole = picture({}, GREY, {}, made, columns=4, whole=(8, 10))
    assert whole.size == (4 * 10 + 3 * 2, 2 * 8 + 2)


def test_what_was_taken_stands_beside_what_was_made_and_should_have_been():
    given, made, target = (np.full((2, 4, 5, 1), value, np.float32) for value in (-1, 0, 1))
    image = picture(
        {"input": Image((4, 5, 1)), "label": Label(classes=2)},
        GREY,
        {"input": given, "label": np.arange(2)},
        {"image": made},
        targets={"image": target},
    )
    pixels = np.asarray(image)
    assert pixels.shape == (2 * 4 + 2, 3 * 5 + 2 * 2)
    assert [pixels[row, column] for row in (0, 6) for column in (0, 7, 14)] == 2 * [0, 128, 255]


def test_columns_are_as_wide_as_what_they_show():
    gives = {"clip": Clip((3, 4, 5, 3)), "mask": Mask((4, 5, 2))}
    made = {
        "clip": shades(2, 3, 4, 5, 3),
        "mask": np.eye(2, dtype=np.float32)[np.ones((2, 4, 5), int)],
    }
    pixels = np.asarray(picture({}, gives, {}, made))
    assert pixels.shape == (2 * 4 + 2, 3 * 5 + 2 + 5, 3)
    assert (pixels[:4, 17:] == 255).all()
    looks = {"image": Image((8, 8, 1)), "attention": Attention((16, 4))}
    made = {"image": shades(2, 8, 8, 1), "attention": np.full((2, 16, 4), 0.25, np.float32)}
    assert np.asarray(picture({}, looks, {}, made)).shape == (2 * 8 + 2, 8 + 2 + 5 * 8, 3)


def test_items_of_several_sizes_are_padded_with_white():
    made = {"image": [np.full((4, 5, 3), -1, np.float32), np.full((2, 3, 3), -1, np.float32)]}
    pixels = np.asarray(picture({}, {"image": Image((None, None, 3))}, {}, made, columns=1))
    assert pixels.shape == (2 * 4 + 2, 5, 3)
    assert (pixels[:4] == 0).all()
    assert (pixels[6:8, :3] == 0).all()
    assert (pixels[8:] == 255).all()


def test_points_are_scattered_and_numbers_are_not_shown():
    points = {"image": Points((2,))}
    assert picture({}, points, {}, {"image": shades(4, 2)}).size == (512, 512)
    with pytest.raises(
        UserError, match=r"nothing that can be seen is made: style; save it as .npz"
    ):
        picture({}, {"style": Points((3,))}, {}, {"style": shades(4, 3)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Several(TinyGAN):
    """Uses that cannot be seen, that need something, and then one that can be shown."""

    def uses(self):
        draws, nothing = super().uses()["generate"], lambda *_: {}
        seen = {"image": Points((2,))}
        return {
            "encode": Use(call=nothing, takes={"z": Normal((4,))}, gives={"code": Points((3,))}),
            "edit": Use(call=nothing, takes={"image": Points((2,))}, gives=seen),
            "psi": Use(call=nothing, takes={"psi": Number()}, gives=seen),
            "generate": draws,
        }


def test_the_first_use_that_can_be_shown():
    assert shown_use(Several()) == "psi"
    assert shown_use(TinyGAN()) == "generate"
