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
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxgan import losses, penalties
from jaxgan.errors import UserError
from jaxgan.nn.initializers import TORCH, Init, shifted_normal
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import BatchNorm
from jaxgan.system import Batch, Decay, Metrics, Player, Pyramid, Stage, State, View

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinGAN(Pyramid):
    """A generative model of one image, whose size is `shape`."""

    judges: ClassVar[tuple[str, ...]] = ()

    shape: tuple[int, ...] = (250, 250, 3)
    """Height, width and channels of the image at the finest scale."""
    latent: int = dataclasses.field(default=0, init=False)
    """Numbers of noise in all scales: one a pixel in the coarsest, one a channel in the others."""
    ema_decay: float = dataclasses.field(default=0.0, init=False)
    drawn: tuple[int, int] | None = dataclasses.field(default=None, init=False)
    """Height and width of what is drawn, where that is not `shape` (`resized`)."""
    shortest: int = 25
    """Shorter side of the coarsest scale, pixels."""
    longest: int = 250
    """Longer side of the finest scale, pixels, at most."""
    factor: float = 0.75
    """Size of a scale relative to the next, about: enough for one scale more than it takes to end
    at `shortest`, as in the authors' code."""
    width: int = 32
    """Channels of the networks' maps in the first four scales; they double every four."""
    max_width: int = 128
    """Channels of a map at most."""
    iterations: int = 2000
    """Of each scale."""
    decay: float = 0.8
    """Share of a scale's iterations after which the step size is a tenth."""
    updates: int = 3
    """Of the discriminator, and then of the generator, an iteration."""
    noise: float = 0.1
    """Amplitude of a scale's noise, relative to what the enlarged reconstruction lacks."""
    penalty: float = 0.1
    """Weight of the gradient penalty."""
    reconstruction_weight: float = 10.0
    """Weight of the reconstruction's mean squared error."""
    learning_rate: float = 5e-4
    """Adam's step size, for all networks."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[2] not in (1, 3, 4):
            raise UserError(f"shape {self.shape}: give height, width and 1, 3 or 4 channels")
        if self.shortest < FIELD or not 0 < self.factor < 1:
            raise UserError(
                f"shortest is {self.shortest} and factor {self.factor}: the coarsest scale needs "
                f"{FIELD} pixels, a patch, and each is smaller than the next"
            )
        if min(self.shape[:2]) <= self.shortest or max(self.shape[:2]) > self.longest:
            raise UserError(
                f"image shape {self.shape}: the shorter side must be above {self.shortest} pixels "
                f"and the longer one at most {self.longest}: change `shape` and resize the image"
            )
        sizes = self._trained_sizes()
        if any(a >= c or b >= d for (a, b), (c, d) in pairwise(sizes)):
            raise UserError(
                f"factor is {self.factor}: scales of {sizes} do not grow; give a smaller one"
            )
        if self.iterations < 1 or self.updates < 1 or not 0 < self.decay <= 1:
            raise UserError(
                f"iterations {self.iterations} and updates {self.updates} count from 1, and decay "
                f"{self.decay} is a share of 1"
            )
        self._count_latents()

    def _count_latents(self) -> None:
        object.__setattr__(self, "latent", sum(math.prod(s) for s in self._noise_shapes()))

    def _trained_sizes(self) -> tuple[tuple[int, int], ...]:
        height, width = self.shape[:2]
        ratio = self.shortest / min(height, width)
        steps = math.ceil(math.log(ratio) / math.log(self.factor) - 1e-9) + 1
        shrink = ratio ** (1 / steps)

        def side(full: int, scale: int) -> int:
            return math.ceil(full * shrink ** (steps - scale) - 1e-6)

        return tuple((side(height, k), side(width, k)) for k in range(steps + 1))

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each scale, the coarsest first."""
        trained = self._trained_sizes()
        if self.drawn is None:
            return trained
        by = [new / old for new, old in zip(self.drawn, self.shape, strict=False)]
        return tuple((max(1, round(h * by[0])), max(1, round(w * by[1]))) for h, w in trained)

    def resized(self, height: int, width: int) -> "SinGAN":
        """The same networks, with noise for images of another size: to draw, not to train.

        Raises:
            UserError: a size below a patch, or at which two scales are the same.
        """
        other = dataclasses.replace(self)
        object.__setattr__(other, "drawn", (height, width))
        if min(height, width) < FIELD or len(set(other.sizes())) < len(other.sizes()):
            least = "x".join(str(side // 4) for side in self.shape[:2])
            raise UserError(f"size {height}x{width} is too small: try {least} or more")
        other._count_latents()
        return other

    def widths(self) -> tuple[int, ...]:
        """Channels of the maps of each scale's networks."""
        count = len(self._trained_sizes())
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

    def init(self, key: PRNGKeyArray) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """The networks, the fixed noise, and what scales learn of those below when they begin.

        anchor [h, w, 1]: noise of the coarsest scale that the image is reconstructed from.
        noise_amp [scales]: amplitudes of noise.
        prior {scale: [h, w, c]}: reconstructions of the scale below, enlarged.
        """
        params, stats = super().init(key)
        sizes = self.sizes()
        stats["anchor"] = jax.random.normal(jax.random.fold_in(key, len(params)), (*sizes[0], 1))
        stats["noise_amp"] = jnp.ones(len(sizes))
        stats["prior"] = {
            str(scale): jnp.zeros((*size, self.shape[2])) for scale, size in enumerate(sizes)
        }
        return params, stats

    def ema(self) -> Mapping[str, Decay]:
        """None."""
        return {}

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

    def enter(self, scale: int, state: State, batch: Batch, key: PRNGKeyArray) -> State:
        """Begins a scale above the coarsest.

        Its networks start as those below where these are as wide; its noise gets a tenth of the
        root mean square of what the enlarged reconstruction lacks.
        """
        del key
        params, stats = dict(state.params), dict(state.stats)
        if self.widths()[scale] == self.widths()[scale - 1]:
            for kind in KINDS:
                params[f"{kind}_{scale}"] = params[f"{kind}_{scale - 1}"]
                stats[f"{kind}_{scale}"] = stats[f"{kind}_{scale - 1}"]
        view = View(self.networks(), state.params, state.stats, train=False)
        prior = self._prior(view, self._noises(self.reconstruction(view)[None]), scale)[0]
        missing = batch["image"] - prior  # equal images, in all their axes
        amplitude = self.noise * jnp.sqrt(jnp.square(missing).mean())
        stats["noise_amp"] = stats["noise_amp"].at[scale].set(amplitude)
        stats["prior"] = {**stats["prior"], str(scale): prior}
        return dataclasses.replace(state, params=params, stats=stats)

    def _noise_shapes(self) -> list[tuple[int, int, int]]:
        # The coarsest scale's is grey.
        return [
            (height, width, self.shape[2] if scale else 1)
            for scale, (height, width) in enumerate(self.sizes())
        ]

    def _noises(self, latents: Float[Array, "b z"]) -> list[Float[Array, "b h w c"]]:
        """Noise of each scale, from latents of all, or of the first ones."""
        noises, begin = [], 0
        for shape in self._noise_shapes():
            part = latents[:, begin : begin + math.prod(shape)]
            if not part.shape[1]:
                break
            maps = part.reshape(-1, *shape)
            noises.append(jnp.broadcast_to(maps, (*maps.shape[:3], self.shape[2])))
            begin += math.prod(shape)
        return noises

    def _climb(
        self,
        view: View,
        noises: list[Float[Array, "b h w c"]],
        prior: Float[Array, "b h w c"],
        start: int,
        end: int,
    ) -> Float[Array, "b y x c"]:
        """From what scale `start` adds to, to the image of the scale before `end`."""
        sizes, amplitudes = self.sizes(), view.stats["noise_amp"]
        image = prior
        for scale in range(start, end):
            if scale > start:
                image = resample(image, sizes[scale])
            noise = amplitudes[scale] * noises[scale]
            image = view.frozen(f"generator_{scale}", noise, image, train=False)
        return image

    def _nothing(self, count: int) -> Float[Array, "b h w c"]:
        """What the coarsest scale adds to."""
        return jnp.zeros((count, *self.sizes()[0], self.shape[2]))

    def _prior(
        self, view: View, noises: list[Float[Array, "b h w c"]], scale: int
    ) -> Float[Array, "b h w c"]:
        """What a scale adds to: the enlarged image of the one below."""
        nothing = self._nothing(len(noises[0]))
        if not scale:
            return nothing
        return resample(self._climb(view, noises, nothing, 0, scale), self.sizes()[scale])

    def discriminator_loss(
        self, scale: int, view: View, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """WGAN-GP with the norm of each pixel's gradient."""
        real, name = batch["image"], f"discriminator_{scale}"
        latent_key, penalty_key = jax.random.split(key)
        size = sum(math.prod(shape) for shape in self._noise_shapes()[: scale + 1])
        noises = self._noises(
            view.draw(len(real), lambda n: jax.random.normal(latent_key, (n, size)))
        )
        prior = self._prior(view, noises, scale)
        noise = view.stats["noise_amp"][scale] * noises[scale]
        fake = view.frozen(f"generator_{scale}", noise, prior)
        real_scores, fake_scores = view(name, real), view(name, fake)  # each has its own moments
        penalty = penalties.gradient_penalty(
            partial(view.frozen, name),
            real,
            fake,
            view.draw(len(real), lambda n: jax.random.uniform(penalty_key, (n,))),
            pixels=True,
        )
        view.out = {"noise": noise, "prior": prior}
        loss = losses.wasserstein.discriminator(real_scores, fake_scores)
        return loss + self.penalty * penalty, {
            "real_logits": real_scores.mean(),
            "fake_logits": fake_scores.mean(),
            "penalty": penalty,
        }

    def generator_loss(
        self, scale: int, view: View, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean score, and the reconstruction's mean squared error (equation 7)."""
        del key
        real, name = batch["image"], f"generator_{scale}"
        fake = view(name, batch["noise"], batch["prior"])
        adversarial = losses.wasserstein.generator(view(f"discriminator_{scale}", fake))
        prior = jnp.broadcast_to(view.stats["prior"][str(scale)], real.shape)
        noise = jnp.zeros_like(prior)
        if not scale:
            noise = jnp.broadcast_to(view.stats["noise_amp"][0] * view.stats["anchor"], real.shape)
        error = jnp.square(view(name, noise, prior) - real).mean()
        return adversarial + self.reconstruction_weight * error, {
            "adversarial": adversarial,
            "reconstruction": error,
            "psnr": 10 * jnp.log10(4 / error),
        }

    def _finest(self, view: View) -> int:
        """The scale that is being trained; the last one where all are."""
        if view.resolution is None:
            return len(self.sizes()) - 1
        return [stage.resolution for stage in self.stages()].index(view.resolution)

    def generate(
        self, view: View, latents: Float[Array, "b latent"], labels: Int[Array, " b"] | None
    ) -> Float[Array, "b h w c"]:
        """Samples, nominally in [-1, 1], of the scale that is being trained, or of the last."""
        del labels
        noises = self._noises(latents)
        return self._climb(view, noises, self._nothing(len(latents)), 0, self._finest(view) + 1)

    def reconstruction(self, view: View) -> Float[Array, " latent"]:
        """The latents that the image itself is made of: fixed noise, and none above."""
        anchor = view.stats["anchor"].ravel()
        return jnp.pad(anchor, (0, self.latent - len(anchor)))

    def inject(
        self,
        view: View,
        images: Float[Array, "b h w c"],
        latents: Float[Array, "b latent"],
        scale: int,
    ) -> Float[Array, "b h w c"]:
        """What the scales from `scale` on make of images, with the noise of these scales.

        The images take the place of what the scale below would draw. Scale 0 has none below, and is
        given none.
        """
        sizes, prior = self.sizes(), self._nothing(len(latents))
        if scale:
            prior = resample(resample(images, sizes[scale - 1]), sizes[scale])
        return self._climb(view, self._noises(latents), prior, scale, self._finest(view) + 1)

    def enlarge(
        self, view: View, images: Float[Array, "b h w c"], key: PRNGKeyArray, factor: float
    ) -> Float[Array, "b y x c"]:
        """Images `factor` times as large: by about 2^(1/3) and the finest scale, again and again.

        Of any size (section 4, "Super-Resolution").
        """
        finest, (height, width) = self._finest(view), images.shape[1:3]
        times = max(1, round(3 * math.log2(factor)))
        for turn in range(1, times + 1):
            by = factor ** (turn / times)
            images = resample(images, (round(height * by), round(width * by)))
            noise = jax.random.normal(jax.random.fold_in(key, turn), images.shape)
            noise *= view.stats["noise_amp"][finest]
            images = view.frozen(f"generator_{finest}", noise, images, train=False)
        return images
