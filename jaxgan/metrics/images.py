"""The two sides of a score: generated and real images, and one pass over either.

Features are taken batch by batch, on all devices. Where a score needs only their mean and
covariance, that is all that is kept, in float64.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, PRNGKeyArray, UInt8

from jaxgan import data
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.frechet import Moments
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.parallel.sharding import replicated

BATCH = 100
"""Images whose features are taken at a time, on a device."""

Batch = tuple[UInt8[np.ndarray, "b h w c"], Int[np.ndarray, " b"] | None]
"""Images, and their labels where there are classes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """Images that a generator draws; `Run.drawn` makes one.

    Attributes:
        sample: (how many, number of the first) -> images and labels, the same ones each time.
        generate: latents [b, z] -> images [b, h, w, c] in [-1, 1], of labels that depend on b
            alone; for jit.
        latents: (key, how many) -> latents.
        num: how many are scored.
        name: of the run.
        shape: of every image.
        step: iterations of the run.
        ema: whether the averaged weights draw.
        truncation: of the latents; None: not truncated.
        seed: of the latents.
    """

    sample: Callable[[int, int], Batch]
    generate: Callable[[Float[jax.Array, "b z"]], Float[jax.Array, "b h w c"]]
    latents: Callable[[PRNGKeyArray, int], Float[jax.Array, "b z"]]
    num: int
    name: str
    shape: tuple[int, ...]
    step: int
    ema: bool
    truncation: float | None
    seed: int

    def __len__(self) -> int:
        return self.num

    def batches(self, size: int) -> Iterator[Batch]:
        """In batches of `size`, the last one smaller."""
        for start in range(0, self.num, size):
            yield self.sample(min(size, self.num - start), start)


@dataclasses.dataclass(frozen=True)
class Stored:
    """Images of a data set.

    Their order is random but fixed: the first `num` are a sample of all.

    Attributes:
        source: where they lie, brought to the shape of what they are compared with.
        num: how many; None: all.
        fit: how they were brought to that shape, for what is remembered of them.
    """

    source: data.Source
    num: int | None = None
    fit: str = ""

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.source.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every image."""
        return self.source.shape or ()

    def __len__(self) -> int:
        return min(self.num or len(self.source), len(self.source))

    def batches(self, size: int) -> Iterator[Batch]:
        """In batches of `size`, the last one smaller."""
        order = np.random.default_rng(0).permutation(len(self.source))[: len(self)]
        for start in range(0, len(order), size):
            taken = self.source.take(order[start : start + size])
            yield taken["image"], taken.get("label")


def stored(
    source: data.Source,
    shape: tuple[int, ...],
    *,
    resize: bool = True,
    crop: int | None = None,
    num: int | None = None,
) -> Stored:
    """Images of a data set, brought to a shape as training does it.

    Args:
        source: of images of any sizes.
        shape: height, width, channels.
        resize: bring the shorter side to it; otherwise images of other sizes are refused.
        crop: side of a centre crop taken first.
        num: how many; None: all.
    """
    if source.shape == shape and crop is None:
        return Stored(source, num)
    fit = data.Fit(shape=shape, resize=resize, crop=crop)  # type: ignore[arg-type]
    return Stored(source.fitted(fit, shape), num, str(fit))


Images = Drawn | Stored


@dataclasses.dataclass
class Taken:
    """What one pass over images gave; what no score asked for is None."""

    count: int
    moments: Moments | None = None
    features: Float[np.ndarray, "n d"] | None = None
    logits: Float[np.ndarray, "n k"] | None = None
    images: UInt8[np.ndarray, "n h w c"] | None = None
    labels: Int[np.ndarray, " n"] | None = None
    of_class: dict[int, Moments] | None = None


def take(
    images: Images, extractor: Extractor, needs: set[str], *, mesh: Mesh | None = None
) -> Taken:
    """One pass over images, which keeps what is asked for.

    Args:
        images: of any number.
        extractor: of the features.
        needs: of the names of `Taken`'s attributes.
        mesh: devices that share the work; all by default.
    """
    mesh = mesh or make_mesh()
    extract = features(extractor, mesh)
    taken = Taken(0)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in needs - {"moments", "of_class"}}
    of_class: dict[int, Moments] = {}
    for batch, labels in images.batches(BATCH * mesh.size):
        taken.count += len(batch)
        if needs - {"images", "labels"}:
            found, logits = extract(batch)
            part = {"features": found, "logits": logits, "images": batch, "labels": labels}
            if "moments" in needs:
                moments = Moments.of(found)
                taken.moments = moments if taken.moments is None else taken.moments + moments
            if "of_class" in needs and labels is not None:
                for k in np.unique(labels):
                    moments = Moments.of(found[labels == k])
                    of_class[int(k)] = of_class[int(k)] + moments if k in of_class else moments
        else:
            part = {"images": batch, "labels": labels}
        for name, parts in kept.items():
            if (values := part[name]) is not None:
                parts.append(values)
    for name, parts in kept.items():
        setattr(taken, name, np.concatenate(parts) if parts else None)
    taken.of_class = of_class or None
    return taken


def features(
    extractor: Extractor, mesh: Mesh
) -> Callable[[UInt8[np.ndarray, "b h w c"]], tuple[np.ndarray, np.ndarray | None]]:
    """(uint8 images) -> (features, logits or None), on the host; devices share the images."""
    params = jax.device_put(extractor.params, replicated(mesh))
    rows = batch_sharding(mesh, leading=0)
    apply = jax.jit(extractor.apply, out_shardings=replicated(mesh))

    def extract(
        images: UInt8[np.ndarray, "b h w c"],
    ) -> tuple[np.ndarray, np.ndarray | None]:
        # Filled up to whole batches, so that one program serves all.
        short = -len(images) % (BATCH * mesh.size)
        filled = np.concatenate([images, np.repeat(images[-1:], short, axis=0)])
        out = jax.device_get(apply(params, jax.device_put(filled, rows)))
        found, logits = jax.tree.map(lambda x: x[: len(images)], out)
        return found, logits

    return extract
