import itertools

import numpy as np
import pytest
from scipy.stats import norm

from jaxgan.codec import tables
from jaxgan.codec.stream import Reader, Writer, to_bytes, to_words


def test_scales_are_evenly_spaced_by_their_logarithms():
    want = np.exp(np.linspace(np.log(0.11), np.log(256), 64))
    np.testing.assert_allclose(np.array(tables.scales()) / 2**20, want, atol=2**-20)


@pytest.mark.parametrize("level", [0, 7, 31, 63])
def test_a_gaussians_table_sums_to_all_and_has_its_shares(level):
    table = tables.gaussian(level)
    reach, scale = len(table) // 2 - 1, tables.scales()[level] / 2**20
    assert table.sum() == tables.TOTAL
    assert table.min() >= 1
    places = np.arange(-reach, reach + 1)
    want = norm.cdf(places + 0.5, 0, scale) - norm.cdf(places - 0.5, 0, scale)
    np.testing.assert_allclose(table[:-1] / tables.TOTAL, want, atol=len(table) * 2**-24)
    np.testing.assert_array_equal(table[:-1], table[:-1][::-1])


def test_the_table_of_logits_is_the_cumulative_functions():
    edges = np.arange(-9, 10) + 0.5  # an even number
    logits = np.rint(edges[:-1] * 1.7 * 1024).astype(int)
    table = tables.of_logits(logits)
    cumulative = 1 / (1 + np.exp(-logits / 1024))
    np.testing.assert_allclose(table[:-1] / tables.TOTAL, np.diff(cumulative), atol=2**-20)
    assert table.sum() == tables.TOTAL


def test_a_thousand_arrays_come_back_and_are_as_short_as_their_entropy():
    rng = np.random.default_rng(0)
    for index in range(1000):
        level, count = int(rng.integers(64)), int(rng.integers(1, 200))
        scale = tables.scales()[level] / 2**20
        writer = Writer()
        if index % 4:  # of the model
            numbers = np.rint(rng.normal(0, scale, count)).astype(np.int64)
        else:  # and far out of it
            numbers = np.rint(rng.standard_t(0.3, count).clip(-1e8, 1e8)).astype(np.int64)
        writer.table(numbers, tables.gaussian(level))
        words = to_words(to_bytes(writer.words()))
        reader = Reader(words)
        np.testing.assert_array_equal(reader.table(count, tables.gaussian(level)), numbers)
        assert reader.done()
        if index % 4:
            tails = norm.cdf(-np.abs(numbers) + 0.5, 0, scale)
            tails -= norm.cdf(-np.abs(numbers) - 0.5, 0, scale)
            assert 32 * len(words) <= 1.01 * -np.log2(tails).sum() + 64


def test_long_arrays_of_all_kinds_share_one_stream():
    rng = np.random.default_rng(1)
    writer, wanted, bits = Writer(), [], 0.0
    for level in range(64):
        scale = tables.scales()[level] / 2**20
        numbers = np.rint(rng.normal(0, scale, 3000)).astype(np.int64)
        bits += tables.information(tables.gaussian(level), _places(numbers, level))
        writer.table(numbers, tables.gaussian(level))
        wanted.append(numbers)
    levels = rng.integers(0, 5, 1000)
    writer.uniform(levels, 5)
    writer.uniform(np.zeros(7, int), 1)
    words = writer.words()
    assert 32 * len(words) <= 1.001 * (bits + 1000 * np.log2(5)) + 64
    reader = Reader(words)
    for level, numbers in enumerate(wanted):
        np.testing.assert_array_equal(reader.table(3000, tables.gaussian(level)), numbers)
    np.testing.assert_array_equal(reader.uniform(1000, 5), levels)
    np.testing.assert_array_equal(reader.uniform(7, 1), 0)
    assert reader.done()


def _places(numbers, level):
    reach = len(tables.gaussian(level)) // 2 - 1
    return np.where(np.abs(numbers) > reach, 2 * reach + 1, numbers + reach)


def test_the_least_and_the_largest_numbers():
    edge = [2**31 - 1100, -(2**31) + 1100, 0, 1, -1, 2, -2]
    for level, numbers in itertools.product((0, 63), (np.array(edge), np.zeros(0, int))):
        writer = Writer()
        writer.table(numbers, tables.gaussian(level))
        reader = Reader(writer.words())
        np.testing.assert_array_equal(reader.table(len(numbers), tables.gaussian(level)), numbers)
