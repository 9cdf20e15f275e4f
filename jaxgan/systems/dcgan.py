"""DCGAN: convolutions of stride two, batch norm, Adam.

Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016. Follows PyTorch's own example where it differs from the paper,
as later papers do: kernels of 4x4 instead of 5x5, 512 instead of 1,024 channels at first, Gaussian
latents. Real and generated images pass through the discriminator as separate batches, so that batch
norm does not mix them.

Three things differ from the example: players draw latents of their own, where it shows one batch of
fakes to both; running statistics of the discriminator's batch norm move in its own turn and the
generator's in its, or with `every_turn` both in both, where the example's generator draws in the
discriminator's turn alone; and networks for images of 4 * 2^n pixels a side are derived by the same
rule.
"""

import dataclasses
from functools import partial

import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.nn.initializers import normal, shifted_normal
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.projection import Scores
from jaxgan.ranges import Count, DecayRate, Positive, Rate, Shape
from jaxgan.system import Examples, Metrics, Stage
from jaxgan.systems.common.auxiliary import split
from jaxgan.systems.common.generative import Generative, duel, label_of, mean_logits
from jaxgan.view import View

WEIGHTS = normal(0.02)  # of every convolution
GAINS = shifted_normal(1.0, 0.02)  # of every batch norm


def doublings(shape: tuple[int, ...]) -> int:
    """How often a 4x4 map is doubled to an image of this shape: n for 4 * 2^n pixels a side.

    Raises:
        UserError: the image is not square, or its side not 8, 16, 32, ...
    """
    side = shape[0]
    count = side.bit_length() - 3
    if len(shape) != 3 or shape[1] != side or count < 1 or side != 4 << count:
        raise UserError(
            f"image shape {shape}: this network makes (side, side, channels) with side 8, 16, 32, "
            "64, ...; set `shape` to one of these and resize the data"
        )
    return count


class Generator(nn.Module):
    """Latents to images in [-1, 1].

    Attributes:
        width: channels before the last layer; they double with each layer before it.
        shape: of an image.
        dtype: compute type.
    """

    width: int
    shape: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], *, train: bool) -> Float[Array, "b h w c"]:
        """[b, latent] to [b, h, w, c]."""
        conv = partial(ConvTranspose, use_bias=False, initializer=WEIGHTS, dtype=self.dtype)
        layers = doublings(self.shape)
        h = z[:, None, None]
        for index in range(layers):
            features = self.width << (layers - 1 - index)
            name = f"conv{index + 1}"
            if index == 0:
                h = conv(features, stride=1, padding=0, name=name)(h)  # 1x1 to 4x4
            else:
                h = conv(features, name=name)(h)
            h = nn.relu(BatchNorm(scale_init=GAINS, name=f"norm{index + 1}")(h, train=train))
        h = conv(self.shape[-1], name=f"conv{layers + 1}")(h)
        return jnp.tanh(h.astype(jnp.float32))


class Discriminator(nn.Module):
    """Images to logits.

    Attributes:
        width: channels after the first layer; they double with each layer that halves the image.
        dtype: compute type.
        classes: that it tells apart, too (`jaxgan.systems.common.auxiliary`); 0: none.
    """

    width: int
    dtype: DTypeLike = jnp.float32
    classes: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Scores:
        """[b, h, w, c] to logits [b] or, with classes, those and [b, classes]."""
        conv = partial(Conv, kernel_size=4, use_bias=False, initializer=WEIGHTS)
        layers = doublings(x.shape[1:])
        h = x
        for index in range(layers):
            features = self.width << index
            name = f"conv{index + 1}"
            h = conv(features, stride=2, padding=1, dtype=self.dtype, name=name)(h)
            if index:
                h = BatchNorm(scale_init=GAINS, name=f"norm{index + 1}")(h, train=train)
            h = nn.leaky_relu(h, 0.2)
        logits = conv(1, padding=0, name=f"conv{layers + 1}")(h)[:, 0, 0, 0]
        if not self.classes:
            return logits
        return logits, conv(self.classes, padding=0, name="classifier")(h)[:, 0, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DCGAN(Generative):
    """Deep convolutional GAN, for square images of 8, 16, 32, 64, ... pixels a side."""

    shape: Shape = (64, 64, 3)
    """Height, width and channels of an image."""
    latent: Positive = 100
    """Size of the latent vector."""
    width: Positive = 64
    """Channels of the generator's layer next to the image."""
    discriminator_width: Count = 0
    """Channels of the discriminator's layer next to the image; 0: `width`."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""
    every_turn: bool = False
    """Running statistics of both networks move in both players' turns, not in their own player's
    alone. Evaluation alone sees them."""

    def __post_init__(self) -> None:
        doublings(self.shape)

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.width, self.shape, dtype),
            "discriminator": Discriminator(self.discriminator_width or self.width, dtype),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator, then the generator."""
        adam = optax.adam(self.learning_rate, *self.betas)
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam,
                generator_optimizer=adam,
                writes=("discriminator",),
                every_turn=self.every_turn,
            ),
        )

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy."""
        return self._discriminate(view, batch, key)[:2]

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy with the labels of real images."""
        return self._generate(view, batch, key)[0], {}

    def _discriminate(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics, Scores]:
        """The discriminator's loss, its metrics, and what it says of the real images."""
        real = batch["image"]
        fake, drawn = self.fakes(view, key, len(real))
        on_real = view("discriminator", view.augment(real), *label_of(batch))
        on_fake = view("discriminator", view.augment(fake), *label_of(drawn))
        real_logits, fake_logits = split(on_real)[0], split(on_fake)[0]
        loss = losses.non_saturating.discriminator(real_logits, fake_logits)
        return loss, mean_logits(real_logits, fake_logits), on_real

    def _generate(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Scores, dict[str, Array]]:
        """The generator's loss, what the discriminator says, and what was drawn."""
        fake, drawn = self.fakes(view, key, len(batch["image"]))
        on_fake = view("discriminator", view.augment(fake), *label_of(drawn))
        return losses.non_saturating.generator(split(on_fake)[0]), on_fake, drawn
