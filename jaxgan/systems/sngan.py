"""SNGAN: spectral normalisation, with a projection discriminator for labelled data.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks",
ICLR 2018; Miyato, Koyama, "cGANs with Projection Discriminator", ICLR 2018. ResNets, hinge loss,
every weight of the discriminator divided by an estimate of its largest singular value.

Follows the authors' Chainer code where the papers leave room: the generator moves first in an
iteration and on twice the batch. Two things differ: Chainer runs a power iteration in every forward
pass, also in the generator's turn; here it runs once for each update of the discriminator. And its
generator's running statistics move whenever it draws; here in its own turn. With `every_turn` both
move in either turn. There is no weight average in the papers; `ema_decay` adds one.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.nn.initializers import glorot_uniform
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import BatchNorm, ClassBatchNorm
from jaxgan.nn.projection import Scores, projection
from jaxgan.nn.residual import DiscriminatorBlock, GeneratorBlock
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.ranges import DecayRate, Halvings, Positive, Rate, Shape, Stretch
from jaxgan.system import Examples, Metrics, Player, Stage
from jaxgan.systems.common.auxiliary import Classifying, split
from jaxgan.systems.common.generative import falling_adam, label_of, mean_logits
from jaxgan.view import View

RESIDUAL = glorot_uniform(math.sqrt(2))  # the 3x3 convolutions of residual blocks
PLAIN = glorot_uniform()  # every other layer
BATCH_NORM_EPSILON = 2e-5  # Chainer's default


class Generator(nn.Module):
    """Latents, and labels if `classes`, to images in [-1, 1].

    Attributes:
        channels: after the first dense layer, then after each block that doubles the size.
        shape: of an image.
        classes: 0 for batch norm without labels.
        dtype: compute type.
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
        norm = partial(BatchNorm, epsilon=BATCH_NORM_EPSILON)
        block_norm: Callable[..., nn.Module] = norm
        if self.classes:
            block_norm = partial(ClassBatchNorm, classes=self.classes, epsilon=BATCH_NORM_EPSILON)
        base, *wider = self.channels
        height, width = (side // 2 ** len(wider) for side in self.shape[:2])
        h = Dense(height * width * base, initializer=PLAIN, dtype=self.dtype, name="dense")(z)
        h = h.reshape(-1, height, width, base)
        for index, features in enumerate(wider):
            h = GeneratorBlock(
                features,
                norm=block_norm,
                initializer=RESIDUAL,
                shortcut_init=PLAIN,
                dtype=self.dtype,
                name=f"block{index + 1}",
            )(h, *label, train=train)
        h = nn.relu(norm(name="norm")(h, train=train))
        h = Conv(self.shape[-1], initializer=PLAIN, dtype=self.dtype, name="conv")(h)
        return jnp.tanh(h.astype(jnp.float32))


class Discriminator(nn.Module):
    """Images, and labels if `classes`, to logits: psi(phi(x)) + <embed(y), phi(x)>.

    Attributes:
        channels: after each block.
        halvings: how many blocks, from the first, halve the size.
        classes: 0 for no projection.
        last_bias: a bias in the last layer.
        dtype: compute type.
        classify: class logits in place of the projection (AC-GAN).
    """

    channels: tuple[int, ...]
    halvings: int
    classes: int
    last_bias: bool
    dtype: DTypeLike
    classify: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *label: Int[Array, " b"], train: bool) -> Scores:
        """Images [b, h, w, c] and, for a conditional discriminator, labels [b] to logits [b].

        Those and class logits [b, classes], without a look at the labels, if it classifies.
        """
        h = x
        for index, features in enumerate(self.channels):
            h = DiscriminatorBlock(
                features,
                hidden=features if index == 0 else None,
                first=index == 0,
                down=index < self.halvings,
                initializer=RESIDUAL,
                shortcut_init=PLAIN,
                reparam=SpectralNorm,
                dtype=self.dtype,
                name=f"block{index + 1}",
            )(h)
        options = {"use_bias": self.last_bias, "classify": self.classify}
        return projection(h, self.classes, label, PLAIN, SpectralNorm, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SNGAN(Classifying):
    """Spectrally normalised GAN; with `classes`, conditional batch norm and projection.

    With `class_weights`, too, an auxiliary classifier in place of the projection.
    """

    shape: Shape = (32, 32, 3)
    """Height, width and channels of an image."""
    generator_channels: Shape = (256, 256, 256, 256)
    """Channels of the first map, then after each doubling of the size."""
    discriminator_channels: Shape = (128, 128, 128, 128)
    """Channels after each block."""
    halvings: Halvings = 2
    """Blocks of the discriminator, from the first, that halve the size."""
    last_bias: bool = False
    """A bias in the discriminator's last layer: the authors' 64- and 128-pixel code has one."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.9)
    """Adam's decay rates."""
    discriminator_updates: Positive = 5
    """Updates of the discriminator for one of the generator."""
    generator_batch: Positive = 2
    """The generator's batch in multiples of the discriminator's."""
    decay: Stretch = (0, 0)
    """Iterations between which the step size falls linearly to 0; equal ones: it does not."""
    every_turn: bool = False
    """The generator's running statistics and the discriminator's power iteration move in both
    players' turns, not in their own player's alone."""

    def __post_init__(self) -> None:
        """Refuses images whose sides cannot be halved as often as the blocks do."""
        super().__post_init__()
        unit = 2 ** max(len(self.generator_channels) - 1, self.halvings)
        if len(self.shape) != 3 or any(side % unit for side in self.shape[:2]):
            raise UserError(
                f"image shape {self.shape}: height and width must be multiples of {unit}; "
                "change `shape`, or the number of channels, which is that of blocks"
            )

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
        """One stage: the generator, then the discriminator `discriminator_updates` times."""
        adam = partial(falling_adam, self.learning_rate, self.betas, self.decay)
        both = ("generator", "discriminator")
        return (
            Stage(
                players=(
                    Player(
                        name="generator",
                        owns=("generator",),
                        loss=self.generator_loss,
                        optimizer=adam(),
                        reuse=True,
                        writes=both if self.every_turn else both[:1],
                    ),
                    Player(
                        name="discriminator",
                        owns=("discriminator",),
                        loss=self.discriminator_loss,
                        optimizer=adam(self.discriminator_updates),
                        repeats=self.discriminator_updates,
                        writes=both if self.every_turn else both[1:],
                    ),
                )
            ),
        )

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Hinge loss (SNGAN, equation 16)."""
        real = batch["image"]
        fake, drawn = self.fakes(view, key, len(real))
        on_real, on_fake = view.together(
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
        """Minus the mean logit (SNGAN, equation 17)."""
        fake, drawn = self.fakes(view, key, self.generator_batch * len(batch["image"]))
        on_fake = view("discriminator", view.augment(fake), *label_of(drawn))
        loss = losses.hinge.generator(split(on_fake)[0])
        return self.with_classes(loss, {}, on_fake, drawn, self.class_weights[1])
