"""Which units of a generator stand for which concepts.

Bau, Zhu, Strobelt, Zhou, Tenenbaum, Freeman, Torralba, "GAN Dissection: Visualizing and
Understanding Generative Adversarial Networks", ICLR 2019, section 3.1. A unit's maps are upsampled
to the size of the images and cut at the threshold that a share `quantile` of all places exceeds;
what is left agrees with a concept as far as the two overlap: IoU = E[both] / E[either]. `effect`
(section 3.2, `jaxgan.latent.causal`) asks what units cause.

Thresholds are exact where all places fit in memory (2^26 numbers); otherwise they are those of as
many places of every image as do, drawn at random, the same for all units.
"""

import csv
import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image as Pillow

from jaxgan import npz, pictures
from jaxgan.errors import UserError
from jaxgan.fields.pixels import channels
from jaxgan.files import read_text
from jaxgan.latent.concepts import Concepts, hexadecimal, index_of
from jaxgan.latent.layers import Layer, maps_of, pooled
from jaxgan.latent.needs import require, tell_of_others
from jaxgan.ranges import Count, Positive, Seed, Within, checked
from jaxgan.run.open import Run
from jaxgan.schema import LARGEST, parse_json, structure

INTERPRETABLE = 0.05
"""IoU above which a unit is said to stand for a concept."""

FORMAT = 1

_MOST = 2**26
"""Numbers of which thresholds are found."""

Quantile = Annotated[float, Within(0, 0.5, above=True)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """What was dissected, and how: dissection.json."""

    format: int
    system: str
    layer: str
    use: str
    concepts: str
    names: tuple[str, ...]
    num: int
    seed: int
    quantile: float
    networks: str = ""
    """Digest of the networks that were dissected."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dissection:
    """Units of a layer against concepts.

    Attributes:
        about: layer, concepts, and how many images of which seed.
        iou: overlap of each unit with each concept [u, c].
        threshold: that the share `quantile` of places exceeds [u].
        rate: share of places that do exceed it [u]; less where many are equal.
        level: mean of the units where a concept is present, weighted by how much of a cell it
            covers [c, u].
        present: share of all pixels that a concept covers [c].
        peak: highest activation in each image [n, u]; for pictures.
        strength: how strongly units act on a concept, optimised [c, u]; None: not computed. NaN
            where it was tried in vain.
        effect: their causal effect [c]; None: not computed. NaN as `strength`.
        arrays: what the concepts need to be found again, such as centres of colours.
    """

    about: About
    iou: Float[np.ndarray, "u c"]
    threshold: Float[np.ndarray, " u"]
    rate: Float[np.ndarray, " u"]
    level: Float[np.ndarray, "c u"]
    present: Float[np.ndarray, " c"]
    peak: Float[np.ndarray, "n u"] | None = None
    strength: Float[np.ndarray, "c u"] | None = None
    effect: Float[np.ndarray, " c"] | None = None
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def index(self, concept: str) -> int:
        """Number of a concept.

        Raises:
            UserError: there is none of that name.
        """
        return index_of(self.about.names, concept)

    @checked
    def best(self, concept: str, count: Positive = 20) -> list[int]:
        """Units that agree with a concept best, the best first; at most `count`.

        Raises:
            UserError: no such concept.
        """
        order = np.argsort(-self.iou[:, self.index(concept)], kind="stable")
        return [int(unit) for unit in order[:count]]

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """Names of the concepts as people see them: colours with what they look like."""
        centres = self.arrays.get("centres")
        if centres is None:
            return self.about.names
        pairs = zip(self.about.names, centres, strict=True)
        return tuple(f"{name} {hexadecimal(centre)}" for name, centre in pairs)

    def rows(self) -> list[dict[str, Any]]:
        """One row a unit, the most interpretable first: unit, concept, its IoU, threshold, rate,
        and the IoU with each concept."""
        best = self.iou.argmax(1)
        order = np.argsort(-self.iou.max(1), kind="stable")
        return [
            {
                "unit": int(unit),
                "concept": self.about.names[best[unit]],
                "iou": round(float(self.iou[unit, best[unit]]), 4),
                "threshold": float(self.threshold[unit]),
                "rate": float(self.rate[unit]),
                **{
                    f"iou_{name}": round(float(self.iou[unit, n]), 4)
                    for n, name in enumerate(self.about.names)
                },
            }
            for unit in order
        ]

    def text(self) -> str:
        """The table of concepts, for people: a line each, with its best units."""
        units, wide = len(self.iou), max(map(len, self.titles))
        found = int((self.iou.max(1) > INTERPRETABLE).sum())
        about = self.about
        how = f"IoU above {INTERPRETABLE:g}; {about.num} images, quantile {about.quantile:g}"
        effects = "" if self.effect is None else "  effect"
        where = f"{about.layer} of {about.system}"
        lines = [
            f"{where}: {found} of {units} units stand for a concept ({how})",
            f"{'concept':{wide}}   area  units{effects}  best units (IoU)",
        ]
        for n, name in enumerate(about.names):
            share = self.iou[:, n]
            mine = int(((share > INTERPRETABLE) & (self.iou.argmax(1) == n)).sum())
            best = " ".join(f"{unit} ({share[unit]:.2f})" for unit in self.best(name, 5))
            effect = "" if self.effect is None else f"  {self.effect[n]:6.3f}"
            area = f"{self.present[n]:5.3f}"
            lines.append(f"{self.titles[n]:{wide}}  {area}  {mine:5}{effect}  {best}")
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Writes dissection.json, dissection.npz and units.csv into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), np.ndarray) and field.name != "peak"
        }
        kept: dict[str, Any] = {f"concepts_{name}": array for name, array in self.arrays.items()}
        np.savez_compressed(folder / "dissection.npz", **arrays, **kept)
        about = json.dumps(dataclasses.asdict(self.about), indent=2)
        (folder / "dissection.json").write_text(about + "\n")
        rows = self.rows()
        with (folder / "units.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)

    @classmethod
    def load(cls, folder: Path) -> "Dissection":
        """Reads what `save` wrote.

        Raises:
            UserError: there is none, or it is broken.
        """
        path = folder / "dissection.json"
        if not path.is_file():
            raise UserError(f"{folder} holds no dissection.json: make it by `jaxgan dissect`")
        about = structure(
            parse_json(read_text(path, limit=LARGEST)), About, path, mend="dissect the run anew"
        )
        if about.format != FORMAT:
            raise UserError(
                f"{path} is of format {about.format}, this reads {FORMAT}: dissect anew"
            )
        held = npz.read(folder / "dissection.npz", "dissection")
        arrays = {k.removeprefix("concepts_"): v for k, v in held.items() if "concepts_" in k}
        known = {k: v for k, v in held.items() if "concepts_" not in k}
        units, count = len(known.get("threshold", ())), len(about.names)
        shapes = {
            **{"iou": (units, count), "threshold": (units,), "rate": (units,)},
            **{"level": (count, units), "present": (count,)},
        }
        shapes |= {"strength": (count, units), "effect": (count,)} if "strength" in known else {}
        if {k: v.shape for k, v in known.items()} != shapes or not units:
            raise UserError(f"{folder / 'dissection.npz'} is broken: dissect the run anew")
        return cls(about=about, arrays=arrays, **known)


@checked
def dissect(
    run: Run,
    layer: str,
    concepts: Concepts,
    *,
    num: Positive = 1000,
    seed: Seed = 0,
    quantile: Quantile = 0.005,
    use: str = "generate",
    **given: Any,
) -> Dissection:
    """Compares the units of a layer with concepts.

    Args:
        run: that draws images.
        layer: path of a module that gives maps, such as `block3`.
        concepts: what is looked for (`jaxgan.latent.concepts.read`).
        num: images; the paper has 10,000.
        seed: of the images.
        quantile: share of places that a threshold lets through.
        use: that makes the images.
        given: what the use takes and is not to be drawn, such as a label; and its options.

    Raises:
        UserError: no such layer, no images, or concepts that do not suit them.
    """
    require(run, "be dissected", use)
    at = Layer.of(run, layer, use, **given)
    threshold = _thresholds(at, num, seed, quantile)
    sums: Any = None
    peaks = []
    for _, images, maps in at.drawn(num, seed):
        masks = concepts(jnp.asarray(images))
        part = jax.tree.map(np.asarray, _overlaps(maps, masks, threshold))
        sums = part if sums is None else jax.tree.map(np.add, sums, part)
        peaks.append(maps.max((1, 2)))
    both, units, area, weighted, weight, pixels = (np.asarray(s, np.float64) for s in sums)
    either = units[:, None] + area[None] - both
    about = About(
        format=FORMAT,
        system=type(run.system).__name__,
        layer=at.path,
        use=use,
        concepts=concepts.word,
        names=concepts.names,
        num=num,
        seed=seed,
        quantile=quantile,
        networks=run.networks_sha256,
    )
    return Dissection(
        about=about,
        iou=(both / np.maximum(either, 1)).astype(np.float32),
        threshold=threshold,
        rate=(units / pixels).astype(np.float32),
        level=(weighted / np.maximum(weight, 1e-6)[:, None]).astype(np.float32),
        present=(area / pixels).astype(np.float32),
        peak=np.concatenate(peaks),
        arrays=concepts.kept,
    )


def _thresholds(layer: Layer, num: int, seed: int, quantile: float) -> Float[np.ndarray, " u"]:
    """The value of each unit that so large a share of places exceeds."""
    size, units = layer.image[1].extent, layer.shape[-1]
    assert size is not None
    pixels = size[0] * size[1]
    some = max(1, min(pixels, _MOST // (num * units)))
    rng = np.random.default_rng(seed)
    kept = np.empty((num * some, units), np.float32)
    for numbers, _, maps in layer.drawn(num, seed):
        values = np.asarray(_upsampled(maps, size)).reshape(len(numbers), pixels, units)
        for number, value in zip(numbers, values, strict=True):
            at = slice(None) if some == pixels else rng.choice(pixels, some, replace=False)
            kept[number * some : (number + 1) * some] = value[at]
    place = len(kept) - 1 - int(quantile * len(kept))
    return np.partition(kept, place, axis=0)[place].copy()


@jax.jit(static_argnums=1)
def _upsampled(maps: Float[Array, "b h w u"], size: tuple[int, int]) -> Float[Array, "b y x u"]:
    """Bilinear, from the middle of a cell to that of the next."""
    return jax.image.resize(maps, (len(maps), *size, maps.shape[-1]), "linear", antialias=False)


@jax.jit
def _overlaps(
    maps: Float[Array, "b h w u"],
    masks: Float[Array, "b y x c"],
    threshold: Float[Array, " u"],
) -> tuple[Array, ...]:
    """Pixels in both, in each unit, in each concept; units by presence, presence; all pixels."""
    high = (_upsampled(maps, masks.shape[1:3]) > threshold).astype(jnp.float32)
    there = (masks > 0.5).astype(jnp.float32)
    both = jnp.einsum("byxu,byxc->uc", high, there, precision="highest")
    cells = pooled(masks, (maps.shape[1], maps.shape[2]))
    weighted = jnp.einsum("bhwc,bhwu->cu", cells, maps, precision="highest")
    count = jnp.float32(np.prod(masks.shape[:3]))
    return both, high.sum((0, 1, 2)), there.sum((0, 1, 2)), weighted, cells.sum((0, 1, 2)), count


@checked
def picture(
    run: Run,
    found: Dissection,
    concept: str,
    *,
    units: Positive = 5,
    images: Positive = 8,
    zoom: Count = 0,
    **given: Any,
) -> Pillow.Image:
    """The units that agree with a concept best, a row each: the images that excite them most.

    Where the unit is below its threshold an image is dark; a line goes about where it is above.

    Args:
        run: that was dissected.
        found: by `dissect`, in this process.
        concept: its name.
        units: rows.
        images: columns.
        zoom: by how much pixels are enlarged; 0: so that images have 64 or more.
        given: as `dissect` was given.

    Raises:
        UserError: no such concept.
    """
    if found.peak is None:
        raise UserError("a dissection that was loaded has no peaks: dissect the run for pictures")
    layer = Layer.of(run, found.about.layer, found.about.use, **given)
    size = layer.image[1].extent
    assert size is not None
    rows = []
    for unit in found.best(concept, units):
        numbers = np.sort(np.argsort(-found.peak[:, unit], kind="stable")[:images])
        applied = layer.apply(numbers, found.about.seed, captures=[layer.place])
        pixels = layer.image[1].from_network(applied.made[layer.image[0]])
        maps = np.asarray(maps_of(applied.captured[layer.place]), np.float32)
        high = np.asarray(_upsampled(maps[..., unit, None], size))[..., 0] > found.threshold[unit]
        times = zoom or max(1, -(-64 // size[0]))
        rows += [_marked(image, mask, times) for image, mask in zip(pixels, high, strict=True)]
    return pictures.grid(np.stack(rows), min(images, found.about.num))


def _marked(
    image: UInt8[np.ndarray, "h w c"], mask: np.ndarray, zoom: int
) -> UInt8[np.ndarray, "y x 3"]:
    """An image, dark outside of a mask, with a line about it."""
    shades = channels(image, 3).repeat(zoom, 0).repeat(zoom, 1).astype(np.float32)
    mask = mask.repeat(zoom, 0).repeat(zoom, 1)
    around = np.pad(mask, 1)
    inner = mask.copy()
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner &= around[down : down + mask.shape[0], right : right + mask.shape[1]]
    shades = np.where(mask[..., None], shades, shades * 0.35)
    shades[mask & ~inner] = (255, 200, 0)
    return shades.astype(np.uint8)


def check_about(found: Dissection, layer: Layer) -> None:
    """Refuses units of another system, or another number of them.

    Raises:
        UserError: says which.
    """
    if found.about.system != type(layer.run.system).__name__:
        raise UserError(
            f"the dissection is of {found.about.system}, not of {layer.run.name}: dissect this run"
        )
    if len(found.threshold) != layer.shape[-1]:
        raise UserError(
            f"the dissection has {len(found.threshold)} units, {layer.path} of {layer.run.name} "
            f"has {layer.shape[-1]}: dissect this run"
        )
    tell_of_others(layer.run, found.about.networks, "units")
