"""Images with inputs: pairs, unrelated sets, edges; their batches, scans and mistakes."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxgan import data
from jaxgan.cli import main
from jaxgan.data import Arrays, Unrelated, edges, fingerprint, open_source
from jaxgan.data.costs import costs
from jaxgan.data.pairs import contours, invert
from jaxgan.errors import UserError
from jaxgan.fields import Framing
from jaxgan.fields import Image as ImageField
from tests.data.short import batches, scan


def save(path, value, size=(8, 8), mode="RGB"):
    """A picture of one colour; width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value, 0, 0) if mode == "RGB" else value).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Pairs in three forms: A is i, B is 100 + i."""
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        save(tmp_path / "two" / "a" / f"{i}.png", i)
        save(tmp_path / "two" / "b" / f"{i}.jpg", 100 + i)
        both = Image.new("RGB", (16, 8), (i, 0, 0))
        both.paste((100 + i, 0, 0), (8, 0, 16, 8))
        (tmp_path / "halves").mkdir(exist_ok=True)
        both.save(tmp_path / "halves" / f"{i}.png")
    for i in range(5):
        save(tmp_path / "horses" / f"{i}.png", i)
    for i in range(3):
        save(tmp_path / "zebras" / f"{i}.png", 100 + i)
    return tmp_path


RGB = {"shape": (8, 8, 3), "input_shape": (8, 8, 3), "classes": 0}


def red(images):
    return np.rint((np.asarray(images)[:, 0, 0, 0] + 1) * 127.5).astype(int)


@pytest.mark.parametrize("form", ["two", "halves"])
def test_pairs_stay_together(place, form):
    source = open_source(f"pairs:{form}")
    assert len(source) == 3
    assert source.sets == (source,)
    batch = batches(source, batch=6, **RGB)[1]
    assert abs(red(batch["image"]) - red(batch["input"]) - 100).max() <= 1  # JPEG rounds
    assert len(set(red(batch["input"]))) == 3
    reverse = batches(open_source(f"pairs:{form}:BtoA"), batch=6, **RGB)[1]
    np.testing.assert_array_equal(reverse["image"], batch["input"])
    np.testing.assert_array_equal(reverse["input"], batch["image"])
    assert fingerprint(source) != fingerprint(open_source(f"pairs:{form}:BtoA"))


def test_packed_files_of_two_halves_are_pairs(place, capsys):
    assert main(["data", "pack", "halves", "packed"]) == 0
    plain, packed = (
        batches(open_source(f"pairs:{name}"), batch=3, **RGB)[0] for name in ("halves", "packed")
    )
    for key in plain:
        np.testing.assert_array_equal(plain[key], packed[key])


def numbered_pairs(count, side=8):
    """Image i has its number everywhere but in one corner, its input 100 more."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 1)
    )
    images = images.copy()
    images += np.arange(side, dtype=np.uint8)[:, None, None] * 10
    images += np.arange(side, dtype=np.uint8)[:, None]
    return Arrays(images, inputs=images + 100, name="numbered")


GREY = {"shape": (8, 8, 1), "input_shape": (8, 8, 1), "classes": 0}


def test_pairs_are_cut_and_flipped_alike():
    cut = {"shape": (5, 5, 1), "input_shape": (5, 5, 1), "classes": 0, "jitter": 8}
    batch = batches(numbered_pairs(6), batch=400, flip=True, **cut)[2]
    assert batch["image"].shape == (400, 5, 5, 1)
    np.testing.assert_allclose(batch["input"] - batch["image"], 100 / 127.5, atol=1e-6)
    # The pattern rises by one a column, or falls where it was flipped.
    rise = np.rint((batch["image"][:, 0, 1, 0] - batch["image"][:, 0, 0, 0]) * 127.5)
    assert set(rise) == {1, -1}
    unflipped = batches(numbered_pairs(1), batch=800, **cut)[0]["image"]
    corners = np.rint((unflipped[:, 0, 0, 0] + 1) * 127.5).astype(int)
    places, counts = np.unique(corners, return_counts=True)
    assert places.tolist() == [10 * y + x for y in range(4) for x in range(4)]
    assert abs(counts - 50).max() < 30  # the deviation is 7


def test_jitter_resizes_first(place):
    source = open_source("pairs:two")
    batch = batches(source, batch=2, jitter=12, **RGB)[0]
    assert batch["image"].shape == batch["input"].shape == (2, 8, 8, 3)


def test_unrelated_sets_have_orders_of_their_own(place):
    source = open_source("unpaired:horses,zebras")
    assert [(set(each.columns), len(each)) for each in source.sets] == [
        ({"image"}, 3),
        ({"input"}, 5),
    ]
    data = batches(source, batch=3, aligned=False, **RGB)
    taken = [data[step] for step in range(10)]
    images = np.concatenate([red(batch["image"]) for batch in taken])
    inputs = np.concatenate([red(batch["input"]) for batch in taken])
    # Epochs of 3 and of 5, each of which has all.
    assert (np.sort(images.reshape(-1, 3)) == [100, 101, 102]).all()
    assert (np.sort(inputs.reshape(-1, 5)) == range(5)).all()
    assert len(set(zip(images, inputs, strict=True))) > 10
    again = batches(open_source("unpaired:horses,zebras"), batch=3, aligned=False, **RGB)[7]
    for key in ("image", "input"):
        np.testing.assert_array_equal(again[key], taken[7][key])


def test_unrelated_sets_are_flipped_by_coins_of_their_own():
    images = np.zeros((4, 2, 2, 1), np.uint8)
    images[:, :, 1] = 255
    field, both = ImageField((2, 2, 1)), Arrays(images)
    columns = {"image": field, "input": field}
    source = Unrelated(name="two", columns=columns, images=both, inputs=both)
    shapes = {"shape": (2, 2, 1), "input_shape": (2, 2, 1), "classes": 0, "aligned": False}
    batch = batches(source, batch=1000, flip=True, **shapes)[0]
    flipped = {key: batch[key][:, 0, 0, 0] > 0 for key in ("image", "input")}
    assert abs(flipped["image"].mean() - 0.5) < 0.06
    assert abs((flipped["image"] == flipped["input"]).mean() - 0.5) < 0.06


@pytest.mark.parametrize("spec", ["unpaired:horses,zebras", "pairs:two"])
def test_processes_share_a_batch(place, spec):
    arguments = {"batch": 8, "draws": 2, "flip": True, "jitter": 10, "aligned": False, **RGB}
    source = open_source(spec)
    whole = batches(source, **arguments)[3]
    parts = [batches(source, **arguments, process=p, processes=2)[3] for p in range(2)]
    for key, value in whole.items():
        np.testing.assert_array_equal(value, np.concatenate([p[key] for p in parts], 1))


def test_edges_are_thin_and_where_the_image_changes():
    image = np.zeros((12, 12, 3), np.uint8)
    image[3:9, 4:10] = 200
    drawn = edges(image)[:, :, 0] > 0
    assert drawn.shape == (12, 12)
    assert not drawn[5:7, 6:8].any()  # inside
    assert not drawn[:2].any()
    assert not drawn[:, 11].any()
    for line in (drawn[6, :7], drawn[6, 7:], drawn[:6, 7], drawn[6:, 7]):
        assert line.sum() == 1
    assert not edges(np.full((5, 5, 1), 77, np.uint8)).any()


def test_edges_of_images_are_drawn_at_the_size_that_is_learned():
    source = open_source("edges:digits")
    batch = batches(
        source, batch=10, resize=True, shape=(16, 16, 1), input_shape=(16, 16, 3), classes=0
    )[0]
    assert batch["input"].shape == (10, 16, 16, 3)
    assert set(np.unique(batch["input"])) == {-1, 1}
    pixels = np.rint((batch["image"] + 1) * 127.5).astype(np.uint8)
    for image, drawn in zip(pixels, batch["input"], strict=True):
        np.testing.assert_array_equal(edges(image)[:, :, 0] > 0, drawn[:, :, 0] > 0)


def test_edges_of_files_are_those_of_arrays(place):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 8, 8, 1), np.uint8)
    (place / "noise").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image[:, :, 0]).save(place / "noise" / f"{index}.png")
    batch = batches(open_source("edges:noise"), batch=3, **GREY)[0]
    pixels = np.rint((batch["image"] + 1) * 127.5).astype(np.uint8)
    expected = np.stack([edges(image) for image in pixels]) / 127.5 - 1
    np.testing.assert_allclose(batch["input"], expected)


def test_edges_are_drawn_of_the_draft_that_is_learned(place, rng):
    small = rng.integers(0, 256, (9, 9, 3), np.uint8)
    (place / "large").mkdir()
    Image.fromarray(small).resize((90, 90)).save(place / "large" / "a.jpg", quality=95)
    shape = ImageField((16, 16, 3))
    groups = ({"image": shape, "input": shape},)
    framing = Framing(resize=True, draft=True)
    source = open_source("edges:large")
    batch = data.batches(source, groups, data.Order(batch=1), framing=framing)[0]
    exact = data.batches(source, groups, data.Order(batch=1), framing=Framing(resize=True))[0]
    assert np.abs(batch["image"] - exact["image"]).max() > 0
    pixels = np.rint((batch["image"][0] + 1) * 127.5).astype(np.uint8)
    np.testing.assert_allclose(batch["input"][0], edges(pixels).repeat(3, 2) / 127.5 - 1)


def test_columns_renamed_twice_are_identified_by_both_names(place):
    source = open_source("unpaired:horses,zebras")
    pixels, whole = lambda x: x, ImageField((8, 8, 3))
    (other,) = (each for each in source.sets if list(each.columns) == ["input"])
    fitted = other.fitted({"picture": pixels}, {"picture": replace(whole, column="input")})
    assert list(fitted.identity())[-2:] == [b"input is image", b"picture is input"]


@pytest.mark.parametrize("form", ["two", "halves"])
def test_costs_of_pairs(place, form):
    groups = ({"image": ImageField((8, 8, 3)), "input": ImageField((8, 8, 3))},)
    found = costs(data.batches(open_source(f"pairs:{form}"), groups, data.Order(batch=3)), 0)
    assert found["decode"] > 0


def test_negatives(place, rng):
    plain, inverted = open_source("digits"), open_source("inverted:digits")
    np.testing.assert_array_equal(inverted.images, 255 - plain.images)
    np.testing.assert_array_equal(inverted.labels, plain.labels)
    assert fingerprint(plain) != fingerprint(inverted)
    pixel = open_source("inverted:zebras")[1]["image"][0, 0]
    assert pixel.tolist() == [154, 255, 255]
    assert invert(np.array([[[10, 20, 30, 40]]], np.uint8)).tolist() == [[[245, 235, 225, 40]]]


def test_contours_go_round_what_is_light(place):
    image = np.zeros((5, 6, 1), np.uint8)
    image[2, 2:4, 0] = 90, 200
    image[0, 5] = 10  # in a corner: what lies outside counts for nothing
    assert contours(image)[:, :, 0].tolist() == [
        [0, 0, 0, 0, 10, 0],
        [0, 90, 200, 200, 200, 10],
        [0, 90, 110, 0, 200, 0],
        [0, 90, 200, 200, 200, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(contours(np.stack([image, image])), [contours(image)] * 2)
    clear = np.concatenate([image, image + 1], -1)
    np.testing.assert_array_equal(contours(clear)[..., :1], contours(image))
    np.testing.assert_array_equal(contours(clear)[..., 1:], image + 1)
    plain, drawn = open_source("digits"), open_source("contours:digits")
    np.testing.assert_array_equal(drawn.images, contours(plain.images))
    np.testing.assert_array_equal(drawn.labels, plain.labels)
    save(place / "dots" / "0.png", 7, size=(1, 1))
    assert open_source("contours:dots")[0]["image"].tolist() == [[[0, 0, 0]]]
    assert fingerprint(open_source("contours:zebras")) != fingerprint(open_source("zebras"))


def test_parts_share_nothing_and_together_are_all(place):
    whole = open_source("digits")  # 1,797
    parts = [open_source(f"part:{k}/3:digits") for k in (1, 2, 3)]
    assert [len(part) for part in parts] == [599] * 3
    for part in parts:
        assert part.columns["label"].names == whole.columns["label"].names
        assert np.bincount(part.labels, minlength=10).min() > 40  # shuffled: all classes

    def rows(source):
        return [np.append(*each) for each in zip(source.images, source.labels, strict=True)]

    taken = np.concatenate([rows(part) for part in parts])
    assert not np.array_equal(taken, rows(whole))
    np.testing.assert_array_equal(np.unique(taken, axis=0), np.unique(rows(whole), axis=0))
    np.testing.assert_array_equal(open_source("part:2/3:digits").images, parts[1].images)
    assert len({fingerprint(source) for source in (whole, *parts)}) == 4


def test_parts_of_files_are_those_of_arrays(place):
    """Five horses: two and two, and one in neither."""
    first, second = (open_source(f"part:{k}/2:horses") for k in (1, 2))
    assert len(first) == len(second) == 2
    numbers = [int(part[i]["image"][0, 0, 0]) for part in (first, second) for i in (0, 1)]
    assert len(set(numbers)) == 4
    batch = batches(second, batch=4, **{**RGB, "input_shape": None})[0]
    assert sorted(set(red(batch["image"]))) == sorted(numbers[2:])
    assert fingerprint(first) != fingerprint(second)
    both = open_source("unpaired:contours:part:2/2:horses,part:1/2:horses")
    batch = batches(both, batch=4, aligned=False, **RGB)[0]
    assert set(red(batch["image"])) == set(numbers[:2])
    assert set(red(batch["input"])) == {0}  # of one colour


def test_inputs_are_dropped_where_none_are_wanted(place):
    for spec in ("pairs:two", "pairs:halves", "unpaired:horses,zebras", "edges:zebras"):
        batch = batches(open_source(spec), shape=(8, 8, 3), classes=0, batch=2)[0]
        assert set(batch) == {"image"}
        assert "(inputs not used)" in scan(open_source(spec), shape=(8, 8, 3), classes=0).text()


def test_reports(place):
    def report(spec, **arguments):
        return scan(open_source(spec), **{**RGB, "aligned": False, **arguments}).text()

    assert report("pairs:two") == "pairs:two: 3 images, 8x8x3, each with its input, 8x8x3"
    assert report("pairs:halves") == "pairs:halves: 3 images, 8x8x3, each with its input"
    assert (
        report("unpaired:horses,zebras")
        == "unpaired:horses,zebras: 3 images, 8x8x3, and 5 inputs, 8x8x3"
    )
    assert report("edges:zebras") == "edges:zebras: 3 images, 8x8x3, each with its input"
    assert report("inverted:zebras", input_shape=None) == "inverted:zebras: 3 images, 8x8x3"


def test_what_cannot_be_opened(place):
    save(place / "three" / "train" / "0.png", 0)
    for name in ("val", "test"):
        save(place / "three" / name / "0.png", 0)
    save(place / "uneven" / "a" / "0.png", 0)
    save(place / "uneven" / "b" / "1.png", 0)
    for spec, message in {
        "pairs:nothing": "no folder 'nothing' here",
        "pairs:three": "did you mean pairs:three/test?",
        "pairs:uneven": "a and b must hold files of the same names, but '0' is in one of them only",
        "unpaired:horses": "give two data sets with a comma",
        "unpaired:horses,zebra": "no data set 'zebra'",
        "unpaired:ring,zebras": "ring holds points",
        "edges:ring": "ring holds points",
        "inverted:mnist5": "did you mean mnist5k",
        "contours:ring": "ring holds points",
        "part:digits": "give which part of how many, as in part:1/2:mnist5k",
        "part:3/2:digits": "give which part of how many",
        "part:0/2:digits": "give which part of how many",
        "part:1/2:unpaired:horses,zebras": "give parts of either set",
        "part:1/4:zebras": "zebras has 3 items, too few for 4 parts",
    }.items():
        with pytest.raises(UserError) as caught:
            open_source(spec)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_learned(place):
    save(place / "odd" / "0.png", 0, size=(15, 8))
    save(place / "large" / "0.png", 0, size=(9, 9))
    (place / "broken").mkdir()
    (place / "broken" / "0.png").write_text("text")
    for spec, message, changes in [
        ("zebras", "zebras holds images alone.*pairs:FOLDER, edges:DATA$", {}),
        ("zebras", "or unpaired:DATA,DATA", {"aligned": False}),
        ("unpaired:horses,zebras", "does not tell which images belong together", {}),
        ("pairs:odd", "0.png is 8x15x3, whose width is odd", {}),
        ("unpaired:large,zebras", "0.png is 9x9, the system draws 8x8x3", {"aligned": False}),
        ("unpaired:zebras,large", "0.png is 9x9, the system draws 8x8x3", {"aligned": False}),
        ("unpaired:zebras,broken", "0.png: found no image but b'text'", {"aligned": False}),
        ("edges:broken", "0.png: found no image", {}),
        ("pairs:two", "--jitter 7: expected the height", {"jitter": 7}),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            scan(open_source(spec), **{**RGB, **changes})
        assert "\n" not in str(caught.value)


def test_examples_are_not_flipped(place):
    data = batches(open_source("unpaired:horses,zebras"), batch=3, flip=True, aligned=False, **RGB)
    assert red(data.items("image", np.array([0, 2]))).tolist() == [100, 102]
    assert red(data.items("input", np.array([0, 4]))).tolist() == [0, 4]
    assert (data.count("image"), data.count("input")) == (3, 5)
    pairs = batches(numbered_pairs(4), batch=2, flip=True, **GREY).items("image", np.array([1, 3]))
    np.testing.assert_allclose(
        pairs[:, :, :, 0] * 127.5 + 127.5,
        numbered_pairs(4).images[[1, 3], :, :, 0],
        atol=1e-4,
    )


def test_examples_are_whole_where_training_cuts():
    cut = batches(numbered_pairs(4), batch=2, flip=True, jitter=12, **GREY)
    assert cut[0]["image"].shape == (2, 8, 8, 1)
    plain = batches(numbered_pairs(4), batch=2, **GREY)
    for name in ("image", "input"):
        np.testing.assert_array_equal(cut.items(name, [1, 3]), plain.items(name, [1, 3]))


def test_inputs_of_arrays_are_checked():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    for inputs in (np.zeros((2, 4, 4, 1), np.uint8), np.zeros((3, 4, 4, 1), np.float32)):
        with pytest.raises(UserError, match="with n = 3, as there are images"):
            Arrays(images, inputs=inputs)


def test_few_items_are_from_all_over_the_data():
    whole, few = open_source("mnist5k"), open_source("few:10:mnist5k")
    assert len(few) == 10
    assert few.labels is not None
    assert sorted(few.labels) == list(range(10))  # they are sorted by class
    np.testing.assert_array_equal(few[3]["image"], whole[1500]["image"])
    assert fingerprint(few) != fingerprint(whole)
    both = open_source("unpaired:few:4:digits,few:3:digits")
    assert [len(each) for each in both.sets] == [3, 4]  # images, inputs
    inside = open_source("few:4:unpaired:digits,mnist5k")
    assert [len(each) for each in inside.sets] == [4, 4]


@pytest.mark.parametrize("spec", ["few:0:digits", "few:digits", "few:-1:digits", "few:3:"])
def test_few_needs_a_number_and_data(spec):
    with pytest.raises(UserError, match="as in few:16:mnist5k"):
        open_source(spec)


def test_more_than_there_are_is_no_few():
    with pytest.raises(UserError, match="has 1797 items: ask for at most these"):
        open_source("few:2000:digits")
