import itertools

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import Arrays, Fit, open_source
from jaxgan.data.order import permutation, random_bits
from jaxgan.errors import UserError
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
        Image.new("RGB", (9, 6), (100 * i, 0, 0)).save(tmp_path / name)
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


def test_a_file_that_breaks_during_training_is_an_error_not_a_hang(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    source = open_source(str(tmp_path))
    (tmp_path / "b.png").write_text("gone")
    stream = batches(source, shape=(4, 4, 1), classes=0, batch=2).iterate()
    with pytest.raises(OSError, match="cannot identify image file"):
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
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    for source in (Arrays(images), open_source(str(tmp_path))):
        stream = batches(source, shape=(8, 8, 3), classes=0, batch=5, resolution=2)
        found = (stream[0]["image"] + 1) * 127.5
        order = permutation(0, 0, 5)
        expected = np.rint(images[order].reshape(5, 2, 4, 2, 4, 3).mean((2, 4)))
        np.testing.assert_allclose(found, expected, atol=1e-4)
