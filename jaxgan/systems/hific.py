"""HiFiC: images compressed to few bits, and decoded by a generator that makes details up.

Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression", NeurIPS 2020.
An encoder makes of an image a map of latents y, which are rounded; a generator makes an image of
them. How likely each y is, a hyperprior says (Ballé et al. 2018; Minnen et al. 2018): a second,
smaller map z, coded first, of which two networks make each y's mean and scale. What is minimised is
the rate, plus the distance by pixels and by LPIPS, plus the discriminator's verdict; the weight of
the rate is large where there are more bits than the target and small elsewhere. The first stage
trains without discriminator, the second with.

Follows Google's code (tensorflow/compression, models/hific), and for the layers' padding
Justin-Tan's in PyTorch, which a test compares each network with. What differs: the weight of the
rate below the target is the paper's 2^-4, in Google's code 2^-6; images given to the discriminator
are in [-1, 1]; latents z are rounded without an offset, so that there is no third loss for medians.
To be coded, scales are brought to 64 levels and means to multiples of 1/16
(`jaxgan/codec/README.md`); "reconstruct" does so, too.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Coded, Codes, Field, FromData, Image, Padded, Uniform
from jaxgan.nn.entropy import (
    LARGEST_SCALE,
    LEAST_SCALE,
    LEVELS,
    LOGITS,
    MEANS,
    FactorizedDensity,
    bits,
    gaussian_likelihood,
    lower_bound,
    round_through,
)
from jaxgan.nn.initializers import TORCH_TRANSPOSED
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import ChannelNorm
from jaxgan.nn.resample import upsample
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.nn.translator import reflect
from jaxgan.pretrained.perceptual import ALEX_LEAST, AlexLPIPS, alex_variables
from jaxgan.pretrained.weights import ALEX_LPIPS
from jaxgan.ranges import Count, DecayRate, Few, Positive, Rate, Shape, Weight, Within
from jaxgan.system import Examples, Metrics, Player, Pretrained, Stage, System, Use
from jaxgan.systems.common.generative import mean_logits
from jaxgan.view import View

REACH = 63
"""Latents z up to this far from 0 have a probability each; those beyond are coded as exceptions."""

CODERS = ("encoder", "generator", "analysis", "scale", "mean", "density")
"""All networks but the discriminator."""

_PUBLISHED = {0.14: 2.0, 0.30: 1.0, 0.45: 0.5}
"""Weights of the rate above the target, by targets in bits per pixel."""


class Encoder(nn.Module):
    """Images to latents y, a place for every 2^halvings pixels a side.

    Attributes:
        latents: channels of y.
        width: channels at full size; each halving doubles them.
        halvings: convolutions of stride two.
        dtype: compute type.
    """

    latents: int = 220
    width: int = 60
    halvings: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool) -> Float[Array, "b y x c"]:
        """Images in [0, 1], of a multiple of 2^halvings pixels a side, to float32 latents."""
        del train
        conv = partial(Conv, padding=0, dtype=self.dtype)

        def layer(h: Array, features: int, name: str, size: int, stride: int) -> Array:
            h = conv(features, kernel_size=size, stride=stride, name=name)(h)
            return nn.relu(ChannelNorm(name=f"{name}_norm")(h))

        h = layer(reflect(x, 3), self.width, "first", 7, 1)
        for level in range(1, self.halvings + 1):
            h = jnp.pad(h, ((0, 0), (1, 0), (0, 1), (0, 0)), mode="reflect")  # top and right
            h = layer(h, self.width << level, f"down{level}", 3, 2)
        return conv(self.latents, name="last")(reflect(h, 1)).astype(jnp.float32)


class Generator(nn.Module):
    """Latents y to images.

    Attributes:
        width: channels at full size.
        halvings: transposed convolutions of stride two.
        blocks: residual ones, at the latents' size.
        dtype: compute type.
    """

    width: int = 60
    halvings: int = 4
    blocks: int = 9
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, y: Float[Array, "b y x c"], *, train: bool) -> Float[Array, "b h w 3"]:
        """Images about [0, 1], float32; nothing keeps them within."""
        del train
        conv = partial(Conv, padding=0, dtype=self.dtype)
        up = partial(
            ConvTranspose,
            kernel_size=3,
            output_padding=1,
            initializer=TORCH_TRANSPOSED,
            dtype=self.dtype,
        )
        wide = self.width << self.halvings
        h = conv(wide, name="first")(reflect(ChannelNorm(name="latents_norm")(y), 1))
        h = head = ChannelNorm(name="first_norm")(h)
        for index in range(1, self.blocks + 1):
            name = f"block{index}"
            r = conv(wide, name=f"{name}_conv1")(reflect(h, 1))
            r = nn.relu(ChannelNorm(name=f"{name}_norm1")(r))
            r = conv(wide, name=f"{name}_conv2")(reflect(r, 1))
            h = h + ChannelNorm(name=f"{name}_norm2")(r)
        h = h + head
        for level in reversed(range(self.halvings)):
            h = up(self.width << level, name=f"up{level + 1}")(h)
            h = nn.relu(ChannelNorm(name=f"up{level + 1}_norm")(h))
        return conv(3, kernel_size=7, name="last")(reflect(h, 3)).astype(jnp.float32)


class Analysis(nn.Module):
    """Latents y to latents z, a quarter as high and wide; float32.

    Attributes:
        features: channels of all layers.
    """

    features: int = 320

    @nn.compact
    def __call__(self, y: Float[Array, "b y x c"], *, train: bool) -> Float[Array, "b v u f"]:
        """[b, y, x, c] to [b, y/4, x/4, features]."""
        del train
        h = nn.relu(Conv(self.features, name="conv1")(y))
        h = nn.relu(Conv(self.features, kernel_size=5, stride=2, padding=2, name="conv2")(h))
        return Conv(self.features, kernel_size=5, stride=2, padding=2, name="conv3")(h)


class Synthesis(nn.Module):
    """Latents z to a number for each latent y, its mean or its scale; float32.

    Attributes:
        latents: channels of y.
        features: channels of the other layers.
    """

    latents: int = 220
    features: int = 320

    @nn.compact
    def __call__(self, z: Float[Array, "b v u f"], *, train: bool) -> Float[Array, "b y x c"]:
        """[b, v, u, features] to [b, 4v, 4u, latents]."""
        del train
        conv = partial(ConvTranspose, initializer=TORCH_TRANSPOSED)
        up = partial(conv, self.features, kernel_size=5, padding=2, output_padding=1)
        h = nn.relu(up(name="conv1")(z))
        h = nn.relu(up(name="conv2")(h))
        return conv(self.latents, kernel_size=3, stride=1, name="conv3")(h)


class Discriminator(nn.Module):
    """Images, and latents y that they were made of, to a map of logits.

    Attributes:
        width: channels of the first map; they double with each layer.
        halvings: of the latents against the images.
        dtype: compute type.
    """

    width: int = 64
    halvings: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], y: Float[Array, "b _ _ c"], *, train: bool
    ) -> Float[Array, "b v u"]:
        """[b, h, w, 3] to float32 logits [b, h/16, w/16]."""
        del train
        conv = partial(Conv, padding=0, reparam=SpectralNorm, dtype=self.dtype)
        y = nn.leaky_relu(conv(12, name="latents")(reflect(y, 1)), 0.2)
        for _ in range(self.halvings):
            y = upsample(y)
        h = jnp.concatenate([x, y.astype(x.dtype)], -1)
        for index in range(4):
            layer = conv(self.width << index, kernel_size=4, stride=2, name=f"conv{index + 1}")
            h = nn.leaky_relu(layer(reflect(h, 1)), 0.2)
        return conv(1, kernel_size=1, name="last")(h)[..., 0].astype(jnp.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiFiC(System):
    """Learned compression with a hyperprior and a conditional discriminator."""

    target: Rate
    """Bits per pixel that are aimed at; those of the paper are .14, .30 and .45."""
    shape: Shape = (256, 256, 3)
    """Height, width and channels (3) of the crops that it learns from; it codes any size."""
    latents: Positive = 220
    """Channels of the latents y."""
    width: Positive = 60
    """Channels of the encoder and the generator at full size; each halving doubles them."""
    halvings: Annotated[int, Within(1, 6)] = 4
    """How often the latents halve the image's sides."""
    blocks: Few = 9
    """Residual blocks of the generator."""
    hyper_width: Positive = 320
    """Channels of the hyperprior, and of the latents z."""
    discriminator_width: Positive = 64
    """Channels of the discriminator's first map."""
    rate_above: Weight = 0.0
    """Weight of the rate above the target; 0: the published one of the nearest target."""
    rate_below: Weight = 2**-4
    """Weight of the rate below the target."""
    distortion: Weight = 0.075 * 2**-5
    """Weight of the mean squared difference of bytes."""
    perceptual: Weight = 1.0
    """Weight of LPIPS."""
    adversarial: Weight = 0.15
    """Weight of the discriminator's verdict."""
    first_steps: Count = 1_000_000
    """Iterations without discriminator, at first; schedules begin anew after them."""
    warm_steps: tuple[Count, Count] = (50_000, 50_000)
    """Iterations of each stage in which the target is 20/14 of what it is and the rate's weight a
    half."""
    full_steps: tuple[Count, Count] = (500_000, 500_000)
    """Iterations of each stage after which the step size is a tenth."""
    learning_rate: Rate = 1e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        multiple = self.multiple
        height, width, *channels = (*self.shape, 0, 0)
        if len(self.shape) != 3 or channels[0] != 3 or height % multiple or width % multiple:
            raise UserError(
                f"image shape {self.shape}: with halvings {self.halvings} height and width must be "
                f"multiples of {multiple}, with 3 channels; change `shape`"
            )
        if min(height, width) < 32:
            raise UserError(
                f"image shape {self.shape}: LPIPS by AlexNet, which it is trained by, compares "
                f"images of at least {ALEX_LEAST} pixels a side, and the discriminator of 32"
            )

    @property
    def multiple(self) -> int:
        """Images' sides are brought to multiples of this: z is a quarter of y."""
        return 4 << self.halvings

    def data(self) -> tuple[dict[str, Field], ...]:
        """Images."""
        return ({"image": Image(self.shape)},)

    def networks(self) -> dict[str, nn.Module]:
        """Encoder, generator, the hyperprior's four, discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "encoder": Encoder(self.latents, self.width, self.halvings, dtype),
            "generator": Generator(self.width, self.halvings, self.blocks, dtype),
            "analysis": Analysis(self.hyper_width),
            "scale": Synthesis(self.latents, self.hyper_width),
            "mean": Synthesis(self.latents, self.hyper_width),
            "density": FactorizedDensity(self.hyper_width),
            "discriminator": Discriminator(self.discriminator_width, self.halvings, dtype),
        }

    def pretrained(self) -> dict[str, Pretrained]:
        """The perceptual distance."""
        loaded = Pretrained(module=AlexLPIPS(), load=alex_variables, sha256=ALEX_LPIPS.digest)
        return {"lpips": loaded}

    def inputs(self) -> dict[str, tuple]:
        """An image, and the latents of it."""
        side = max(self.multiple, 32)
        image = jnp.zeros((1, side, side, 3))
        y = jnp.zeros((1, side >> self.halvings, side >> self.halvings, self.latents))
        z = jnp.zeros((1, *(n // 4 for n in y.shape[1:3]), self.hyper_width))
        return {
            "encoder": (image,),
            "generator": (y,),
            "analysis": (y,),
            "scale": (z,),
            "mean": (z,),
            "density": (z,),
            "discriminator": (image, y),
            "lpips": (image, image),
        }

    def stages(self) -> tuple[Stage, ...]:
        """Without and with discriminator, which moves first and on a batch of its own."""

        def player(stage: int, name: str, loss: Any, **how: Any) -> Player:
            owns = CODERS if name == "compressor" else (name,)
            adam = optax.adam(self._step_size(self.full_steps[stage]), *self.betas)
            return Player(name=name, owns=owns, loss=loss, optimizer=adam, **how)

        loss = self.compressor_loss
        first = player(0, "compressor", partial(loss, first=True), slot="first")
        judge = player(1, "discriminator", self.discriminator_loss, writes=("discriminator",))
        second = player(1, "compressor", partial(loss, first=False))
        begin = (Stage(players=(first,), steps=self.first_steps),) if self.first_steps else ()
        return (*begin, Stage(players=(judge, second)))

    def _step_size(self, full: int) -> Callable[[Array], Array]:
        """Adam's, by the updates that were made; it falls after so many."""
        return lambda count: jnp.where(count < full, self.learning_rate, self.learning_rate / 10)

    def coded(
        self, view: View, images: Float[Array, "b h w 3"], key: PRNGKeyArray
    ) -> tuple[Float[Array, "b y x c"], Float[Array, " b"], Float[Array, " b"]]:
        """Latents y of images in [-1, 1], rounded, and bits per pixel with noise and rounded.

        Rounding has no gradient. So the rate is differentiated where noise stands for it, and the
        generator is given rounded latents whose gradient is that of the unrounded ones.
        """
        y = view("encoder", (images + 1) / 2)
        z = view("analysis", y)
        noise = view.draw({"y": _noise(y), "z": _noise(z)}, key, len(images))
        noisy_z = z + noise["z"]
        scale = lower_bound(view("scale", noisy_z), LEAST_SCALE)
        mean = view("mean", noisy_z)
        rounded = round_through(y - mean) + mean
        with_noise = bits(gaussian_likelihood(y + noise["y"], mean, scale))
        with_noise += bits(view("density", noisy_z))
        without = bits(gaussian_likelihood(rounded, mean, scale))
        without += bits(view("density", jnp.round(z)))
        pixels = images.shape[1] * images.shape[2]
        return rounded, with_noise / pixels, jax.lax.stop_gradient(without) / pixels

    def rate_weight(
        self, rate: Float[Array, ""], step: Array | int, warm: int
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Weight of the rate, and the target, by the iterations of a stage, of which some warm."""
        nearest = min(_PUBLISHED, key=lambda target: abs(target - self.target))
        above = self.rate_above or _PUBLISHED[nearest]
        warms = jnp.asarray(step) < warm
        target = self.target * jnp.where(warms, 20 / 14, 1.0)
        weight = jnp.where(rate > target, above, self.rate_below)
        return weight * jnp.where(warms, 0.5, 1.0), target

    def compressor_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray, *, first: bool
    ) -> tuple[Float[Array, ""], Metrics]:
        """Rate, distance by pixels and by LPIPS, and in the second stage the verdict (eq. 7)."""
        images = batch["image"]
        y, noisy_rate, rate = self.coded(view, images, key)
        made = view("generator", y) * 2 - 1
        step = view.step if first else view.step - self.first_steps
        warm = self.warm_steps[0 if first else 1]
        weight, target = self.rate_weight(rate.mean(), step, warm)
        squared = jnp.mean(((made - images) * 127.5) ** 2)
        distance = view("lpips", made, images).mean()
        loss = weight * noisy_rate.mean() + self.distortion * squared + self.perceptual * distance
        metrics = {
            "bpp": rate.mean(),
            "noisy_bpp": noisy_rate.mean(),
            "target": target,
            "mse": squared,
            "lpips": distance,
        }
        if not first:
            logits = view("discriminator", view.augment(made), jax.lax.stop_gradient(y))
            verdict = losses.non_saturating.generator(logits)
            loss += self.adversarial * verdict
            metrics["adversarial"] = verdict
        return loss, metrics

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy; images and what was made of them are given the same latents."""
        images = batch["image"]
        y, _, _ = self.coded(view, images, key)
        made = view("generator", y) * 2 - 1
        pairs = ((view.augment(x), y) for x in (images, made))
        real, fake = view.together("discriminator", *jax.lax.stop_gradient(tuple(pairs)))
        return losses.non_saturating.discriminator(real, fake), mean_logits(real, fake)

    # --- what it can do

    def uses(self) -> dict[str, Use]:
        """Reconstructs images; and the parts of a codec."""
        y = Coded((None, None, self.latents), coder="scales", model="latent_model")
        z = Coded((None, None, self.hyper_width), coder="tables", model="side_model")
        any_size = Padded((None, None, 3), multiple=self.multiple)
        tables = Codes((self.hyper_width, 2 * REACH + 2))
        levels = Codes((None, None, self.latents))
        return {
            "reconstruct": Use(
                call=self.reconstruct,
                takes={"image": FromData(column="image")},
                gives={"image": Image(self.shape)},
                summary="makes of images what is left of them when they have been compressed",
            ),
            "encode": Use(
                call=self.encode,
                takes={"image": any_size},
                gives={"side": z, "latent": y},
                summary="makes the latents of images, which files hold",
            ),
            "side_model": Use(
                call=self.side_model,
                takes={},
                gives={"logits": tables},
                summary="how likely the latents z are, by channel",
            ),
            "latent_model": Use(
                call=self.latent_model,
                takes={"side": z},
                gives={"scale": levels, "mean": levels},
                summary="how likely the latents y are, by latents z",
            ),
            "decode": Use(
                call=self.decode,
                takes={"latent": y},
                gives={"image": any_size},
                summary="makes images of latents",
            ),
        }

    def encode(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Latents z, rounded, and y, not rounded."""
        del keys, options
        y = view("encoder", (taken["image"] + 1) / 2)
        return {"side": jnp.round(view("analysis", y)), "latent": y}

    def side_model(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Logits of z's cumulative functions between whole numbers, whole by 1/1024."""
        del taken, options
        edges = jnp.arange(-REACH - 0.5, REACH + 1)
        with jax.default_matmul_precision("highest"):
            points = jnp.broadcast_to(edges[:, None], (len(edges), self.hyper_width))
            logits = view("density", points, method="logits").T
        whole = jnp.round(jnp.clip(logits, -50, 50) * LOGITS).astype(jnp.int32)
        return {"logits": jnp.broadcast_to(whole, (len(keys), *whole.shape))}

    def latent_model(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """The level of each y's scale, and its mean in sixteenths."""
        del keys, options
        with jax.default_matmul_precision("highest"):
            scale, mean = (view(name, taken["side"]) for name in ("scale", "mean"))
        return {"scale": level_of(scale), "mean": sixteenths(mean)}

    def decode(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Images of latents y."""
        del keys, options
        return {"image": view("generator", taken["latent"]) * 2 - 1}

    def reconstruct(
        self, view: View, taken: dict[str, Array], keys: Any, options: Any
    ) -> dict[str, Array]:
        """Images, coded and decoded."""
        made = self.encode(view, taken, keys, options)
        mean = self.latent_model(view, {"side": made["side"]}, keys, options)["mean"] / MEANS
        return self.decode(view, {"latent": jnp.round(made["latent"] - mean) + mean}, keys, options)


def _noise(x: Float[Array, "b ..."]) -> Uniform:
    """What stands for rounding: numbers from -1/2 to 1/2."""
    return Uniform(x.shape[1:], low=-0.5, high=0.5)


def level_of(scale: Float[Array, "*s"]) -> Array:
    """The level nearest to a scale by its logarithm, int32 from 0 to 63."""
    span = np.log(LARGEST_SCALE / LEAST_SCALE)
    place = jnp.log(jnp.maximum(scale, LEAST_SCALE) / LEAST_SCALE) * ((LEVELS - 1) / span)
    return jnp.clip(jnp.round(place), 0, LEVELS - 1).astype(jnp.int32)


def sixteenths(mean: Float[Array, "*s"]) -> Array:
    """The nearest multiple of 1/16, as the int32 that multiplies it."""
    return jnp.round(jnp.clip(mean, -1e6, 1e6) * MEANS).astype(jnp.int32)
