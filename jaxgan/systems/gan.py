"""GAN: two multilayer perceptrons, for small images and for points in the plane.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014: algorithm 1, the discriminator
first. Layer sizes are those of the widespread PyTorch port for MNIST (PyTorch-GAN), not the maxout
networks of the paper; its batch norm with epsilon 0.8, a slip, is not copied. Each player draws
latents of its own.

With a loss `f_gan_DIVERGENCE` this is f-GAN (Nowozin, Cseke, Tomioka, NeurIPS 2016).
"""

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan import losses
from jaxgan.nn.layers import Dense
from jaxgan.nn.norm import BatchNorm
from jaxgan.ranges import DecayRate, Positive, Rate, Shape
from jaxgan.system import Examples, Metrics, Stage
from jaxgan.systems.common.generative import Generative, duel, mean_logits
from jaxgan.view import View


class Generator(nn.Module):
    """Latents to samples.

    Attributes:
        hidden: sizes of the hidden layers.
        shape: of a sample.
        batch_norm: after every hidden layer but the first.
        bounded: ends in tanh.
        slope: of the leaky ReLUs below 0.
        dtype: compute type.
    """

    hidden: tuple[int, ...]
    shape: tuple[int, ...]
    batch_norm: bool
    bounded: bool
    slope: float = 0.2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], *, train: bool) -> Float[Array, "b ..."]:
        """[b, latent] to [b, *shape]."""
        h = z
        for index, features in enumerate(self.hidden):
            norm = self.batch_norm and index > 0
            h = Dense(features, inert_bias=norm, dtype=self.dtype, name=f"dense{index + 1}")(h)
            if norm:
                h = BatchNorm(name=f"norm{index + 1}")(h, train=train)
            h = nn.leaky_relu(h, self.slope)
        h = Dense(math.prod(self.shape), name="output")(h.astype(jnp.float32))
        h = h.reshape(-1, *self.shape)
        return jnp.tanh(h) if self.bounded else h


class Discriminator(nn.Module):
    """Samples to logits, without a norm.

    Attributes:
        hidden: sizes of the hidden layers.
        slope: of the leaky ReLUs below 0.
        dtype: compute type.
    """

    hidden: tuple[int, ...]
    slope: float = 0.2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], *, train: bool) -> Float[Array, " b"]:
        """[b, *shape] to logits [b]."""
        del train
        h = x.reshape(len(x), -1)
        for index, features in enumerate(self.hidden):
            h = Dense(features, dtype=self.dtype, name=f"dense{index + 1}")(h)
            h = nn.leaky_relu(h, self.slope)
        return Dense(1, name="output")(h.astype(jnp.float32))[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GAN(Generative):
    """The GAN of 2014, with any of the losses in `jaxgan.losses`."""

    shape: Shape = (28, 28, 1)
    """Shape of a sample: (height, width, channels), or (dimensions,)."""
    latent: Positive = 100
    """Size of the latent vector."""
    generator_hidden: tuple[Positive, ...] = (128, 256, 512, 1024)
    """Sizes of the generator's hidden layers."""
    discriminator_hidden: tuple[Positive, ...] = (512, 256)
    """Sizes of the discriminator's hidden layers."""
    batch_norm: bool = True
    """Batch norm in the generator, after every hidden layer but the first."""
    output: Literal["tanh", "linear"] = "tanh"
    """What the generator ends in: tanh for images, linear for points."""
    loss: str = "non_saturating"
    """Name of a loss in `jaxgan.losses`: non_saturating, saturating, f_gan_kl, ..."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""
    discriminator_updates: Positive = 1
    """Updates of the discriminator for one of the generator."""

    def __post_init__(self) -> None:
        losses.get(self.loss)  # raises where there is none of this name

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(
                self.generator_hidden,
                self.shape,
                self.batch_norm,
                bounded=self.output == "tanh",
                dtype=dtype,
            ),
            "discriminator": Discriminator(self.discriminator_hidden, dtype=dtype),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator `discriminator_updates` times, then the generator."""
        adam = optax.adam(self.learning_rate, *self.betas)
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam,
                generator_optimizer=adam,
                updates=self.discriminator_updates,
            ),
        )

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """The discriminator's half of `loss`; for the default, equation 1 of the paper negated."""
        real = batch["image"]
        fake, _ = self.fakes(view, key, len(real))
        real_logits = view("discriminator", view.augment(real))
        fake_logits = view("discriminator", view.augment(fake))
        loss = losses.get(self.loss).discriminator(real_logits, fake_logits)
        return loss, mean_logits(real_logits, fake_logits)

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """The generator's half of `loss`."""
        fake, _ = self.fakes(view, key, len(batch["image"]))
        fake_logits = view("discriminator", view.augment(fake))
        return losses.get(self.loss).generator(fake_logits), {}
