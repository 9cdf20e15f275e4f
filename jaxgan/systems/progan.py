"""ProGAN: both networks grow from 4x4 pixels, layer by layer, to megapixels.

Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation", ICLR 2018. Networks of table 2, pixel norm, equalised learning rate, minibatch standard
deviation, and WGAN-GP with a drift term, one update of each network an iteration. The schedule is
in `growing`.

Differs from the authors' code in two ways: Adam's moments start anew with each resolution, but not
once more when its fade ends; and how far a resolution is faded in changes with every iteration, not
with every fourth.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan import losses, penalties
from jaxgan.nn import fir
from jaxgan.nn.equalized import equalized
from jaxgan.nn.layers import Conv, ConvTranspose, Dense
from jaxgan.nn.norm import PixelNorm
from jaxgan.nn.resample import downsample, upsample
from jaxgan.nn.stddev import minibatch_stddev
from jaxgan.ranges import DecayRate, Rate, Weight
from jaxgan.system import Examples, Metrics
from jaxgan.systems.common.generative import mean_logits
from jaxgan.systems.common.growing import Fade, Growing, blend, faded, progress
from jaxgan.view import View

RELU = 2**0.5  # gain of kernels before a leaky ReLU

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


class Generator(nn.Module):
    """Latents to images, nominally in [-1, 1].

    Attributes:
        widths: channels of the maps of 4, 8, 16, ... pixels.
        channels: of an image.
        dtype: compute type.
    """

    widths: tuple[int, ...]
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], *, train: bool, resolution: int = 0, fade: Fade = None
    ) -> Float[Array, "b h w c"]:
        """[b, latent] to [b, resolution, resolution, c]; resolution 0 is the highest.

        `fade` blends the image of half the resolution, enlarged, with that of the resolution.
        """
        del train
        resolution = resolution or 2 << len(self.widths)
        conv = partial(Conv, dtype=self.dtype, **equalized(RELU))
        images = {}
        h = PixelNorm()(z)[:, None, None]
        for index, features in enumerate(self.widths):
            side = 4 << index
            if side > resolution:
                break
            if index == 0:  # a dense layer to 4x4 places, with a bias for each channel
                h = ConvTranspose(
                    features,
                    stride=1,
                    padding=0,
                    dtype=self.dtype,
                    **equalized(RELU),
                    name="conv4_0",
                )(h)
            else:
                h = conv(features, scale="up", name=f"conv{side}_0")(h)
            h = PixelNorm()(leaky_relu(h))
            h = PixelNorm()(leaky_relu(conv(features, name=f"conv{side}_1")(h)))
            seen = side == resolution or (fade is not None and 2 * side == resolution)
            if seen or self.is_initializing():
                to_rgb = Conv(
                    self.channels,
                    kernel_size=1,
                    dtype=self.dtype,
                    **equalized(),
                    name=f"rgb{side}",
                )
                images[side] = to_rgb(h).astype(jnp.float32)
        if fade is None or resolution == 4:
            return images[resolution]
        return blend(upsample(images[resolution // 2]), images[resolution], fade)


class Discriminator(nn.Module):
    """Images of 4, 8, 16, ... pixels to scores.

    Attributes:
        widths: channels of the maps of 4, 8, 16, ... pixels.
        group: of minibatch standard deviation.
        blurred: blur maps before they are halved; StyleGAN does.
        dtype: compute type.
    """

    widths: tuple[int, ...]
    group: int
    blurred: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, fade: Fade = None
    ) -> Float[Array, " b"]:
        """[b, h, w, c] to [b].

        `fade` blends what the layers of the images' size make of them with what the next smaller
        ones see of the images at half the size.
        """
        del train
        conv = partial(Conv, dtype=self.dtype, **equalized(RELU))
        width = {4 << index: features for index, features in enumerate(self.widths)}

        def from_rgb(side: int, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
            return leaky_relu(conv(width[side], kernel_size=1, name=f"rgb{side}")(x))

        side = x.shape[1]
        h = from_rgb(side, x)
        if self.is_initializing():
            for other in width:
                if other < side:
                    from_rgb(other, x[:, :1, :1])
        while side > 4:
            h = leaky_relu(conv(width[side], name=f"conv{side}_0")(h))
            h = fir.blur(h) if self.blurred else h
            h = leaky_relu(conv(width[side // 2], scale="down", name=f"conv{side}_1")(h))
            side //= 2
            if fade is not None and 2 * side == x.shape[1]:
                h = blend(from_rgb(side, downsample(x)), h, fade)
        h = minibatch_stddev(h, self.group)
        h = leaky_relu(conv(width[4], name="conv4_0")(h))
        h = leaky_relu(conv(width[4], kernel_size=4, padding=0, name="conv4_1")(h))
        scores = Dense(1, **equalized(), name="dense")(h[:, 0, 0].astype(jnp.float32))
        return scores[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProGAN(Growing):
    """Progressive growing for squares of 8, 16, 32, ... pixels."""

    penalty: Weight = 10.0
    """Weight of the gradient penalty."""
    slope: Rate = 1.0
    """Norm that the penalty wants gradients to have; deviations count relative to it."""
    drift: Weight = 1e-3
    """Weight of the squares of real images' scores."""
    ema_decay: DecayRate = 0.999
    """What the average of the generator's weights keeps in an iteration; 0: no average."""

    def networks(self) -> dict[str, nn.Module]:
        """The generator and, called discriminator, the critic."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.widths(), self.shape[-1], dtype),
            "discriminator": Discriminator(self.widths(), self.group, dtype=dtype),
        }

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """WGAN-GP, and the drift term (appendix A.1)."""
        fade, count = self.size(view)["fade"], len(batch["image"])
        latent_key, penalty_key = jax.random.split(key)
        fake, _ = self.fakes(view, latent_key, count)
        real = faded(batch["image"], fade)
        # Not together: each batch has a deviation of its own.
        real_scores = view("discriminator", view.augment(real), fade=fade)
        fake_scores = view("discriminator", view.augment(fake), fade=fade)
        penalty = penalties.gradient_penalty(
            lambda x: view.frozen("discriminator", view.augment(x), fade=fade),
            real,
            fake,
            jax.vmap(jax.random.uniform)(view.keys(penalty_key, count)),
            self.slope,
        )
        loss = losses.wasserstein.discriminator(real_scores, fake_scores)
        loss += self.penalty / self.slope**2 * penalty + self.drift * penalties.drift(real_scores)
        return loss, {
            **mean_logits(real_scores, fake_scores),
            "penalty": penalty,
            **progress(fade),
        }

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean score."""
        fake, _ = self.fakes(view, key, len(batch["image"]))
        scores = view("discriminator", view.augment(fake), fade=self.size(view)["fade"])
        return losses.wasserstein.generator(scores), {}

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b h w c"]:
        """Samples, nominally in [-1, 1], of the resolution that the stage has."""
        return view("generator", taken["z"], **self.size(view))
