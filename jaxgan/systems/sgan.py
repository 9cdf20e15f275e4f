"""SGAN, stacked: one GAN makes features of a label, the next makes an image of the features.

Huang, Li, Poursaeed, Hopcroft, Belongie, "Stacked Generative Adversarial Networks", CVPR 2017. An
encoder E is trained as a classifier: from image x to features h to label y. A stack of generators
inverts it, one layer each: G1 from label and noise z1 to features, G0 from features and noise z0 to
an image. Each has a discriminator of its own and three losses (section 3):

    adversarial: D1 tells G1's features from E's, D0 tells G0's images from real ones;
    conditional: E must find in the output what it was made of: the label (cross entropy), or the
        features (mean square);
    entropy: a head of the discriminator must find the noise (mean square, which it minimises, too),
        or the generator could leave it unused.

First E learns, then G1 and G0, each with real features in the place of what the other makes or
takes, then both together. E's weights are fixed by then.

The authors' code is two, and so are the systems here. `SGAN` is the one for MNIST: discriminators
of one logit, without batch norm. `KWaySGAN` is the one for CIFAR-10: the discriminators are
classifiers of K classes, and real is what has a large Z = log sum exp(logits), which is a softmax
over K + 1 classes in which the logit of the fake is 0 (Salimans et al. 2016); noise is added to
what they see; the surer they are, the more often the generators move, one to seven times an
iteration.

Follows that code, also where the paper differs, but for this:

- It has the encoders' weights and not how they were made: Adam with steps of 1e-3 here.
- Its CIFAR generators minimise log(1 - D). The paper's do not, nor do these, unless `loss` is
  "saturating".
- Its CIFAR networks see images less the mean image of the data. These see images less 0.5.
- Its MNIST code for independent training has leaky ReLUs in all of D1 and D0; these are the
  networks of its code for joint training, but for D0's convolutions, which start as there: with
  deviation 0.02, not 0.01, which is too faint for D0 to learn in thousands of iterations. Its D1
  for CIFAR has noise between layers, and D0 a dropout of 0.3 in place of 0.1, only in joint
  training; these have both always.
- Discriminators learn from fresh noise, generators from other noise, labels are the batch's, as
  there. Running variances are biased, as everywhere in jaxgan.

The published networks make and judge images in [0, 1]. These do, too, inside: as everywhere in
jaxgan, what goes into and comes out of a network is in [-1, 1].
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Label, Points, Uniform
from jaxgan.nn.dropout import dropout
from jaxgan.nn.initializers import glorot_uniform, normal
from jaxgan.nn.layers import Conv, ConvTranspose, Dense
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.resample import max_pool
from jaxgan.ranges import AtLeast, DecayRate, Positive, Rate, Shape, Weight, Within
from jaxgan.system import Decay, Examples, Metrics, Player, Stage, Use
from jaxgan.systems.common.generative import Generative, mean_logits
from jaxgan.view import View

WEIGHTS = normal(0.02)
GLOROT = glorot_uniform()  # Lasagne's own, of layers for which the code names none

Judged = tuple[Float[Array, "b k"], Float[Array, "b z"]]
"""A discriminator's logits, and the noise that it finds."""

norm = partial(BatchNorm, epsilon=1e-6)
leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


Levels = tuple[int, ...]
"""Which generators and discriminators play: 1, of features; 0, of images; the upper one first."""


class Pair(NamedTuple):
    """The real and the made of a level.

    Attributes:
        real: features or images.
        fake: what the generator makes.
        condition: label or features that it is made of.
        noise: that it is made of.
    """

    real: Float[Array, "b ..."]
    fake: Float[Array, "b ..."]
    condition: Array
    noise: Float[Array, "b z"]


class Encoder(nn.Module):
    """A classifier: images to features, features to logits.

    Attributes:
        widths: channels of its two convolutions.
        hidden: size of the features.
        classes: number of classes.
        mean: what it subtracts from images in [0, 1].
        dtype: compute type.
    """

    widths: tuple[int, int]
    hidden: int
    classes: int
    mean: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Its layers, of which `classify` uses the last."""
        conv = partial(Conv, kernel_size=5, padding=0, initializer=normal(0.01), dtype=self.dtype)
        self.conv1, self.conv2 = conv(self.widths[0]), conv(self.widths[1])
        self.dense3 = Dense(self.hidden, initializer=GLOROT, dtype=self.dtype)
        self.dense4 = Dense(self.classes, initializer=GLOROT)

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b f"], Float[Array, "b k"]]:
        """[b, h, w, c] to features [b, hidden], which are at least 0, and logits [b, classes]."""
        h = max_pool(nn.relu(self.conv1((x + 1) / 2 - self.mean)))
        h = max_pool(nn.relu(self.conv2(h)))
        features = nn.relu(self.dense3(h.reshape(len(h), -1))).astype(jnp.float32)
        return features, self.classify(features, train=train)

    def classify(self, features: Float[Array, "b f"], *, train: bool) -> Float[Array, "b k"]:
        """[b, hidden] to logits [b, classes]."""
        del train
        return self.dense4(features.astype(jnp.float32))


class Generator1(nn.Module):
    """A label and noise to features.

    Attributes:
        classes: number of classes.
        features: how many it makes.
        width: of its two hidden layers.
        embeddings: sizes of a layer for the noise alone and of one for the label; none: they enter
            as they are.
        dtype: compute type.
    """

    classes: int
    features: int
    width: int
    embeddings: tuple[int, int] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, label: Int[Array, " b"], z: Float[Array, "b z"], *, train: bool
    ) -> Float[Array, "b f"]:
        """[b] and [b, z] to [b, features], at least 0."""

        def layer(h: Float[Array, "b i"], size: int, name: str) -> Float[Array, "b o"]:
            dense = partial(Dense, size, use_bias=False, initializer=WEIGHTS, dtype=self.dtype)
            return nn.relu(norm(name=f"norm_{name}")(dense(name=name)(h), train=train))

        y = jax.nn.one_hot(label, self.classes)
        if self.embeddings is not None:
            z = layer(z, self.embeddings[0], "noise")
            y = layer(y, self.embeddings[1], "label")
        h = layer(jnp.concatenate([z, y], -1), self.width, "dense1")
        h = layer(h, self.width, "dense2")
        dense = Dense(self.features, initializer=WEIGHTS, dtype=self.dtype, name="dense3")
        return nn.relu(dense(h)).astype(jnp.float32)


class Generator0(nn.Module):
    """Features and noise to an image.

    Attributes:
        shape: of an image; height and width are multiples of 4 and at least 16.
        widths: channels of the maps, the smallest first.
        embeddings: sizes of the layers for the noise alone.
        dtype: compute type.
    """

    shape: tuple[int, ...]
    widths: tuple[int, int, int, int]
    embeddings: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "b f"], z: Float[Array, "b z"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, f] and [b, z] to [b, *shape], in [-1, 1]."""
        dense = partial(Dense, use_bias=False, initializer=WEIGHTS, dtype=self.dtype)
        conv = partial(ConvTranspose, kernel_size=5, initializer=WEIGHTS, dtype=self.dtype)
        double = partial(conv, padding=2, output_padding=1, use_bias=False)
        grow = partial(conv, stride=1, padding=0)  # by 4 pixels
        for index, size in enumerate(self.embeddings):
            z = dense(size, name=f"noise{index + 1}")(z)
            z = nn.relu(norm(name=f"norm_noise{index + 1}")(z, train=train))
        height, width = ((side - 12) // 4 for side in self.shape[:2])
        first, second, third, fourth = self.widths
        h = dense(height * width * first, name="dense1")(jnp.concatenate([features, z], -1))
        h = nn.relu(norm(name="norm1")(h, train=train)).reshape(-1, height, width, first)
        h = nn.relu(norm(name="norm2")(double(second, name="conv2")(h), train=train))
        h = grow(third, use_bias=False, name="conv3")(h)
        h = nn.relu(norm(name="norm3")(h, train=train))
        h = nn.relu(norm(name="norm4")(double(fourth, name="conv4")(h), train=train))
        h = grow(self.shape[-1], name="conv5")(h).astype(jnp.float32)
        return 2 * nn.sigmoid(h) - 1


class Discriminator1(nn.Module):
    """Features to a logit, and to the noise that they were made of.

    Attributes:
        width: of its two layers.
        latent: size of the noise.
        dtype: compute type.
    """

    width: int
    latent: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b f"], *, train: bool) -> Judged:
        """[b, f] to logits [b, 1] and noise [b, latent] in [0, 1]."""
        del train
        dense = partial(Dense, self.width, initializer=GLOROT, dtype=self.dtype)
        h = nn.relu(dense(name="dense1")(h))
        h = nn.relu(dense(name="dense2")(h)).astype(jnp.float32)
        logits = Dense(1, initializer=GLOROT, name="logits")(h)
        return logits, nn.sigmoid(Dense(self.latent, initializer=GLOROT, name="noise")(h))


class Discriminator0(nn.Module):
    """Images to a logit, and to the noise that they were made of.

    Attributes:
        width: channels of the first convolution; each of the next two has twice as many.
        hidden: size of the dense layer.
        latent: size of the noise.
        dtype: compute type.
    """

    width: int
    hidden: int
    latent: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Judged:
        """[b, h, w, c] to logits [b, 1] and noise [b, latent] in [0, 1]."""
        del train
        conv = partial(Conv, kernel_size=5, stride=2, initializer=WEIGHTS, dtype=self.dtype)
        h = (x + 1) / 2
        for index in range(3):
            h = leaky_relu(conv(self.width << index, name=f"conv{index + 1}")(h))
        dense = Dense(self.hidden, initializer=GLOROT, dtype=self.dtype, name="dense4")
        h = nn.relu(dense(h.reshape(len(h), -1))).astype(jnp.float32)
        logits = Dense(1, initializer=GLOROT, name="logits")(h)
        return logits, nn.sigmoid(Dense(self.latent, initializer=GLOROT, name="noise")(h))


def normal_noise(
    h: Float[Array, "b ..."], keys: Key[Array, " b"] | None, place: int, deviation: float
) -> Float[Array, "b ..."]:
    """Adds N(0, deviation^2), another at each place of a network; without keys nothing."""
    if keys is None:
        return h
    draw = partial(jax.random.normal, shape=h.shape[1:])
    return h + deviation * jax.vmap(lambda key: draw(jax.random.fold_in(key, place)))(keys)


class KWayDiscriminator1(nn.Module):
    """Features to a logit for each class, and to the noise that they were made of.

    Attributes:
        width: of its two layers.
        classes: number of classes.
        latent: size of the noise that was the generator's.
        deviation: of the noise that is added to what each layer sees.
        dtype: compute type.
    """

    width: int
    classes: int
    latent: int
    deviation: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, h: Float[Array, "b f"], keys: Key[Array, " b"] | None = None, *, train: bool
    ) -> Judged:
        """[b, f] to logits [b, classes] and noise [b, latent]; without `keys` nothing is added."""
        dense = partial(Dense, self.width, initializer=WEIGHTS, dtype=self.dtype)
        h = normal_noise(h, keys, 0, self.deviation)
        h = leaky_relu(dense(name="dense1")(h))
        h = normal_noise(h, keys, 1, self.deviation)
        h = leaky_relu(norm(name="norm2")(dense(use_bias=False, name="dense2")(h), train=train))
        h = normal_noise(h, keys, 2, self.deviation).astype(jnp.float32)
        head = partial(Dense, initializer=WEIGHTS)
        return head(self.classes, name="logits")(h), head(self.latent, name="noise")(h)


class KWayDiscriminator0(nn.Module):
    """Images to a logit for each class, and to the noise that they were made of.

    Attributes:
        width: channels of its first two layers; the other four have twice as many.
        classes: number of classes.
        latent: size of the noise that was the generator's.
        deviation: of the noise that is added to images in [0, 1].
        rate: of dropout, after each map of half the size.
        dtype: compute type.
    """

    width: int
    classes: int
    latent: int
    deviation: float
    rate: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], keys: Key[Array, " b"] | None = None, *, train: bool
    ) -> Judged:
        """[b, h, w, c] to logits [b, classes] and noise [b, latent].

        Without `keys` there is neither added noise nor dropout.
        """
        conv = partial(Conv, initializer=WEIGHTS, dtype=self.dtype)

        def layer(
            h: Float[Array, "b h w i"], index: int, *, stride: int = 1, padding: int = 1
        ) -> Float[Array, "b y x o"]:
            wide = self.width if index == 2 else 2 * self.width
            name = f"conv{index}"
            h = conv(wide, stride=stride, padding=padding, use_bias=False, name=name)(h)
            return leaky_relu(norm(name=f"norm{index}")(h, train=train))

        def dropped(h: Float[Array, "b h w c"], place: int) -> Float[Array, "b h w c"]:
            if keys is None:
                return h
            return dropout(h, jax.vmap(jax.random.fold_in, (0, None))(keys, place), self.rate)

        h = normal_noise(x / 2, keys, 0, self.deviation)
        h = leaky_relu(conv(self.width, name="conv1")(h))
        h = dropped(layer(h, 2, stride=2), 1)
        h = dropped(layer(layer(h, 3), 4, stride=2), 2)
        h = layer(h, 5, padding=0)
        last = conv(2 * self.width, kernel_size=1, name="conv6")(h)
        h = leaky_relu(last).astype(jnp.float32)
        head = partial(Dense, initializer=WEIGHTS)
        noise = head(self.latent, name="noise")(h.reshape(len(h), -1))
        return head(self.classes, name="logits")(h.mean((1, 2))), noise


def cross_entropy(logits: Float[Array, "b k"], label: Int[Array, " b"]) -> Float[Array, ""]:
    """Of labels by logits, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def mean_square(a: Float[Array, "b n"], b: Float[Array, "b n"]) -> Float[Array, ""]:
    """Of differences."""
    return jnp.square(a - b).mean()


def gradient_scaled(x: Float[Array, "..."], scale: float) -> Float[Array, "..."]:
    """x itself, with `scale` times its gradient."""
    still = jax.lax.stop_gradient(x)
    return still + scale * (x - still)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGAN(Generative):
    """Stacked GAN: label to features to image; heights and widths are 16, 20, 24, 28, ..."""

    shape: Shape = (28, 28, 1)
    """Height, width and channels of an image."""
    classes: Annotated[int, AtLeast(2)] = 10
    """Number of classes."""
    latent: Positive = 50
    """Size of z1, the noise that features are made of."""
    lower_latent: Positive = 50
    """Size of z0, the noise that an image is made of, beside features."""
    features: Positive = 256
    """How many the encoder has."""
    encoder_widths: tuple[Positive, Positive] = (32, 32)
    """Channels of the encoder's convolutions."""
    upper_width: Positive = 512
    """Of G1's layers."""
    lower_widths: tuple[Positive, Positive, Positive, Positive] = (128, 128, 64, 64)
    """Channels of G0's maps, the smallest first."""
    upper_discriminator_width: Positive = 256
    """Of D1's layers."""
    lower_discriminator_width: Positive = 32
    """Channels next to the image in D0."""
    lower_discriminator_hidden: Positive = 256
    """Size of D0's dense layer."""
    loss: Literal["non_saturating", "saturating"] = "non_saturating"
    """What the generators minimise: -log D, or log(1 - D)."""
    condition_weight: Weight = 1.0
    """Of the conditional losses."""
    entropy_weight: Weight = 10.0
    """Of the entropy losses."""
    joint_weight: Weight = 0.0
    """Of G0's loss in G1's while both learn together."""
    encoder_steps: Positive = 6000
    """Iterations in which the encoder learns."""
    upper_steps: Positive = 100_000
    """Iterations in which G1 learns alone."""
    lower_steps: Positive = 100_000
    """Iterations in which G0 learns alone, from real features; then both learn together."""
    encoder_learning_rate: Rate = 1e-3
    """Adam's step size for the encoder; its decay rates are 0.9 and 0.999."""
    learning_rate: Rate = 1e-4
    """Adam's step size for all others."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates for all others."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(side < 16 or side % 4 for side in self.shape[:2]):
            raise UserError(
                f"image shape {self.shape}: height and width must be multiples of 4, at least 16; "
                "change `shape` and resize the data"
            )

    def labels(self) -> dict[str, Field]:
        """The label."""
        return {"label": Label(classes=self.classes)}

    def latents(self) -> dict[str, Field]:
        """A label, and the noise of both generators."""
        return {**self.labels(), **self.noise()}

    def noise(self) -> dict[str, Field]:
        """Of both generators, from 0 to 1."""
        return {"z1": Uniform((self.latent,), low=0), "z0": Uniform((self.lower_latent,), low=0)}

    def inputs(self) -> dict[str, tuple]:
        """Of all five networks."""
        label, z1, z0 = (field.zeros() for field in self.latents().values())
        image, features = self.sample().zeros(), jnp.zeros((1, self.features))
        return {
            "encoder": (image,),
            "generator_1": (label, z1),
            "generator_0": (features, z0),
            "discriminator_1": (features,),
            "discriminator_0": (image,),
        }

    def networks(self) -> dict[str, nn.Module]:
        """The encoder, and a generator and a discriminator for features and for images."""
        dtype = jnp.dtype(self.dtype)
        return {
            "encoder": Encoder(self.encoder_widths, self.features, self.classes, dtype=dtype),
            "generator_1": Generator1(self.classes, self.features, self.upper_width, None, dtype),
            "generator_0": Generator0(self.shape, self.lower_widths, (128,), dtype),
            "discriminator_1": Discriminator1(self.upper_discriminator_width, self.latent, dtype),
            "discriminator_0": Discriminator0(
                self.lower_discriminator_width,
                self.lower_discriminator_hidden,
                self.lower_latent,
                dtype,
            ),
        }

    def ema(self) -> Mapping[str, Decay]:
        """The generators' averages, where they are kept."""
        return (
            dict.fromkeys(("generator_1", "generator_0"), self.ema_decay) if self.ema_decay else {}
        )

    def uses(self) -> dict[str, Use]:
        """Draws samples; classifies images; and draws others of an image's features."""
        image = FromData(column="image")
        classify = Use(
            call=self.classify,
            takes={"image": image},
            gives={**self.labels(), "probabilities": Points((self.classes,))},
            summary="finds the class of an image, by the encoder",
        )
        redraw = Use(
            call=self.redraw,
            takes={"image": image, "z0": self.noise()["z0"]},
            gives={"image": self.sample()},
            summary="draws images that have the features of an image",
        )
        generate = super().uses()["generate"]
        return {"generate": generate, "classify": classify, "redraw": redraw}

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b h w c"]:
        """Samples [b, *shape] in [-1, 1] of what `latents` declares."""
        features = view("generator_1", taken["label"], taken["z1"])
        return view("generator_0", features, taken["z0"])

    def classify(
        self, view: View, taken: Mapping[str, Array], keys: Array, options: None
    ) -> dict[str, Array]:
        """The likeliest class, and the probabilities of all."""
        del keys, options
        _, logits = view("encoder", taken["image"])
        label = logits.argmax(-1).astype(jnp.int32)
        return {"label": label, "probabilities": jax.nn.softmax(logits)}

    def redraw(
        self, view: View, taken: Mapping[str, Array], keys: Array, options: None
    ) -> dict[str, Array]:
        """Images of the features that the encoder finds."""
        del keys, options
        features, _ = view("encoder", taken["image"])
        return {"image": view("generator_0", features, taken["z0"])}

    def stages(self) -> tuple[Stage, ...]:
        """The encoder, G1, G0, and both generators together."""
        encoder = Player(
            name="encoder",
            owns=("encoder",),
            loss=self.encoder_loss,
            optimizer=optax.adam(self.encoder_learning_rate),
        )
        return (
            Stage(players=(encoder,), steps=self.encoder_steps),
            Stage(players=self.game((1,)), steps=self.upper_steps),
            Stage(players=self.game((0,)), steps=self.lower_steps),
            Stage(players=self.game((1, 0))),
        )

    def game(self, levels: Levels) -> tuple[Player, Player]:
        """The discriminators of some levels, at once, then their generators, at once.

        Adam's moments begin anew where both levels are joined.
        """
        judges = tuple(f"discriminator_{level}" for level in levels)
        makers = tuple(f"generator_{level}" for level in levels)
        return (
            Player(
                name="discriminator",
                slot="+".join(judges),
                owns=judges,
                loss=partial(self.discriminator_loss, levels),
                optimizer=optax.adam(self.learning_rate, *self.betas),
                writes=judges,
            ),
            Player(
                name="generator",
                slot="+".join(makers),
                owns=makers,
                loss=partial(self.generator_loss, levels),
                optimizer=optax.adam(self.learning_rate, *self.betas),
                reuse=True,
                writes=makers,
                **self.turn(),
            ),
        )

    def turn(self) -> dict[str, Any]:
        """Attributes of the generators' Player: how often they move."""
        return {}

    def encoder_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Cross entropy."""
        del key
        _, logits = view("encoder", batch["image"])
        accuracy = (logits.argmax(-1) == batch["label"]).astype(jnp.float32).mean()
        return cross_entropy(logits, batch["label"]), {"accuracy": accuracy}

    def pairs(
        self, levels: Levels, view: View, batch: Examples, key: PRNGKeyArray
    ) -> dict[int, Pair]:
        """For each level the real, what is made, and what that is made of."""
        drawn = view.draw(self.noise(), key, len(batch["label"]))
        condition, _ = view("encoder", batch["image"])
        made = {}
        if 1 in levels:
            fake = view("generator_1", batch["label"], drawn["z1"])
            made[1] = Pair(condition, fake, batch["label"], drawn["z1"])
            condition = gradient_scaled(fake, self.joint_weight)
        if 0 in levels:
            fake = view("generator_0", condition, drawn["z0"])
            made[0] = Pair(batch["image"], fake, condition, drawn["z0"])
        return made

    def discriminator_loss(
        self, levels: Levels, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Half the binary cross entropy, the entropy loss, and that of real labels (KWaySGAN).

        Of each level; metrics without a number are those of the lowest.
        """
        draw_key, judge_key = jax.random.split(key)
        total = jnp.zeros(())
        metrics: Metrics = {}
        for level, pair in self.pairs(levels, view, batch, draw_key).items():
            level_key = jax.random.fold_in(judge_key, level)
            (real, _), (fake, noise) = self.judge_both(view, level, pair, level_key)
            real_score, fake_score = self.score(real), self.score(fake)
            adversarial = losses.non_saturating.discriminator(real_score, fake_score) / 2
            entropy = mean_square(noise, pair.noise)
            total += adversarial + self.entropy_weight * entropy
            total += self.label_loss(real, batch["label"])
            metrics |= {f"adversarial_{level}": adversarial, f"entropy_{level}": entropy}
            metrics |= {"adversarial": adversarial, **mean_logits(real_score, fake_score)}
        return total, metrics

    def generator_loss(
        self, levels: Levels, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """The adversarial, the conditional and the entropy loss of each level."""
        draw_key, judge_key = jax.random.split(key)
        total = jnp.zeros(())
        metrics: Metrics = {}
        for level, pair in self.pairs(levels, view, batch, draw_key).items():
            logits, noise = self.judge(view, level, pair.fake, jax.random.fold_in(judge_key, level))
            adversarial = losses.get(self.loss).generator(self.score(logits))
            condition = self.conditional_loss(view, level, pair)
            entropy = mean_square(noise, pair.noise)
            total += adversarial + self.condition_weight * condition + self.entropy_weight * entropy
            metrics |= {f"adversarial_{level}": adversarial, f"condition_{level}": condition}
            metrics |= {f"entropy_{level}": entropy}
        return total, metrics

    def conditional_loss(self, view: View, level: int, pair: Pair) -> Float[Array, ""]:
        """How far the encoder is from finding the label in features, the features in an image."""
        if level:
            return cross_entropy(view("encoder", pair.fake, method="classify"), pair.condition)
        return mean_square(view("encoder", pair.fake)[0], pair.condition)

    def judge(
        self, view: View, level: int, made: Float[Array, "b ..."], key: PRNGKeyArray
    ) -> Judged:
        """What a level's discriminator finds."""
        del key
        return view(f"discriminator_{level}", made)

    def judge_both(
        self, view: View, level: int, pair: Pair, key: PRNGKeyArray
    ) -> tuple[Judged, Judged]:
        """What a level's discriminator finds in the real, and in what is made."""
        del key
        real, fake = view.together(f"discriminator_{level}", (pair.real,), (pair.fake,))
        return real, fake

    def score(self, logits: Float[Array, "b k"]) -> Float[Array, " b"]:
        """By which the real is told from what is made: logits of a sigmoid."""
        return logits[:, 0]

    def label_loss(
        self, logits: Float[Array, "b k"], label: Int[Array, " b"]
    ) -> Float[Array, ""] | float:
        """Of a discriminator that has classes."""
        del logits, label
        return 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class KWaySGAN(SGAN):
    """Stacked GAN whose discriminators are classifiers; heights and widths are 16, 20, 24, ..."""

    shape: Shape = (32, 32, 3)
    """Height, width and channels of an image."""
    lower_latent: Positive = 16
    """Size of z0, the noise that an image is made of, beside features."""
    encoder_widths: tuple[Positive, Positive] = (64, 128)
    """Channels of the encoder's convolutions."""
    lower_widths: tuple[Positive, Positive, Positive, Positive] = (256, 256, 128, 128)
    """Channels of G0's maps, the smallest first."""
    upper_discriminator_width: Positive = 512
    """Of D1's layers."""
    lower_discriminator_width: Positive = 96
    """Channels next to the image in D0."""
    label_weight: Weight = 1.0
    """Of real labels' cross entropy in the discriminators' loss."""
    upper_deviation: Weight = 0.2
    """Of the noise that is added to what D1's layers see."""
    lower_deviation: Weight = 0.05
    """Of the noise that is added to what D0 sees of images in [0, 1]."""
    dropout: Annotated[float, Within(0, 1, below=True)] = 0.3
    """Share of the numbers that D0's dropout zeroes."""
    thresholds: tuple[Rate, ...] = (0.65, 0.5, 0.3)
    """Adversarial losses of the discriminator: for each that its own is not above, the generators
    make two more updates, of one batch. Of both levels, while they learn together, the lower one's
    loss counts."""
    joint_weight: Weight = 0.01
    """Of G0's loss in G1's while both learn together."""
    encoder_steps: Positive = 10_000
    """Iterations in which the encoder learns."""

    def networks(self) -> dict[str, nn.Module]:
        """The encoder, and a generator and a discriminator for features and for images."""
        dtype = jnp.dtype(self.dtype)
        return {
            "encoder": Encoder(
                self.encoder_widths, self.features, self.classes, mean=0.5, dtype=dtype
            ),
            "generator_1": Generator1(
                self.classes, self.features, self.upper_width, (256, 512), dtype
            ),
            "generator_0": Generator0(self.shape, self.lower_widths, (128, 128), dtype),
            "discriminator_1": KWayDiscriminator1(
                self.upper_discriminator_width,
                self.classes,
                self.latent,
                self.upper_deviation,
                dtype,
            ),
            "discriminator_0": KWayDiscriminator0(
                self.lower_discriminator_width,
                self.classes,
                self.lower_latent,
                self.lower_deviation,
                self.dropout,
                dtype,
            ),
        }

    def turn(self) -> dict[str, Any]:
        """The generators move 1, 3, 5, ... times an iteration, by the discriminator's loss."""
        if not self.thresholds:
            return {}

        def updates(metrics: dict[str, Metrics]) -> Int[Array, ""]:
            loss = metrics["discriminator"]["adversarial"]
            return 1 + 2 * (loss <= jnp.array(self.thresholds)).sum()

        return {"repeats": 1 + 2 * len(self.thresholds), "updates": updates}

    def judge(
        self, view: View, level: int, made: Float[Array, "b ..."], key: PRNGKeyArray
    ) -> Judged:
        """What a level's discriminator finds."""
        return view(f"discriminator_{level}", made, view.keys(key, len(made)))

    def judge_both(
        self, view: View, level: int, pair: Pair, key: PRNGKeyArray
    ) -> tuple[Judged, Judged]:
        """What a level's discriminator finds in the real, and in what is made, as two batches."""
        keys = jax.random.split(key)
        real, fake = (
            self.judge(view, level, side, key)
            for side, key in zip((pair.real, pair.fake), keys, strict=True)
        )
        return real, fake

    def score(self, logits: Float[Array, "b k"]) -> Float[Array, " b"]:
        """Z: the logits of being real, where the logit of the class of fakes is 0."""
        return jax.nn.logsumexp(logits, -1)

    def label_loss(
        self, logits: Float[Array, "b k"], label: Int[Array, " b"]
    ) -> Float[Array, ""] | float:
        """Cross entropy of real labels."""
        return self.label_weight * cross_entropy(logits, label)
