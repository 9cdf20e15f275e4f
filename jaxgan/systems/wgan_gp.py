"""WGAN-GP: a critic kept Lipschitz by a penalty on its gradient.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs", NeurIPS
2017. Real samples score higher. Three pairs of networks, those of the authors' code: residual
ones for CIFAR-10 (`ResNetWGANGP`), wider ones with layer norm in the critic for 64x64 images
(`GoodWGANGP`, after the code's name for them), and perceptrons for points (`MLPWGANGP`). There is
no batch norm in a critic: the penalty is on each sample's own gradient.

With classes the generator's batch norms are conditional and the critic has a second head that
classifies (AC-GAN; Odena, Olah, Shlens, ICML 2017), trained on real images alone; the fakes that
the critic sees have the labels of the real batch. The authors' code normalises by the batch also
when it samples; here sampling uses running statistics. It starts with an update of the critic,
and so does this.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses, penalties
from jaxgan.errors import UserError
from jaxgan.nn.initializers import Init, glorot_uniform, he_fan_avg_uniform
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import BatchNorm, ClassBatchNorm, LayerNorm
from jaxgan.nn.projection import Scores
from jaxgan.nn.residual import DiscriminatorBlock, GeneratorBlock
from jaxgan.ranges import DecayRate, Halvings, Positive, Rate, Shape, Stretch, Weight
from jaxgan.system import Examples, Metrics, Stage
from jaxgan.systems import gan
from jaxgan.systems.common.auxiliary import Classifying, split
from jaxgan.systems.common.generative import (
    Generative,
    duel,
    falling_adam,
    mean_logits,
)
from jaxgan.view import View

MAIN = he_fan_avg_uniform()  # the 3x3 convolutions of residual blocks
PLAIN = glorot_uniform()  # every other layer, but for the last convolution of `GoodWGANGP`


class GoodBlock(nn.Module):
    """Norm-ReLU-conv3-norm-ReLU-conv3 plus conv1 of the input, all to twice or half the size.

    The first convolution has no bias. Going up it changes the channels, going down the second does.

    Attributes:
        features: output channels.
        norm: factory of a norm.
        scale: whether the size doubles or halves.
        dtype: compute type.
    """

    features: int
    norm: Callable[..., nn.Module]
    scale: Literal["up", "down"]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], *condition: Array, **options: bool
    ) -> Float[Array, "b y x o"]:
        """`condition` and `options` (labels; train) go to both norms."""
        up = self.scale == "up"
        conv = partial(Conv, initializer=MAIN, dtype=self.dtype)
        h = nn.relu(self.norm(name="norm1")(x, *condition, **options))
        h = conv(
            self.features if up else x.shape[-1],
            use_bias=False,
            scale="up" if up else None,
            name="conv1",
        )(h)
        h = nn.relu(self.norm(name="norm2")(h, *condition, **options))
        # Going up a batch norm follows, sooner or later, and subtracts what the biases became.
        h = conv(self.features, inert_bias=up, scale=None if up else "down", name="conv2")(h)
        shortcut = Conv(
            self.features,
            kernel_size=1,
            scale=self.scale,
            inert_bias=up,
            initializer=PLAIN,
            dtype=self.dtype,
            name="shortcut",
        )
        return h + shortcut(x)


class Generator(nn.Module):
    """Latents, and labels if `classes`, to images in [-1, 1].

    Attributes:
        channels: after the first dense layer, then after each block that doubles the size.
        shape: of an image.
        classes: 0 for batch norm without labels.
        block: factory of a block, `block(features, norm=..., dtype=..., name=...)`.
        last_init: initialiser of the last convolution.
        dtype: compute type.
    """

    channels: tuple[int, ...]
    shape: tuple[int, ...]
    classes: int
    block: Callable[..., nn.Module]
    last_init: Init
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], *label: Int[Array, " b"], train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, latent] and, for a conditional generator, labels [b] to [b, h, w, c]."""
        norm = partial(ClassBatchNorm, classes=self.classes) if self.classes else BatchNorm
        base, *wider = self.channels
        height, width = (side >> len(wider) for side in self.shape[:2])
        h = Dense(height * width * base, initializer=PLAIN, dtype=self.dtype, name="dense")(z)
        h = h.reshape(-1, height, width, base)
        for index, features in enumerate(wider):
            block = self.block(features, norm=norm, dtype=self.dtype, name=f"block{index + 1}")
            h = block(h, *label, train=train)
        h = nn.relu(BatchNorm(name="norm")(h, train=train))
        h = Conv(self.shape[-1], initializer=self.last_init, dtype=self.dtype, name="conv")(h)
        return jnp.tanh(h.astype(jnp.float32))


def _heads(h: Float[Array, "b c"], classes: int) -> Scores:
    """Scores and, if `classes`, class logits: linear in h; called within a compact module."""
    h = h.astype(jnp.float32)
    scores = Dense(1, initializer=PLAIN, name="dense")(h)[:, 0]
    if not classes:
        return scores
    return scores, Dense(classes, initializer=PLAIN, name="classifier")(h)


class ResNetCritic(nn.Module):
    """Images to scores and, if `classes`, class logits; without a norm.

    Attributes:
        channels: after each block.
        halvings: how many blocks, from the first, halve the size.
        classes: 0 for no class logits.
        dtype: compute type.
    """

    channels: tuple[int, ...]
    halvings: int
    classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Scores:
        """[b, h, w, c] to scores [b], or those and [b, classes]."""
        del train
        h = x
        for index, features in enumerate(self.channels):
            h = DiscriminatorBlock(
                features,
                hidden=features if index == 0 else None,
                first=index == 0,
                down=index < self.halvings,
                initializer=MAIN,
                shortcut_init=PLAIN,
                dtype=self.dtype,
                name=f"block{index + 1}",
            )(h)
        return _heads(nn.relu(h).astype(jnp.float32).mean((1, 2)), self.classes)


class GoodCritic(nn.Module):
    """Images to scores and, if `classes`, class logits; with layer norm.

    Attributes:
        channels: after the first convolution, then after each block that halves the size.
        classes: 0 for no class logits.
        dtype: compute type.
    """

    channels: tuple[int, ...]
    classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Scores:
        """[b, h, w, c] to scores [b], or those and [b, classes]."""
        del train
        base, *wider = self.channels
        h = Conv(base, initializer=PLAIN, dtype=self.dtype, name="conv")(x)
        for index, features in enumerate(wider):
            name = f"block{index + 1}"
            h = GoodBlock(features, LayerNorm, "down", dtype=self.dtype, name=name)(h)
        return _heads(h.reshape(len(h), -1), self.classes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WGANGP(Generative):
    """What all WGANs with gradient penalty share: losses and players. Subclasses add networks."""

    learning_rate: Rate = 1e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.9)
    """Adam's decay rates."""
    decay: Stretch = (0, 0)
    """Iterations between which the step size falls linearly to 0; equal ones: it does not."""
    discriminator_updates: Positive = 5
    """Updates of the critic for one of the generator."""
    generator_batch: Positive = 1
    """The generator's batch in multiples of the critic's."""
    penalty: Weight = 10.0
    """Weight of the gradient penalty."""
    dequantization: Weight = 0.0
    """Width of the uniform noise that real images get."""

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the critic `discriminator_updates` times, then the generator."""
        adam = partial(falling_adam, self.learning_rate, self.betas, self.decay)
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam(self.discriminator_updates),
                generator_optimizer=adam(),
                updates=self.discriminator_updates,
            ),
        )

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Equation 3."""
        loss, metrics, _ = self._criticise(view, batch, key)
        return loss, metrics

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean score."""
        on_fake, _ = self._show(view, batch, key)
        return losses.wasserstein.generator(split(on_fake)[0]), {}

    def _criticise(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics, Scores]:
        """Equation 3, its metrics, and what the critic says of the real samples."""
        latent_key, noise_key, penalty_key = jax.random.split(key, 3)
        real, count = batch["image"], len(batch["image"])
        if self.dequantization:
            noise = partial(jax.random.uniform, shape=real.shape[1:], maxval=self.dequantization)
            real = real + jax.vmap(noise)(view.keys(noise_key, count))
        labels = {name: batch[name] for name in self.labels()}
        fake = self.make(view, {**view.draw(self.latents(), latent_key, count), **labels})
        on_real, on_fake = view.together(
            "discriminator", (view.augment(real),), (view.augment(fake),)
        )
        real_logits, fake_logits = split(on_real)[0], split(on_fake)[0]
        penalty = penalties.gradient_penalty(
            lambda x: split(view.frozen("discriminator", view.augment(x)))[0],
            real,
            fake,
            jax.vmap(jax.random.uniform)(view.keys(penalty_key, count)),
        )
        loss = losses.wasserstein.discriminator(real_logits, fake_logits) + self.penalty * penalty
        return loss, {**mean_logits(real_logits, fake_logits), "penalty": penalty}, on_real

    def _show(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Scores, dict[str, Array]]:
        """What the critic says of generated samples, and what was drawn for them."""
        fake, drawn = self.fakes(view, key, self.generator_batch * len(batch["image"]))
        return view("discriminator", view.augment(fake)), drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class ACWGANGP(WGANGP, Classifying):
    """What those for images share: with `classes`, the critic classifies, too (AC-GAN)."""

    class_weights: tuple[Weight, Weight] = (1.0, 0.1)
    """With classes: weight of the cross entropy in the critic's and in the generator's loss; with
    both 0 the critic does not classify."""

    def inputs(self) -> dict[str, tuple]:
        """Latents, with labels if conditional, and samples."""
        return {**super().inputs(), "discriminator": (self.sample().zeros(),)}

    def judged(
        self, view: View, taken: Mapping[str, Array]
    ) -> tuple[tuple[Array, ...], dict[str, Any]]:
        """Samples alone: the critic sees no labels."""
        del view
        return (taken["image"],), {}

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Equation 3, and the cross entropy of the real images' classes."""
        loss, metrics, on_real = self._criticise(view, batch, key)
        return self.with_classes(loss, metrics, on_real, batch, self.class_weights[0])

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean score, and the cross entropy of the classes that were asked for."""
        on_fake, drawn = self._show(view, batch, key)
        loss = losses.wasserstein.generator(split(on_fake)[0])
        return self.with_classes(loss, {}, on_fake, drawn, self.class_weights[1])


def _check_halvings(shape: tuple[int, ...], halvings: int) -> None:
    """Refuses images whose height and width cannot be halved so often."""
    if len(shape) != 3 or any(side % 2**halvings for side in shape[:2]):
        raise UserError(
            f"image shape {shape}: height and width must be multiples of {2**halvings}, for "
            f"{halvings} blocks that halve or double them; change `shape` or the channels"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetWGANGP(ACWGANGP):
    """WGAN-GP with the residual networks for CIFAR-10; with `classes`, AC-GAN."""

    shape: Shape = (32, 32, 3)
    """Height, width and channels of an image."""
    generator_channels: Shape = (128, 128, 128, 128)
    """Channels of the first map, then after each doubling of the size."""
    discriminator_channels: Shape = (128, 128, 128, 128)
    """Channels after each block of the critic."""
    halvings: Halvings = 2
    """Blocks of the critic, from the first, that halve the size."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    generator_batch: Positive = 2
    """The generator's batch in multiples of the critic's."""
    dequantization: Weight = 1 / 128
    """Width of the uniform noise that real images get."""

    def __post_init__(self) -> None:
        _check_halvings(self.shape, max(len(self.generator_channels) - 1, self.halvings))

    def networks(self) -> dict[str, nn.Module]:
        """The generator and, called discriminator, the critic."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(
                self.generator_channels,
                self.shape,
                self.classes,
                block=partial(GeneratorBlock, initializer=MAIN, shortcut_init=PLAIN),
                last_init=PLAIN,
                dtype=dtype,
            ),
            "discriminator": ResNetCritic(
                self.discriminator_channels, self.halvings, self.classes * self.classifies, dtype
            ),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoodWGANGP(ACWGANGP):
    """WGAN-GP with the wide residual networks for 64x64 images; with `classes`, AC-GAN."""

    shape: Shape = (64, 64, 3)
    """Height, width and channels of an image."""
    channels: Shape = (512, 512, 256, 128, 64)
    """Channels of the generator's first map, then after each doubling; the critic's in reverse."""

    def __post_init__(self) -> None:
        _check_halvings(self.shape, len(self.channels) - 1)

    def networks(self) -> dict[str, nn.Module]:
        """The generator and, called discriminator, the critic."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(
                self.channels,
                self.shape,
                self.classes,
                block=partial(GoodBlock, scale="up"),
                last_init=MAIN,
                dtype=dtype,
            ),
            "discriminator": GoodCritic(self.channels[::-1], self.classes * self.classifies, dtype),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPWGANGP(WGANGP):
    """WGAN-GP with perceptrons for points, without classes (section 5.1, figure 1b)."""

    shape: Shape = (2,)
    """Dimensions of a point."""
    latent: Positive = 2
    """Size of the latent vector."""
    hidden: tuple[Positive, ...] = (512, 512, 512)
    """Sizes of the hidden layers, in both networks."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.9)
    """Adam's decay rates."""
    penalty: Weight = 0.1
    """Weight of the gradient penalty."""

    def networks(self) -> dict[str, nn.Module]:
        """The generator and, called discriminator, the critic."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": gan.Generator(
                self.hidden, self.shape, batch_norm=False, bounded=False, slope=0.0, dtype=dtype
            ),
            "discriminator": gan.Discriminator(self.hidden, slope=0.0, dtype=dtype),
        }
