"""Files of a data set that cannot be read: found by decoding all, and how many may be left out."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from jaxgan.errors import UserError

_MOST = 0.5
"""Share of the files above which a data set is rather refused than read without them."""


def each_shape(
    shape: Callable[[int], tuple[int, ...]], count: int, portion: int = 1
) -> Iterator[tuple[int, ...] | UserError]:
    """Yield the shape of every item, in order, or what is wrong with it.

    Args:
      shape: Decodes an item, by its number.
      count: Of the items.
      portion: Items that a thread decodes at a time, so that a million are not a million tasks.
    """

    def found(index: int) -> tuple[int, ...] | UserError:
        try:
            return shape(index)
        except UserError as error:
            return error

    def part(start: int) -> list[tuple[int, ...] | UserError]:
        return [found(index) for index in range(start, min(start + portion, count))]

    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        for shapes in pool.map(part, range(0, count, portion)):
            yield from shapes
    finally:
        pool.shutdown(cancel_futures=True)


def check_damaged(damaged: Sequence[str], count: int, *, name: str, what: str) -> None:
    """Refuse a data set of which more than half is damaged.

    Args:
      damaged: What is wrong, of each that is.
      count: Of all.
      name: Of the data set.
      what: They are, such as "files".

    Raises:
      UserError: They are more than half.
    """
    if len(damaged) > _MOST * count:
        raise UserError(
            f"{name}: {len(damaged):,} of {count:,} {what} are damaged, more than half "
            f"(first: {damaged[0]}): copy them again"
        )
