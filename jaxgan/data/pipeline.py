"""Batches: each a pure function of the seed and the step.

There is no iterator state. Step s of any run, resumed or not, on any number of processes, sees the
same items in the same order, flipped the same way:

    position of an item in the endless stream    k = s * draws * batch + its row in the step
        in a stage from step b on, before which
        n items were seen                        k = n + (s - b) * draws * batch + its row
    epoch, place in it                           divmod(k, items)
    item                                         permutation(seed, epoch)[place]
    flipped                                      bit(seed, k)
    cut out at                                   place(seed, k)
    sentence, of several of an item              word(seed, k) % those that it has
    first frame of a clip                        word(seed, k) % those that it may begin with

All fields of a group are of one item, and flipped and cut alike. Every group has an order, flips
and places of its own, of the same form. All of them come from Philox, a counter-based generator
whose numbers NumPy promises never to change. They are computed for a whole batch at once: Grain's
own shuffle, repeat and random_map do the same item by item, at 50 to 70 µs each, which is longer
than a step of a small GAN. Grain's part is what lies above: its threads and worker processes make
portions of batches ahead, as bytes, and whoever asks for a batch makes numbers of them.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import flags
from jaxtyping import Int

from jaxgan.data.base import Columns, Fitting, Source
from jaxgan.data.match import Groups, Match, match, refuse_unsuitable
from jaxgan.data.order import permutation, random_bits, random_words
from jaxgan.data.parts import Parts
from jaxgan.data.sentences import Encoded, encoded
from jaxgan.errors import UserError
from jaxgan.fields import PLAIN, Field, Framing, Geometry, Resolution
from jaxgan.interrupt import end_with_parent

_END = 2**40
"""Where the endless stream ends, because Grain wants a length."""

_AHEAD = 5 * 10**8
"""Bytes of portions that are made ahead, were they numbers already: images are a fourth of that."""

_PORTION = 2**22
"""Bytes of a portion, counted so: little beside `_AHEAD`, much beside Grain's part."""

_TURNS = 2**61
"""The stream of random words that says which of an item's sentences is drawn, and with which frame
a clip begins, of the first group: order, flips and places have those of `_streams`, what uses draw
from data that from 2**62 on."""


def _streams(group: int) -> tuple[int, int, int]:
    """A group's streams of random words: of its first epoch (the next ones follow), flips, places.

    Those of the first two groups are what they were before there were more.
    """
    pair, second = divmod(group, 2)
    flips = 2**64 - 1 - 4 * pair - second
    return (2**63 + (group - 1) * 2**48 if group else 0), flips, flips - 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """Which items a step sees, and which of them this process wants.

    Attributes:
      batch: Items a draw, over all processes and micro-batches.
      draws: Batches a step, one for each update that wants fresh data.
      micro: Micro-batches a draw; b = batch / micro.
      seed: Of order, flips and places, 0 to 2**63 - 1.
      begin: First step of the stage that these are for.
      seen: Items that the stages before it saw.
      process: Which contiguous rows of axis b are wanted: those from process * b / processes.
      processes: How many processes there are.

    Raises:
      UserError: `batch` cannot be divided, something is less than it can be.
    """

    batch: int
    draws: int = 1
    micro: int = 1
    seed: int = 0
    begin: int = 0
    seen: int = 0
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.process < self.processes:
            raise ValueError(f"process {self.process} of {self.processes}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed {self.seed}: expected 0 to 2**63 - 1")
        for name in ("batch", "draws", "micro"):
            if (value := getattr(self, name)) < 1:
                raise UserError(f"--{name} {value}: expected at least 1")
        if self.batch % (self.micro * self.processes):
            raise UserError(
                f"batch {self.batch} cannot be divided by {self.micro} micro-batches times "
                f"{self.processes} processes: use a multiple of {self.micro * self.processes}"
            )

    @property
    def rows(self) -> int:
        """Of a draw and micro-batch, for this process."""
        return self.batch // self.micro // self.processes

    @property
    def lead(self) -> tuple[int, ...]:
        """Leading axes of a step's arrays: draws, micro-batches (where there are several), rows."""
        return (*(n for n in (self.draws, self.micro) if n > 1), self.rows)

    def span(self, step: int) -> tuple[int, int]:
        """The first position of a step in the endless stream, and how many it has."""
        if step < self.begin:
            raise IndexError(f"step {step} is before the first, {self.begin}")
        count = self.draws * self.batch
        return self.seen + (step - self.begin) * count, count

    def mine(self, values: np.ndarray) -> np.ndarray:
        """This process's of all values of a step, in a row."""
        mine = slice(self.process * self.rows, (self.process + 1) * self.rows)
        return values.reshape(self.draws, self.micro, -1)[:, :, mine].ravel()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Fields of one item, with the data that they are taken from.

    Attributes:
      number: Of the group.
      match: Where its fields are found.
      fields: By name, as they are at this stage.
      framing: By name, how items are brought to what each field stores.
      sentences: By name, of the fields whose data are text; already vectors.
      parts: By name, of the fields that take a part of an item in turn, such as clips.
      source: The items fitted, in columns that are called like the other fields.
      cut: The field of which places are computed; None where nothing is cut out at random.
    """

    number: int
    match: Match
    fields: Mapping[str, Field]
    framing: Mapping[str, Framing]
    sentences: Mapping[str, Encoded]
    parts: Mapping[str, Parts]
    source: Source
    cut: str | None

    @classmethod
    def of(
        cls, number: int, match: Match, framing: Framing, resolution: Resolution | None
    ) -> "Group":
        """Fits a set to a group's fields at a stage's resolution."""
        fields = {name: field.at(resolution) for name, field in match.fields.items()}
        first = next((name for name, field in match.fields.items() if field.extent), None)
        framings = {
            name: _scaled(framing, field, None if first is None else match.fields[first])
            for name, field in fields.items()
        }
        return cls(
            number=number,
            match=match,
            fields=fields,
            framing=framings,
            sentences=(told := encoded(match, fields)),
            parts=(parts := _parts(match, fields, framings)),
            source=_fitted(match, _without(fields, {*told, *parts}), framings),
            cut=None if framing.jitter is None else first,
        )

    def drawn(self, order: Order, step: int, flip: bool, rows: slice = slice(None)) -> "Drawn":
        """What is drawn for this process's items of a step, or for some rows of these."""
        start, count = order.span(step)
        first, flips, places = _streams(self.number)
        positions = order.mine(np.arange(start, start + count))[rows]
        turns, flipped, words = positions, None, None
        if self.sentences or self.parts:
            turns = order.mine(random_words(order.seed, _TURNS + self.number, start, count))[rows]
        if flip:
            flipped = order.mine(random_bits(order.seed, flips, start, count))[rows]
        if self.cut is not None:
            words = order.mine(random_words(order.seed, places, start, count))[rows]
        items = _items(order.seed, first, len(self.source), positions)
        return Drawn(items, turns, flipped, words)

    def take(self, drawn: "Drawn") -> dict[str, np.ndarray]:
        """Items that were drawn, mirrored and cut, before `to_network`: [n, ...] by field."""
        taken = self.taken(self.source, self.parts, drawn.items, drawn.turns)
        tops = lefts = None
        if drawn.places is not None and self.cut is not None:
            halves = drawn.places >> np.uint64(32), drawn.places & np.uint64(2**32 - 1)
            have, want = taken[self.cut].shape[-3:-1], self.fields[self.cut].extent or ()
            tops, lefts = (
                (half % np.uint64(side - cut + 1)).astype(float) / side
                for half, side, cut in zip(halves, have, want, strict=True)
            )
        geometry = Geometry(flips=drawn.flips, tops=tops, lefts=lefts)
        return {name: field.place(taken[name], geometry) for name, field in self.fields.items()}

    def taken(
        self,
        source: Source,
        parts: Mapping[str, Parts],
        items: Int[np.ndarray, " n"],
        turns: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Items of a fitted source, and of each the sentence and the part of its turn."""
        taken = {name: each.take(items, turns) for name, each in self.sentences.items()}
        taken |= {name: each.take(items, turns) for name, each in parts.items()}
        return taken | (source.take(items) if len(taken) < len(self.fields) else {})

    @functools.cached_property
    def still(self) -> tuple[Source, Mapping[str, Parts]]:
        """The items fitted to what networks see, where nothing is to be cut out at random."""
        if self.cut is None:
            return self.source, self.parts
        framings = {
            name: dataclasses.replace(framing, resize=True, jitter=None)
            for name, framing in self.framing.items()
        }
        parts = _parts(self.match, self.fields, framings)
        rest = _without(self.fields, {*self.sentences, *parts})
        return _fitted(self.match, rest, framings), parts

    def size(self) -> int:
        """Bytes of an item as networks see it, about."""
        stored = (field.stored(self.framing[name]) for name, field in self.fields.items())
        return 4 * sum(math.prod(n or 1 for n in shape) for shape in stored)


class Drawn(NamedTuple):
    """What is drawn for a group's items, a row each.

    Attributes:
      items: Their numbers.
      turns: Of which turn they are, where sentences or parts are taken in turn.
      flips: Whether they are mirrored; None: none is.
      places: Random words that say where they are cut out; None: nothing is cut.
    """

    items: Int[np.ndarray, " n"]
    turns: np.ndarray
    flips: np.ndarray | None
    places: np.ndarray | None


def _scaled(framing: Framing, field: Field, first: Field | None) -> Framing:
    """The framing of a field of another size than its group's first one."""
    if framing.jitter is None or first is None or not field.extent or not first.extent:
        return framing
    jitter = round(framing.jitter * field.extent[0] / first.extent[0])
    return dataclasses.replace(framing, jitter=jitter)


def _parts(
    match: Match, fields: Mapping[str, Field], framings: Mapping[str, Framing]
) -> dict[str, Parts]:
    """The columns of a group of which batches take parts in turn, by field."""
    return {
        name: Parts(match.source, match.columns[name], field, framings[name])
        for name, field in fields.items()
        if field.turns
    }


def _without(fields: Mapping[str, Field], names: Collection[str]) -> dict[str, Field]:
    return {name: field for name, field in fields.items() if name not in names}


def _fitted(match: Match, fields: Mapping[str, Field], framings: Mapping[str, Framing]) -> Source:
    """The items in columns of these fields; the set itself where there are none."""
    if not fields:
        return match.source
    transforms = {name: Fitting(field, framings[name]) for name, field in fields.items()}
    columns = {
        name: dataclasses.replace(
            field, shape=field.stored(framings[name]), column=match.columns[name]
        )
        for name, field in fields.items()
    }
    return match.source.fitted(transforms, columns)


def _items(
    seed: int, first: int, count: int, positions: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Which of `count` items stands at each position of an endless stream."""
    epochs, places = np.divmod(positions, count)
    items = np.empty_like(positions)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        items[chosen] = permutation(seed, first + int(epoch), count)[places[chosen]]
    return items


_MOST_WORKERS = 32
"""Processes that any machine may start, each of some 100 MB."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """The training data by step; made by `batches`.

    `batches[step]` is a dict of arrays [draws, micro, b / processes, ...] by field, as networks see
    them, in which the axes `draws` and `micro` are left out where they are 1.
    """

    groups: tuple[Group, ...]
    order: Order
    flip: bool
    workers: int

    @property
    def begin(self) -> int:
        """The first step."""
        return self.order.begin

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        return self._joined([self._taken(step, slice(None))])

    def _taken(self, step: int, rows: slice) -> dict[str, np.ndarray]:
        """Some of this process's rows of a step, one after the other, before `to_network`."""
        taken: dict[str, np.ndarray] = {}
        for group in self.groups:
            taken |= group.take(group.drawn(self.order, step, self.flip, rows))
        return taken

    def _joined(self, portions: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The batch of all portions of a step, as networks see it; each is let go in its turn."""
        lead = self.order.lead
        rows = math.prod(lead)
        fields = {name: field for group in self.groups for name, field in group.fields.items()}
        batch: dict[str, np.ndarray] = {}
        begin = 0
        portions.reverse()
        while portions:
            portion, end = portions.pop(), begin
            for name, items in portion.items():
                end = begin + len(items)
                numbers = fields[name].to_network(items)
                if len(items) == rows:
                    batch[name] = numbers
                    continue
                if name not in batch:
                    batch[name] = np.empty((rows, *numbers.shape[1:]), numbers.dtype)
                if numbers.shape[1:] != batch[name].shape[1:]:
                    raise ValueError(
                        f"items of {name} have the shapes {batch[name].shape[1:]} and "
                        f"{numbers.shape[1:]}: batches are of one"
                    )
                batch[name][begin:end] = numbers
            begin = end
        return {name: numbers.reshape(*lead, *numbers.shape[1:]) for name, numbers in batch.items()}

    def count(self, name: str) -> int:
        """Items that a field has."""
        return len(self._group(name).source)

    def items(self, name: str, indices: Sequence[int] | Int[np.ndarray, " n"]) -> np.ndarray:
        """Chosen items of a field as networks see them, [n, ...], neither flipped nor cut out.

        Items are counted round: the second time round, their second sentences follow.
        """
        group = self._group(name)
        turns, items = np.divmod(np.asarray(indices), len(group.source))
        if name in group.sentences:
            found = group.sentences[name].take(items, turns)
        else:
            source, parts = group.still
            found = parts[name].take(items, turns) if name in parts else source.take(items)[name]
        return group.fields[name].to_network(found)

    def _group(self, name: str) -> Group:
        return next(group for group in self.groups if name in group.fields)

    def iterate(self, start: int | None = None) -> grain.DatasetIterator[dict[str, np.ndarray]]:
        """Iterate over batches `start`, `start + 1`, ... without end, made ahead in the background.

        From `begin` on by default. Close the iterator when done: `close()` ends its threads and
        processes. About 0.5 GB are made ahead, beside the batch that comes next, and at least a
        portion for each thread and one more.
        """
        rows = math.prod(self.order.lead)
        each = max(1, sum(group.size() for group in self.groups))
        size = min(rows, max(1, _PORTION // each))
        count = -(-rows // size)
        first = self.begin if start is None else start
        portions = self._portions(first * count, size, count, _AHEAD // (each * size))
        return iter(portions.batch(count, batch_fn=self._joined))

    def _portions(
        self, first: int, size: int, count: int, most: int
    ) -> grain.IterDataset[dict[str, np.ndarray]]:
        """Rows of steps, made ahead of their use.

        Args:
          first: Number of the first portion.
          size: Rows of a portion, but for the last one of a step.
          count: Portions of a step.
          most: Portions that are made ahead, where that is enough for all threads or processes.
        """
        # One thread is enough where there is nothing to decode, and leaves the cores to XLA.
        arrays = all(isinstance(group.source, Columns) for group in self.groups)
        threads = 1 if arrays else min(16, os.cpu_count() or 1)
        # A whole batch is asked for at once: so much is ahead that the next one is made meanwhile.
        ahead = min(most, 2 * count + threads)
        portions = grain.MapDataset.range(first, _END).map(
            functools.partial(self._portion, size, count)
        )
        if not self.workers:
            return portions.to_iter_dataset(
                grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads + 1, ahead))
            )
        # Grain reads its own settings from command-line flags that nobody here parses.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        single = portions.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        # Grain holds so many of a worker twice: in its pipe, and taken from there.
        buffer = max(1, ahead // self.workers // 2)
        options = grain.MultiprocessingOptions(
            num_workers=self.workers, per_worker_buffer_size=buffer
        )
        return single.mp_prefetch(options, _end_with_parent)

    def _portion(self, size: int, count: int, number: int) -> dict[str, np.ndarray]:
        step, place = divmod(number, count)
        return self._taken(step, slice(place * size, (place + 1) * size))


def _end_with_parent(worker: int, workers: int) -> None:
    """`end_with_parent`, as Grain calls it in each of its workers."""
    del worker, workers
    end_with_parent()


def batches(
    source: Source,
    groups: Groups,
    order: Order,
    *,
    framing: Framing = PLAIN,
    flip: bool = False,
    columns: Mapping[str, str] | None = None,
    resolution: Resolution | None = None,
    workers: int = 0,
) -> Batches:
    """Arrange a data set into training batches.

    Args:
      source: The data set. One in memory is fitted to the system here, once.
      groups: What the system learns from, as `System.data()` returns it.
      order: Which items a step sees.
      framing: How items of other sizes are brought to the system's.
      flip: Mirror each item left to right with probability 1/2.
      columns: What the data call otherwise than the system does, as for `match`.
      resolution: That of a stage of a system that grows, as for `Field.at`; None: the fields' own.
      workers: Processes that make batches for `iterate`; 0 for threads of this one, which is enough
        unless thousands of files a second are to be decoded. Starting processes takes seconds and
        needs the `if __name__ == "__main__"` guard in scripts.

    Raises:
      UserError: The data cannot suit the system; what has no mirror image is to be flipped; there
        are far more processes than CPUs.
    """
    cpus = os.cpu_count() or 1
    if workers > max(_MOST_WORKERS, 4 * cpus):
        raise UserError(
            f"--data.workers is {workers:,}, and this machine has {cpus} CPUs: give so many at most"
        )
    matches = match(groups, source, columns)
    refuse_unsuitable(source, matches, framing)
    for each in matches:
        for field in each.fields.values():
            if flip and not field.mirrors:
                raise UserError(
                    f"{each.source.name} holds {field.kind()}, which have no mirror image: "
                    "drop --flip"
                )
    return Batches(
        groups=tuple(
            Group.of(number, each, framing, resolution) for number, each in enumerate(matches)
        ),
        order=order,
        flip=flip,
        workers=workers,
    )


class Stepwise:
    """Batches of one's own, in place of `Batches`: a function says what each step sees.

    It has no columns, so nothing can be scanned, shown or drawn from it.

    Args:
      function: From a step to {field: array}, as networks see it, with the axes that `Batches` has.
    """

    begin = 0

    def __init__(self, function: Callable[[int], Mapping[str, Any]]):
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        batch = self._function(step)
        if not isinstance(batch, Mapping):
            raise UserError(
                f"{self.name}({step}) gave a {type(batch).__name__}: expected a dict of arrays"
            )
        return {name: np.asarray(value) for name, value in batch.items()}

    def iterate(self, start: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Iterate over batches `start`, `start + 1`, ... without end."""
        step = self.begin if start is None else start
        while True:
            yield self[step]
            step += 1

    def identity(self) -> Iterator[bytes]:
        """Yield that nothing is known."""
        yield b"unknown"
