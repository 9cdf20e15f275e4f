"""InfoGAN: latents that mean something, learned without labels.

Chen, Duan, Houthooft, Schulman, Sutskever, Abbeel, "InfoGAN: Interpretable Representation Learning
by Information Maximizing Generative Adversarial Nets", NeurIPS 2016. Beside noise, the generator
takes a category and a few numbers, the code. A third network, which shares the discriminator's
layers, must recognise both in the image: what it can recognise bounds their mutual information with
the image from below, which both players maximise. On digits the categories become the ten digits,
the code slant and thickness.

Follows the authors' code for MNIST: one weight of the information, 1, for category and code; codes
scored as normal with deviation 1, although they are drawn from U(-1, 1); the leaky ReLU's slope is
0.01 (the paper has 0.1); the recogniser has two more outputs, once meant as log-variances, that
nothing uses. It learns in the discriminator's turn alone: the generator's loss goes through it and
leaves it as it is. Real and generated images pass through the discriminator as separate batches.
Each player draws latents of its own, where the code shows one batch of fakes to both.

The published networks make and judge images in [0, 1]. These do, too, inside: as everywhere in
jaxgan, what goes into and comes out of a network is in [-1, 1].
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Label, Points, Uniform
from jaxgan.nn.initializers import Init, normal, shifted_normal
from jaxgan.nn.layers import Conv, ConvTranspose, Dense
from jaxgan.nn.norm import BatchNorm
from jaxgan.ranges import AtLeast, DecayRate, Positive, Rate, Shape, Weight
from jaxgan.system import Examples, Metrics, Player, Stage, Use
from jaxgan.systems.common.generative import Generative, mean_logits
from jaxgan.view import View

WEIGHTS = normal(0.02)  # of dense layers and transposed convolutions
TRUNCATED = Init(jinit.truncated_normal(0.02))  # of convolutions
SLOPE = 0.01  # of the leaky ReLUs below 0

norm = partial(BatchNorm, scale_init=shifted_normal(1.0, 0.02))


class Generator(nn.Module):
    """Noise, a category and a code to images in [-1, 1].

    Attributes:
        hidden: size of the first layer.
        width: channels before the last layer, and half of those before that.
        categories: how many there are.
        shape: of an image.
        dtype: compute type.
    """

    hidden: int
    width: int
    categories: int
    shape: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b z"],
        category: Int[Array, " b"],
        code: Float[Array, "b k"],
        *,
        train: bool,
    ) -> Float[Array, "b h w c"]:
        """[b, latent], [b] and [b, codes] to [b, h, w, c]."""
        dense = partial(Dense, initializer=WEIGHTS, inert_bias=True, dtype=self.dtype)
        conv = partial(ConvTranspose, initializer=WEIGHTS, dtype=self.dtype)
        height, width = (side // 4 for side in self.shape[:2])
        h = jnp.concatenate([z, jax.nn.one_hot(category, self.categories), code], -1)
        h = nn.relu(norm(name="norm1")(dense(self.hidden, name="dense1")(h), train=train))
        h = dense(height * width * 2 * self.width, name="dense2")(h)
        h = nn.relu(norm(name="norm2")(h, train=train))
        h = h.reshape(-1, height, width, 2 * self.width)
        h = conv(self.width, inert_bias=True, name="conv3")(h)
        h = nn.relu(norm(name="norm3")(h, train=train))
        h = conv(self.shape[-1], name="conv4")(h).astype(jnp.float32)
        return 2 * nn.sigmoid(h) - 1


class Discriminator(nn.Module):
    """Images to logits, and to the features by which a category and a code are recognised.

    Attributes:
        hidden: size of the features.
        width: channels after the first layer, and half of those after the second.
        dtype: compute type.
    """

    hidden: int
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, " b"], Float[Array, "b f"]]:
        """[b, h, w, c] to logits [b] and features [b, hidden]."""
        conv = partial(
            Conv, kernel_size=4, stride=2, padding=1, initializer=TRUNCATED, dtype=self.dtype
        )
        h = nn.leaky_relu(conv(self.width, name="conv1")((x + 1) / 2), SLOPE)
        h = conv(2 * self.width, inert_bias=True, name="conv2")(h)
        h = nn.leaky_relu(norm(name="norm2")(h, train=train), SLOPE)
        dense = Dense(
            self.hidden, initializer=WEIGHTS, inert_bias=True, dtype=self.dtype, name="dense3"
        )
        h = nn.leaky_relu(norm(name="norm3")(dense(h.reshape(len(h), -1)), train=train), SLOPE)
        logits = Dense(1, initializer=WEIGHTS, name="dense4")(h.astype(jnp.float32))
        return logits[:, 0], h


class Recogniser(nn.Module):
    """Features of the discriminator to what the image was made of.

    Attributes:
        hidden: size of the hidden layer.
        categories: how many there are.
        codes: numbers of the code.
        dtype: compute type.
    """

    hidden: int
    categories: int
    codes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "b f"], *, train: bool
    ) -> tuple[Float[Array, "b k"], Float[Array, "b c"]]:
        """[b, f] to the categories' logits [b, categories] and the code's means [b, codes]."""
        dense = partial(Dense, initializer=WEIGHTS, dtype=self.dtype)
        h = norm(name="norm1")(
            dense(self.hidden, inert_bias=True, name="dense1")(features), train=train
        )
        h = nn.leaky_relu(h, SLOPE)
        # The last `codes` of these are the log-variances that nothing uses.
        h = dense(self.categories + 2 * self.codes, name="dense2")(h).astype(jnp.float32)
        return h[:, : self.categories], h[:, self.categories : self.categories + self.codes]


def gaussian_nll(x: Float[Array, "b k"], mean: Float[Array, "b k"] | float) -> Float[Array, " b"]:
    """-log N(x; mean, 1), summed over the numbers of each row, in nats."""
    return (0.5 * jnp.square(x - mean) + 0.5 * math.log(2 * math.pi)).sum(-1)


def category_information(
    logits: Float[Array, "b k"], category: Int[Array, " b"]
) -> Float[Array, ""]:
    """What the logits say of uniform categories, at most log k nats; 0 where they are all equal."""
    found = jax.nn.log_softmax(logits)[jnp.arange(len(category)), category].mean()
    return found + math.log(logits.shape[-1])


def code_information(means: Float[Array, "b k"], code: Float[Array, "b k"]) -> Float[Array, ""]:
    """How much likelier codes are by N(means, 1) than by N(0, 1), in nats; 0 where means are 0."""
    return (gaussian_nll(code, 0.0) - gaussian_nll(code, means)).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoGAN(Generative):
    """Information-maximising GAN, for heights and widths that are multiples of 4."""

    shape: Shape = (28, 28, 1)
    """Height, width and channels of an image."""
    latent: Positive = 62
    """Size of the noise."""
    categories: Annotated[int, AtLeast(2)] = 10
    """How many categories there are."""
    codes: Positive = 2
    """Numbers of the code."""
    width: Positive = 64
    """Channels of the layers next to the image, in both networks; the next have twice as many."""
    hidden: Positive = 1024
    """Size of the dense layers."""
    recogniser_hidden: Positive = 128
    """Size of the recogniser's hidden layer."""
    category_weight: Weight = 1.0
    """Of the category's information, in both losses."""
    code_weight: Weight = 1.0
    """Of the code's information, in both losses; the paper has 0.1, its code 1."""
    generator_learning_rate: Rate = 1e-3
    """Adam's step size for the generator."""
    discriminator_learning_rate: Rate = 2e-4
    """Adam's step size for the discriminator and the recogniser."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(side % 4 for side in self.shape[:2]):
            raise UserError(
                f"image shape {self.shape}: height and width must be multiples of 4; change "
                "`shape` and resize the data"
            )

    def latents(self) -> dict[str, Field]:
        """Noise, a category and a code."""
        return {
            "z": Uniform((self.latent,)),
            "category": Label(classes=self.categories),
            "code": Uniform((self.codes,)),
        }

    def inputs(self) -> dict[str, tuple]:
        """Latents; images; the discriminator's features."""
        return {**super().inputs(), "recogniser": (jnp.zeros((1, self.hidden)),)}

    def networks(self) -> dict[str, nn.Module]:
        """The generator, the discriminator and what reads its features."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": Generator(self.hidden, self.width, self.categories, self.shape, dtype),
            "discriminator": Discriminator(self.hidden, self.width, dtype),
            "recogniser": Recogniser(self.recogniser_hidden, self.categories, self.codes, dtype),
        }

    def uses(self) -> dict[str, Use]:
        """Draws samples; and recognises what an image would be made of."""
        infer = Use(
            call=self.infer,
            takes={"image": FromData(column="image")},
            gives={
                "category": Label(classes=self.categories),
                "probabilities": Points((self.categories,)),
                "code": Points((self.codes,)),
            },
            summary="recognises category and code of an image",
        )
        return {**super().uses(), "infer": infer}

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b h w c"]:
        """Samples [b, *shape] in [-1, 1] of what `latents` declares."""
        return view("generator", taken["z"], taken["category"], taken["code"])

    def infer(
        self, view: View, taken: Mapping[str, Array], keys: Array, options: None
    ) -> dict[str, Array]:
        """The likeliest category, the probabilities of all, and the code's means."""
        del keys, options
        _, features = view("discriminator", taken["image"])
        logits, code = view("recogniser", features)
        category = logits.argmax(-1).astype(jnp.int32)
        return {"category": category, "probabilities": jax.nn.softmax(logits), "code": code}

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the discriminator with the recogniser, then the generator."""
        return (
            Stage(
                players=(
                    Player(
                        name="discriminator",
                        owns=("discriminator", "recogniser"),
                        loss=self.discriminator_loss,
                        optimizer=optax.adam(self.discriminator_learning_rate, *self.betas),
                        writes=("discriminator", "recogniser"),
                    ),
                    Player(
                        name="generator",
                        owns=("generator",),
                        loss=self.generator_loss,
                        optimizer=optax.adam(self.generator_learning_rate, *self.betas),
                        reuse=True,
                        writes=("generator",),
                    ),
                )
            ),
        )

    def information(
        self, view: View, features: Float[Array, "b f"], drawn: Mapping[str, Array]
    ) -> tuple[Float[Array, ""], Metrics]:
        """The weighted lower bound of the mutual information, in nats, and its parts."""
        logits, means = view("recogniser", features)
        category = category_information(logits, drawn["category"])
        code = code_information(means, drawn["code"])
        total = self.category_weight * category + self.code_weight * code
        return total, {"category_information": category, "code_information": code}

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy less the information (equation 6 of the paper)."""
        real = batch["image"]
        fake, drawn = self.fakes(view, key, len(real))
        real_logits, _ = view("discriminator", view.augment(real))
        fake_logits, features = view("discriminator", view.augment(fake))
        information, parts = self.information(view, features, drawn)
        loss = losses.non_saturating.discriminator(real_logits, fake_logits) - information
        return loss, {**mean_logits(real_logits, fake_logits), **parts}

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy with the labels of real images, less the information."""
        fake, drawn = self.fakes(view, key, len(batch["image"]))
        logits, features = view("discriminator", view.augment(fake))
        information, _ = self.information(view, features, drawn)
        return losses.non_saturating.generator(logits) - information, {}
