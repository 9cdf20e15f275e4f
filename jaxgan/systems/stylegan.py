"""StyleGAN: a generator that takes a style at every layer, from coarse to fine.

Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks",
CVPR 2019. A mapping network makes styles of latents; the synthesis network starts from a constant,
and after each layer adds noise and takes a style by adaptive instance norm. Two latents share the
layers of most training images (style mixing). It grows as ProGAN does (`growing`), from 8x8 pixels,
with ProGAN's discriminator, blurred resampling, the logistic loss and R1.

When it is sampled, noise is that of fixed maps, drawn at the start, so that an image is a function
of its latent. The running mean of styles moves in the generator's turn alone.
"""

import dataclasses
from collections.abc import Mapping as MappingType
from functools import partial
from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses, penalties
from jaxgan.fields import Resolution
from jaxgan.nn import fir
from jaxgan.nn.equalized import EqualizedRate, equalized
from jaxgan.nn.initializers import Init
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import AdaptiveInstanceNorm
from jaxgan.nn.reduce import add_bias
from jaxgan.nn.resample import upsample
from jaxgan.nn.style import AddNoise, Mapping, Noise, mix
from jaxgan.ranges import Count, DecayRate, Positive, Rate, Weight, Within
from jaxgan.system import Decay, Examples, Metrics
from jaxgan.systems.common.generative import mean_logits
from jaxgan.systems.common.growing import Fade, Growing, blend, faded, progress
from jaxgan.systems.common.styled import Styled
from jaxgan.systems.progan import RELU, Discriminator, leaky_relu
from jaxgan.view import View


class Synthesis(nn.Module):
    """Styles of each layer, and noise, to images, nominally in [-1, 1].

    Attributes:
        widths: channels of the maps of 4, 8, 16, ... pixels; each size has two layers.
        channels: of an image.
        dtype: compute type.
    """

    widths: tuple[int, ...]
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, styles: Float[Array, "b l d"], noise: Noise, *, resolution: int, fade: Fade
    ) -> Float[Array, "b h w c"]:
        """[b, layers, features] to [b, resolution, resolution, c], with `fade` as in ProGAN."""
        conv = partial(Conv, use_bias=False, dtype=self.dtype, **equalized(RELU))
        images = {}
        constant = self.param("constant", jinit.ones, (1, 4, 4, self.widths[0]), jnp.float32)
        h = jnp.broadcast_to(constant, (len(styles), *constant.shape[1:])).astype(self.dtype)
        for layer in range(2 * len(self.widths)):
            features, side = self.widths[layer // 2], 4 << layer // 2
            if side > resolution:
                break
            if layer % 2:
                h = conv(features, name=f"conv{layer}")(h)
            elif layer:
                h = fir.blur(conv(features, scale="up", name=f"conv{layer}")(h))
            h = self._finish(h, styles[:, layer], noise, layer)
            seen = side == resolution or (fade is not None and 2 * side == resolution)
            if layer % 2 and (seen or self.is_initializing()):
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

    def _finish(
        self, h: Float[Array, "b n n c"], style: Float[Array, "b d"], noise: Noise, layer: int
    ) -> Float[Array, "b n n c"]:
        """Noise, bias, leaky ReLU, and the style."""
        noisy = AddNoise(each=True, name=f"noise{layer}")
        h = noisy(h, None if noise is None else noise[layer])
        bias = self.param(f"bias{layer}", jinit.zeros, h.shape[-1:], jnp.float32)
        norm = AdaptiveInstanceNorm(
            Init(jinit.normal(1.0)), reparam=EqualizedRate, name=f"style{layer}"
        )
        return norm(leaky_relu(add_bias(h, bias)), style)


class Generator(nn.Module):
    """Mapping and synthesis.

    Attributes:
        widths: channels of the maps of 4, 8, 16, ... pixels.
        channels: of an image.
        features: of a style.
        layers: of the mapping.
        rate: what steps of the mapping are multiplied by.
        dtype: compute type of the synthesis.
    """

    widths: tuple[int, ...]
    channels: int
    features: int
    layers: int
    rate: float
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """The two parts."""
        self.mapping = Mapping(self.features, self.layers, RELU, leaky_relu, self.rate)
        self.synthesis = Synthesis(self.widths, self.channels, self.dtype)

    def __call__(self, z: Float[Array, "b z"], *, train: bool) -> Float[Array, "b h w c"]:
        """Latents to images of the highest resolution, one style for all layers."""
        w = self.styles(z, train=train)
        return self.synthesize(mix(w, w, 0, 2 * len(self.widths)), train=train)

    def styles(self, z: Float[Array, "b z"], *, train: bool) -> Float[Array, "b d"]:
        """[b, latent] to [b, features]."""
        return self.mapping(z, train=train)

    def synthesize(
        self,
        styles: Float[Array, "b l d"],
        noise: Noise = None,
        *,
        train: bool,
        resolution: int = 0,
        fade: Fade = None,
    ) -> Float[Array, "b h w c"]:
        """[b, layers, features] to [b, resolution, resolution, c]; resolution 0 is the highest."""
        del train
        side = resolution or 2 << len(self.widths)
        return self.synthesis(styles, noise, resolution=side, fade=fade)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN(Growing, Styled):
    """Style-based generator for squares of 8, 16, 32, ... pixels."""

    start: Positive = 8
    """Side of the images of the first stage."""
    mapping_layers: Annotated[int, Within(1, 64)] = 8
    """Dense layers from latents to styles."""
    mapping_rate: Rate = 0.01
    """What steps of these layers are multiplied by."""
    gamma: Weight = 10.0
    """Weight of R1."""
    truncated_layers: Count = 8
    """Layers, from the first, that truncation of styles acts on."""
    ema_kimg: Rate = 10.0
    """Thousands of images in which the average of the generator's weights forgets one half."""
    ema_decay: DecayRate = 0.0
    """What that average keeps in an iteration; 0: as `ema_kimg` says."""

    def networks(self) -> dict[str, nn.Module]:
        """The generator, which is mapping and synthesis, and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(
                self.widths(),
                self.shape[-1],
                self.latent,
                self.mapping_layers,
                self.mapping_rate,
                dtype,
            ),
            "discriminator": Discriminator(self.widths(), self.group, blurred=True, dtype=dtype),
        }

    def ema(self) -> MappingType[str, Decay]:
        """The generator's decay, by the images that an iteration sees."""
        if self.ema_decay:
            return super().ema()
        levels = self.levels()

        def decay(step: Int[Array, ""]) -> Float[Array, ""]:
            begins = jnp.array([level.begin for level in levels])
            level = jnp.searchsorted(begins, step, side="right") - 1
            return jnp.array([0.5 ** (x.batch / (1000 * self.ema_kimg)) for x in levels])[level]

        return {"generator": decay}

    def layers(self, resolution: Resolution | None) -> int:
        """Layers of the synthesis at a stage's resolution."""
        side = resolution if isinstance(resolution, int) else self.shape[0]
        return 2 * (side.bit_length() - 2)

    def sides(self, resolution: Resolution | None) -> tuple[int, ...]:
        """Two of each size of maps."""
        return tuple(4 << layer // 2 for layer in range(self.layers(resolution)))

    def truncated(self, resolution: Resolution | None) -> int:
        """As `truncated_layers` says."""
        return self.truncated_layers

    def _fake(self, view: View, key: PRNGKeyArray, count: int) -> Float[Array, "b h w c"]:
        """Images as they are drawn in training: styles mixed, noise fresh."""
        return self.synthesize(view, *self.draw_mixed(view, key, count))

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Logistic loss, and R1 (appendix C)."""
        fade = self.size(view)["fade"]
        real = faded(batch["image"], fade)
        fake = self._fake(view, key, len(real))
        # Not together: each batch has a deviation of its own.
        real_logits = view("discriminator", view.augment(real), fade=fade)
        fake_logits = view("discriminator", view.augment(fake), fade=fade)
        penalty = penalties.r1(
            lambda x: view.frozen("discriminator", view.augment(x), fade=fade), real
        )
        loss = losses.non_saturating.discriminator(real_logits, fake_logits)
        return loss + self.gamma * penalty, {
            **mean_logits(real_logits, fake_logits),
            "penalty": penalty,
            **progress(fade),
        }

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Non-saturating logistic loss."""
        fake = self._fake(view, key, len(batch["image"]))
        logits = view("discriminator", view.augment(fake), fade=self.size(view)["fade"])
        return losses.non_saturating.generator(logits), {}

    def synthesize(
        self, view: View, styles: Float[Array, "b l d"], noise: Noise = None
    ) -> Float[Array, "b h w c"]:
        """Images of styles, of the stage's resolution; with the fixed noise if none is given."""
        return view.frozen("generator", styles, noise, method="synthesize", **self.size(view))
