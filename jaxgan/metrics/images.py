"""The two sides of a score: generated and real images, and one pass over either.

Features are taken batch by batch, on all devices. What is kept of a batch is up to the scores.
"""

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int, PRNGKeyArray, PyTree, UInt8

from jaxgan import data
from jaxgan.ahead import one_behind
from jaxgan.backend import on_cpu
from jaxgan.errors import UserError
from jaxgan.fields import Field, Framing, Image, Label
from jaxgan.fields.pixels import text
from jaxgan.metrics.base import Columns, warn
from jaxgan.metrics.features import Extractor, Features
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.parallel.sharding import replicated

BATCH = 100
"""Images whose features are taken at a time, on a device."""

_PORTIONS, _BYTES = 10, 2**23
"""Portions in a batch for scores of features alone, and bytes of its images that they are at most,
if they are several. Scores merge what they keep once a batch: covariances of 1,280 features take 12
ms, and NumPy's threads then keep the cores busy for a while."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk:
    """How a generator goes from one of its latents to another; all for jit.

    Attributes:
        latents: (key, how many) -> what `generate` takes, a PyTree of arrays [b, ...].
        generate: what `latents` gives -> images [b, h, w, c] in [-1, 1].
        between: (a, b, t) -> what lies between what `latents` gives: a at t = 0, b at t = 1, for t
            [b].
    """

    latents: Callable[[PRNGKeyArray, int], PyTree]
    generate: Callable[[PyTree], Float[jax.Array, "b h w c"]]
    between: Callable[[PyTree, PyTree, Float[jax.Array, " b"]], PyTree]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """Images, masks or clips that a run makes; `Run.drawn` and `Run.made_of` make one.

    Attributes:
        sample: (how many, number of the first) -> columns as the data's: "image" [b, h, w, c],
            uint8, and "label" [b] where there are classes, or "mask", or "clip" and what else is
            given with it, such as "flow"; the same ones each time.
        walk: between latents; None: they are made of images, not of latents.
        num: how many are scored.
        name: of the run.
        shape: of every image.
        step: iterations of the run.
        ema: whether the averaged weights draw.
        truncation: of the latents; None: not truncated.
        seed: of the latents.
        files: as `sample`, by way of files, with their bits per pixel as "bpp" [b]; None: the run
            writes none.
        paired: item i was made from item i of the real images, so the two may be compared.
        label: what the numbers in "label" mean; None: there are none.
    """

    sample: Callable[[int, int], Columns]
    num: int
    name: str
    shape: tuple[int, ...]
    step: int
    ema: bool
    truncation: float | None
    seed: int
    walk: Walk | None = None
    files: Callable[[int, int], Columns] | None = None
    paired: bool = False
    label: Label | None = None

    def __len__(self) -> int:
        return self.num

    def batches(self, size: int) -> Iterator[Columns]:
        """In batches of `size`, the last one smaller."""
        for start in range(0, self.num, size):
            yield self.sample(min(size, self.num - start), start)


@dataclasses.dataclass(frozen=True)
class Stored:
    """Images of a data set.

    Their order is random but fixed: the first `num` are a sample of all. It is the same for all
    data sets of one size, so that rows of pairs lie side by side.

    Attributes:
        source: where they lie, brought to the shape of what they are compared with.
        num: how many; None: all.
        crop: side of the centre crop that was taken of each first; None for none.
    """

    source: data.Source
    num: int | None = None
    crop: int | None = None

    @functools.cached_property
    def data(self) -> str:
        """Fingerprint of the images, but for their shape: of the data set, and of their crop."""
        fingerprint = data.fingerprint(self.source)
        if self.crop is None:
            return fingerprint
        cropped = f"{fingerprint} crop {self.crop}"
        return hashlib.sha256(cropped.encode()).hexdigest()[: len(fingerprint)]

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.source.name

    @property
    def label(self) -> Label | None:
        """What the numbers in "label" mean; None: there are none."""
        found = self.source.columns.get("label")
        return found if isinstance(found, Label) else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every image."""
        fields = self.source.columns.values()
        return next(tuple(n or 0 for n in each.shape) for each in fields if isinstance(each, Image))

    def __len__(self) -> int:
        return min(self.num or len(self.source), len(self.source))

    def batches(self, size: int) -> Iterator[Columns]:
        """In batches of `size`, the last one smaller."""
        order = shuffled(len(self.source))[: len(self)]
        for start in range(0, len(order), size):
            yield self.source.take(order[start : start + size])


def shuffled(count: int) -> Int[np.ndarray, " n"]:
    """The order in which a data set of so many items is scored."""
    return np.random.default_rng(0).permutation(count)


def of_source(
    source: data.Source,
    shape: tuple[int, ...],
    *,
    resize: bool = True,
    crop: int | None = None,
    num: int | None = None,
    columns: Mapping[str, str] | None = None,
    kind: type[Image] = Image,
    stride: int = 1,
) -> Stored:
    """Images of a data set, or clips, brought to a shape as training does it.

    Args:
        source: of images of any sizes.
        shape: height, width, channels.
        resize: bring the shorter side to it; otherwise images of other sizes are refused.
        crop: side of a centre crop taken first.
        num: how many; None: all.
        columns: what the data call these and "label", where it is otherwise.
        kind: of the field; `shape` is its own.
        stride: of which frames of clips are taken, from the first on.
    """
    field, framing = kind(shape), Framing(resize=resize, crop=crop, stride=stride)
    name = field.kind()
    called = {name: name, "label": "label", **(columns or {})}
    found = [part for part in source.sets if called[name] in part.columns]
    if not found:
        raise UserError(f"{source.name} has {', '.join(source.columns)}: scores are for {name}s")
    source = found[0]
    images = source.columns[called[name]]
    if images.shape == shape and crop is None and called[name] == name:
        return Stored(source, num)
    if refusal := field.refusal(images, framing):
        raise UserError(f"{source.name} {refusal}")
    wanted: dict[str, Field] = {name: dataclasses.replace(field, column=called[name])}
    if called["label"] in source.columns:
        labels = source.columns[called["label"]]
        wanted["label"] = dataclasses.replace(labels, column=called["label"])
    transforms = {**dict.fromkeys(wanted), name: data.Fitting(field, framing)}
    return Stored(source.fitted(transforms, wanted), num, crop)


def shape_of(source: data.Source, *, sizes: bool = True) -> tuple[int, int, int]:
    """The shape in which images of a data set are scored: in colour where any of them has colours.

    Every file of a folder is looked at, as before training. Transparency is put on white.

    Args:
        source: of images.
        sizes: whether they must be of one size; otherwise height and width are those of one.

    Raises:
        UserError: no images, or of different sizes.
    """
    field = source.columns.get("image")
    if not isinstance(field, Image) or not len(source):
        raise UserError(f"{source.name} has {', '.join(source.columns)}: scores are for images")
    known = tuple(n for n in field.shape if n is not None)
    found: dict[tuple[int, ...], str] = {known: source.name} if len(known) == 3 else {}
    for name, shape in source.shapes("image") if not found else ():
        found.setdefault(shape, name)
    of_size: dict[tuple[int, ...], str] = {}
    for shape, name in found.items():
        of_size.setdefault(shape[:2], name)
    if len(of_size) > 1 and sizes:
        (one, first), (other, second) = list(of_size.items())[:2]
        raise UserError(
            f"{source.name} holds images of different sizes (height x width: {first} is "
            f"{text(one)}, {second} is {text(other)}): bring them to one size first"
        )
    if clear := next((name for shape, name in found.items() if shape[2] in (2, 4)), None):
        warn(f"{source.name} has images with transparency ({clear}): it is put on white")
    height, width, *_ = next(iter(found))
    return height, width, 3 if any(shape[2] > 2 for shape in found) else 1


Images = Drawn | Stored


def pass_over(
    images: Images, extractor: Extractor, needs: Set[str], *, mesh: Mesh | None = None
) -> Iterator[Columns]:
    """One pass over images: batches of what scores need of them, by way of files for their bits.

    Args:
        images: of any number.
        extractor: of "features" and "logits"; it runs if one of them is needed.
        needs: names of columns, as `Score.needs` has them. For "generator" alone no image is drawn.
        mesh: devices that share the work; all by default.

    Yields the columns that the images have, with the extractor's "features" [b, d] and "logits"
    [b, k], and "generator", the `Drawn`; columns that these images cannot have are left out.
    """
    walks = isinstance(images, Drawn) and images.walk is not None
    generator = {"generator": images} if walks else {}
    if needs <= {"generator"}:
        yield generator
        return
    mesh = mesh or make_mesh()
    extract, portion = features(extractor, mesh), BATCH * mesh.size
    if "bpp" in needs and isinstance(images, Drawn) and images.files is not None:
        images = dataclasses.replace(images, sample=images.files)
    names = ("features", "logits")
    if frames := bool(needs & {"frame_features", "frame_logits"}):
        names = ("frame_features", "frame_logits")
    size = portion
    if needs <= {*names, "label"} and all(images.shape):  # 0: of a size that is not known
        room = _BYTES // (portion * math.prod(images.shape))
        size *= min(max(room, 1), _PORTIONS)

    def begun() -> Iterator[tuple[Columns, list[Features]]]:
        for batch in images.batches(size):
            rows = as_images(batch)["image"] if needs & {*names} else np.zeros(0, np.uint8)
            yield batch, [extract(rows[n : n + portion]) for n in range(0, len(rows), portion)]

    for batch, parts in one_behind(begun()):
        columns = {**batch, **generator}
        for name, arrays in zip(names, zip(*jax.device_get(parts), strict=True), strict=False):
            if arrays[0] is not None:
                shape = batch["clip"].shape[:2] if frames else batch["image"].shape[:1]
                found = np.concatenate(arrays)[: math.prod(shape)]
                columns[name] = found.reshape(*shape, -1)
        yield columns


def as_images(columns: Columns) -> Columns:
    """Items as images: of clips all frames, each with its clip's label."""
    if "clip" not in columns:
        return columns
    clips = columns["clip"]
    rest = {name: np.repeat(x, clips.shape[1], 0) for name, x in columns.items() if name != "clip"}
    return {**rest, "image": clips.reshape(-1, *clips.shape[2:])}


def features(
    extractor: Extractor, mesh: Mesh
) -> Callable[[UInt8[np.ndarray, "b h w c"]], Features]:
    """(uint8 images) -> (features, logits or None), on all devices, which share the images.

    They are those of a whole portion, however few images there are.
    """
    params = jax.device_put(extractor.params, replicated(mesh))
    rows = batch_sharding(mesh, leading=0)
    apply = extractor.apply
    if extractor.deep and on_cpu():
        # Each device goes through its own share: a loop over all rows would move them about.
        spec = PartitionSpec()
        apply = jax.shard_map(
            partial(_by_portions, apply), mesh=mesh, in_specs=(spec, rows.spec), out_specs=rows.spec
        )
    apply = jax.jit(apply, out_shardings=replicated(mesh))

    def extract(images: UInt8[np.ndarray, "b h w c"]) -> Features:
        # Filled up, so that one program serves all.
        short = -len(images) % (BATCH * mesh.size)
        filled = np.concatenate([images, np.repeat(images[-1:], short, axis=0)])
        return apply(params, jax.device_put(filled, rows))

    return extract


def _by_portions(
    apply: Callable[[PyTree, UInt8[jax.Array, "b h w c"]], PyTree],
    params: PyTree,
    images: UInt8[jax.Array, "b h w c"],
) -> PyTree:
    """What `apply` makes of images, two a core at a time, or as many as divide the batch.

    What lies between two layers of a deep network then stays in the CPU's caches, and in memory
    that XLA has already: whatever it asks for, the system has to clear. EfficientNet's features of
    an image of 28 pixels take 11.0 ms at once and 7.7 by portions, Inception's 70.6 and 67.4
    (jaxlib 0.10.2, two cores, 2026-11).
    """
    most = min(2 * (os.cpu_count() or 1), len(images))
    size = next(each for each in range(most, 0, -1) if len(images) % each == 0)
    portions = images.reshape(-1, size, *images.shape[1:])
    found = jax.lax.map(partial(apply, params), portions)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)
