"""SAGAN as released: residual networks with pooled self-attention and labels, for ImageNet.

Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks", ICML 2019.
Follows the authors' code where the paper's text differs: keys and values of the attention are
max-pooled and a fourth 1x1 convolution follows it. Spectral norm on every weight of both networks,
class-conditional batch norm, a projection discriminator, 1:1 updates with two step sizes. Attention
sits on the map of half the image's side in the generator, and of a quarter in the discriminator:
64x64 and 32x32 for images of 128x128.

The code's discriminator runs its power iteration on real images only, its generator's in every
forward pass; here each runs once an update of its network. The paper averages no weights.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.nn.attention import PooledSelfAttention
from jaxgan.nn.initializers import glorot_uniform
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import BatchNorm, ClassBatchNorm
from jaxgan.nn.projection import Scores, projection
from jaxgan.nn.residual import DiscriminatorBlock, GeneratorBlock
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.ranges import Count, DecayRate, Halvings, Rate, Shape
from jaxgan.system import Examples, Metrics, Stage
from jaxgan.systems.common.auxiliary import Classifying, split
from jaxgan.systems.common.generative import Attentive, duel, label_of, mean_logits
from jaxgan.view import View

WEIGHTS = glorot_uniform()  # of every layer
MOMENTUM = 0.999  # of running statistics


class Generator(nn.Module):
    """Latents, and labels if `classes`, to images in [-1, 1] and an attention map.

    Attributes:
        channels: after the first dense layer, then after each block that doubles the size.
        shape: of an image.
        classes: 0 for batch norm without labels.
        dtype: compute type.
    """

    channels: tuple[int, ...]
    shape: tuple[int, ...]
    classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], *label: Int[Array, " b"], train: bool
    ) -> tuple[Float[Array, "b h w c"], tuple[Float[Array, "b h*w//4 h*w//16"]]]:
        """[b, latent] and, for a conditional generator, labels [b] to images and one map."""
        common: dict[str, Any] = {
            "initializer": WEIGHTS,
            "reparam": SpectralNorm,
            "dtype": self.dtype,
        }
        norm: Callable[..., nn.Module] = partial(BatchNorm, momentum=MOMENTUM)
        block_norm = norm
        if self.classes:
            block_norm = partial(ClassBatchNorm, classes=self.classes, momentum=MOMENTUM)
        base, *wider = self.channels
        height, width = (side >> len(wider) for side in self.shape[:2])
        h = Dense(height * width * base, **common, name="dense")(z)
        h = h.reshape(-1, height, width, base)
        shift = jnp.zeros(base)
        block = partial(GeneratorBlock, norm=block_norm, shortcut_init=WEIGHTS, **common)
        for index, features in enumerate(wider[:-1], 1):
            layer = block(features, name=f"block{index}")
            h, shift = layer(h, *label, train=train, shift=shift)
        h, attention, _ = PooledSelfAttention(WEIGHTS, SpectralNorm, name="attention")(h, shift)
        h = block(wider[-1], name=f"block{len(wider)}")(h, *label, train=train)
        h = nn.relu(norm(name="norm")(h, train=train))
        h = Conv(self.shape[-1], **common, name="conv")(h)
        return jnp.tanh(h.astype(jnp.float32)), (attention,)


class Discriminator(nn.Module):
    """Images, and labels if `classes`, to logits psi(phi(x)) + <embed(y), phi(x)> and a map.

    Attributes:
        channels: after each block.
        halvings: how many blocks, from the first, halve the size.
        classes: 0 for no projection.
        dtype: compute type.
        classify: class logits in place of the projection (AC-GAN).
    """

    channels: tuple[int, ...]
    halvings: int
    classes: int
    dtype: DTypeLike = jnp.float32
    classify: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *label: Int[Array, " b"], train: bool
    ) -> tuple[Scores, Float[Array, "b h*w//16 h*w//64"]]:
        """Images and, for a conditional discriminator, labels [b] to logits [b] and the map.

        In place of logits a pair, those and class logits [b, classes], if it classifies.
        """
        del train
        h = x
        for index, features in enumerate(self.channels):
            h = DiscriminatorBlock(
                features,
                hidden=features,
                first=index == 0,
                down=index < self.halvings,
                initializer=WEIGHTS,
                shortcut_init=WEIGHTS,
                reparam=SpectralNorm,
                dtype=self.dtype,
                name=f"block{index + 1}",
            )(h)
            if index == 1:
                h, attention = PooledSelfAttention(WEIGHTS, SpectralNorm, name="attention")(h)
        end = partial(projection, classify=self.classify)
        return end(h, self.classes, label, WEIGHTS, SpectralNorm), attention


@dataclasses.dataclass(frozen=True, kw_only=True)
class SAGANResNet(Attentive, Classifying):
    """Self-attention GAN of residual networks; with `classes`, conditional.

    With `class_weights`, too, an auxiliary classifier in place of the projection.
    """

    shape: Shape = (128, 128, 3)
    """Height, width and channels of an image."""
    classes: Count = 1000
    """Number of classes; 0 trains without labels."""
    generator_channels: Shape = (1024, 1024, 512, 256, 128, 64)
    """Channels of the first map, then after each doubling; attention sits before the last one."""
    discriminator_channels: Shape = (64, 128, 256, 512, 1024, 1024)
    """Channels after each block; attention sits after the second."""
    halvings: Halvings = 5
    """Blocks of the discriminator, from the first, that halve the size; at least 2."""
    generator_rate: Rate = 1e-4
    """Adam's step size for the generator."""
    discriminator_rate: Rate = 4e-4
    """Adam's step size for the discriminator."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.9)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        doublings = len(self.generator_channels) - 1
        unit = 2 ** max(doublings, self.halvings)
        if len(self.shape) != 3 or any(side % unit for side in self.shape[:2]):
            raise UserError(
                f"image shape {self.shape}: height and width must be multiples of {unit}, for "
                f"{doublings} doublings and {self.halvings} halvings; change `shape`, "
                "`generator_channels` or `halvings`"
            )
        if doublings < 1 or not 2 <= self.halvings <= len(self.discriminator_channels):
            raise UserError(
                f"{doublings} doublings and {self.halvings} halvings in "
                f"{len(self.discriminator_channels)} blocks: attention needs at least 1 doubling, "
                "and 2 halvings that have a block each"
            )

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.generator_channels, self.shape, self.classes, dtype),
            "discriminator": Discriminator(
                self.discriminator_channels, self.halvings, self.classes, dtype, self.classifies
            ),
        }

    def attention_shape(self) -> tuple[int, int]:
        """Of the map of half the image's sides, to a quarter as many places: keys are pooled."""
        places = self.shape[0] * self.shape[1] // 4
        return places, places // 4

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator, then the generator."""
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=optax.adam(self.discriminator_rate, *self.betas),
                generator_optimizer=optax.adam(self.generator_rate, *self.betas),
                writes=("discriminator",),
            ),
        )

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Hinge loss (equation 4)."""
        real = batch["image"]
        fake, drawn = self.fakes(view, key, len(real))
        (on_real, _), (on_fake, _) = view.together(
            "discriminator",
            (view.augment(real), *label_of(batch)),
            (view.augment(fake), *label_of(drawn)),
        )
        real_logits, fake_logits = split(on_real)[0], split(on_fake)[0]
        loss = losses.hinge.discriminator(real_logits, fake_logits)
        metrics = mean_logits(real_logits, fake_logits)
        return self.with_classes(loss, metrics, on_real, batch, self.class_weights[0])

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean logit (equation 4)."""
        fake, drawn = self.fakes(view, key, len(batch["image"]))
        on_fake, _ = view("discriminator", view.augment(fake), *label_of(drawn))
        loss = losses.hinge.generator(split(on_fake)[0])
        return self.with_classes(loss, {}, on_fake, drawn, self.class_weights[1])
