"""What an item of a batch costs, step by step of the way from the disk to the numbers."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxgan.data.base import Fitted
from jaxgan.data.encoded import Encoded
from jaxgan.data.pipeline import Batches, Drawn, Group
from jaxgan.fields import PLAIN, Field, Framing, Image
from jaxgan.fields.pixels import Picture

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
      step: Whose items are looked at, or, of batches above 64, those of as small ones as can be.
    """
    spent = dict.fromkeys(("read", "decode", "fit", "assemble"), 0.0)
    order = batches.order
    least = order.micro * order.processes
    few = dataclasses.replace(order, batch=max(least, min(order.batch, _MOST) // least * least))
    for group in batches.groups:
        drawn = group.drawn(few, step, batches.flip)
        items, turns = drawn.items, drawn.turns
        count = len(items)
        encoded = [each for each in group.match.source.within() if isinstance(each, Encoded)]
        read = loaded = 0.0
        fields = [
            (field, group.framing[name])
            for name, field in group.fields.items()
            if field.extent and name not in group.parts
        ]
        for files in encoded:
            chosen = [int(item) % len(files) for item in items]
            numbers = [int(files.numbers[index]) for index in chosen]
            read += _seconds(files.store.read, numbers)
            # Others than a source of fitted files decode the whole of each.
            reached = isinstance(group.source, Fitted) and group.source.source is files
            fit = partial(_fit, fields if reached else [])
            for index in chosen:
                # Decoded once, so the second time is what its fields cost beside that.
                picture = files.picture(index)
                first, again = (_seconds(fit, [picture]) for _ in range(2))
                loaded += max(first - again, 0.0)
        stored = _seconds(partial(group.taken, group.source, group.parts, items), [turns])
        whole = _seconds(partial(_made, group), [drawn])
        spent["read"] += read / count
        spent["decode"] += loaded / count
        spent["fit"] += max(stored - loaded - read, 0.0) / count
        spent["assemble"] += max(whole - max(stored, loaded + read), 0.0) / count
    return spent


def _fit(fields: list[tuple[Field, Framing]], picture: Picture) -> None:
    """Fits a picture to each of its fields."""
    for field, framing in fields or [(Image(), PLAIN)]:
        field.decode(picture, framing)


def _made(group: Group, drawn: Drawn) -> None:
    """Makes of items all that networks see."""
    for name, items in group.take(drawn).items():
        group.fields[name].to_network(items)


def _seconds(call: Callable[[Any], Any], arguments: list[Any]) -> float:
    begin = time.perf_counter()
    for argument in arguments:
        call(argument)
    return time.perf_counter() - begin
