"""cGAN: both networks see the class, on DCGAN's networks.

Mirza, Osindero, "Conditional Generative Adversarial Nets", 2014. The paper's networks are maxout
perceptrons; here, as is usual for images, the class joins the latents as a one-hot vector and the
image as constant planes, one a class. Players draw latents and classes of their own; a generated
image is judged with the class that it was made for.
"""

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.system import Batch, Metrics, View
from jaxgan.systems import dcgan


def planes(
    label: Int[Array, " b"], classes: int, size: tuple[int, ...]
) -> Float[Array, "b h w classes"]:
    """One plane a class, `size` high and wide: ones in that of the label, zeros elsewhere."""
    one_hot = jax.nn.one_hot(label, classes)[:, None, None]
    return jnp.broadcast_to(one_hot, (len(label), *size, classes))


class Generator(nn.Module):
    """Latents and labels to images in [-1, 1].

    Attributes:
        width: channels before the last layer; they double with each layer before it.
        shape: of an image.
        classes: number of classes.
        dtype: compute type.
    """

    width: int
    shape: tuple[int, ...]
    classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, latent] and [b] to [b, h, w, c]."""
        code = jnp.concatenate([z, jax.nn.one_hot(label, self.classes)], -1)
        return dcgan.Generator(self.width, self.shape, self.dtype, name="dcgan")(code, train=train)


class Discriminator(nn.Module):
    """Images and labels to logits.

    Attributes:
        width: channels after the first layer; they double with each layer that halves the image.
        classes: number of classes.
        dtype: compute type.
    """

    width: int
    classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"], *, train: bool
    ) -> Float[Array, " b"]:
        """[b, h, w, c] and [b] to logits [b]."""
        x = jnp.concatenate([x, planes(label, self.classes, x.shape[1:3])], -1)
        return dcgan.Discriminator(self.width, self.dtype, name="dcgan")(x, train=train)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CGAN(dcgan.DCGAN):
    """Conditional DCGAN: a one-hot class joins the latents, constant planes join the image."""

    conditional: ClassVar[bool] = True

    classes: int = 10
    """Number of classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes < 1:
            raise UserError(f"classes is {self.classes}: CGAN needs at least 1; DCGAN needs none")

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.width, self.shape, self.classes, dtype),
            "discriminator": Discriminator(self.width, self.classes, dtype),
        }

    def inputs(self) -> dict[str, tuple]:
        """Latents and images, with labels."""
        label = (jnp.zeros(1, jnp.int32),)
        return {network: xs + label for network, xs in super().inputs().items()}

    def _fake(
        self, view: View, key: PRNGKeyArray, count: int
    ) -> tuple[Float[Array, "b h w c"], Int[Array, " b"]]:
        """Images and the labels drawn for them."""
        latent_key, label_key = jax.random.split(key)
        label = view.draw(count, partial(self.draw_labels, label_key))
        z = view.draw(count, partial(self.draw_latents, latent_key))
        return view("generator", z, label), label

    def discriminator_loss(
        self, view: View, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy on pairs of image and label (equation 2)."""
        real = batch["image"]
        real_logits = view("discriminator", real, batch["label"])
        fake_logits = view("discriminator", *self._fake(view, key, len(real)))
        loss = losses.non_saturating.discriminator(real_logits, fake_logits)
        return loss, {"real_logits": real_logits.mean(), "fake_logits": fake_logits.mean()}

    def generator_loss(
        self, view: View, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy with the labels of real images."""
        fake_logits = view("discriminator", *self._fake(view, key, len(batch["image"])))
        return losses.non_saturating.generator(fake_logits), {}
