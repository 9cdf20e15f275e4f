"""Extreme compression: images as a few numbers of five values each, the rest made up by a GAN.

Agustsson, Tschannen, Mentzer, Timofte, Van Gool, "Generative Adversarial Networks for Extreme
Learned Image Compression", ICCV 2019 (arXiv 1804.02958, 2018). An encoder makes a map of C channels
of an image, 1/16 as high and wide; each number is brought to the nearest of L centres, -2 to 2. A
generator makes an image of them. Nothing says how likely the centres are: C and L bound the bits.
Quantising has no gradient; that of a softmax over the distances to the centres stands for it
(Mentzer et al. 2018). What is minimised is the squared difference, the discriminators' verdict by
least squares, and the distance of their features ("feature matching"); the discriminators judge
the image at several sizes (pix2pixHD, Wang et al. 2018).

With `selective`, a mask says what of an image is kept. Of the rest no numbers are coded: they are
zeros to the generator, which makes something up there, with `classes` of a map of labels that is in
the file, too. While it learns, half of the images are kept whole, and of the others a random box.

Layers are those of the paper's appendix; norms, the discriminators' padding and the weight of
feature matching those of pix2pixHD's code, which it builds on. Differs in that the map of labels is
joined with the centres as they are, where the paper quantises at twice the size and convolves; that
it is kept as a PNG, where the paper has outlines; that labels are not outlined by instances; and
that there is no loss by VGG. The last layer of the encoder has neither norm nor ReLU, which would
leave the centres below 0 unused.
"""

import dataclasses
import math
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Coded, Codes, Field, FromData, Image, Mask, Padded, PaddedMask, Uniform
from jaxgan.nn.initializers import normal
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import InstanceNorm
from jaxgan.nn.translator import reflect
from jaxgan.ranges import (
    Above,
    DecayRate,
    Few,
    Halvings,
    Positive,
    Rate,
    Shape,
    Weight,
    Within,
)
from jaxgan.system import Examples, Metrics, Player, Stage, System, Use
from jaxgan.systems.common.generative import mean_logits
from jaxgan.view import View

WEIGHTS = normal(0.02)

Judged = list[tuple[list[Array], Array]]
"""Of each size, from the whole one down: maps of features, and logits [b, y, x]."""


class Encoder(nn.Module):
    """Images to maps, a place for every 2^halvings pixels a side.

    Attributes:
        features: channels of the result, without norm; 0: that of the last halving is the result.
        width: channels at full size; each halving doubles them.
        halvings: convolutions of stride two.
        dtype: compute type.
    """

    features: int
    width: int = 60
    halvings: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], *, train: bool) -> Float[Array, "b y x c"]:
        """[b, h, w, in] to float32 [b, h/2^halvings, w/2^halvings, features]."""
        del train
        conv = partial(Conv, initializer=WEIGHTS, dtype=self.dtype)
        h = conv(self.width, kernel_size=7, padding=0, inert_bias=True, name="first")(reflect(x, 3))
        h = nn.relu(InstanceNorm()(h))
        for level in range(1, self.halvings + 1):
            wide = self.width << level
            h = conv(wide, stride=2, padding=1, inert_bias=True, name=f"down{level}")(h)
            h = nn.relu(InstanceNorm()(h))
        if self.features:
            h = conv(self.features, padding=0, name="last")(reflect(h, 1))
        return h.astype(jnp.float32)


class Generator(nn.Module):
    """Centres, and features of labels beside them, to images.

    Attributes:
        width: channels at full size.
        halvings: transposed convolutions of stride two.
        blocks: residual ones, at the centres' size.
        dtype: compute type.
    """

    width: int = 60
    halvings: int = 4
    blocks: int = 9
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, y: Float[Array, "b y x c"], *, train: bool) -> Float[Array, "b h w 3"]:
        """[b, y, x, c] to [b, y 2^halvings, x 2^halvings, 3] in [-1, 1], float32."""
        del train
        conv = partial(Conv, padding=0, initializer=WEIGHTS, dtype=self.dtype)
        up = partial(
            ConvTranspose, kernel_size=3, output_padding=1, initializer=WEIGHTS, dtype=self.dtype
        )
        wide = partial(conv, self.width << self.halvings, inert_bias=True)

        def norm(h: Float[Array, "b y x c"]) -> Float[Array, "b y x c"]:
            return InstanceNorm()(h)

        h = nn.relu(norm(wide(name="first")(reflect(y, 1))))
        for index in range(1, self.blocks + 1):
            r = nn.relu(norm(wide(name=f"block{index}_conv1")(reflect(h, 1))))
            h = h + norm(wide(name=f"block{index}_conv2")(reflect(r, 1)))
        for level in reversed(range(self.halvings)):
            h = up(self.width << level, inert_bias=True, name=f"up{level + 1}")(h)
            h = nn.relu(norm(h))
        h = conv(3, kernel_size=7, name="last")(reflect(h, 3))
        return jnp.tanh(h.astype(jnp.float32))


class Discriminator(nn.Module):
    """PatchGANs at several sizes, each half the one before, with their features.

    Attributes:
        width: channels of the first maps; they double with each layer, up to eightfold.
        halvings: convolutions of stride two.
        scales: how many sizes.
        dtype: compute type.
    """

    width: int = 64
    halvings: int = 3
    scales: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Judged:
        """[b, h, w, c] to features and float32 logits, of each size."""
        del train
        judged = []
        for scale in range(1, self.scales + 1):
            if scale > 1:
                around = ((1, 1), (1, 1))
                x = nn.avg_pool(x, (3, 3), (2, 2), padding=around, count_include_pad=False)
            judged.append(self._patches(x, f"scale{scale}"))
        return judged

    def _patches(self, h: Float[Array, "b h w c"], name: str) -> tuple[list[Array], Array]:
        conv = partial(Conv, kernel_size=4, padding=2, initializer=WEIGHTS, dtype=self.dtype)
        maps = []
        for index in range(self.halvings + 1):
            h = conv(
                self.width << min(index, 3),
                stride=2 if index < self.halvings else 1,
                inert_bias=index > 0,
                name=f"{name}_conv{index + 1}",
            )(h)
            h = nn.leaky_relu(InstanceNorm()(h) if index else h, 0.2)
            maps.append(h.astype(jnp.float32))
        logits = conv(1, name=f"{name}_conv{self.halvings + 2}")(h)
        return maps, logits[..., 0].astype(jnp.float32)


def centres(levels: int) -> Float[Array, " levels"]:
    """So many, one apart, around 0: -2 to 2 for five."""
    return jnp.arange(levels, dtype=jnp.float32) - (levels - 1) / 2


def level_of(w: Float[Array, "*s"], levels: int) -> Int[Array, "*s"]:
    """The number of the nearest centre, from 0; of two equally near, the lower."""
    return jnp.argmin(jnp.abs(w[..., None] - centres(levels)), -1)


def quantise(w: Float[Array, "*s"], levels: int, temperature: float = 1.0) -> Float[Array, "*s"]:
    """The nearest centres, with the gradient of soft ones.

    These are a mean of all centres, weighted by a softmax of minus the distances over the
    temperature (Mentzer et al. 2018, equation 2; here of absolute differences).
    """
    found = centres(levels)
    soft = (nn.softmax(-jnp.abs(w[..., None] - found) / temperature) * found).sum(-1)
    hard = jax.lax.stop_gradient(found[level_of(w, levels)])
    return hard + (soft - jax.lax.stop_gradient(soft))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agustsson(System):
    """Compression to a bounded number of bits, without an entropy model."""

    shape: Shape = (512, 1024, 3)
    """Height, width and channels (3) of the images that it learns from; it codes any size."""
    latents: Annotated[int, Within(1, 64)] = 4
    """Channels of what is coded (C): 2, 4, 8 or 16 in the paper."""
    levels: Annotated[int, Within(2, 256)] = 5
    """Centres of each number (L)."""
    temperature: Annotated[float, Above(0)] = 1.0
    """Of the soft centres, whose gradient stands for that of the nearest ones."""
    width: Positive = 60
    """Channels of the encoder and the generator at full size; each halving doubles them."""
    halvings: Annotated[int, Within(1, 6)] = 4
    """How often what is coded halves the image's sides."""
    blocks: Few = 9
    """Residual blocks of the generator."""
    discriminator_width: Positive = 64
    """Channels of the discriminators' first maps."""
    patch_halvings: Halvings = 3
    """Convolutions of stride two in each discriminator."""
    scales: Annotated[int, Within(1, 5)] = 3
    """Sizes at which images are judged: the whole, a half, ..."""
    selective: bool = False
    """Learn to make up what a mask does not keep."""
    classes: Annotated[int, Within(0, 256)] = 0
    """Of maps of labels, of which what is not kept is made up; 0: there are none."""
    distortion: Weight = 10.0
    """Weight of the mean squared difference of images in [-1, 1], where they are kept."""
    matching: Weight = 10.0
    """Weight of the distance of the discriminators' features."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        height, width, *channels = (*self.shape, 0, 0)
        if len(self.shape) != 3 or channels[0] != 3 or height % self.cell or width % self.cell:
            raise UserError(
                f"image shape {self.shape}: with halvings {self.halvings} height and width must be "
                f"multiples of {self.cell}, with 3 channels; change `shape`"
            )
        if self.classes == 1 or (self.classes and not self.selective):
            raise UserError(
                f"classes is {self.classes} and selective {self.selective}: a map of labels has at "
                "least 2, and is for a selective run; set selective, or classes to 0"
            )
        least = 2 << (self.patch_halvings + self.scales - 1)
        if min(height, width) < least:
            raise UserError(
                f"image shape {self.shape}: {self.scales} scales of patch_halvings "
                f"{self.patch_halvings} judge images of at least {least} pixels a side; take fewer"
            )

    @property
    def cell(self) -> int:
        """Pixels a side that share their numbers."""
        return 1 << self.halvings

    @property
    def bound(self) -> float:
        """Bits per pixel that the numbers take at most: ceil(log2 levels) each."""
        return math.ceil(math.log2(self.levels)) * self.latents / self.cell**2

    def data(self) -> tuple[dict[str, Field], ...]:
        """Images, with maps of labels where there are classes."""
        return ({"image": Image(self.shape), **self._labelled(self.shape[:2])},)

    def _labelled(self, size: tuple[int, ...]) -> dict[str, Field]:
        return {"mask": Mask((*size, self.classes))} if self.classes else {}

    def networks(self) -> dict[str, nn.Module]:
        """Encoder, generator, discriminator, and what looks at labels, where there are classes."""
        dtype = jnp.dtype(self.dtype)
        found: dict[str, nn.Module] = {
            "encoder": Encoder(self.latents, self.width, self.halvings, dtype),
            "generator": Generator(self.width, self.halvings, self.blocks, dtype),
            "discriminator": Discriminator(
                self.discriminator_width, self.patch_halvings, self.scales, dtype
            ),
        }
        if self.classes:
            found["labels"] = Encoder(0, self.width, self.halvings, dtype)
        return found

    def inputs(self) -> dict[str, tuple]:
        """Images, centres, labels."""
        size = self.shape[:2]
        channels = self.latents + bool(self.classes) * (self.width << self.halvings)
        found = {
            "encoder": (jnp.zeros((1, *self.shape)),),
            "generator": (jnp.zeros((1, *(side // self.cell for side in size), channels)),),
            "discriminator": (jnp.zeros((1, *self.shape)),),
        }
        return found | {"labels": (jnp.zeros((1, *size, self.classes)),)} if self.classes else found

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator, then encoder and generator."""
        adam = optax.adam(self.learning_rate, *self.betas)
        coders = ("encoder", "generator", *(("labels",) if self.classes else ()))
        judge = Player(
            name="discriminator",
            owns=("discriminator",),
            loss=self.discriminator_loss,
            optimizer=adam,
        )
        coder = Player(
            name="compressor", owns=coders, loss=self.compressor_loss, optimizer=adam, reuse=True
        )
        return (Stage(players=(judge, coder)),)

    # --- what is learned

    def boxes(self, view: View, key: PRNGKeyArray, count: int) -> Float[Array, "b y x 1"]:
        """Which places are kept: all of half the images, else those of a box; 1 or 0."""
        sides = [side // self.cell for side in self.shape[:2]]
        drawn = view.draw({"box": Uniform((5,), low=0.0)}, key, count)["box"]
        inside = jnp.ones((count, 1, 1), bool)
        for axis, side in enumerate(sides):
            ends = jnp.sort(drawn[:, 2 * axis : 2 * axis + 2], 1) * side
            place = jnp.arange(side)
            along = (place >= jnp.floor(ends[:, :1])) & (place <= jnp.floor(ends[:, 1:]))
            inside &= along[:, :, None] if axis == 0 else along[:, None, :]
        whole = drawn[:, 4] < 0.5
        return (inside | whole[:, None, None]).astype(jnp.float32)[..., None]

    def _kept(self, view: View, batch: Examples, key: PRNGKeyArray) -> Float[Array, "b y x 1"]:
        count, height, width, _ = batch["image"].shape
        if self.selective:
            return self.boxes(view, key, count)
        return jnp.ones((count, height // self.cell, width // self.cell, 1))

    def made(
        self, view: View, batch: Examples, keep: Float[Array, "b y x 1"]
    ) -> Float[Array, "b h w 3"]:
        """Images of the centres of images, where they are kept, and of labels."""
        quantised = quantise(view("encoder", batch["image"]), self.levels, self.temperature)
        return self.image_of(view, quantised * keep, batch.get("mask"))

    def image_of(
        self, view: View, found: Float[Array, "b y x c"], labels: Float[Array, "b h w k"] | None
    ) -> Float[Array, "b h w 3"]:
        """Images of centres, and of labels where there are classes."""
        if labels is not None:
            found = jnp.concatenate([found, view("labels", labels)], -1)
        return view("generator", found)

    def compressor_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Squared difference where it is kept, verdict, feature matching (equations 6 and 8)."""
        images, keep = batch["image"], self._kept(view, batch, key)
        made = self.made(view, batch, keep)
        weight = jnp.repeat(jnp.repeat(keep, self.cell, 1), self.cell, 2)
        squared = (weight * (made - images) ** 2).mean()
        judged = ((view.augment(x),) for x in (images, made))
        real, fake = view.together("discriminator", *judged)
        verdict = jnp.zeros(())
        for _, logits in fake:  # the paper's squared errors have no 1/2
            verdict += 2 * losses.least_squares.generator(logits)
        matched = [
            jnp.abs(jax.lax.stop_gradient(a) - b).mean()
            for (theirs, _), (ours, _) in zip(real, fake, strict=True)
            for a, b in zip(theirs, ours, strict=True)
        ]
        distance = 4 * jnp.stack(matched).mean()
        loss = verdict + self.distortion * squared + self.matching * distance
        return loss, {"adversarial": verdict, "mse": squared, "matching": distance}

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Squared errors of the verdicts at all sizes."""
        made = self.made(view, batch, self._kept(view, batch, key))
        judged = ((view.augment(x),) for x in (batch["image"], jax.lax.stop_gradient(made)))
        real, fake = view.together("discriminator", *judged)
        loss = jnp.zeros(())
        for (_, on_real), (_, on_fake) in zip(real, fake, strict=True):
            loss += 2 * losses.least_squares.discriminator(on_real, on_fake)
        whole = [jnp.concatenate([x.reshape(-1) for _, x in each]) for each in (real, fake)]
        return loss, mean_logits(*whole)

    # --- what it can do

    def uses(self) -> dict[str, Use]:
        """Reconstructs images, and, where it is selective, what is kept of them; codes them."""
        any_size = Padded((None, None, 3), multiple=self.cell)
        kept = PaddedMask((None, None, 1), multiple=self.cell, filled=True)
        labels: dict[str, Field] = (
            {"mask": PaddedMask((None, None, self.classes), multiple=self.cell)}
            if self.classes
            else {}
        )
        number = Coded((None, None, self.latents), coder="uniform", levels=self.levels)
        holds: dict[str, Field] = {"centre": number}
        if self.selective:
            chosen = dataclasses.replace(number, coder="masked", model="keep_model")
            holds = {"keep": Coded((None, None, 1), coder="uniform", levels=2), "centre": chosen}
        if self.classes:
            holds = {"labels": Coded((None, None, 1), coder="png"), **holds}
        columns = {name: FromData(column=name) for name in self.data()[0]}
        found = {
            "reconstruct": Use(
                call=self.reconstruct,
                takes=columns,
                gives={"image": Image(self.shape)},
                summary="makes of images what is left of them when they have been compressed",
            ),
            "encode": Use(
                call=self.encode,
                takes={"image": any_size, **({"keep": kept} if self.selective else {}), **labels},
                gives=holds,
                summary="makes the numbers of images, which files hold",
            ),
            "decode": Use(
                call=self.decode,
                takes=holds,
                gives={"image": any_size},
                summary="makes images of numbers",
            ),
        }
        if self.selective:
            found["keep_model"] = Use(
                call=lambda view, taken, keys, options: {"places": taken["keep"].astype(jnp.int32)},
                takes={"keep": holds["keep"]},
                gives={"places": Codes((None, None, 1))},
                summary="of which places there are numbers in a file",
            )
            found["select"] = Use(
                call=self.reconstruct,
                takes={**columns, "keep": Mask((*self.shape[:2], 1))},
                gives={"image": Image(self.shape)},
                summary="makes of images what a mask keeps of them, and makes up the rest",
            )
        return found

    def encode(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Numbers of the nearest centres; where a cell has a pixel that is kept, it is kept."""
        del keys, options
        number = level_of(view("encoder", taken["image"]), self.levels).astype(jnp.float32)
        found = {"centre": number}
        if "keep" in taken:
            found["keep"] = self._cells(taken["keep"])
        if "mask" in taken:
            found["labels"] = jnp.argmax(taken["mask"], -1)[..., None].astype(jnp.float32)
        return found

    def _cells(self, keep: Float[Array, "b h w 1"]) -> Float[Array, "b y x 1"]:
        count, height, width, _ = keep.shape
        split = keep.reshape(count, height // self.cell, self.cell, width // self.cell, self.cell)
        return (split.max((2, 4)) >= 0.5).astype(jnp.float32)[..., None]

    def decode(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Images of numbers of centres."""
        del keys, options
        found = centres(self.levels)[taken["centre"].astype(jnp.int32)] * taken.get("keep", 1.0)
        labels = None
        if "labels" in taken:
            labels = jax.nn.one_hot(taken["labels"][..., 0].astype(jnp.int32), self.classes)
        return {"image": self.image_of(view, found, labels)}

    def reconstruct(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Images, coded and decoded; without "keep" all of them."""
        made = self.encode(view, taken, keys, options)
        return self.decode(view, made, keys, options)
