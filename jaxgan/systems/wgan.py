"""WGAN: a critic kept Lipschitz by clipping its weights, on DCGAN's networks.

Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017. Real images score higher, as in the
paper; the authors' code trains the negated critic, the same game. It clips before each critic
update, this after it, so that the bound holds at every moment that anyone can look. Every parameter
of the critic is clipped, gains and biases of batch norm included. The authors' code also trains the
critic 100 times an iteration for the first 25 iterations and on every 500th: that is not done here.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxgan import losses
from jaxgan.ranges import Positive, Rate, Shape
from jaxgan.system import Examples, Metrics, Stage
from jaxgan.systems.common.generative import Generative, duel, mean_logits
from jaxgan.systems.dcgan import Discriminator, Generator, doublings
from jaxgan.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class WGAN(Generative):
    """Wasserstein GAN with weight clipping, for square images of 8, 16, 32, 64, ... pixels."""

    shape: Shape = (64, 64, 3)
    """Height, width and channels of an image."""
    latent: Positive = 100
    """Size of the latent vector."""
    width: Positive = 64
    """Channels of the layers next to the image, in both networks."""
    clip: Rate = 0.01
    """Largest absolute value of a parameter of the critic."""
    learning_rate: Rate = 5e-5
    """RMSprop's step size, for both players."""
    discriminator_updates: Positive = 5
    """Updates of the critic for one of the generator."""

    def __post_init__(self) -> None:
        doublings(self.shape)

    def networks(self) -> dict[str, nn.Module]:
        """The generator and, called discriminator, the critic."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.width, self.shape, dtype),
            "discriminator": Discriminator(self.width, dtype),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the critic `discriminator_updates` times, then the generator."""
        # PyTorch's RMSprop, as its default settings are.
        rmsprop = optax.rmsprop(self.learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=rmsprop,
                generator_optimizer=rmsprop,
                updates=self.discriminator_updates,
                writes=("discriminator",),
                project=self.clip_parameters,
            ),
        )

    def clip_parameters(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
        """Every parameter brought into [-clip, clip] (algorithm 1, line 7)."""
        return jax.tree.map(lambda p: jnp.clip(p, -self.clip, self.clip), params)

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Mean score of generated minus real images; its negative estimates K W1."""
        real = batch["image"]
        fake, _ = self.fakes(view, key, len(real))
        real_logits = view("discriminator", view.augment(real))
        fake_logits = view("discriminator", view.augment(fake))
        loss = losses.wasserstein.discriminator(real_logits, fake_logits)
        return loss, mean_logits(real_logits, fake_logits)

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean score."""
        fake, _ = self.fakes(view, key, len(batch["image"]))
        return losses.wasserstein.generator(view("discriminator", view.augment(fake))), {}
