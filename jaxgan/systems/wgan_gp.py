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
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses, penalties
from jaxgan.errors import UserError
from jaxgan.nn.initializers import Init, glorot_uniform, he_fan_avg_uniform
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import BatchNorm, ClassBatchNorm, LayerNorm
from jaxgan.nn.residual import DiscriminatorBlock, GeneratorBlock
from jaxgan.system import Batch, Metrics, Player, Stage, System, View
from jaxgan.systems import gan

MAIN = he_fan_avg_uniform()  # the 3x3 convolutions of residual blocks
PLAIN = glorot_uniform()  # every other layer, but for the last convolution of `GoodWGANGP`

Scores = Float[Array, " b"] | tuple[Float[Array, " b"], Float[Array, "b classes"]]


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
class WGANGP(System):
    """What all WGANs with gradient penalty share: losses and players. Subclasses add networks."""

    conditional: ClassVar[bool] = True

    learning_rate: float = 1e-4
    """Adam's step size, for both players."""
    betas: tuple[float, float] = (0.0, 0.9)
    """Adam's decay rates."""
    decay: tuple[int, int] = (0, 0)
    """Iterations between which the step size falls linearly to 0; equal ones: it does not."""
    discriminator_updates: int = 5
    """Updates of the critic for one of the generator."""
    generator_batch: int = 1
    """The generator's batch in multiples of the critic's."""
    penalty: float = 10.0
    """Weight of the gradient penalty."""
    dequantization: float = 0.0
    """Width of the uniform noise that real images get."""
    class_weights: tuple[float, float] = (1.0, 0.1)
    """With classes: weight of the cross entropy in the critic's and in the generator's loss."""

    def inputs(self) -> dict[str, tuple]:
        """Latents, with labels if conditional, and samples."""
        label = (jnp.zeros(1, jnp.int32),) if self.classes else ()
        return {
            "generator": (jnp.zeros((1, self.latent)), *label),
            "discriminator": (jnp.zeros((1, *self.shape)),),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the critic `discriminator_updates` times, then the generator."""
        return (
            Stage(
                players=(
                    Player(
                        name="discriminator",
                        owns=("discriminator",),
                        loss=self.discriminator_loss,
                        optimizer=self._adam(self.discriminator_updates),
                        repeats=self.discriminator_updates,
                    ),
                    Player(
                        name="generator",
                        owns=("generator",),
                        loss=self.generator_loss,
                        optimizer=self._adam(1),
                        reuse=True,
                        writes=("generator",),
                    ),
                )
            ),
        )

    def _adam(self, updates: int) -> optax.GradientTransformation:
        start, end = (iteration * updates for iteration in self.decay)
        rate = optax.linear_schedule(self.learning_rate, 0.0, end - start, start)
        return optax.adam(rate if end > start else self.learning_rate, *self.betas)

    def discriminator_loss(
        self, view: View, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Equation 3, and the cross entropy of the real images' classes."""
        latent_key, noise_key, penalty_key = jax.random.split(key, 3)
        real, count = batch["image"], len(batch["image"])
        if self.dequantization:
            shape, width = real.shape[1:], self.dequantization
            real += view.draw(
                count, lambda n: jax.random.uniform(noise_key, (n, *shape), maxval=width)
            )
        label = (batch["label"],) if self.classes else ()
        z = view.draw(count, partial(self.draw_latents, latent_key))
        fake = view("generator", z, *label)
        on_real, on_fake = view.together("discriminator", (real,), (fake,))
        (real_logits, class_logits), (fake_logits, _) = _split(on_real), _split(on_fake)
        penalty = penalties.gradient_penalty(
            lambda x: _split(view.frozen("discriminator", x))[0],
            real,
            fake,
            view.draw(count, lambda n: jax.random.uniform(penalty_key, (n,))),
        )
        loss = losses.wasserstein.discriminator(real_logits, fake_logits) + self.penalty * penalty
        metrics = {
            "real_logits": real_logits.mean(),
            "fake_logits": fake_logits.mean(),
            "penalty": penalty,
        }
        if class_logits is not None:
            metrics["class_loss"] = _cross_entropy(class_logits, *label)
            loss += self.class_weights[0] * metrics["class_loss"]
        return loss, metrics

    def generator_loss(
        self, view: View, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean score, and the cross entropy of the classes that were asked for."""
        latent_key, label_key = jax.random.split(key)
        count = self.generator_batch * len(batch["image"])
        z = view.draw(count, partial(self.draw_latents, latent_key))
        if not self.classes:
            return losses.wasserstein.generator(view("discriminator", view("generator", z))), {}
        label = view.draw(count, partial(self.draw_labels, label_key))
        logits, class_logits = view("discriminator", view("generator", z, label))
        class_loss = _cross_entropy(class_logits, label)
        loss = losses.wasserstein.generator(logits) + self.class_weights[1] * class_loss
        return loss, {"class_loss": class_loss}


def _split(scores: Scores) -> tuple[Float[Array, " b"], Float[Array, "b classes"] | None]:
    """Scores, and class logits if there are classes."""
    return scores if isinstance(scores, tuple) else (scores, None)


def _cross_entropy(logits: Float[Array, "b k"], label: Int[Array, " b"]) -> Float[Array, ""]:
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def _check_halvings(shape: tuple[int, ...], halvings: int) -> None:
    """Refuses images whose height and width cannot be halved so often."""
    if len(shape) != 3 or any(side % 2**halvings for side in shape[:2]):
        raise UserError(
            f"image shape {shape}: height and width must be multiples of {2**halvings}, for "
            f"{halvings} blocks that halve or double them; change `shape` or the channels"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetWGANGP(WGANGP):
    """WGAN-GP with the residual networks for CIFAR-10; with `classes`, AC-GAN."""

    shape: tuple[int, ...] = (32, 32, 3)
    """Height, width and channels of an image."""
    generator_channels: tuple[int, ...] = (128, 128, 128, 128)
    """Channels of the first map, then after each doubling of the size."""
    discriminator_channels: tuple[int, ...] = (128, 128, 128, 128)
    """Channels after each block of the critic."""
    halvings: int = 2
    """Blocks of the critic, from the first, that halve the size."""
    learning_rate: float = 2e-4
    """Adam's step size, for both players."""
    generator_batch: int = 2
    """The generator's batch in multiples of the critic's."""
    dequantization: float = 1 / 128
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
                self.discriminator_channels, self.halvings, self.classes, dtype
            ),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoodWGANGP(WGANGP):
    """WGAN-GP with the wide residual networks for 64x64 images; with `classes`, AC-GAN."""

    shape: tuple[int, ...] = (64, 64, 3)
    """Height, width and channels of an image."""
    channels: tuple[int, ...] = (512, 512, 256, 128, 64)
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
            "discriminator": GoodCritic(self.channels[::-1], self.classes, dtype),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPWGANGP(WGANGP):
    """WGAN-GP with perceptrons for points, without classes (section 5.1, figure 1b)."""

    conditional: ClassVar[bool] = False

    shape: tuple[int, ...] = (2,)
    """Dimensions of a point."""
    latent: int = 2
    """Size of the latent vector."""
    hidden: tuple[int, ...] = (512, 512, 512)
    """Sizes of the hidden layers, in both networks."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Adam's decay rates."""
    penalty: float = 0.1
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
