"""Batches: each a pure function of the seed and the step.

There is no iterator state. Step s of any run, resumed or not, on any number of processes, sees the
same images in the same order, flipped the same way:

    position of an image in the endless stream   k = s * draws * batch + its row in the step
        in a stage from step b on, before which
        n images were seen                       k = n + (s - b) * draws * batch + its row
    epoch, place in it                           divmod(k, images)
    image                                        permutation(seed, epoch)[place]
    flipped                                      bit(seed, k)

Permutations and bits come from Philox, a counter-based generator whose numbers NumPy promises never
to change. A whole batch is computed at once: Grain's own shuffle, repeat and random_map do the same
image by image, at 50 to 70 µs each, which is longer than a step of a small GAN. Grain's part is
what lies above: threads and worker processes that prefetch.
"""

import dataclasses
import functools
import math
import os

import grain
import numpy as np
from absl import flags
from jaxtyping import Bool, Int

from jaxgan.data.base import Arrays, Source
from jaxgan.data.image import Fit, Shrink
from jaxgan.data.scan import check
from jaxgan.errors import UserError

_STEPS = 2**40
"""Where the endless stream ends, because Grain wants a length."""

_AHEAD = 4 * 10**9
"""Bytes of images that may be made ahead: a thread makes a batch, and a pod's are large."""

_FLIPS = 2**64 - 1
"""The stream of random words that decides on flips; epochs, from 0, have the others."""


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    key = np.array([seed, epoch], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")


def _bits(seed: int, start: int, count: int) -> Bool[np.ndarray, " count"]:
    """Return fair bits `start` to `start + count` of the seed's stream."""
    block, skip = divmod(start, 4)  # Philox makes four words per count of its counter.
    key = np.array([seed, _FLIPS], np.uint64)
    words = np.random.Philox(key=key, counter=block).random_raw(skip + count)[skip:]
    return words >> np.uint64(63) == 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """The training data by step; made by `batches`.

    `batches[step]` is a dict of arrays [draws, micro, b / processes, ...], in which the axes
    `draws` and `micro` are left out where they are 1:
      "image": float32 in [-1, 1], NHWC; points as they are.
      "label": int32; left out where `classes` is 0.
    """

    source: Source
    classes: int
    batch: int
    draws: int
    micro: int
    seed: int
    flip: bool
    workers: int
    process: int
    processes: int
    begin: int
    seen: int

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        if step < self.begin:
            raise IndexError(f"step {step} is before the first, {self.begin}")
        count = self.draws * self.batch
        start = self.seen + (step - self.begin) * count
        rows = self.batch // self.micro // self.processes
        mine = slice(self.process * rows, (self.process + 1) * rows)

        def local(values: np.ndarray) -> np.ndarray:
            return values.reshape(self.draws, self.micro, -1)[:, :, mine].ravel()

        taken = self.source.take(self._items(local(np.arange(start, start + count))))
        image = taken["image"]
        if self.flip:
            flipped = local(_bits(self.seed, start, count))
            image[flipped] = image[flipped, :, ::-1]
        if image.dtype == np.uint8:
            image = image.astype(np.float32)
            image /= 127.5
            image -= 1.0
        taken["image"] = image
        if not self.classes:
            taken.pop("label", None)
        lead = (*(n for n in (self.draws, self.micro) if n > 1), rows)
        return {key: value.reshape(*lead, *value.shape[1:]) for key, value in taken.items()}

    def _bytes(self) -> int:
        """Of the images of one step, at most."""
        pixels = self.draws * self.batch // self.processes * math.prod(self.source.shape or ())
        return max(1, 4 * pixels)

    def _items(self, positions: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Return which item stands at each position of the endless stream."""
        count = len(self.source)
        epochs, places = np.divmod(positions, count)
        items = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            items[chosen] = _permutation(self.seed, int(epoch), count)[places[chosen]]
        return items

    def iterate(self, start: int | None = None) -> grain.DatasetIterator[dict[str, np.ndarray]]:
        """Iterate over batches `start`, `start + 1`, ... without end, made ahead in the background.

        From `begin` on by default. Close the iterator when done: `close()` ends its threads and
        processes.
        """
        # One thread is enough where there is nothing to decode, and leaves the cores to XLA.
        alone = self.workers > 0 or isinstance(self.source, Arrays)
        threads = 1 if alone else min(16, os.cpu_count() or 1, max(1, _AHEAD // self._bytes() - 1))
        ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1)
        first = self.begin if start is None else start
        steps = grain.MapDataset.range(first, _STEPS).map(self.__getitem__).to_iter_dataset(ahead)
        if self.workers:
            # Grain reads its own settings from command-line flags that nobody here parses.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            steps = steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=self.workers))
        return iter(steps)


def batches(
    source: Source,
    *,
    shape: tuple[int, ...],
    classes: int,
    batch: int,
    draws: int = 1,
    micro: int = 1,
    seed: int = 0,
    flip: bool = False,
    resize: bool = False,
    crop: int | None = None,
    workers: int = 0,
    process: int = 0,
    processes: int = 1,
    resolution: int | None = None,
    begin: int = 0,
    seen: int = 0,
) -> Batches:
    """Arrange a data set into training batches.

    Args:
      source: The data set. One in memory is fitted to the system here, once.
      shape: What the system draws: (height, width, channels), or (d,) for points.
      classes: What the system is conditional on; 0 drops the labels.
      batch: Images per draw, over all processes and micro-batches.
      draws: Batches per step, one for each update that wants fresh data.
      micro: Micro-batches per draw; b = batch / micro.
      seed: Of order and flips, 0 to 2**63 - 1.
      flip: Mirror each image left to right with probability 1/2.
      resize: Bring images to the system's size (see `Fit`).
      crop: Side of a centre crop before that, in pixels; None for none.
      workers: Processes that make batches for `iterate`; 0 for threads of this one, which is enough
        unless thousands of files a second are to be decoded. Starting processes takes seconds and
        needs the `if __name__ == "__main__"` guard in scripts.
      process: Which contiguous rows of axis b are wanted: those from process * b / processes.
      processes: How many processes there are.
      resolution: Side of the images of a stage of a system that grows: those of `shape`, averaged
        over cells, so it divides their sides; None for `shape` itself.
      begin: First step of the stage that these are for.
      seen: Images that the stages before it saw.

    Raises:
      UserError: The data cannot suit the system, `batch` cannot be divided, points to be flipped.
    """
    check(source, shape=shape, classes=classes, resize=resize, crop=crop)
    if not 0 <= process < processes:
        raise ValueError(f"process {process} of {processes}")
    if not 0 <= seed < 2**63:
        raise UserError(f"seed {seed}: expected 0 to 2**63 - 1")
    for name, value in (("batch", batch), ("draws", draws), ("micro", micro)):
        if value < 1:
            raise UserError(f"--{name} {value}: expected at least 1")
    if batch % (micro * processes):
        raise UserError(
            f"batch {batch} cannot be divided by {micro} micro-batches times {processes} "
            f"processes: use a multiple of {micro * processes}"
        )
    if len(shape) == 3:
        height, width, count = shape
        if source.shape != shape or crop is not None:
            fit = Fit(shape=(height, width, count), resize=resize, crop=crop)
            source = source.fitted(fit, shape)
        if resolution is not None and resolution != height:
            shrink = Shrink(factor=height // resolution)
            source = source.fitted(shrink, (resolution, resolution, count))
    elif flip:
        raise UserError(f"{source.name} holds points, which have no mirror image: drop --flip")
    return Batches(
        source=source,
        classes=classes,
        batch=batch,
        draws=draws,
        micro=micro,
        seed=seed,
        flip=flip,
        workers=workers,
        process=process,
        processes=processes,
        begin=begin,
        seen=seen,
    )
