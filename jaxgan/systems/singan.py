"""SinGAN: a pyramid of small GANs that learns from a single image.

Rott Shaham, Dekel, Michaeli, "SinGAN: Learning a Generative Model from a Single Natural Image",
ICCV 2019. Each scale has a generator and a Markovian discriminator of five 3x3 convolutions, which
see patches of 11x11 pixels. The coarsest draws from noise alone; each other one adds detail to the
enlarged image of the scale below, with noise whose amplitude is a tenth of what is missing there.
Scales are trained one after the other, and then stay as they are, batch norm in evaluation mode.
WGAN-GP, and a reconstruction loss: from noise that is fixed in the coarsest scale and absent from
the others, the image itself must come out.

Follows the authors' code: images are padded by 5 zeros before a generator (not before a
discriminator), and its convolutions are not; the penalty's norm is that of each pixel's gradient;
the reconstruction loss is a mean; a scale begins with the networks of the one below where these are
as wide. Differs from it in four ways: every update of the discriminator draws the noise of its own
scale anew; the generator's updates, which all take the noise of the discriminator's last, each make
their fake anew; the fixed noise is drawn once, not in every
iteration; between scales, images are resampled to the exact size of the next and clipped to
[-1, 1], but not rounded to bytes.

`reconstruction` 100 and `factor` 2^(-1/3) are the paper's for super-resolution.
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from jaxgan import losses, penalties
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Normal, Resolution
from jaxgan.nn.initializers import TORCH, Init, shifted_normal
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import BatchNorm
from jaxgan.ranges import Count, DecayRate, Positive, Rate, Shape, Weight, Within
from jaxgan.state import State
from jaxgan.system import Examples, Metrics, Player, Stage, System, Use
from jaxgan.systems.common.generative import mean_logits
from jaxgan.view import View

KINDS = ("generator", "discriminator")
LAYERS = 5
FIELD = 1 + 2 * LAYERS
"""Side of the patches that a network sees, in pixels."""


class Patches(nn.Module):
    """Images to maps: five 3x3 convolutions without padding, batch norm after all but the last.

    Attributes:
        width: channels of the maps between.
        channels: of the last one.
        dtype: compute type.
    """

    width: int
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b y x o"]:
        """[b, h, w, c] to [b, h - 10, w - 10, channels], float32."""
        conv = partial(
            Conv, padding=0, initializer=Init(jinit.normal(0.02), TORCH.bias), dtype=self.dtype
        )
        h = x
        for index in range(1, LAYERS):
            h = conv(self.width, inert_bias=True, name=f"conv{index}")(h)  # a norm follows
            norm = BatchNorm(scale_init=shifted_normal(1.0, 0.02), name=f"norm{index}")
            h = nn.leaky_relu(norm(h, train=train), 0.2)
        return conv(self.channels, name=f"conv{LAYERS}")(h).astype(jnp.float32)


class Generator(nn.Module):
    """Adds to an image what patches of it and of noise tell; attributes as in `Patches`."""

    width: int
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, noise: Float[Array, "b h w c"], prior: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, h, w, c] twice, to the same: `prior`, and up to 1 more or less."""
        pad = (LAYERS, LAYERS)
        padded = jnp.pad(noise + prior, ((0, 0), pad, pad, (0, 0)))
        patches = Patches(self.width, self.channels, self.dtype, name="patches")
        return jnp.tanh(patches(padded, train=train)) + prior


class Discriminator(nn.Module):
    """Images to a score of each patch; attributes as in `Patches`."""

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b y x"]:
        """[b, h, w, c] to [b, h - 10, w - 10]."""
        return Patches(self.width, 1, self.dtype, name="patches")(x, train=train)[..., 0]


def resample(images: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b y x c"]:
    """Images in [-1, 1] of another size, bicubic; what is beyond is clipped before and after."""
    shape = (len(images), *size, images.shape[-1])
    return jnp.clip(jax.image.resize(jnp.clip(images, -1, 1), shape, "cubic"), -1, 1)


@dataclasses.dataclass(frozen=True)
class Size:
    """Option of "generate"."""

    size: tuple[Positive, Positive] | None = None
    """Height and width of what the finest scale draws; None: those of the image it learned."""


@dataclasses.dataclass(frozen=True)
class Injection:
    """Option of "inject"."""

    scale: Count | None = None
    """The first scale that works on the image; 0 draws from noise alone, without it. None: 1, or
    while no other is trained 0."""

    def first(self, finest: int) -> int:
        """That scale, where `finest` is the last that is trained.

        Raises:
            UserError: there is none of this number yet.
        """
        if self.scale is None:
            return min(1, finest)
        if not 0 <= self.scale <= finest:
            raise UserError(f"scale is {self.scale}: there are 0 to {finest} in this run")
        return self.scale


@dataclasses.dataclass(frozen=True)
class Enlargement:
    """Option of "enlarge"."""

    factor: Annotated[float, Within(1, 16, above=True)] = 4.0
    """How many times as high and as wide an image gets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinGAN(System):
    """A generative model of one image, whose size is `shape`."""

    shape: Shape = (250, 250, 3)
    """Height, width and channels of the image at the finest scale."""
    shortest: Positive = 25
    """Shorter side of the coarsest scale, pixels."""
    longest: Positive = 250
    """Longer side of the finest scale, pixels, at most."""
    factor: Annotated[float, Within(0, 1, above=True, below=True)] = 0.75
    """Size of a scale relative to the next, about: enough for one scale more than it takes to end
    at `shortest`, as in the authors' code."""
    width: Positive = 32
    """Channels of the networks' maps in the first four scales; they double every four."""
    max_width: Positive = 128
    """Channels of a map at most."""
    iterations: Positive = 2000
    """Of each scale."""
    decay: Annotated[float, Within(0, 1, above=True)] = 0.8
    """Share of a scale's iterations after which the step size is a tenth."""
    updates: Positive = 3
    """Of the discriminator, and then of the generator, an iteration."""
    noise: Weight = 0.1
    """Amplitude of a scale's noise, relative to what the enlarged reconstruction lacks."""
    penalty: Weight = 0.1
    """Weight of the gradient penalty."""
    reconstruction_weight: Weight = 10.0
    """Weight of the reconstruction's mean squared error."""
    learning_rate: Rate = 5e-4
    """Adam's step size, for all networks."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[2] not in (1, 3, 4):
            raise UserError(f"shape {self.shape}: give height, width and 1, 3 or 4 channels")
        if self.shortest < FIELD:
            raise UserError(
                f"shortest is {self.shortest}: the coarsest scale needs {FIELD} pixels, a patch"
            )
        if min(self.shape[:2]) <= self.shortest or max(self.shape[:2]) > self.longest:
            raise UserError(
                f"image shape {self.shape}: the shorter side must be above {self.shortest} pixels "
                f"and the longer one at most {self.longest}: change `shape` and resize the image"
            )
        sizes = self.sizes()
        if any(a >= c or b >= d for (a, b), (c, d) in pairwise(sizes)):
            raise UserError(
                f"factor is {self.factor}: scales of {sizes} do not grow; give a smaller one"
            )

    def sizes(self, drawn: tuple[int, int] | None = None) -> tuple[tuple[int, int], ...]:
        """Height and width of each scale, the coarsest first.

        Args:
            drawn: of the finest; None: the image's.

        Raises:
            UserError: `drawn` is below a patch, or makes two scales the same.
        """
        trained = self._trained_sizes()
        if drawn is None:
            return trained
        by = [new / old for new, old in zip(drawn, self.shape, strict=False)]
        sizes = tuple((max(1, round(h * by[0])), max(1, round(w * by[1]))) for h, w in trained)
        if min(drawn) < FIELD or len(set(sizes)) < len(sizes):
            least = "x".join(str(side // 4) for side in self.shape[:2])
            raise UserError(f"size {drawn[0]}x{drawn[1]} is too small: try {least} or more")
        return sizes

    def _trained_sizes(self) -> tuple[tuple[int, int], ...]:
        height, width = self.shape[:2]
        ratio = self.shortest / min(height, width)
        steps = math.ceil(math.log(ratio) / math.log(self.factor) - 1e-9) + 1
        shrink = ratio ** (1 / steps)

        def side(full: int, scale: int) -> int:
            return math.ceil(full * shrink ** (steps - scale) - 1e-6)

        return tuple((side(height, k), side(width, k)) for k in range(steps + 1))

    def widths(self) -> tuple[int, ...]:
        """Channels of the maps of each scale's networks."""
        count = len(self.sizes())
        return tuple(min(self.width << scale // 4, self.max_width) for scale in range(count))

    def networks(self) -> dict[str, nn.Module]:
        """generator_0, discriminator_0, generator_1, ..."""
        dtype = jnp.dtype(self.dtype)
        networks: dict[str, nn.Module] = {}
        for scale, width in enumerate(self.widths()):
            networks[f"generator_{scale}"] = Generator(width, self.shape[2], dtype)
            networks[f"discriminator_{scale}"] = Discriminator(width, dtype)
        return networks

    def inputs(self) -> dict[str, tuple]:
        """Noise and images of a patch, or images."""
        patch = jnp.zeros((1, FIELD, FIELD, self.shape[2]))
        return {
            name: (patch, patch) if name.startswith("generator") else (patch,)
            for name in self.networks()
        }

    def memory(self, key: PRNGKeyArray) -> dict[str, PyTree]:
        """The fixed noise, and what scales learn of those below when they begin.

        anchor [h, w, 1]: noise of the coarsest scale that the image is reconstructed from.
        noise_amp [scales]: amplitudes of noise.
        prior {scale: [h, w, c]}: reconstructions of the scale below, enlarged.
        """
        sizes, own = self.sizes(), jax.random.fold_in(key, len(self.networks()))
        return {
            "anchor": jax.random.normal(own, (*sizes[0], 1)),
            "noise_amp": jnp.ones(len(sizes)),
            "prior": {
                str(scale): jnp.zeros((*size, self.shape[2])) for scale, size in enumerate(sizes)
            },
        }

    def data(self) -> tuple[dict[str, Field], ...]:
        """The image."""
        return ({"image": Image(self.shape)},)

    def latents(self, scales: range, drawn: tuple[int, int] | None = None) -> dict[str, Field]:
        """Noise of scales, z0, z1, ...: a number a pixel in the coarsest, a channel in the others.

        Args:
            scales: which.
            drawn: height and width of what the finest of all draws; None: the image's.
        """
        sizes = self.sizes(drawn)
        return {
            # The coarsest scale's is grey.
            f"z{scale}": Normal((*sizes[scale], self.shape[2] if scale else 1))
            for scale in scales
        }

    def finest(self, resolution: Resolution | None) -> int:
        """The scale that is being trained at a stage's resolution; None: the last."""
        sizes = self.sizes()
        return len(sizes) - 1 if resolution is None else sizes.index(resolution)

    def image(
        self, resolution: Resolution | None, drawn: tuple[int, int] | None = None
    ) -> dict[str, Field]:
        """What a stage's finest scale draws."""
        return {"image": Image((*self.sizes(drawn)[self.finest(resolution)], self.shape[2]))}

    def uses(self) -> dict[str, Use]:
        """Draws images, of any size, and its own; and works on images that are given."""

        def all_latents(drawn: Any, resolution: Resolution | None) -> dict[str, Field]:
            return self.latents(range(self.finest(resolution) + 1), drawn)

        def injected(options: Injection, resolution: Resolution | None) -> dict[str, Field]:
            finest = self.finest(resolution)
            scales = range(options.first(finest), finest + 1)
            return {**self.image(resolution), **self.latents(scales)}

        def any_size(options: Enlargement, resolution: Resolution | None) -> dict[str, Field]:
            del resolution
            if not 1 < options.factor <= 16:
                raise UserError(f"factor is {options.factor}: it goes from above 1 to 16")
            return {"image": Image((None, None, self.shape[2]))}

        return {
            "generate": Use(
                call=lambda view, taken, keys, options: {"image": self.make(view, taken)},
                takes=lambda options, resolution: all_latents(options.size, resolution),
                gives=lambda options, resolution: self.image(resolution, options.size),
                options=Size(),
                summary="draws images, of any size",
            ),
            "reconstruct": Use(
                call=lambda view, taken, keys, options: self.reconstruct(view, len(keys)),
                takes={},
                gives=lambda options, resolution: {
                    **self.image(resolution),
                    **all_latents(None, resolution),
                },
                summary="draws the image that it learned, of the noise that stands for it",
            ),
            "inject": Use(
                call=lambda view, taken, keys, options: {
                    "image": self.inject(view, taken, options)
                },
                takes=injected,
                gives=lambda options, resolution: self.image(resolution),
                options=Injection(),
                summary="redraws an image in the style of the one that it learned",
            ),
            "enlarge": Use(
                call=lambda view, taken, keys, options: {
                    "image": self.enlarge(view, taken["image"], keys, options.factor)
                },
                takes=any_size,
                gives=any_size,
                options=Enlargement(),
                summary="makes an image larger, with detail of the one that it learned",
            ),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One for each scale: its discriminator, then its generator, several times each."""
        fall = self.updates * round(self.decay * self.iterations)
        rate = optax.piecewise_constant_schedule(self.learning_rate, {fall: 0.1})
        adam = optax.adam(rate, *self.betas)
        return tuple(
            Stage(
                players=tuple(
                    Player(
                        name=kind,
                        owns=(f"{kind}_{scale}",),
                        loss=partial(loss, scale),
                        optimizer=adam,
                        slot=f"{kind}_{scale}",
                        repeats=self.updates,
                        reuse=True,  # there is but one image
                        writes=(f"{kind}_{scale}",),
                    )
                    for kind, loss in (
                        ("discriminator", self.discriminator_loss),
                        ("generator", self.generator_loss),
                    )
                ),
                steps=self.iterations,
                resolution=size,
                enter=partial(self.enter, scale) if scale else None,
            )
            for scale, size in enumerate(self.sizes())
        )

    def enter(self, scale: int, state: State, batch: Examples, key: PRNGKeyArray) -> State:
        """Begins a scale above the coarsest.

        Its networks start as those below where these are as wide; its noise gets a tenth of the
        root mean square of what the enlarged reconstruction lacks.
        """
        del key
        params, stats, memory = dict(state.params), dict(state.stats), dict(state.memory)
        if self.widths()[scale] == self.widths()[scale - 1]:
            for kind in KINDS:
                params[f"{kind}_{scale}"] = params[f"{kind}_{scale - 1}"]
                stats[f"{kind}_{scale}"] = stats[f"{kind}_{scale - 1}"]
        view = View(self.networks(), state.params, state.stats, train=False, memory=state.memory)
        prior = self._prior(view, self.reconstruction(view, scale), scale)[0]
        missing = batch["image"] - prior  # equal images, in all their axes
        amplitude = self.noise * jnp.sqrt(jnp.square(missing).mean())
        memory["noise_amp"] = memory["noise_amp"].at[scale].set(amplitude)
        memory["prior"] = {**memory["prior"], str(scale): prior}
        return dataclasses.replace(state, params=params, stats=stats, memory=memory)

    def noise_of(
        self, view: View, latents: Mapping[str, Array], scale: int
    ) -> Float[Array, "b h w c"]:
        """Noise of a scale, in all channels and of its amplitude."""
        z = latents[f"z{scale}"]
        return view.memory["noise_amp"][scale] * jnp.broadcast_to(z, (*z.shape[:3], self.shape[2]))

    def _climb(
        self, view: View, latents: Mapping[str, Array], scales: range, prior: Array | None = None
    ) -> Float[Array, "b y x c"]:
        """The image of the last of `scales`, from what the first adds to; None: nothing."""
        image = prior
        for scale in scales:
            noise = self.noise_of(view, latents, scale)
            if image is None:
                image = jnp.zeros_like(noise)
            elif scale > scales.start:
                image = resample(image, (noise.shape[1], noise.shape[2]))
            image = view.frozen(f"generator_{scale}", noise, image, train=False)
        assert image is not None  # `scales` has at least one
        return image

    def _prior(
        self, view: View, latents: Mapping[str, Array], scale: int
    ) -> Float[Array, "b h w c"]:
        """What a scale adds to: the enlarged image of the one below; nothing, in the coarsest."""
        if not scale:
            return jnp.zeros((len(latents["z0"]), *self.sizes()[0], self.shape[2]))
        return resample(self._climb(view, latents, range(scale)), self.sizes()[scale])

    def discriminator_loss(
        self, scale: int, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """WGAN-GP with the norm of each pixel's gradient."""
        real, name = batch["image"], f"discriminator_{scale}"
        latent_key, penalty_key = jax.random.split(key)
        latents = view.draw(self.latents(range(scale + 1)), latent_key, len(real))
        prior = self._prior(view, latents, scale)
        noise = self.noise_of(view, latents, scale)
        fake = view.frozen(f"generator_{scale}", noise, prior)
        real_scores, fake_scores = view(name, real), view(name, fake)  # each has its own moments
        penalty = penalties.gradient_penalty(
            partial(view.frozen, name),
            real,
            fake,
            jax.vmap(jax.random.uniform)(view.keys(penalty_key, len(real))),
            pixels=True,
        )
        view.out = {"noise": noise, "prior": prior}
        loss = losses.wasserstein.discriminator(real_scores, fake_scores)
        return loss + self.penalty * penalty, {
            **mean_logits(real_scores, fake_scores),
            "penalty": penalty,
        }

    def generator_loss(
        self, scale: int, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean score, and the reconstruction's mean squared error (equation 7)."""
        del key
        real, name = batch["image"], f"generator_{scale}"
        fake = view(name, batch["noise"], batch["prior"])
        adversarial = losses.wasserstein.generator(view(f"discriminator_{scale}", fake))
        prior = jnp.broadcast_to(view.memory["prior"][str(scale)], real.shape)
        noise = jnp.zeros_like(prior)
        if not scale:
            noise = self.noise_of(view, self.reconstruction(view, 1, len(real)), 0)
        error = jnp.square(view(name, noise, prior) - real).mean()
        return adversarial + self.reconstruction_weight * error, {
            "adversarial": adversarial,
            "reconstruction": error,
            "psnr": 10 * jnp.log10(4 / error),
        }

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b h w c"]:
        """Samples, nominally in [-1, 1], of as many scales as there is noise for."""
        return self._climb(view, taken, range(len(taken)))

    def reconstruction(self, view: View, scales: int, count: int = 1) -> dict[str, Array]:
        """The noise that the image itself is made of, of the first scales: fixed, then none."""
        latents = {name: field.zeros(count) for name, field in self.latents(range(scales)).items()}
        return {**latents, "z0": jnp.broadcast_to(view.memory["anchor"], latents["z0"].shape)}

    def reconstruct(self, view: View, count: int) -> dict[str, Array]:
        """The image that is made of it, and that noise."""
        latents = self.reconstruction(view, self.finest(view.resolution) + 1, count)
        return {"image": self.make(view, latents), **latents}

    def inject(
        self, view: View, taken: Mapping[str, Array], options: Injection
    ) -> Float[Array, "b h w c"]:
        """What the scales from one on make of images, with the noise of these scales.

        The images take the place of what the scale below would draw. Scale 0 has none below, and is
        given none.
        """
        finest, sizes, prior = self.finest(view.resolution), self.sizes(), None
        if scale := options.first(finest):
            prior = resample(resample(taken["image"], sizes[scale - 1]), sizes[scale])
        return self._climb(view, taken, range(scale, finest + 1), prior)

    def enlarge(
        self, view: View, images: Float[Array, "b h w c"], keys: Key[Array, " b"], factor: float
    ) -> Float[Array, "b y x c"]:
        """Images `factor` times as large: by about 2^(1/3) and the finest scale, again and again.

        Of any size (section 4, "Super-Resolution").
        """
        finest, (height, width) = self.finest(view.resolution), images.shape[1:3]
        times = max(1, round(3 * math.log2(factor)))

        def noise(key: PRNGKeyArray, turn: int, shape: tuple[int, ...]) -> Float[Array, "h w c"]:
            return jax.random.normal(jax.random.fold_in(key, turn), shape)

        for turn in range(1, times + 1):
            by = factor ** (turn / times)
            images = resample(images, (round(height * by), round(width * by)))
            drawn = jax.vmap(partial(noise, turn=turn, shape=images.shape[1:]))(keys)
            drawn *= view.memory["noise_amp"][finest]
            images = view.frozen(f"generator_{finest}", drawn, images, train=False)
        return images
