"""cGAN: both networks see the class, on DCGAN's networks.

Mirza, Osindero, "Conditional Generative Adversarial Nets", 2014. The paper's networks are maxout
perceptrons; here, as is usual for images, the class joins the latents as a one-hot vector and the
image as constant planes, one a class. Players draw latents and classes of their own; a generated
image is judged with the class that it was made for.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan.errors import UserError
from jaxgan.nn.projection import Scores
from jaxgan.ranges import Count
from jaxgan.system import Examples, Metrics
from jaxgan.systems import dcgan
from jaxgan.systems.common.auxiliary import Classifying
from jaxgan.view import View


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
        classify: class logits, in place of a look at the labels (AC-GAN).
    """

    width: int
    classes: int
    dtype: DTypeLike = jnp.float32
    classify: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"], *, train: bool
    ) -> Scores:
        """[b, h, w, c] and [b] to logits [b] or, if it classifies, those and [b, classes]."""
        if not self.classify:
            x = jnp.concatenate([x, planes(label, self.classes, x.shape[1:3])], -1)
        heads = self.classes if self.classify else 0
        return dcgan.Discriminator(self.width, self.dtype, heads, name="dcgan")(x, train=train)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CGAN(dcgan.DCGAN, Classifying):
    """Conditional DCGAN: a one-hot class joins the latents, constant planes join the image.

    The losses are DCGAN's, on pairs of image and label (equation 2). With `class_weights`, an
    auxiliary classifier in place of the planes.
    """

    classes: Count = 10
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
            "discriminator": Discriminator(self.width, self.classes, dtype, self.classifies),
        }

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """DCGAN's, and the cross entropy of the real images' classes if it classifies."""
        loss, metrics, on_real = self._discriminate(view, batch, key)
        return self.with_classes(loss, metrics, on_real, batch, self.class_weights[0])

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """DCGAN's, and the cross entropy of the classes that were asked for."""
        loss, on_fake, drawn = self._generate(view, batch, key)
        return self.with_classes(loss, {}, on_fake, drawn, self.class_weights[1])
