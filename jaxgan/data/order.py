"""Which item comes when: permutations and random words, functions of a seed alone.

All of them come from Philox, a counter-based generator whose numbers NumPy promises never to
change.
"""

import functools

import numpy as np
from jaxtyping import Bool, Int, UInt64


@functools.lru_cache(maxsize=16)
def permutation(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    """The order of `count` items in an epoch."""
    key = np.array([seed, epoch], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")


def random_words(seed: int, stream: int, start: int, count: int) -> UInt64[np.ndarray, " count"]:
    """Random words `start` to `start + count` of one of the seed's streams."""
    block, skip = divmod(start, 4)  # Philox makes four words per count of its counter.
    key = np.array([seed, stream], np.uint64)
    return np.random.Philox(key=key, counter=block).random_raw(skip + count)[skip:]


def random_bits(seed: int, stream: int, start: int, count: int) -> Bool[np.ndarray, " count"]:
    """Fair bits `start` to `start + count` of one of the seed's streams."""
    return random_words(seed, stream, start, count) >> np.uint64(63) == 1
