"""Sliced Wasserstein distance against scipy's filters and its one-dimensional distance."""

import numpy as np
import pytest
from scipy import ndimage, stats

from jaxgan.errors import UserError
from jaxgan.metrics import wasserstein
from jaxgan.metrics.wasserstein import sliced_wasserstein

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256


def noise(rng, *shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def halve(x):
    return ndimage.convolve(x, KERNEL, mode="mirror")[:, ::2, ::2]


def double(x):
    spread = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2], x.shape[3]))
    spread[:, ::2, ::2] = x
    return ndimage.convolve(spread, 4 * KERNEL, mode="mirror")


def independent(real, fake, sides):
    """The same, in float64, patch by patch and line by line."""

    def patches(level, rng):
        images, rows = level, []
        index = np.arange(len(images)).repeat(128)
        corners = rng.integers(0, images.shape[1] - 6, (len(index), 2))
        for i, (top, left) in zip(index, corners, strict=True):
            rows.append(images[i, top : top + 7, left : left + 7].transpose(2, 0, 1))
        rows = np.stack(rows)
        rows -= rows.mean((0, 2, 3), keepdims=True)
        rows /= rows.std((0, 2, 3), keepdims=True)
        return rows.reshape(len(rows), -1)

    distances, tops = {}, [real.astype(float), fake.astype(float)]
    for level, side in enumerate(sides):
        lower = [halve(x) for x in tops]
        last = level == len(sides) - 1
        bands = tops if last else [x - double(y) for x, y in zip(tops, lower, strict=True)]
        rng = np.random.default_rng((0, level))
        a, b = (patches(band, rng) for band in bands)
        lines = rng.standard_normal((a.shape[1], 512), np.float32).astype(float)
        lines /= np.linalg.norm(lines, axis=0)
        pairs = zip((a @ lines).T, (b @ lines).T, strict=True)
        distances[side] = 1e3 * np.mean([stats.wasserstein_distance(*pair) for pair in pairs])
        tops = lower
    return distances


def test_agrees_with_an_independent_computation(rng):
    real = noise(rng, 3, 32, 32, 2)
    fake = ndimage.gaussian_filter(noise(rng, 3, 32, 32, 2), (0, 1, 1, 0))
    levels, mean = sliced_wasserstein(real, fake)
    expected = independent(real, fake, (32, 16))
    assert levels.keys() == expected.keys()
    for side, value in expected.items():
        np.testing.assert_allclose(levels[side], value, rtol=1e-4)
    np.testing.assert_allclose(mean, np.mean(list(levels.values())))


@pytest.mark.parametrize(
    ("side", "sides"), [(16, [16]), (31, [31, 16]), (28, [28]), (64, [64, 32, 16])]
)
def test_levels_go_down_to_16_pixels_and_lose_nothing(rng, side, sides):
    images = noise(rng, 1, side, side, 1)
    levels, _ = sliced_wasserstein(images, images)
    assert list(levels) == sides
    bands = [wasserstein._band(images, i, i == len(sides) - 1) for i in range(len(sides))]
    assert [band.shape[1] for band in bands] == sides
    total = bands[-1]
    for band in reversed(bands[:-1]):
        total = band + wasserstein._double(total, band.shape[1])
    np.testing.assert_allclose(total, images, atol=1e-3)
    flat = np.full((1, side, side, 1), 77, np.uint8)  # has low frequencies only, to the very edge
    for level in range(len(sides) - 1):
        np.testing.assert_allclose(wasserstein._band(flat, level, False), 0, atol=1e-4)


def test_each_level_sees_its_own_frequencies(rng):
    images = noise(rng, 48, 32, 32, 1)
    same, _ = sliced_wasserstein(images[:24], images[24:])
    assert sliced_wasserstein(images[:24], images[24:])[0] == same
    assert sliced_wasserstein(images[:24], images[24:], seed=1)[0] != same
    brighter = images[:24] // 2 + 100
    np.testing.assert_allclose(  # mean and contrast do not count, up to rounding of pixels
        list(sliced_wasserstein(brighter, images[24:])[0].values()), list(same.values()), rtol=0.05
    )
    stripes = images[:24].copy()
    stripes[:, :, ::2] = 0
    fine, _ = sliced_wasserstein(stripes, images[24:])
    assert fine[32] > 4 * same[32]
    assert fine[16] < 2 * same[16]  # stripes of one pixel are gone at half the size


def test_memory_is_bounded_by_batches_and_chunks(rng, monkeypatch):
    real, fake = noise(rng, 2, 10, 16, 16, 3)
    whole = sliced_wasserstein(real, fake)[1]
    monkeypatch.setattr(wasserstein, "_CHUNK", 100)
    np.testing.assert_allclose(sliced_wasserstein(real, fake)[1], whole, rtol=0.01)


def test_constant_images_are_no_division_by_zero():
    black = np.zeros((2, 32, 32, 3), np.uint8)
    assert sliced_wasserstein(black, black)[1] == 0


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        ((2, 16, 16, 3), (3, 16, 16, 3), "differ"),
        ((2, 16, 16, 3), (2, 16, 16, 1), "differ"),
        ((2, 16, 32, 3), (2, 16, 32, 3), "16x32"),
        ((2, 15, 15, 3), (2, 15, 15, 3), "at least 16"),
    ],
)
def test_mistakes(real, fake, message):
    with pytest.raises(UserError, match=message):
        sliced_wasserstein(np.zeros(real, np.uint8), np.zeros(fake, np.uint8))
