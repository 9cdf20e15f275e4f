import dataclasses
import hashlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from jaxgan import data
from jaxgan.data import Arrays, Columns, Fit, Unrelated, open_source, pipeline, sentences
from jaxgan.data.order import permutation, random_bits
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Framing, Image, Label, Mask, Points, Text
from tests.data.short import batches

FLIPS = 2**64 - 1
"""The stream that decides which images of the first group are flipped."""


def numbered(count: int) -> Arrays:
    """Item i is an image whose left column is i and whose right column is 255; its label is i."""
    images = np.full((count, 2, 2, 1), 255, np.uint8)
    images[:, :, 0, 0] = np.arange(count)[:, None]
    return Arrays(images, np.arange(count), [str(i) for i in range(count)], name="numbered")


def make(source=None, *, classes=None, **arguments):
    source = source or numbered(10)
    if classes is None:
        classes = source.columns["label"].classes if "label" in source.columns else 0
    return batches(
        source, shape=source.columns["image"].shape, classes=classes, **{"batch": 4, **arguments}
    )


def same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], strict=True)


def test_a_batch_is_a_function_of_seed_and_step():
    first, second = (make(seed=5, flip=True) for _ in range(2))
    steps = [7, 0, 3, 7]
    permutation.cache_clear()
    for step, again in zip(steps, [first[s] for s in steps], strict=True):
        same(second[step], again)
    assert (first[0]["label"] != make(seed=6)[0]["label"]).any()


def test_iterating_gives_what_indexing_gives_from_any_step():
    data = make(flip=True, draws=2)
    stream = data.iterate(3)
    for step in range(3, 12):
        same(next(stream), data[step])
    stream.close()


def test_the_stream_of_random_words_is_the_one_of_earlier_runs():
    # A run resumes under another version of NumPy: these numbers must never change.
    assert permutation(3, 2, 8).tolist() == [2, 4, 1, 3, 6, 5, 0, 7]
    assert random_bits(3, FLIPS, 6, 16).astype(int).tolist() == [
        0,
        1,
        0,
        0,
        0,
        0,
        1,
        1,
        1,
        0,
        1,
        0,
        1,
        0,
        1,
        1,
    ]


def test_worker_processes_give_the_same():
    data, working = make(flip=True), make(flip=True, workers=1)
    stream = working.iterate(2)
    for step in range(2, 5):
        same(next(stream), data[step])
    stream.close()


@pytest.mark.parametrize("processes", [2, 4])
def test_the_union_of_processes_is_the_single_process_batch(processes):
    arguments = {"batch": 16, "draws": 3, "micro": 2, "flip": True}
    whole = make(**arguments)
    parts = [make(**arguments, process=p, processes=processes) for p in range(processes)]
    for step in (0, 5):
        pieces = [part[step] for part in parts]
        assert pieces[0]["label"].shape == (3, 2, 8 // processes)
        joined = {key: np.concatenate([p[key] for p in pieces], axis=2) for key in pieces[0]}
        same(joined, whole[step])


@pytest.mark.parametrize(
    ("draws", "micro", "lead"), [(1, 1, (8,)), (2, 1, (2, 8)), (1, 4, (4, 2)), (2, 4, (2, 4, 2))]
)
def test_draws_and_micro_batches_are_axes_where_there_are_several(draws, micro, lead):
    batch = make(batch=8, draws=draws, micro=micro, flip=True)[3]
    assert batch["label"].shape == lead
    assert batch["image"].shape == (*lead, 2, 2, 1)
    # The same images as one draw after the other of the plain data.
    plain = [make(batch=8, flip=True)[3 * draws + d] for d in range(draws)]
    for key, value in batch.items():
        expected = np.concatenate([p[key] for p in plain])
        np.testing.assert_array_equal(value.reshape(expected.shape), expected)


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (12, 4), (3, 8), (1, 4)])
def test_every_epoch_holds_every_item_once(count, batch):
    data = make(numbered(count), batch=batch, classes=0 if count == 1 else None)
    seen = np.concatenate([data[s]["image"][:, 0, 0, 0] for s in range(2 * count)])
    epochs = np.rint((seen + 1) * 127.5).astype(int)[: 8 * count].reshape(8, count)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(count), (8, 1)))
    if count == 10:
        assert len(set(map(tuple, epochs))) == 8


def test_orders_are_uniform():
    counts = np.zeros((4, 4))
    for seed, epoch in itertools.product(range(20), range(100)):
        counts[np.arange(4), permutation(seed, epoch, 4)] += 1
    # 2000 orders: each item at each place 500 times, deviation 19.
    assert abs(counts - 500).max() < 100


def test_flips_mirror_half_of_the_images():
    plain = make(batch=1000)[0]["image"]
    flipped = make(batch=1000, flip=True)[0]["image"]
    changed = (flipped != plain).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(flipped[changed], plain[changed, :, ::-1])
    # The deviation of the fraction is 0.016.
    assert abs(changed.mean() - 0.5) < 0.06


def test_flips_depend_on_nothing_but_the_place_in_the_stream():
    def images(batch: int, steps: int, **arguments) -> np.ndarray:
        data = make(batch=batch, flip=True, **arguments)
        return np.concatenate([data[s]["image"].reshape(-1, 2, 2, 1) for s in range(steps)])

    expected = images(6, 20)
    np.testing.assert_array_equal(images(120, 1), expected)
    np.testing.assert_array_equal(images(30, 2, draws=2, micro=3), expected)
    np.testing.assert_array_equal(
        random_bits(0, FLIPS, 0, 40),
        np.concatenate([random_bits(0, FLIPS, i, 5) for i in range(0, 40, 5)]),
    )


def test_flips_of_an_epoch_are_not_those_of_the_next():
    first, second = (random_bits(0, FLIPS, start, 1000) for start in (0, 1000))
    assert 0.4 < (first == second).mean() < 0.6


def test_images_are_floats_from_minus_one_to_one():
    values = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    image = make(Arrays(values), batch=256)[0]["image"]
    assert image.dtype == np.float32
    expected = np.arange(256) / 127.5 - 1
    np.testing.assert_allclose(np.sort(image.ravel()), expected, atol=1e-7)
    assert (image.min(), image.max()) == (-1, 1)


def test_labels_belong_to_their_images_and_are_dropped_where_not_wanted():
    batch = make()[2]
    assert batch["label"].dtype == np.int32
    numbers = np.rint((batch["image"][:, 0, 0, 0] + 1) * 127.5)
    np.testing.assert_array_equal(batch["label"], numbers)
    assert set(make(classes=0)[2]) == {"image"}


def test_points_pass_as_they_are():
    ring = open_source("ring")
    batch = batches(ring, shape=(2,), classes=0, batch=len(ring))[0]
    order = np.lexsort(batch["image"].T)
    np.testing.assert_array_equal(
        batch["image"][order], ring.images[np.lexsort(ring.images.T)], strict=True
    )


def test_images_in_memory_are_fitted_once_and_like_any_other():
    digits = open_source("digits")
    shape = (12, 12, 3)
    data = batches(digits, shape=shape, classes=0, batch=5, resize=True, crop=6)
    fit = Fit(shape=shape, resize=True, crop=6)
    items = permutation(0, 0, len(digits))[:5]
    expected = np.stack([fit(digits.images[i]) for i in items]) / 127.5 - 1
    np.testing.assert_allclose(data[0]["image"], expected, atol=1e-6)


def test_a_folder_is_read_fitted_and_labelled(tmp_path):
    for i, name in enumerate(["a/0.png", "a/1.png", "b/0.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Pillow.new("RGB", (9, 6), (100 * i, 0, 0)).save(tmp_path / name)
    source = open_source(str(tmp_path))
    arguments = {"shape": (4, 4, 3), "classes": 2, "batch": 3, "resize": True, "flip": True}
    data = batches(source, **arguments)
    batch = data[1]
    assert batch["image"].shape == (3, 4, 4, 3)
    red = np.rint((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int)
    assert sorted(red) == [0, 100, 200]
    np.testing.assert_array_equal(batch["label"], red == 200)
    stream = data.iterate(1)
    same(next(stream), batch)
    stream.close()


@pytest.mark.parametrize("name", ["{0}", "unpaired:{0},{0}", "part:1/1:{0}"])
def test_drafts_are_for_whoever_asks(rng, tmp_path, name):
    blobs = Pillow.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize((90, 125))
    blobs.save(tmp_path / "a.jpg")
    source = open_source(name.format(tmp_path))
    arguments = {"shape": (32, 32, 3), "batch": 1, "resize": True}
    exact, draft = (batches(source, **arguments, draft=each)[0]["image"] for each in (False, True))
    expected = Fit(shape=(32, 32, 3), resize=True)(data.read(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(np.rint((exact[0] + 1) * 127.5), expected)
    assert 0 < np.abs(draft - exact).mean() < 0.01


def test_points_may_be_asked_for_as_drafts():
    assert batches(data.open_source("ring"), shape=(2,), batch=2, draft=True)[0]["image"].any()


def test_a_file_that_breaks_during_training_is_an_error_not_a_hang(tmp_path):
    for name in ("a.png", "b.png"):
        Pillow.new("L", (4, 4)).save(tmp_path / name)
    source = open_source(str(tmp_path))
    (tmp_path / "b.png").write_text("gone")
    stream = batches(source, shape=(4, 4, 1), classes=0, batch=2).iterate()
    with pytest.raises(UserError, match=r"/b.png: found no image but b'gone'"):
        next(stream)
    stream.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 10, "micro": 4}, "batch 10 cannot be divided by 4 micro-batches.*multiple of 4"),
        ({"batch": 4, "processes": 3}, "times 3 processes: use a multiple of 3"),
        ({"batch": 0}, "--batch 0: expected at least 1"),
        ({"micro": 0}, "--micro 0: expected at least 1"),
        ({"seed": -1}, "seed -1: expected 0"),
        ({"classes": 3}, "numbered has 10 classes.*--system.classes 10"),
        ({"crop": 1}, "cropped to 1x1, the system draws 2x2x1: add --resize"),
    ],
)
def test_what_cannot_be_arranged_is_refused(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        make(**arguments)
    assert "\n" not in str(caught.value)


def test_points_have_no_mirror_image():
    with pytest.raises(UserError, match=r"ring holds points.*drop --flip"):
        batches(open_source("ring"), shape=(2,), classes=0, batch=4, flip=True)


def test_there_is_no_step_before_the_first():
    with pytest.raises(IndexError):
        make()[-1]


def test_stages_of_other_batches_go_on_in_one_stream():
    """Stage 0: 3 steps of 2 x 4; stage 1, from step 3 on, of 1 x 6: after 24 images."""
    images = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    source = Arrays(images)

    def seen(stream, steps):
        return [
            (step["image"].ravel() + 1) * 127.5 for step in (stream[number] for number in steps)
        ]

    shape = (1, 1, 1)
    whole = np.concatenate(seen(batches(source, shape=shape, classes=0, batch=1), range(42)))
    first = batches(source, shape=shape, classes=0, batch=4, draws=2)
    second = batches(source, shape=shape, classes=0, batch=6, begin=3, seen=24)
    parts = np.concatenate([*seen(first, range(3)), *seen(second, range(3, 6))])
    np.testing.assert_allclose(parts, whole)
    np.testing.assert_array_equal(next(second.iterate())["image"], second[3]["image"])
    with pytest.raises(IndexError, match="before the first, 3"):
        second[2]


def test_a_stage_sees_the_images_averaged_over_cells(rng, tmp_path):
    images = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        Pillow.fromarray(image).save(tmp_path / f"{index}.png")
    for source in (Arrays(images), open_source(str(tmp_path))):
        stream = batches(source, shape=(8, 8, 3), classes=0, batch=5, resolution=2)
        found = (stream[0]["image"] + 1) * 127.5
        order = permutation(0, 0, 5)
        expected = np.rint(images[order].reshape(5, 2, 4, 2, 4, 3).mean((2, 4)))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_batches_are_those_of_earlier_runs():
    """Digests of the pipeline that knew images, labels and inputs by name: runs resume on it."""
    rng = np.random.default_rng(3)

    def noise(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, np.uint8)

    def digest(data) -> str:
        found = hashlib.sha256()
        for step in (data.begin, data.begin + 1, data.begin + 30):
            for name, value in sorted(data[step].items()):
                found.update(f"{name} {value.dtype} {value.shape}".encode())
                found.update(np.ascontiguousarray(value).tobytes())
        return found.hexdigest()[:16]

    labelled = Arrays(noise(37, 8, 8, 1), np.arange(37) % 3, list("abc"), inputs=noise(37, 8, 8, 3))
    points = Arrays(rng.integers(-9, 9, (50, 2)).astype(np.float32))
    columns = {"image": Image((8, 8, 3)), "input": Image((8, 8, 3))}
    images, inputs = Arrays(noise(5, 8, 8, 3)), Arrays(noise(7, 8, 8, 3))
    two = Unrelated(name="two", columns=columns, images=images, inputs=inputs)

    pairs = {"shape": (8, 8, 1), "classes": 3, "input_shape": (8, 8, 3)}
    made = batches(labelled, **pairs, batch=8, draws=2, micro=2, seed=5, flip=True)
    assert digest(made) == "a254276a66ce0a93"
    part = {"batch": 12, "micro": 2, "process": 1, "processes": 3, "begin": 2, "seen": 17}
    made = batches(labelled, shape=(6, 6, 1), classes=3, **part, flip=True, jitter=8)
    assert digest(made) == "92b41a13bb037108"
    made = batches(labelled, shape=(8, 8, 1), batch=4, resolution=2, seed=2**62)
    assert digest(made) == "51f76ec0e758145b"
    assert digest(batches(points, shape=(2,), batch=64)) == "2c4e871ce21f3a2e"
    apart = {"shape": (6, 6, 3), "input_shape": (6, 6, 3), "aligned": False}
    made = batches(two, **apart, batch=6, draws=2, flip=True, jitter=8)
    assert digest(made) == "b2eb1338e769cec7"


def scene(count: int = 12, side: int = 48) -> Columns:
    """Photos of a bright disc, with a mask of it, and a clip in which it grows."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    centres = rng.integers(12, side - 12, (count, 2, 1, 1))
    away = np.hypot(y - centres[:, 0], x - centres[:, 1])

    def disc(radius: int) -> np.ndarray:
        return (away < radius)[..., None]

    pixels = {r: np.where(disc(r), 250, 5).astype(np.uint8) for r in (6, 9)}
    return Columns(
        {
            "photo": pixels[9],
            "mask": disc(9).astype(np.uint8),
            "clip": np.stack([pixels[6], pixels[9]], 1),
        },
        {
            "photo": Image((side, side, 1)),
            "mask": Mask((side, side, 2)),
            "clip": Clip((2, side, side, 1)),
        },
        name="scene",
    )


@pytest.mark.parametrize("jitter", [None, 21])
def test_all_fields_of_a_group_share_a_flip_and_a_cut(jitter):
    """The mask is half as large as the image: it stays where the disc is."""
    groups = ({"image": Image((16, 16, 1)), "mask": Mask((8, 8, 2)), "clip": Clip((2, 16, 16, 1))},)
    framing = Framing(resize=True, jitter=jitter)
    made = data.batches(scene(), groups, data.Order(batch=200), framing=framing, flip=True)[3]
    assert made["mask"].shape == (200, 8, 8, 2)
    np.testing.assert_array_equal(made["mask"].sum(-1), 1)
    np.testing.assert_array_equal(made["clip"][:, 1], made["image"])
    bright = made["image"].reshape(200, 8, 2, 8, 2).mean((2, 4)) > 0
    # Half a pixel of the mask is lost where 21 is odd.
    assert (bright == made["mask"].argmax(-1)).mean() > 0.95
    assert (bright[..., ::-1] == made["mask"].argmax(-1)).mean() < 0.9
    # The same twelve discs, mirrored or not, and at other places where they are cut out.
    places = {tuple(np.argwhere(mask).ravel()) for mask in bright}
    assert len(places) > (24 if jitter else 20)
    assert jitter or len(places) <= 24


def test_a_stage_brings_all_fields_to_its_resolution():
    groups = ({"photo": Image((48, 48, 1)), "mask": Mask((48, 48, 2))},)
    made = data.batches(scene(), groups, data.Order(batch=12), resolution=12)[0]
    assert (made["photo"].shape, made["mask"].shape) == ((12, 12, 12, 1), (12, 12, 12, 2))
    assert ((made["photo"][..., 0] > 0) == made["mask"].argmax(-1)).mean() > 0.97


def test_another_group_sees_the_same_column_in_an_order_of_its_own():
    groups = (
        {"image": Image((2, 2, 1)), "label": Label(classes=10)},
        {"other": Image((2, 2, 1), column="image")},
        {"third": Image((2, 2, 1), column="image")},
        {"fourth": Label(classes=10, column="label")},
    )
    made = data.batches(numbered(10), groups, data.Order(batch=10))[5]
    numbers = [np.rint((made[n][:, 0, 0, 0] + 1) * 127.5) for n in ("image", "other", "third")]
    np.testing.assert_array_equal(numbers[0], made["label"])
    orders = {tuple(each) for each in (*numbers, made["fourth"])}
    assert len(orders) == 4
    assert all(sorted(each) == list(range(10)) for each in orders)


def test_two_fields_of_a_group_may_be_of_one_column():
    groups = ({"large": Image((48, 48, 1), column="photo"), "small": Image((12, 12, 1))},)
    renames = {"small": "photo"}
    framing = Framing(resize=True)
    order = data.Order(batch=12)
    made = data.batches(scene(), groups, order, framing=framing, columns=renames)[0]
    cells = made["large"].reshape(12, 12, 4, 12, 4).mean((2, 4))
    assert abs(cells - made["small"][..., 0]).mean() < 0.1


def test_sentences_are_encoded_once():
    source = Columns({"image": np.zeros((3, 2, 2, 1), np.uint8), "words": ["a", "bb", "ccc"]})
    calls.clear()
    groups = ({"image": Image((2, 2, 1)), "text": Text((2,), encode=encode)},)
    made = data.batches(source, groups, data.Order(batch=6))
    for step in range(3):
        assert sorted(made[step]["text"][:3, 0]) == [1, 2, 3]
    data.batches(source, groups, data.Order(batch=3))
    assert calls == [["a", "bb", "ccc"]]


calls: list[list[str]] = []


def encode(given: list[str]) -> np.ndarray:
    calls.append(given)
    return np.array([[len(each), 0] for each in given], np.float32)


def test_of_several_sentences_each_batch_has_one():
    """A function of (seed, step): of any number of processes, and of fields of one item."""
    words = [["a"], ["bb", "ccc", "bb"], "dddd", ("eeeee", "ffffff")]
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    source = Columns({"image": images, "words": words})
    text = Text((2,), encode=encode)
    groups = (
        {"image": Image((2, 2, 1)), "text": text, "same": dataclasses.replace(text, column="text")},
        {"other": dataclasses.replace(text, column="text")},
    )
    renames = {"text": "words"}
    made = data.batches(source, groups, data.Order(batch=8, seed=3), columns=renames)
    lengths = {0: {1}, 1: {2, 3}, 2: {4}, 3: {5, 6}}
    seen = set()
    for step in range(20):
        batch = made[step]
        items = np.rint((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int)
        np.testing.assert_array_equal(batch["text"], batch["same"])
        for item, length in zip(items, batch["text"][:, 0], strict=True):
            assert length in lengths[int(item)]
        seen |= set(batch["text"][:, 0])
        assert batch["other"].shape == (8, 2)
    assert seen == {1, 2, 3, 4, 5, 6}
    again = data.batches(source, groups, data.Order(batch=8, seed=3), columns=renames)
    halves = [
        data.batches(
            source,
            groups,
            data.Order(batch=8, seed=3, process=process, processes=2),
            columns=renames,
        )[7]["text"]
        for process in range(2)
    ]
    np.testing.assert_array_equal(made[7]["text"], again[7]["text"])
    np.testing.assert_array_equal(made[7]["text"], np.concatenate(halves))
    other = data.batches(source, groups, data.Order(batch=8, seed=4), columns=renames)
    assert (other[7]["text"] != made[7]["text"]).any()
    # In order: the first sentences, then the second ones.
    walked = made.items("text", np.arange(12))[:, 0]
    assert walked.tolist() == [1, 2, 4, 5, 1, 3, 4, 6, 1, 2, 4, 5]
    assert made.items("image", np.arange(4, 8))[:, 0, 0, 0].argmax() == 3


class Kept:
    """An encoder that says which it is."""

    calls = 0

    def __call__(self, given):
        Kept.calls += 1
        return np.array([[len(each), 7] for each in given], np.float32)

    def identity(self):
        return "lengths 1"


KEPT = Kept()


def test_vectors_of_known_encoders_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = Columns({"words": ["a", "bb", "a"]})

    def first(shape=(2,)):
        sentences._vectors.cache_clear()
        groups = ({"text": Text(shape, encode=KEPT)},)
        return data.batches(source, groups, data.Order(batch=3))[0]["text"]

    before = first()
    assert sorted(before[:, 0]) == [1, 1, 2]
    np.testing.assert_array_equal(first(), before)
    assert Kept.calls == 1
    (file,) = (tmp_path / "jaxgan" / "sentences").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")  # damaged
    np.testing.assert_array_equal(first(), before)
    assert Kept.calls == 2
    with pytest.raises(UserError, match=r"arrays: text: the encoder makes vectors of \(2,\)"):
        first((3,))
    monkeypatch.setattr(Kept, "identity", lambda self: "lengths 2")
    first()
    assert Kept.calls == 4


def test_items_without_sentences_are_named():
    source = Columns({"words": ["a", []]}, {"words": Text()}, name="toy")
    with pytest.raises(UserError, match=r"toy \(item 1\): text: it has no sentence"):
        data.batches(source, ({"text": Text((2,), encode=encode)},), data.Order(batch=1))


def broken(given: list[str]) -> np.ndarray:
    return np.full((len(given), 2), np.nan, np.float32)


def test_what_an_encoder_makes_is_checked():
    source = Columns({"words": ["a", "b"]}, name="toy")
    with pytest.raises(UserError, match=r"toy: text: the encoder makes of 'a' numbers that are no"):
        data.batches(source, ({"text": Text((2,), encode=broken)},), data.Order(batch=1))


def test_points_follow_no_image_that_is_mirrored_or_cut():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    source = Columns({"image": images, "eyes": np.zeros((3, 2), np.float32)}, name="faces")
    groups = ({"image": Image((4, 4, 1)), "eyes": Points((2,))},)
    order = data.Order(batch=2)
    assert data.batches(source, groups, order, framing=Framing(resize=True))[0]["eyes"].shape == (
        2,
        2,
    )
    with pytest.raises(UserError, match=r"faces holds points, which have no mirror image"):
        data.batches(source, groups, order, flip=True)
    with pytest.raises(UserError, match=r"faces holds points, which cannot be cut out at random"):
        data.batches(source, groups, order, framing=Framing(jitter=5))


def test_batches_of_ones_own():
    stream = data.as_source(lambda step: {"image": [step, step + 1]})
    assert isinstance(stream, data.Stepwise)
    assert stream[3]["image"].tolist() == [3, 4]
    steps = stream.iterate(7)
    assert [next(steps)["image"][0] for _ in range(3)] == [7, 8, 9]
    steps.close()
    assert (stream.begin, next(stream.iterate())["image"][0]) == (0, 0)
    assert data.fingerprint(stream) == data.fingerprint(data.Stepwise(max))


ORPHANS = """
import multiprocessing, os, signal
import numpy as np
from jaxgan import data
from jaxgan.fields import Image

if __name__ == "__main__":
    groups = ({"image": Image((28, 28, 1))},)
    source = data.as_source(np.zeros((8, 28, 28, 1), np.uint8))
    batches = iter(data.batches(source, groups, data.Order(batch=2), workers=1).iterate())
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_their_parent_however_it_ends(tmp_path):
    (tmp_path / "orphans.py").write_text(ORPHANS)
    told = subprocess.run(
        [sys.executable, tmp_path / "orphans.py"],
        stdout=subprocess.PIPE,  # which an orphan would hold open
        timeout=60,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    workers = [Path("/proc") / pid for pid in told.stdout.split()]
    assert len(workers) == 1
    until = time.monotonic() + 20
    while any(worker.exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


CLOSING = """
import numpy as np
from jaxgan import data
from jaxgan.fields import Image

if __name__ == "__main__":
    groups = ({"image": Image((28, 28, 1))},)
    source = data.as_source(np.zeros((8, 28, 28, 1), np.uint8))
    stream = data.batches(source, groups, data.Order(batch=4), workers=2).iterate()
    kept = [next(stream) for _ in range(2)]
    stream.close()
"""


def test_workers_that_are_closed_leave_nothing_behind(tmp_path):
    (tmp_path / "closing.py").write_text(CLOSING)
    told = subprocess.run(
        [sys.executable, tmp_path / "closing.py"],
        capture_output=True,  # it ends with the last worker
        timeout=180,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert told.returncode == 0
    assert "leaked" not in told.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_portions_change_no_batch(monkeypatch, workers):
    made = make(flip=True, batch=8, workers=workers)
    monkeypatch.setattr(pipeline, "_PORTION", 3 * made.groups[0].size())
    stream = made.iterate(2)
    for step in range(2, 6):
        same(next(stream), made[step])
    stream.close()


def test_what_is_made_ahead_is_bounded_by_its_bytes(monkeypatch):
    made = make(batch=64)
    monkeypatch.setattr(pipeline, "_PORTION", 1)  # an item
    monkeypatch.setattr(pipeline, "_AHEAD", 20 * made.groups[0].size())
    asked, real = [], data.Batches._taken

    def taken(self, step, rows):
        asked.append((step, rows.start))
        return real(self, step, rows)

    monkeypatch.setattr(data.Batches, "_taken", taken)
    stream = made.iterate()
    next(stream)
    time.sleep(0.5)
    assert len(asked) == 64 + 20
    stream.close()


def test_portions_of_several_shapes_are_no_batch():
    parts = [{"image": np.zeros((2, side, side, 1), np.uint8)} for side in (2, 3)]
    with pytest.raises(ValueError, match=r"have the shapes \(2, 2, 1\) and \(3, 3, 1\)"):
        make()._joined(parts)
