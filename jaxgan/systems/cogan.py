"""CoGAN: two kinds of images drawn together, learned without pairs.

Liu, Tuzel, "Coupled Generative Adversarial Networks", NeurIPS 2016. Two generators share all layers
but the last, two discriminators all but the first. So one latent vector becomes an image of either
kind that mean the same, such as a digit and its outline, although no example says which belong
together. Follows the authors' PyTorch code for digits of 28 x 28 pixels: every layer has a bias,
also before a batch norm, which has no scale and shift of its own; the discriminator's convolutions
have no activation but max-pooling; its two logits end in a softmax, which is a sigmoid of their
difference; weight decay is part of the gradient. Each player draws latents of its own.

The published networks make and judge images in [0, 1]. These do, too, inside: as everywhere in
jaxgan, what goes into and comes out of a network is in [-1, 1].
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial

import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Field, Image, Normal
from jaxgan.nn.initializers import Init, glorot_uniform
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.resample import max_pool
from jaxgan.ranges import DecayRate, Positive, Rate, Shape, Weight
from jaxgan.system import Decay, Examples, Metrics, Stage, System, Use
from jaxgan.systems.common.generative import duel, mean_logits
from jaxgan.view import View

SIDE = 28  # height and width of an image, for which the layers are made

KINDS = ("image", "other")

XAVIER = Init(glorot_uniform(math.sqrt(2)).kernel, lambda fan_in: jinit.constant(0.1))

Both = tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]
"""An image of the first kind and one of the second, in [-1, 1]."""


class Generator(nn.Module):
    """Latents to an image of either kind.

    Attributes:
        width: channels before the two last layers; they double with each layer before.
        channels: of an image.
        dtype: compute type.
    """

    width: int
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], *, train: bool) -> Both:
        """[b, latent] to two of [b, 28, 28, channels]."""
        conv = partial(ConvTranspose, initializer=XAVIER, dtype=self.dtype)
        h = z[:, None, None]
        for index in range(4):  # 4, 7, 13 and 25 pixels a side
            features, name = self.width << (3 - index), f"conv{index + 1}"
            if index == 0:
                h = conv(features, stride=1, padding=0, inert_bias=True, name=name)(h)
            else:
                h = conv(features, kernel_size=3, inert_bias=True, name=name)(h)
            h = BatchNorm(affine=False, name=f"norm{index + 1}")(h, train=train)
            h = nn.PReLU(negative_slope_init=0.25, name=f"prelu{index + 1}")(h)
        head = partial(conv, self.channels, kernel_size=6, stride=1)
        image, other = (
            2 * nn.sigmoid(head(name=f"head_{kind}")(h).astype(jnp.float32)) - 1 for kind in KINDS
        )
        return image, other


class Discriminator(nn.Module):
    """Images of both kinds to logits.

    Attributes:
        dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], other: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b 2"]:
        """Two of [b, 28, 28, c] to the logits of the first kind and of the second, [b, 2]."""
        del train
        conv = partial(Conv, padding=0, initializer=XAVIER, dtype=self.dtype)
        apart = [
            max_pool(conv(20, kernel_size=5, name=f"conv1_{kind}")((x + 1) / 2))
            for kind, x in zip(KINDS, (image, other), strict=True)
        ]
        # Interleaved, so that a batch that is split over devices stays where it is.
        h = jnp.stack(apart, 1).reshape(-1, *apart[0].shape[1:])
        h = max_pool(conv(50, kernel_size=5, name="conv2")(h))
        h = conv(500, kernel_size=4, name="conv3")(h)
        h = nn.PReLU(negative_slope_init=0.25, name="prelu3")(h)
        h = conv(2, kernel_size=1, name="conv4")(h)[:, 0, 0].astype(jnp.float32)
        return (h[:, 1] - h[:, 0]).reshape(-1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoGAN(System):
    """Coupled GANs, for images of 28 x 28 pixels.

    Data are two unrelated sets, as `unpaired:OTHERS,IMAGES` opens them.
    """

    shape: Shape = (SIDE, SIDE, 1)
    """Height, width and channels of an image, of either kind."""
    latent: Positive = 100
    """Size of the latent vector."""
    width: Positive = 128
    """Channels of the generator's last shared layer; they double with each layer before it."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""
    weight_decay: Weight = 5e-4
    """What is added to each gradient, in multiples of the weight."""
    ema_decay: DecayRate = 0.0
    """What the average of the generator's weights keeps in an iteration; 0: no average."""

    def __post_init__(self) -> None:
        if self.shape[:2] != (SIDE, SIDE) or len(self.shape) != 3:
            raise UserError(
                f"image shape {self.shape}: CoGAN's networks make {SIDE} x {SIDE} pixels; set "
                "`shape` to these, and resize the data"
            )

    def data(self) -> tuple[dict[str, Field], ...]:
        """Two unrelated sets of images."""
        return {"image": Image(self.shape)}, {"other": Image(self.shape, column="input")}

    def networks(self) -> dict[str, nn.Module]:
        """The pair of generators and the pair of discriminators, each one network."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.width, self.shape[-1], dtype),
            "discriminator": Discriminator(dtype),
        }

    def inputs(self) -> dict[str, tuple]:
        """Latents; an image of either kind."""
        image = jnp.zeros((1, *self.shape))
        return {"generator": (jnp.zeros((1, self.latent)),), "discriminator": (image, image)}

    def uses(self) -> dict[str, Use]:
        """Draws pairs."""

        def generate(
            view: View, taken: dict[str, Array], keys: Array, options: None
        ) -> dict[str, Array]:
            return dict(zip(KINDS, view("generator", taken["z"]), strict=True))

        return {
            "generate": Use(
                call=generate,
                takes={"z": Normal((self.latent,))},
                gives=dict.fromkeys(KINDS, Image(self.shape)),
                summary="draws an image and the other that belongs to it",
            )
        }

    def ema(self) -> Mapping[str, Decay]:
        """The generators' average, if any; the paper keeps none."""
        return {"generator": self.ema_decay} if self.ema_decay else {}

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminators, then the generators."""
        # As PyTorch's Adam decays weights: before the moments, not after them.
        adam = optax.chain(
            optax.add_decayed_weights(self.weight_decay),
            optax.adam(self.learning_rate, *self.betas),
        )
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam,
                generator_optimizer=adam,
            ),
        )

    def fakes(self, view: View, key: PRNGKeyArray, count: int) -> Both:
        """Pairs for a batch, as a discriminator sees them."""
        drawn = view.draw({"z": Normal((self.latent,))}, key, count)
        image, other = view("generator", drawn["z"])
        return view.augment(image), view.augment(other)

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy, over both kinds alike."""
        real = tuple(view.augment(batch[kind]) for kind in KINDS)
        fake = self.fakes(view, key, len(batch["image"]))
        real_logits, fake_logits = view.together("discriminator", real, fake)
        loss = losses.non_saturating.discriminator(real_logits, fake_logits)
        return loss, mean_logits(real_logits, fake_logits)

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy with the labels of real images."""
        fake = self.fakes(view, key, len(batch["image"]))
        return losses.non_saturating.generator(view("discriminator", *fake)), {}
