"""SAGAN, its widespread small form: self-attention in a DCGAN with spectral normalisation.

Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks", ICML 2019.
The networks are those of heykeetae's PyTorch code, without labels: attention over the last two maps
of both networks, spectral norm in both on all convolutions but the last and those of the attention,
batch norm in the generator only, 1:1 updates with two step sizes. That code reads a transposed
convolution's weight as a matrix with a row per input channel, and so does this. The networks of the
paper's own code are in `sagan128`.

The loss is the paper's hinge loss; `loss` "wgan-gp" is the code's default, whose readme says to
take spectral norm out with it: `spectral` False does. `discriminator_updates` is what its option
d_iters names (5) and nothing in it reads.

Differs in five ways: any square image of 16, 32, 64, ... pixels a side works, with attention at
the same places counted from the end (the code's channels are fixed for 64); by default the loss is
hinge; with "wgan-gp" the discriminator takes one step on the sum of scores and penalty, as in
Gulrajani et al. (2017), where the code takes one on the scores, then one on the penalty, by the
same Adam; a power iteration runs once an update of a network, not in every forward pass, of which
the discriminator has two in its turn; and the generator's running statistics move in its own turn,
not also in the discriminator's. With `every_turn` the latter two move in either player's turn.
"""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan import losses, penalties
from jaxgan.errors import UserError
from jaxgan.nn.attention import SelfAttention
from jaxgan.nn.initializers import TORCH_TRANSPOSED
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.ranges import DecayRate, Positive, Rate, Shape, Weight
from jaxgan.system import Examples, Metrics, Stage
from jaxgan.systems.common.generative import Attentive, duel, mean_logits
from jaxgan.systems.dcgan import doublings
from jaxgan.view import View

Maps = tuple[Float[Array, "b _ _"], ...]


class Generator(nn.Module):
    """Latents to images in [-1, 1], and attention maps.

    Attributes:
        width: channels before the last layer; they double with each layer before it.
        shape: of an image.
        dtype: compute type.
        spectral: normalise weights by their spectral norms.
    """

    width: int
    shape: tuple[int, ...]
    dtype: DTypeLike = jnp.float32
    spectral: bool = True

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], *, train: bool
    ) -> tuple[Float[Array, "b h w c"], Maps]:
        """[b, latent] to [b, h, w, c], and the maps [b, n, n] of n = hw/16 and hw/4 places."""
        conv = partial(ConvTranspose, initializer=TORCH_TRANSPOSED, dtype=self.dtype)
        normed = partial(
            conv,
            inert_bias=True,  # a batch norm follows
            reparam=partial(SpectralNorm, axis=-2) if self.spectral else None,  # a row per input
        )
        layers = doublings(self.shape)
        h = z[:, None, None]
        maps: Maps = ()
        for index in range(layers):
            features = self.width << (layers - 1 - index)
            name = f"conv{index + 1}"
            if index == 0:
                h = normed(features, stride=1, padding=0, name=name)(h)
            else:
                h = normed(features, name=name)(h)
            h = nn.relu(BatchNorm(name=f"norm{index + 1}")(h, train=train))
            if index >= layers - 2:
                h, attention = SelfAttention(name=f"attention{index + 3 - layers}")(h)
                maps += (attention,)
        h = conv(self.shape[-1], name=f"conv{layers + 1}")(h)
        return jnp.tanh(h.astype(jnp.float32)), maps


class Discriminator(nn.Module):
    """Images to logits, and attention maps.

    Attributes:
        width: channels after the first layer; they double with each layer that halves the image.
        dtype: compute type.
        spectral: normalise weights by their spectral norms.
    """

    width: int
    dtype: DTypeLike = jnp.float32
    spectral: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, " b"], Maps]:
        """[b, h, w, c] to logits [b], and the maps [b, n, n] of n = 64 and 16 places."""
        del train
        layers = doublings(x.shape[1:])
        h = x
        maps: Maps = ()
        for index in range(layers):
            h = Conv(
                self.width << index,
                kernel_size=4,
                stride=2,
                padding=1,
                reparam=SpectralNorm if self.spectral else None,
                dtype=self.dtype,
                name=f"conv{index + 1}",
            )(h)
            h = nn.leaky_relu(h, 0.1)
            if index >= layers - 2:
                h, attention = SelfAttention(name=f"attention{index + 3 - layers}")(h)
                maps += (attention,)
        logits = Conv(1, kernel_size=4, padding=0, name=f"conv{layers + 1}")(h)
        return logits[:, 0, 0, 0], maps


@dataclasses.dataclass(frozen=True, kw_only=True)
class SAGAN(Attentive):
    """Self-attention GAN without labels, for square images of 16, 32, 64, ... pixels a side."""

    shape: Shape = (64, 64, 3)
    """Height, width and channels of an image."""
    width: Positive = 64
    """Channels of the layers next to the image, in both networks."""
    generator_rate: Rate = 1e-4
    """Adam's step size for the generator."""
    discriminator_rate: Rate = 4e-4
    """Adam's step size for the discriminator."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.9)
    """Adam's decay rates."""
    loss: Literal["hinge", "wgan-gp"] = "hinge"
    """The adversarial loss of both players."""
    penalty: Weight = 10.0
    """Weight of wgan-gp's gradient penalty."""
    discriminator_updates: Positive = 1
    """Updates of the discriminator for one of the generator."""
    spectral: bool = True
    """Spectral norm in both networks; the code's readme takes it out for wgan-gp."""
    every_turn: bool = False
    """The generator's running statistics and both networks' power iterations move in both players'
    turns, not in their own player's alone."""

    def __post_init__(self) -> None:
        if doublings(self.shape) < 2:
            raise UserError(f"image shape {self.shape}: attention over two maps needs 16x16 pixels")

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.width, self.shape, dtype, self.spectral),
            "discriminator": Discriminator(self.width, dtype, self.spectral),
        }

    def attention_shape(self) -> tuple[int, int]:
        """Of the map of half the image's side, to itself."""
        places = (self.shape[0] // 2) ** 2
        return places, places

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator `discriminator_updates` times, then the generator."""
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=optax.adam(self.discriminator_rate, *self.betas),
                generator_optimizer=optax.adam(self.generator_rate, *self.betas),
                updates=self.discriminator_updates,
                writes=("discriminator",),
                every_turn=self.every_turn,
            ),
        )

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Hinge loss (equation 4), or the scores' difference and a penalty on their slope."""
        real = batch["image"]
        fake, _ = self.fakes(view, key, len(real))
        (real_logits, _), (fake_logits, _) = view.together(
            "discriminator", (view.augment(real),), (view.augment(fake),)
        )
        metrics = mean_logits(real_logits, fake_logits)
        if self.loss == "hinge":
            return losses.hinge.discriminator(real_logits, fake_logits), metrics
        penalty = penalties.gradient_penalty(
            lambda x: view.frozen("discriminator", view.augment(x))[0],
            real,
            fake,
            jax.vmap(jax.random.uniform)(view.keys(jax.random.fold_in(key, 1), len(real))),
        )
        loss = losses.wasserstein.discriminator(real_logits, fake_logits) + self.penalty * penalty
        return loss, {**metrics, "penalty": penalty}

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean logit (equation 4), whichever the discriminator's loss is."""
        fake, _ = self.fakes(view, key, len(batch["image"]))
        logits, _ = view("discriminator", view.augment(fake))
        return losses.hinge.generator(logits), {}
