"""What is in an image, and where: concepts as masks, of one protocol.

`Concepts` makes masks [b, h, w, c] in [0, 1] of images [b, h, w, x] as networks see them, one for
each of its names. `read` makes them of a word:

| word                 | concepts                                                               |
| -------------------- | ---------------------------------------------------------------------- |
| `alpha`              | what is opaque, of generators that draw RGBA                            |
| `colours:K`          | clusters of colours: k-means in CIELAB of what the run draws            |
| `RUN`                | what a run finds that has the use "segment", or one that gives a mask   |
| `FILE.py:NAME`       | what a function of one's own gives; its attribute `names` is optional   |
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxgan import code
from jaxgan.errors import UserError
from jaxgan.fields import Image, Mask, Resolution
from jaxgan.latent.layers import image_of
from jaxgan.latent.perceptual import on_white
from jaxgan.ranges import Positive, Seed, checked
from jaxgan.run.folder import is_run
from jaxgan.run.open import Run
from jaxgan.system import System, given_by, taken_by, use_of
from jaxgan.training.apply import call_keys, evaluation_view

_SAMPLES = 200
_PIXELS = 20_000
_ITERATIONS = 50
_SOFTNESS = 10.0
"""Distance in CIELAB over which a pixel goes from one colour to the next."""

Function = Callable[[Array, Any], Array]
"""(images, arrays) -> masks; hashable, so that it can be part of a compiled program's key."""


@dataclasses.dataclass(frozen=True, eq=False)
class Concepts:
    """Concepts by name, and the masks of them in images.

    Attributes:
        names: of the concepts.
        function: makes the masks, in JAX, so that there are gradients.
        arrays: what it is given.
        word: that they were made of, as `read` takes it.
        kept: what `restored` needs to find them again, by name.
        traced: whether the function can be part of a program of JAX, and has gradients.
    """

    names: tuple[str, ...]
    function: Function
    arrays: PyTree = ()
    word: str = ""
    traced: bool = True
    kept: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __call__(self, images: Float[Array, "b h w x"]) -> Float[Array, "b h w c"]:
        """Masks of images.

        Raises:
            UserError: the function gives something else.
        """
        images = jnp.asarray(images)
        call = _masks if self.traced else lambda function, *rest: function(*rest)
        masks = call(self.function, images, self.arrays)
        want = (*images.shape[:3], len(self.names))
        if np.shape(masks) != want:
            raise UserError(
                f"{self.word or 'concepts'} makes masks of {np.shape(masks)} of images of "
                f"{images.shape}: expected {want}"
            )
        return jnp.asarray(masks, jnp.float32)

    def index(self, name: str) -> int:
        """Number of a concept.

        Raises:
            UserError: there is none of that name.
        """
        return index_of(self.names, name)


def index_of(names: tuple[str, ...], name: str) -> int:
    """Number of a concept.

    Raises:
        UserError: there is none of that name.
    """
    if name not in names:
        raise UserError(f"no concept {name!r}: there are {', '.join(names)}")
    return names.index(name)


_masks = jax.jit(lambda function, images, arrays: function(images, arrays), static_argnums=0)


def read(word: str, run: Run, *, trust_code: bool = False, **given: Any) -> Concepts:
    """Concepts of a word, for what a run draws.

    Args:
        word: as the module's table has it.
        run: whose images they are found in.
        trust_code: whether a segmenter's run may run code that it carries.
        given: what the run's use "generate" takes and is not to be drawn; for colours.

    Raises:
        UserError: no such word, or nothing for this run.
    """
    kind, _, rest = word.partition(":")
    if word == "alpha":
        return alpha(run)
    if kind == "colours":
        if not rest.isdigit() or not 2 <= int(rest) <= 99:
            raise UserError(f"concepts are {word!r}: give colours:K for K clusters, 2 to 99")
        return colours(run, int(rest), **given)
    if ".py" in word:
        return of_function(code.function(word), run, word=word)
    if is_run(word):
        return segmented(Run(word, trust_code=trust_code), word)
    raise UserError(
        f"concepts are {word!r}: give alpha, colours:K, the folder of a run that segments, or "
        "FILE.py:NAME"
    )


def restored(
    word: str, names: tuple[str, ...], arrays: Mapping[str, np.ndarray]
) -> Concepts | None:
    """Concepts as a dissection kept them; None where they need more than that."""
    if word == "alpha":
        return Concepts(names, _alpha, word=word)
    if word.startswith("colours:") and "centres" in arrays:
        return _coloured(names, arrays["centres"], word)
    return None


# --- alpha


def alpha(run: Run) -> Concepts:
    """What is opaque in the images of a generator of RGBA, or of grey with alpha.

    Raises:
        UserError: it draws other images.
    """
    _, field = image_of(run, "generate")
    if field.shape[-1] not in (2, 4):
        raise UserError(
            f"{run.name} draws images of {field.shape[-1]} channels, without alpha: take a run of "
            "RGBA, such as of the config stylegan2_emoji, or --concepts colours:6"
        )
    return Concepts(("alpha",), _alpha, word="alpha")


def _alpha(images: Float[Array, "b h w x"], arrays: Any) -> Float[Array, "b h w 1"]:
    del arrays
    return jnp.clip((images[..., -1:] + 1) / 2, 0, 1)


# --- colours


@checked
def colours(run: Run, count: Positive, *, seed: Seed = 0, **given: Any) -> Concepts:
    """Clusters of the colours that a run draws, the most frequent first.

    They are called `colour1` and so on, and their centres in CIELAB are `arrays` [count, 3].

    Args:
        run: that draws images.
        count: of clusters.
        seed: of the images, and of where the clusters start.
        given: what "generate" takes and is not to be drawn.
    """
    name, _ = image_of(run, "generate")
    items, options = run.split("generate", given)
    made = run.apply("generate", items, numbers=_SAMPLES, seed=seed, options=options).made[name]
    pixels = np.asarray(lab(made)).reshape(-1, 3)
    rng = np.random.default_rng(seed)
    if len(pixels) > _PIXELS:
        pixels = pixels[rng.choice(len(pixels), _PIXELS, replace=False)]
    centres = k_means(pixels, count, rng)
    names = tuple(f"colour{n + 1}" for n in range(count))
    return _coloured(names, centres, f"colours:{count}")


def _coloured(names: tuple[str, ...], centres: Float[np.ndarray, "k 3"], word: str) -> Concepts:
    kept = {"centres": centres}
    return Concepts(names, _nearest_colour, jnp.asarray(centres), word, kept=kept)


def k_means(
    points: Float[np.ndarray, "n d"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "k d"]:
    """Centres of clusters, the largest first: Lloyd's iterations from k-means++ (Arthur 2007)."""
    centres = points[rng.integers(len(points))][None]
    while len(centres) < count:
        away = _squares(points, centres).min(1)
        total = away.sum()
        place = rng.choice(len(points), p=away / total) if total else rng.integers(len(points))
        centres = np.concatenate([centres, points[place][None]])
    of = np.zeros(len(points), int)
    for _ in range(_ITERATIONS):
        of = _squares(points, centres).argmin(1)
        moved = np.stack(
            [points[of == k].mean(0) if (of == k).any() else centres[k] for k in range(count)]
        )
        if np.allclose(moved, centres, atol=1e-4):
            break
        centres = moved
    order = np.argsort(-np.bincount(of, minlength=count), kind="stable")
    return centres[order].astype(np.float32)


def _squares(
    points: Float[np.ndarray, "n d"], centres: Float[np.ndarray, "k d"]
) -> Float[np.ndarray, "n k"]:
    return np.square(points[:, None] - centres).sum(-1, dtype=np.float64)


def _nearest_colour(
    images: Float[Array, "b h w x"], centres: Float[Array, "k 3"]
) -> Float[Array, "b h w k"]:
    """How much a pixel is of each colour; they sum to 1."""
    squares = jnp.square(lab(images)[..., None, :] - centres).sum(-1)
    return jax.nn.softmax(-squares / (2 * _SOFTNESS**2), -1)


def rgb(images: Float[Array, "b h w x"]) -> Float[Array, "b h w 3"]:
    """Images as networks see them as RGB in [0, 1]; what is transparent is on white."""
    return (on_white(jnp.clip(jnp.asarray(images), -1, 1)) + 1) / 2


@jax.jit
def lab(images: Float[Array, "b h w x"]) -> Float[Array, "b h w 3"]:
    """CIELAB, of the white D65, of images in [-1, 1] that are sRGB."""
    pixels = rgb(images)
    bright = jnp.where(pixels > 0.04045, (jnp.maximum(pixels, 0.04045) + 0.055) / 1.055, 1) ** 2.4
    linear = jnp.where(pixels > 0.04045, bright, pixels / 12.92)
    xyz = linear @ _XYZ.T / _WHITE
    small = (6 / 29) ** 3
    root = jnp.where(xyz > small, jnp.maximum(xyz, small) ** (1 / 3), xyz * 841 / 108 + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ],
    np.float32,
)
_WHITE = np.array([0.95047, 1.0, 1.08883], np.float32)


def hexadecimal(centre: Float[np.ndarray, "3"]) -> str:
    """A colour of CIELAB as #rrggbb, for people."""
    y = (float(centre[0]) + 16) / 116
    root = np.array([y + float(centre[1]) / 500, y, y - float(centre[2]) / 200])
    xyz = np.where(root > 6 / 29, root**3, (root - 4 / 29) * 108 / 841) * _WHITE
    linear = np.clip(np.linalg.inv(_XYZ.astype(np.float64)) @ xyz, 0, 1)
    pixels = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return "#" + "".join(f"{round(255 * float(p)):02x}" for p in np.clip(pixels, 0, 1))


# --- segmenters


@dataclasses.dataclass(frozen=True)
class _Segmenter:
    """What a system's use finds in images, as a function of them and its State."""

    system: System
    use: str
    take: str
    give: str
    field: Image
    resolution: Resolution | None

    def __call__(self, images: Float[Array, "b h w x"], state: Any) -> Float[Array, "b h w c"]:
        count, *size = images.shape[:3]
        side = self.field.extent or tuple(size)
        seen = rgb(images)
        if self.field.shape[-1] == 1:
            seen = (seen @ jnp.array([0.299, 0.587, 0.114]))[..., None]
        elif self.field.shape[-1] == 4:
            seen = (
                (images + 1) / 2
                if images.shape[-1] == 4
                else jnp.pad(seen, ((0, 0),) * 3 + ((0, 1),), constant_values=1)
            )
        seen = jax.image.resize(seen, (count, *side, seen.shape[-1]), "linear")
        view = evaluation_view(self.system, state, self.resolution)
        keys = call_keys(0, jnp.zeros(count, jnp.uint32))
        use = use_of(self.system, self.use)
        masks = use.call(view, {self.take: seen * 2 - 1}, keys, use.options)[self.give]
        return jax.image.resize(masks, (count, *size, masks.shape[-1]), "linear")


def segmented(run: Run, word: str = "") -> Concepts:
    """What a run finds: by its use "segment", or by the first that gives a mask of an image.

    Images are brought to its size and channels, and its masks back. One class is called `mask`,
    several are `class0` and so on.

    Raises:
        UserError: it has no such use.
    """
    for name in sorted(run.system.uses(), key=lambda name: name != "segment"):
        use = use_of(run.system, name)
        takes = {n: taken.field for n, taken in taken_by(run.system, use).items()}
        gives = {n: f for n, f in given_by(use).items() if isinstance(f, Mask)}
        if len(takes) == 1 and gives and type(next(iter(takes.values()))) is Image:
            break
    else:
        raise UserError(
            f"{run.name} gives no mask of an image: it has {', '.join(run.system.uses())}; give "
            "the run of a segmenter, such as of SegAN or ReDO"
        )
    give, mask = next(iter(gives.items()))
    (take,) = takes
    field = run.takes(name)[take]
    assert isinstance(field, Image)
    count = mask.shape[-1] or 1
    names = ("mask",) if count == 1 else tuple(f"class{n}" for n in range(count))
    function = _Segmenter(run.system, name, take, give, field, run.resolution)
    return Concepts(names, function, dataclasses.replace(run.stored, opt={}), word)


# --- functions of one's own


def of_function(
    function: Callable[[Any], Any],
    run: Run,
    names: tuple[str, ...] = (),
    word: str = "the function",
) -> Concepts:
    """What a function finds: images [b, h, w, x] in [-1, 1] to masks [b, h, w, c] in [0, 1].

    Args:
        function: of JAX, or of NumPy; of NumPy there are no gradients, so causal effects of it have
            the weights that overlaps say.
        run: whose images it is given.
        names: of the concepts; (): those of its attribute `names`, or `concept0` and so on.
        word: what it is called in messages.

    Raises:
        UserError: it is none, or gives something else.
    """
    if not callable(function):
        raise UserError(f"{word} is no function: give one of images that returns masks")
    probe = jax.ShapeDtypeStruct((1, *image_of(run, "generate")[1].shape), jnp.float32)
    traced = True
    try:
        masks: Any = jax.eval_shape(function, probe)
    except Exception:  # of whatever a function of NumPy says to a tracer
        traced, masks = False, function(np.zeros(probe.shape, np.float32))
    shape = np.shape(masks)
    if len(shape) != 4 or shape[:3] != probe.shape[:3]:
        want = ", ".join(map(str, probe.shape[:3]))
        raise UserError(
            f"{word} makes masks of {shape} of images of {probe.shape}: expected ({want}, c)"
        )
    names = names or tuple(getattr(function, "names", ()))
    names = names or tuple(f"concept{n}" for n in range(shape[-1]))
    if len(names) != shape[-1]:
        raise UserError(f"{word} gives {shape[-1]} masks and has {len(names)} names: give as many")
    return Concepts(names, _Own(function, traced), (), word, traced)


@dataclasses.dataclass(frozen=True)
class _Own:
    """A function of images alone."""

    function: Callable[[Any], Any]
    traced: bool

    def __call__(self, images: Any, arrays: Any) -> Any:
        del arrays
        return self.function(images if self.traced else np.asarray(images))
