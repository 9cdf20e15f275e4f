"""What an item of a batch costs, step by step of the way from the disk to the numbers."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxgan.data.encoded import Encoded
from jaxgan.data.pipeline import Batches

_MOST = 64
"""Items that are looked at."""


def costs(batches: Batches, step: int) -> dict[str, float]:
    """Seconds an example takes a thread that has the machine to itself, by what they are spent on.

    "read": bytes of files or records; "decode": pixels of them; "fit": crop and resize, and
    whatever else data without files need; "assemble": stacking, mirroring, cutting at random, and
    conversion to what networks see. Files that have just been read are read from the cache of the
    system: of a slow disk "read" shows the first time alone.

    Args:
      batches: Of training; nothing runs beside.
      step: Whose items are looked at, 64 at most.
    """
    spent = dict.fromkeys(("read", "decode", "fit", "assemble"), 0.0)
    for group in batches.groups:
        drawn = group.drawn(batches.order, step, batches.flip).rows(slice(0, _MOST))
        items, count = drawn.items, len(drawn.items)
        encoded = [each for each in group.match.source.within() if isinstance(each, Encoded)]
        read = loaded = 0.0
        for files in encoded:
            chosen = [int(item) % len(files) for item in items]
            numbers = [int(files.numbers[index]) for index in chosen]
            read += _seconds(files.store.read, numbers)
            loaded += _seconds(files.load, chosen)
        stored = _seconds(partial(group.taken, group.source, group.parts, items), [drawn.turns])
        whole = _seconds(group.take, [drawn])
        spent["read"] += read / count
        spent["decode"] += max(loaded - read, 0.0) / count
        spent["fit"] += max(stored - loaded, 0.0) / count
        spent["assemble"] += max(whole - max(stored, loaded), 0.0) / count
    return spent


def _seconds(call: Callable[[Any], Any], arguments: list[Any]) -> float:
    begin = time.perf_counter()
    for argument in arguments:
        call(argument)
    return time.perf_counter() - begin
