"""Batches: each a pure function of the seed and the step.

There is no iterator state. Step s of any run, resumed or not, on any number of processes, sees the
same images in the same order, flipped the same way:

    position of an image in the endless stream   k = s * draws * batch + its row in the step
        in a stage from step b on, before which
        n images were seen                       k = n + (s - b) * draws * batch + its row
    epoch, place in it                           divmod(k, images)
    image                                        permutation(seed, epoch)[place]
    flipped                                      bit(seed, k)
    cut out at                                   place(seed, k)

An input that belongs to its image is flipped and cut like it; of a set of its own, it has an order,
flips and places of its own, of the same form. All of them come from Philox, a counter-based
generator whose numbers NumPy promises never to change. A whole batch is computed at once: Grain's
own shuffle, repeat and random_map do the same image by image, at 50 to 70 µs each, which is longer
than a step of a small GAN. Grain's part is what lies above: threads and worker processes that
prefetch.
"""

import dataclasses
import functools
import math
import os

import grain
import numpy as np
from absl import flags
from jaxtyping import Bool, Float32, Int, UInt8, UInt64

from jaxgan.data.base import Arrays, Source
from jaxgan.data.image import Fit, Resample, Shrink
from jaxgan.data.pairs import TwoSets
from jaxgan.data.scan import check
from jaxgan.errors import UserError

_STEPS = 2**40
"""Where the endless stream ends, because Grain wants a length."""

_AHEAD = 4 * 10**9
"""Bytes of images that may be made ahead: a thread makes a batch, and a pod's are large."""

_FLIPS = (2**64 - 1, 2**64 - 2)
"""The streams of random words that decide on flips, of images and of unrelated inputs."""

_PLACES = (2**64 - 3, 2**64 - 4)
"""The streams that decide where an image is cut out; epochs have the others."""

_EPOCHS = (0, 2**63)
"""Where the epochs of images, and of unrelated inputs, are counted from."""


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    key = np.array([seed, epoch], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")


def _words(seed: int, stream: int, start: int, count: int) -> UInt64[np.ndarray, " count"]:
    """Return random words `start` to `start + count` of one of the seed's streams."""
    block, skip = divmod(start, 4)  # Philox makes four words per count of its counter.
    key = np.array([seed, stream], np.uint64)
    return np.random.Philox(key=key, counter=block).random_raw(skip + count)[skip:]


def _bits(seed: int, start: int, count: int, stream: int = _FLIPS[0]) -> Bool[np.ndarray, " count"]:
    """Return fair bits `start` to `start + count` of the seed's stream."""
    return _words(seed, stream, start, count) >> np.uint64(63) == 1


def _cut(
    images: UInt8[np.ndarray, "n H W c"],
    size: tuple[int, int],
    words: UInt64[np.ndarray, " n"],
) -> UInt8[np.ndarray, "n h w c"]:
    """Cut `size` out of each image, at the place that its word says."""
    halves = words >> np.uint64(32), words & np.uint64(2**32 - 1)
    tops, lefts = (
        (half % np.uint64(have - want + 1)).astype(int)
        for half, have, want in zip(halves, images.shape[1:3], size, strict=True)
    )
    height, width = size
    places = zip(images, tops, lefts, strict=True)
    return np.stack([image[y : y + height, x : x + width] for image, y, x in places])


def _as_floats(images: np.ndarray) -> Float32[np.ndarray, "n ..."]:
    """Images in [-1, 1]; points as they are."""
    if images.dtype != np.uint8:
        return images
    images = images.astype(np.float32)
    images /= 127.5
    images -= 1.0
    return images


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """The training data by step; made by `batches`.

    `batches[step]` is a dict of arrays [draws, micro, b / processes, ...], in which the axes
    `draws` and `micro` are left out where they are 1:
      "image": float32 in [-1, 1], NHWC; points as they are.
      "label": int32; left out where `classes` is 0.
      "input": as "image"; where the source has it.
    """

    source: Source
    unrelated: Source | None
    classes: int
    batch: int
    draws: int
    micro: int
    seed: int
    flip: bool
    cut: tuple[int, int] | None
    workers: int
    process: int
    processes: int
    begin: int
    seen: int

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        if step < self.begin:
            raise IndexError(f"step {step} is before the first, {self.begin}")
        taken = self._take(self.source, step, 0)
        if self.unrelated is not None:
            taken["input"] = self._take(self.unrelated, step, 1)["image"]
        if not self.classes:
            taken.pop("label", None)
        lead = (*(n for n in (self.draws, self.micro) if n > 1), self._rows)
        return {key: value.reshape(*lead, *value.shape[1:]) for key, value in taken.items()}

    @property
    def _rows(self) -> int:
        """Of a draw and micro-batch, for this process."""
        return self.batch // self.micro // self.processes

    def _take(self, source: Source, step: int, which: int) -> dict[str, np.ndarray]:
        """This process's items of a step: of the images (0), or of inputs unrelated to them (1)."""
        count = self.draws * self.batch
        start = self.seen + (step - self.begin) * count
        mine = slice(self.process * self._rows, (self.process + 1) * self._rows)

        def local(values: np.ndarray) -> np.ndarray:
            return values.reshape(self.draws, self.micro, -1)[:, :, mine].ravel()

        taken = source.take(self._items(len(source), local(np.arange(start, start + count)), which))
        flipped = places = None
        if self.flip:
            flipped = local(_bits(self.seed, start, count, _FLIPS[which]))
        if self.cut is not None:
            places = local(_words(self.seed, _PLACES[which], start, count))
        for key in taken.keys() & {"image", "input"}:
            image = taken[key]
            if self.cut is not None and places is not None:
                image = _cut(image, self.cut, places)
            if flipped is not None:
                image[flipped] = image[flipped, :, ::-1]
            taken[key] = _as_floats(image)
        return taken

    def examples(self, items: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return chosen items of the data, as in a batch [n, ...] but neither flipped nor cut."""
        taken = self.source.take(items)
        if self.unrelated is not None:
            taken["input"] = self.unrelated.take(items % len(self.unrelated))["image"]
        kept = taken.keys() & {"image", "input"}
        return {key: _as_floats(taken[key]) for key in sorted(kept)}

    def _bytes(self) -> int:
        """Of the images of one step, at most."""
        sources = [self.source] if self.unrelated is None else [self.source, self.unrelated]
        shapes = [shape for source in sources for shape in (source.shape, source.input_shape)]
        pixels = sum(math.prod(shape) for shape in shapes if shape is not None)
        return max(1, 4 * self.draws * self.batch // self.processes * pixels)

    def _items(
        self, count: int, positions: Int[np.ndarray, " n"], which: int
    ) -> Int[np.ndarray, " n"]:
        """Return which of `count` items stands at each position of the endless stream."""
        epochs, places = np.divmod(positions, count)
        items = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            order = _permutation(self.seed, _EPOCHS[which] + int(epoch), count)
            items[chosen] = order[places[chosen]]
        return items

    def iterate(self, start: int | None = None) -> grain.DatasetIterator[dict[str, np.ndarray]]:
        """Iterate over batches `start`, `start + 1`, ... without end, made ahead in the background.

        From `begin` on by default. Close the iterator when done: `close()` ends its threads and
        processes.
        """
        # One thread is enough where there is nothing to decode, and leaves the cores to XLA.
        arrays = isinstance(self.source, Arrays) and isinstance(self.unrelated, Arrays | None)
        alone = self.workers > 0 or arrays
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
    jitter: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    aligned: bool = True,
    workers: int = 0,
    process: int = 0,
    processes: int = 1,
    resolution: int | tuple[int, int] | None = None,
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
      jitter: Height to which images are brought instead, so that the system's size can be cut out
        at a random place; None: they are not.
      input_shape: What the system makes images from; None drops the inputs.
      aligned: Whether an input must belong to its image.
      workers: Processes that make batches for `iterate`; 0 for threads of this one, which is enough
        unless thousands of files a second are to be decoded. Starting processes takes seconds and
        needs the `if __name__ == "__main__"` guard in scripts.
      process: Which contiguous rows of axis b are wanted: those from process * b / processes.
      processes: How many processes there are.
      resolution: Size of the images of a stage of a system that grows: the side of squares, which
        are those of `shape` averaged over cells, so it divides their sides; or height and width, to
        which those of `shape` are resampled. None for `shape` itself.
      begin: First step of the stage that these are for.
      seen: Images that the stages before it saw.

    Raises:
      UserError: The data cannot suit the system, `batch` cannot be divided, points to be flipped.
    """
    check(
        source,
        shape=shape,
        classes=classes,
        resize=resize,
        crop=crop,
        jitter=jitter,
        input_shape=input_shape,
        aligned=aligned,
    )
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
    cut = None
    if len(shape) == 3:
        if jitter is not None:
            cut = shape[0], shape[1]
            side = round(jitter * shape[1] / shape[0])
            shape = (jitter, side, shape[2])
            input_shape = None if input_shape is None else (jitter, side, input_shape[2])
        fit, input_fit = (
            None
            if s is None
            else Fit(shape=(s[0], s[1], s[2]), resize=resize or bool(cut), crop=crop)
            for s in (shape, input_shape)
        )
        assert fit is not None
        if (source.shape, source.input_shape) != (shape, input_shape) or crop is not None:
            source = source.fitted(fit, shape, input_fit, input_shape)
        if isinstance(resolution, tuple):
            if resolution != shape[:2]:
                source = source.fitted(Resample(size=resolution), (*resolution, shape[2]))
        elif resolution is not None and resolution != shape[0]:
            shrink = Shrink(factor=shape[0] // resolution)
            source = source.fitted(shrink, (resolution, resolution, shape[2]))
    elif flip:
        raise UserError(f"{source.name} holds points, which have no mirror image: drop --flip")
    pictures, unrelated = source, None
    if isinstance(source, TwoSets) and not source.aligned:
        pictures, unrelated = source.images, source.inputs
    return Batches(
        source=pictures,
        unrelated=unrelated,
        classes=classes,
        batch=batch,
        draws=draws,
        micro=micro,
        seed=seed,
        flip=flip,
        cut=cut,
        workers=workers,
        process=process,
        processes=processes,
        begin=begin,
        seen=seen,
    )
