"""What takes two steps, done at once: an item is made while the one before it is used."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each asked for in a thread while the one before it is in use.

    Two are held at a time. What making one raises is raised where it would be used.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, source, end)
            yield item  # type: ignore[misc]


def one_behind(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each once the next has been made.

    Of items that devices are still computing: they have the next program then, while the host waits
    for the last one's result and uses it. Programs are launched from this thread, in one order on
    all processes.
    """
    for item, _ in itertools.pairwise(itertools.chain(items, [None])):
        yield item  # type: ignore[misc]
