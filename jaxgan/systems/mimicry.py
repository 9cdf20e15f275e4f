"""SNGAN as the library mimicry has it: the generator's maps grow by bilinear interpolation.

Lee, Town, "Mimicry: Towards the Reproducibility of GAN Research", 2020, whose SNGAN and, with
`classes`, cGAN-PD reach the scores that later papers compare with. It differs from
`jaxgan.systems.sngan` in that interpolation, where the paper's authors repeat each pixel; in the
discriminator's blocks but the first, whose shortcuts see the input after its ReLU, which that code
computes in place; in batch norm's epsilon, which is PyTorch's; in a bias in the discriminator's
last layer; in a generator's batch of the discriminator's size; and in that the discriminator moves
first.

mimicry's discriminator sees real images and fakes in two passes, with a power iteration before each
and another in the generator's turn; its generator's running statistics move in either turn. Here
both move once an update of their network, or with `every_turn` of either.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxgan.nn.initializers import shifted_normal
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import BatchNorm, ClassBatchNorm
from jaxgan.nn.projection import Scores, projection
from jaxgan.nn.residual import DiscriminatorBlock
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.ranges import Positive
from jaxgan.system import Stage
from jaxgan.systems import sngan
from jaxgan.systems.sngan import PLAIN, RESIDUAL, SNGAN


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Bilinear interpolation by 2, pixels as areas: PyTorch's with `align_corners=False`."""
    b, h, w, c = x.shape
    return jax.image.resize(x, (b, 2 * h, 2 * w, c), "bilinear", antialias=False)


class GeneratorBlock(nn.Module):
    """Norm-ReLU-double-conv3-norm-ReLU-conv3, plus double-conv1 of the input.

    Attributes:
        features: output channels, of both convolutions.
        norm: factory of a norm whose `__call__` takes (x, *label, train).
        dtype: compute type.
    """

    features: int
    norm: Callable[..., nn.Module]
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], *label: Int[Array, " b"], train: bool
    ) -> Float[Array, "b 2*h 2*w o"]:
        """[b, h, w, i] to [b, 2h, 2w, features]."""
        # Batch norms subtract all of these biases.
        conv = partial(Conv, self.features, inert_bias=True, dtype=self.dtype)
        h = nn.relu(self.norm(name="norm1")(x, *label, train=train))
        h = conv(initializer=RESIDUAL, name="conv1")(double(h))
        h = nn.relu(self.norm(name="norm2")(h, *label, train=train))
        h = conv(initializer=RESIDUAL, name="conv2")(h)
        # A 1x1 convolution and an interpolation commute.
        x = double(conv(kernel_size=1, initializer=PLAIN, name="shortcut")(x))
        return h + x


class Generator(nn.Module):
    """Latents, and labels if `classes`, to images in [-1, 1].

    Attributes: as those of `jaxgan.systems.sngan.Generator`.
    """

    channels: tuple[int, ...]
    shape: tuple[int, ...]
    classes: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], *label: Int[Array, " b"], train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, latent] and, for a conditional generator, labels [b] to images [b, h, w, c]."""
        norm: Callable[..., nn.Module] = BatchNorm
        if self.classes:
            norm = partial(
                ClassBatchNorm, classes=self.classes, scale_init=shifted_normal(1.0, 0.02)
            )
        base, *wider = self.channels
        height, width = (side // 2 ** len(wider) for side in self.shape[:2])
        h = Dense(height * width * base, initializer=PLAIN, dtype=self.dtype, name="dense")(z)
        h = h.reshape(-1, height, width, base)
        for index, features in enumerate(wider):
            block = GeneratorBlock(features, norm, self.dtype, name=f"block{index + 1}")
            h = block(h, *label, train=train)
        h = nn.relu(BatchNorm(name="norm")(h, train=train))
        h = Conv(self.shape[-1], initializer=PLAIN, dtype=self.dtype, name="conv")(h)
        return jnp.tanh(h.astype(jnp.float32))


class Discriminator(sngan.Discriminator):
    """As SNGAN's, but for the ReLU before a block, which comes before its shortcut, too."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *label: Int[Array, " b"], train: bool) -> Scores:
        """As SNGAN's."""
        del train
        h = x
        for index, features in enumerate(self.channels):
            h = DiscriminatorBlock(
                features,
                hidden=None if index else features,
                first=True,  # the ReLU, if there is one, has been
                down=index < self.halvings,
                initializer=RESIDUAL,
                shortcut_init=PLAIN,
                reparam=SpectralNorm,
                dtype=self.dtype,
                name=f"block{index + 1}",
            )(nn.relu(h) if index else h)
        options = {"use_bias": self.last_bias, "classify": self.classify}
        return projection(h, self.classes, label, PLAIN, SpectralNorm, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MimicrySNGAN(SNGAN):
    """mimicry's SNGAN; with `classes`, its cGAN-PD."""

    last_bias: bool = True
    """A bias in the discriminator's last layer."""
    generator_batch: Positive = 1
    """The generator's batch in multiples of the discriminator's."""

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.generator_channels, self.shape, self.classes, dtype),
            "discriminator": Discriminator(
                self.discriminator_channels,
                self.halvings,
                self.classes,
                self.last_bias,
                dtype,
                self.classifies,
            ),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator `discriminator_updates` times, then the generator."""
        (stage,) = super().stages()
        return (dataclasses.replace(stage, players=stage.players[::-1]),)
