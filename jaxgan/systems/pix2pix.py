"""pix2pix: from one image to another, learned from pairs.

Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR
2017. The generator is a U-Net; its only noise is dropout, which stays on after training, so that an
input has a distribution of outputs. The discriminator sees input and output together and judges
patches of 70x70 pixels. The generator minimises its adversarial loss and an L1 distance to the
target; the discriminator's loss is halved, which slows it down.

Follows the authors' PyTorch code. Its batch norm, with batches of one and never in evaluation mode,
is a norm of single images; so it is here, at every batch size, and an output does not depend on its
neighbours. Differs in that the players draw noise of their own, where the code shows one output to
both; that the step size falls from iteration to iteration to 0, in the code once an epoch, in n
epochs by 1/(n + 1) of it each; and that networks for images of 2^n pixels a side are derived by one
rule. With `masks` it segments, as the paper does with label maps (section 4.5): a mask in [0, 1] is
2 m - 1 to both networks.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Image, Mask
from jaxgan.nn.unet import UNet, halvings
from jaxgan.ranges import Weight, Within
from jaxgan.system import Decay, Examples, Metrics, Stage, Use
from jaxgan.systems.common.generative import duel, mean_logits
from jaxgan.systems.common.translation import Translation
from jaxgan.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pix2Pix(Translation):
    """Image-to-image translation from pairs, for square images of 8, 16, 32, ... pixels a side.

    Augmentation treats a pair as one image of both's channels.
    """

    input_channels: Annotated[int, Within(1, 4)] = 3
    """Channels of an image that it is made from."""
    dropout: Annotated[float, Within(0, 1, below=True)] = 0.5
    """Share of the numbers that the generator's dropout zeroes, in training and after."""
    statistics: Literal["image", "running"] = "image"
    """What norms take after training: the image's own mean and variance; or running ones, without
    dropout, as the authors' code does with --eval. While it trains they take the image's own."""
    l1: Weight = 100.0
    """Weight of the L1 distance in the generator's loss."""
    masks: bool = False
    """Make soft masks of images, one channel, in place of images of inputs: segmentation."""

    def __post_init__(self) -> None:
        halvings(self.shape)
        if self.masks and self.shape[-1] != 1:
            raise UserError(f"shape is {self.shape}, and masks have one channel: set it to 1")
        super().__post_init__()

    @property
    def given(self) -> str:
        """What the data call that which is translated."""
        return "image" if self.masks else "input"

    @property
    def target(self) -> str:
        """And what it is to become."""
        return "mask" if self.masks else "image"

    def data(self) -> tuple[dict[str, Field], ...]:
        """Pairs: an image or a mask, and what it is to be made from, as high and as wide."""
        given = Image((*self.shape[:2], self.input_channels))
        return ({self.target: self._field(), self.given: given},)

    def _field(self) -> Image:
        return Mask(self.shape) if self.masks else Image(self.shape)

    def uses(self) -> dict[str, Use]:
        """Makes images of inputs, or masks of images."""

        def call(view: View, taken: dict[str, Array], keys: Any, options: Any) -> dict[str, Array]:
            made = self.make(view, taken[self.given], keys)
            return {self.target: (made + 1) / 2 if self.masks else made}

        return {
            "segment" if self.masks else "AtoB": Use(
                call=call,
                takes={self.given: FromData(column=self.given)},
                gives={self.target: self._field()},
                summary=f"makes {self.target}s of {self.given}s, one of those that each may have",
            )
        }

    def ema(self) -> Mapping[str, Decay]:
        """The generator's average, where one is kept."""
        return {"generator": self.ema_decay} if self.ema_decay else {}

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": UNet(
                self.shape[-1], self.width, self.dropout, self.statistics == "running", dtype
            ),
            "discriminator": self.patchgan(affine=True),
        }

    def inputs(self) -> dict[str, tuple]:
        """Inputs, and pairs with them along channels."""
        pair = (*self.shape[:2], self.input_channels + self.shape[-1])
        return {
            "generator": (jnp.zeros((1, *self.shape[:2], self.input_channels)),),
            "discriminator": (jnp.zeros((1, *pair)),),
        }

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator, then the generator."""
        adam = self.adam()
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam,
                generator_optimizer=adam,
            ),
        )

    def make(
        self, view: View, images: Float[Array, "b h w i"], keys: Key[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """One of the outputs that each input may have, in [-1, 1]; its key says which."""
        return view("generator", images, keys)

    def _made(self, view: View, batch: Examples, key: PRNGKeyArray) -> Float[Array, "b h w c"]:
        """Outputs for the inputs of a batch, each with noise of its own."""
        given = batch[self.given]
        return self.make(view, given, view.keys(key, len(given)))

    def _wanted(self, batch: Examples) -> Float[Array, "b h w c"]:
        """What they should be, in [-1, 1]."""
        target = batch[self.target]
        return target * 2 - 1 if self.masks else target

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Half the binary cross entropy, a mean over patches (equation 1)."""
        real, fake = (
            view.augment(jnp.concatenate([batch[self.given], image], -1))
            for image in (self._wanted(batch), self._made(view, batch, key))
        )
        real_logits, fake_logits = view.together("discriminator", (real,), (fake,))
        loss = losses.non_saturating.discriminator(real_logits, fake_logits) / 2
        return loss, mean_logits(real_logits, fake_logits)

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy with the labels of real images, and L1 (equation 4)."""
        made = self._made(view, batch, key)
        pair = jnp.concatenate([batch[self.given], made], -1)
        logits = view("discriminator", view.augment(pair))
        adversarial = losses.non_saturating.generator(logits)
        l1 = jnp.abs(made - self._wanted(batch)).mean()
        return adversarial + self.l1 * l1, {"adversarial": adversarial, "l1": l1}
