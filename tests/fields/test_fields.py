"""Each kind of field: from data to networks and back, from and to people."""

import os

import jax
import numpy as np
import pytest
from PIL import Image as Pillow

from jaxgan.errors import UserError
from jaxgan.fields import (
    PLAIN,
    Clip,
    Codes,
    Framing,
    Geometry,
    Image,
    Label,
    Mask,
    Normal,
    Number,
    Points,
    Text,
    Uniform,
    draw_items,
)
from jaxgan.fields.pixels import Fit, Resample, Shrink, channels

RESIZE = Framing(resize=True)


def noise(rng, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, np.uint8)


def refused(message: str, function, *arguments) -> None:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- images


@pytest.mark.parametrize("framing", [RESIZE, Framing(resize=True, crop=18), Framing(crop=12)])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_images_are_cropped_converted_and_resized(rng, framing, count):
    raw = noise(rng, 20, 26, 3)
    fit = Fit(shape=(12, 12, count), resize=framing.resize, crop=framing.crop)
    np.testing.assert_array_equal(Image((12, 12, count)).fit(raw, framing), fit(raw))


def test_a_stage_reduces_the_whole_image(rng):
    raw = noise(rng, 20, 26, 3)
    whole = Fit(shape=(12, 12, 3), resize=True)(raw)
    field = Image((12, 12, 3))
    cells = field.at(4)
    assert (cells.shape, cells.at(12).fit(raw, RESIZE).tolist()) == ((4, 4, 3), whole.tolist())
    np.testing.assert_array_equal(cells.fit(raw, RESIZE), Shrink(factor=3)(whole))
    sampled = field.at((5, 7))
    np.testing.assert_array_equal(sampled.fit(raw, RESIZE), Resample(size=(5, 7))(whole))
    assert field.at(None) is field.at(12) is field
    assert Image((None, None, 3)).at((5, 7)) == Image((None, None, 3))
    assert Label(classes=3).at(4) == Label(classes=3)


def test_images_of_any_size_keep_it(rng):
    raw = noise(rng, 5, 9, 3)
    np.testing.assert_array_equal(Image((None, None, 1)).fit(raw), channels(raw, 1))
    assert Image().fit(raw) is raw


def test_what_is_stored_leaves_room_for_the_cut():
    assert Image((8, 12, 3)).stored(Framing(jitter=10)) == (10, 15, 3)
    assert Image((8, 12, 3)).stored(PLAIN) == (8, 12, 3)
    assert Clip((2, 8, 12, 3)).stored(Framing(jitter=10)) == (2, 10, 15, 3)
    fitted = Image((8, 12, 3)).fit(np.zeros((30, 30, 3), np.uint8), Framing(jitter=10))
    assert fitted.shape == (10, 15, 3)


def test_places_are_shares_of_the_item(rng):
    items = noise(rng, 3, 10, 20, 1)
    geometry = Geometry(
        flips=np.array([False, True, True]),
        tops=np.array([0, 0.1, 0.4]),
        lefts=np.array([0.2, 0, 0.35]),
    )
    before = items.copy()
    cut = Image((6, 12, 1)).place(items, geometry)
    np.testing.assert_array_equal(cut[0], items[0, :6, 4:16])
    np.testing.assert_array_equal(cut[1], items[1, 1:7, :12][:, ::-1])
    np.testing.assert_array_equal(cut[2], items[2, 4:, 7:19][:, ::-1])
    np.testing.assert_array_equal(items, before)
    # Frames are cut and mirrored alike, and so is what is half as large.
    clips = np.stack([items, items], 1)
    np.testing.assert_array_equal(Clip((2, 6, 12, 1)).place(clips, geometry)[:, 1], cut)
    halves = Image((3, 6, 1)).place(items[:, ::2, ::2], geometry)
    np.testing.assert_array_equal(halves[0], items[0, :6:2, 4:16:2])
    # Never beyond the border, however the share is rounded.
    whole = Geometry(tops=np.array([0.45]), lefts=np.array([0.45]))
    assert Image((6, 6, 1)).place(items[:1, :, :10], whole).shape == (1, 6, 6, 1)


def test_bytes_become_numbers_from_minus_one_to_one_and_back(rng):
    items = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    numbers = Image((16, 16, 1)).to_network(items)
    assert (numbers.dtype, numbers.min(), numbers.max()) == (np.float32, -1, 1)
    np.testing.assert_allclose(numbers, items / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(Image((16, 16, 1)).from_network(numbers), items)


def test_images_are_read_and_written(rng, tmp_path):
    field, item = Image((8, 8, 3)), noise(rng, 8, 8, 3)
    field.write(item, tmp_path / "a.png")
    np.testing.assert_array_equal(field.read(str(tmp_path / "a.png")), item)
    assert field.read(str(tmp_path / "a.png")).shape == (8, 8, 3)
    assert Image((4, 6, 1)).read(str(tmp_path / "a.png")).shape == (4, 6, 1)
    refused("is no file: give an image", field.read, str(tmp_path / "b.png"))
    refused("is a folder", field.read, str(tmp_path))


# --- masks


def test_masks_are_picked_never_mixed(rng):
    raw = np.zeros((8, 8, 1), np.uint8)
    raw[:4, 4:], raw[4:, :4], raw[4:, 4:] = 1, 2, 7
    quarters = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 7, 7], [2, 2, 7, 7]]
    field = Mask((4, 4, 8))
    assert field.fit(raw, RESIZE)[..., 0].tolist() == quarters
    assert field.fit(raw.repeat(3, 2), RESIZE)[..., 0].tolist() == quarters
    assert Mask((8, 8, 8)).at(4).fit(raw)[..., 0].tolist() == quarters
    assert set(np.unique(Mask((5, 5, 8)).fit(raw, RESIZE))) <= {0, 1, 2, 7}
    assert Mask((4, 4, 8)).fit(raw, Framing(jitter=6)).shape == (6, 6, 1)
    refused("add --resize", field.fit, raw)


def test_masks_are_one_hot_in_networks():
    items = np.array([0, 2, 1, 0], np.uint8).reshape(1, 2, 2, 1)
    made = Mask((2, 2, 3)).to_network(items)
    assert made[0, 0, 1].tolist() == [0, 0, 1]
    assert (made.shape, made.dtype) == ((1, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(Mask((2, 2, 3)).from_network(made), items)
    soft = np.array([0, 51, 255, 102], np.uint8).reshape(1, 2, 2, 1)
    made = Mask((2, 2, 1)).to_network(soft)
    np.testing.assert_allclose(made.ravel(), [0, 0.2, 1, 0.4])
    np.testing.assert_array_equal(Mask((2, 2, 1)).from_network(made), soft)


def test_masks_from_files():
    black_and_white = np.array([[[0], [255]], [[127], [128]]], np.uint8)
    assert Mask((2, 2, 2)).fit(black_and_white)[..., 0].tolist() == [[0, 1], [0, 1]]
    assert Mask((2, 2, 2)).fit(black_and_white > 127)[..., 0].tolist() == [[0, 1], [0, 1]]
    assert Mask((2, 2, 1)).fit(black_and_white).tolist() == black_and_white.tolist()
    refused("has the class 255, the system takes 0 to 2", Mask((2, 2, 3)).fit, black_and_white)
    colours = np.array([[[1, 2, 3]]], np.uint8)
    refused("a mask has colours (3 channels that differ)", Mask((1, 1, 4)).fit, colours)
    shown = Mask((2, 2, 3)).show(np.array([[[0], [1]], [[2], [0]]], np.uint8), {})
    assert shown.ravel().tolist() == [0, 127, 254, 0]


@pytest.mark.parametrize("colours", [1, 3])
def test_what_is_transparent_in_a_mask_is_not_marked(colours):
    """White strokes on a transparent layer, as image editors save them, are those strokes."""
    value = np.array([[255, 255, 255], [0, 255, 255]], np.uint8)
    alpha = np.array([[255, 0, 100], [255, 128, 200]], np.uint8)
    layer = np.dstack([value] * colours + [alpha])
    assert Mask((2, 3, 2)).fit(layer)[..., 0].tolist() == [[1, 0, 0], [0, 1, 1]]
    assert Mask((2, 3, 1)).fit(layer)[..., 0].tolist() == [[255, 0, 100], [0, 128, 200]]
    # Numbers of classes are kept or 0, never mixed.
    numbers = np.dstack([np.minimum(value, 5)] * colours + [alpha])
    assert Mask((2, 3, 6)).fit(numbers)[..., 0].tolist() == [[5, 0, 0], [0, 5, 5]]
    ones = np.dstack([np.minimum(value, 1)] * colours + [alpha])
    assert Mask((2, 3, 2)).fit(ones)[..., 0].tolist() == [[1, 0, 0], [0, 1, 1]]
    # Colours that cannot be seen, which some editors leave, are none.
    hidden = np.zeros((1, 2, 4), np.uint8)
    hidden[0] = [[9, 8, 7, 0], [2, 2, 2, 255]]
    assert Mask((1, 2, 3)).fit(hidden)[..., 0].tolist() == [[0, 2]]


# --- clips


def test_clips_are_fitted_frame_by_frame(rng, tmp_path):
    raw = noise(rng, 5, 12, 16, 3)
    field = Clip((3, 6, 6, 1))
    made = field.fit(raw, RESIZE)
    frame = Image((6, 6, 1))
    np.testing.assert_array_equal(made, [frame.fit(each, RESIZE) for each in raw[:3]])
    assert Clip((None, 6, 6, 1)).fit(raw, RESIZE).shape == (5, 6, 6, 1)
    assert field.at(3).fit(raw, RESIZE).shape == (3, 3, 3, 1)
    refused("a clip has 5 frames, expected at least 6", Clip((6, 6, 6, 1)).fit, raw, RESIZE)
    np.testing.assert_array_equal(field.from_network(field.to_network(made[None]))[0], made)
    assert field.show(made, {}).shape == (6, 18, 1)


def test_clips_are_read_and_written(tmp_path):
    field = Clip((3, 8, 8, 1))
    item = np.broadcast_to(np.array([0, 100, 255], np.uint8)[:, None, None, None], (3, 8, 8, 1))
    field.write(item, tmp_path / "a.gif")
    assert abs(field.read(str(tmp_path / "a.gif")).astype(int) - item).max() <= 4  # a palette
    (tmp_path / "b.gif").write_text("text")
    refused("b.gif: found no image but b'text'", field.read, str(tmp_path / "b.gif"))


# --- labels, text, numbers


def test_labels_have_names():
    field = Label(classes=3)
    named = field.bind({"names": ["cat", "dog", "10"]})
    assert named.about() == {"names": ["cat", "dog", "10"]}
    assert [named.name(i) for i in range(3)] == ["cat", "dog", "10"]
    assert (field.name(2), field.bind({"names": ["cat"]}), field.bind({})) == ("2", field, field)
    assert (named.read("dog"), named.read("2"), named.read("10")) == (1, 2, 2)
    assert named.read("dog").dtype == np.int32
    refused("3 classes, 0 to 2 (cat, dog, 10); did you mean cat?", named.read, "cats")
    refused("3 classes, 0 to 2", field.read, "3")
    assert field.fit(2).dtype == np.int32
    refused("the label -1, expected 0 to 2: choose a split that is labelled", field.fit, -1)


def test_labels_are_drawn_uniformly():
    keys = jax.random.split(jax.random.key(0), 3000)
    made = draw_items({"label": Label(classes=3)}, keys)["label"]
    assert made.dtype == np.int32
    assert abs(np.bincount(made, minlength=3) - 1000).max() < 120  # the deviation is 26


def encode(sentences: list[str]) -> np.ndarray:
    return np.array([[len(each), each.count(" ")] for each in sentences])


def test_sentences_become_vectors():
    field = Text((2,), encode=encode)
    assert field.fit("a red bird").tolist() == field.read("a red bird").tolist() == [10, 2]
    assert field.fit(np.array([1, 2])).dtype == np.float32
    assert field.refusal(Text()) is None
    assert field.refusal(Points((2,))) is None
    assert "holds points of 3" in (field.refusal(Points((3,))) or "")
    assert field.refusal(Text((2,))) is None
    assert "holds texts of 3, the system draws texts of 2" in (field.refusal(Text((3,))) or "")
    assert "no encoder" in (Text((2,)).refusal(Text()) or "")
    assert Text((2,)).read("1,2").tolist() == [1, 2]
    refused("makes vectors of (2,), the system takes (3,)", Text((3,), encode=encode).read, "x")
    assert field.fit(("a red bird", "x")).tolist() == [10, 2]
    assert field.accept("a red bird").tolist() == [[10, 2]]
    assert field.accept(["a red bird", "x"]).tolist() == [[10, 2], [1, 0]]
    assert field.accept(np.float32([0.5, 1])).tolist() == [[0.5, 1]]
    refused("a sentence is empty: type one", field.accept, ["x", " "])
    refused(
        "of 1 for 2 sentences", Text((2,), encode=lambda each: encode(each[:1])).accept, ["a", "b"]
    )
    assert field.bind({"encoder": "x 1"}).shape == (2,)
    refused("encoded by x 1, and this is another", field.bind({"encoder": "x 1"}).read, "x")


def test_sentences_have_ways_between_them():
    field = Text((2,), encode=encode)
    a, b = np.float32([[1, 0]]), np.float32([[0, 1]])
    half = field.between(a, b, np.float32([0.5]))
    np.testing.assert_allclose(half, [[0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_numbers_have_a_range_and_a_default():
    field = Number(default=1.0, low=0.0, high=2.0)
    assert draw_items({"psi": field}, jax.random.split(jax.random.key(0), 2))["psi"].tolist() == [
        1,
        1,
    ]
    assert field.read("0.5") == np.float32(0.5)
    refused("it goes from 0 to 2", field.read, "2.5")
    refused("is no number", field.read, "half")
    assert field.text() == "number from 0 to 2, 1 by default"


# --- what is drawn


def test_a_row_is_drawn_of_its_key_alone():
    keys = jax.random.split(jax.random.key(0), 6)
    fields = {"z": Normal((4,)), "u": Uniform((2,), low=0, high=3)}
    made = draw_items(fields, keys)
    part = draw_items({"z": fields["z"]}, keys[2:3])["z"][0]
    np.testing.assert_array_equal(made["z"][2], part)
    assert len({tuple(row) for row in made["z"].tolist()}) == 6
    with pytest.raises(ValueError, match="image is a image, which cannot be drawn"):
        draw_items({"image": Image((2, 2, 1))}, keys)


def test_latents_have_their_moments_and_ranges():
    keys = jax.random.split(jax.random.key(1), 2000)
    made = draw_items({"z": Normal((8,)), "u": Uniform((8,), low=-1, high=3)}, keys)
    assert abs(np.mean(made["z"])) < 0.03
    assert abs(np.std(made["z"]) - 1) < 0.03
    assert (made["u"].min() >= -1, made["u"].max() < 3) == (True, True)
    assert abs(np.mean(made["u"]) - 1) < 0.05
    cut = draw_items({"z": Normal((8,))}, keys, np.float32(0.5))["z"]
    assert 0.49 < abs(cut).max() <= 0.5


def test_between_two_latents():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 64)).astype(np.float32)
    ends = np.array([0, 1], np.float32)
    for field in (Normal((64,)), Uniform((64,))):
        way = field.between(a.repeat(2, 0), b.repeat(2, 0), ends)
        np.testing.assert_allclose(way, np.concatenate([a, b]), atol=1e-5)
    half = np.array([0.5], np.float32)
    np.testing.assert_allclose(Uniform((64,)).between(a, b, half), (a + b) / 2, atol=1e-6)
    long = np.linalg.norm(Normal((64,)).between(a, b, half))
    assert abs(long - (np.linalg.norm(a) + np.linalg.norm(b)) / 2) < 1
    labels = np.array([1], np.int32)
    assert Label(classes=3).between(labels, labels + 1, half).tolist() == [1]


# --- all of them

FIELDS = [
    Image((4, 4, 3)),
    Clip((2, 4, 4, 1)),
    Mask((4, 4, 3)),
    Label(classes=3),
    Text((5,)),
    Points((2,)),
    Codes((7,)),
    Normal((6,)),
    Uniform((6,)),
    Number(),
]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.kind())
def test_fields_are_static_and_tell_of_themselves(field):
    assert hash(field) == hash(type(field)(**vars(field)))
    assert field.zeros(2).shape == (2, *field.shape)
    assert field.zeros(2).dtype == field.dtype
    assert field.kind() in field.text()
    assert field.refusal(field) is None
    other = Label(classes=9) if field.kind() != "label" else Points((2,))
    assert "the system draws" in field.refusal(other)
    made = field.to_network(field.noise(np.random.default_rng(0), 3))
    assert (made.shape, made.dtype) == ((3, *field.shape), field.dtype)


@pytest.mark.parametrize("field", [Points((2,)), Codes((3,)), Text((2,))])
def test_vectors_are_typed_and_kept(field, tmp_path):
    typed = ",".join(map(str, range(field.shape[0])))
    item = field.read(typed)
    assert (item.tolist(), item.dtype) == (list(range(field.shape[0])), field.dtype)
    field.write(item, tmp_path / f"a{field.suffix}")
    np.testing.assert_array_equal(field.read(str(tmp_path / f"a{field.suffix}")), item)
    refused("give its numbers with commas", field.read, "1,2,3,4,5")
    refused("give its numbers with commas", field.read, "one")
    refused("give its numbers with commas", field.read, typed.replace("1", "nan"))
    os.mkfifo(tmp_path / "pipe.json")
    refused("give its numbers with commas", field.read, str(tmp_path / "pipe.json"))
    (tmp_path / "b.json").write_text("[" * 100_000)
    refused("give its numbers with commas", field.read, str(tmp_path / "b.json"))


def test_a_pictures_field_is_what_pillow_reads(tmp_path):
    Pillow.new("RGBA", (6, 4), (10, 20, 30, 255)).save(tmp_path / "a.png")
    assert Image((None, None, 3)).read(str(tmp_path / "a.png"))[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), "no image"),  # grey ones without their axis of channels
        (np.zeros((8, 8), np.uint8), "no image"),
        (np.full((8, 8, 1), 300), "0 to 255"),
        (np.full((8, 8, 1), -1), "0 to 255"),
    ],
)
def test_arrays_that_are_no_images_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        Image((8, 8, 1)).fit(given)


def test_half_a_class_is_none():
    with pytest.raises(UserError, match=r"no class 1\.5"):
        Label(classes=3).accept(1.5)
