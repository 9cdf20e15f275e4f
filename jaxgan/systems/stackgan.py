"""StackGAN: images of sentences, a sketch of low resolution first and then its refinement.

Zhang, Xu, Li, Zhang, Wang, Huang, Metaxas, "StackGAN: Text to Photo-realistic Image Synthesis with
Stacked Generative Adversarial Networks", ICCV 2017. Stage I makes small images of noise and of a
sentence's vector, stage II large ones of the small ones and of the vector. Each has conditioning
augmentation, which draws what its generator sees of the sentence from a Gaussian around a mean,
and a discriminator that also learns that an image with another's sentence is wrong.

Networks and losses are those of the authors' PyTorch code (hanzhanggit/StackGAN-Pytorch). What
differs:

- The log variance has no activation (ReLU holds the variance at 1 or above; `rectified`).
- Wrong sentences are drawn from all data, where that code takes the next row's of the batch. Equal
  ones add nothing to the loss, which stays a mean over all rows. But of n images with several
  sentences each, up to one pair in n is an image with another of its own, and counts as wrong:
  only vectors are compared. It matters with few images (`few:N:DATA`).
- In stage II the first generator runs in evaluation mode.
- Generator and discriminator see fakes of their own.
- Images are brought to either stage's size whole; that code resizes them to 76/64 of it, 76 and
  304 pixels, and cuts out a random square. Random flips are a setting of the data.
- Data hold one vector an image; that code has several, and draws one. Of several sentences
  (`encoder`) one is drawn here, too.
- Biases of the last convolutions start at 0, not as PyTorch's; an epoch's last images are not
  dropped where they fill no batch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Normal, Text
from jaxgan.nn.initializers import normal, shifted_normal
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import BatchNorm
from jaxgan.pretrained import minilm
from jaxgan.ranges import DecayRate, Few, Positive, Rate, Shape, Weight
from jaxgan.state import State
from jaxgan.system import Decay, Examples, Metrics, Player, Stage, Use
from jaxgan.systems.common.generative import Generative, mean_logits
from jaxgan.view import View

INIT = normal(0.02)
GAIN = shifted_normal(1.0, 0.02)

SAME = 1e-3
"""Distance up to which vectors are of one sentence."""


class Augmentation(nn.Module):
    """A sentence's vector to mean and log variance of what a generator sees of it.

    Attributes:
        features: numbers of each.
        rectified: ReLU on both, as in the authors' PyTorch code; otherwise on the mean alone.
        scale: what vectors are multiplied by.
        dtype: compute type.
    """

    features: int
    rectified: bool = False
    scale: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, caption: Float[Array, "b e"], *, train: bool
    ) -> tuple[Float[Array, "b f"], Float[Array, "b f"]]:
        """[b, embedding] to the mean and the log variance, [b, features] each."""
        del train
        dense = Dense(2 * self.features, initializer=INIT, dtype=self.dtype, name="dense")
        both = dense(self.scale * caption).astype(jnp.float32)
        mean, log_variance = jnp.split(both, 2, axis=-1)
        return nn.relu(mean), nn.relu(log_variance) if self.rectified else log_variance


class _Maps(nn.Module):
    """What the networks share: convolutions without bias, each with batch norm.

    Attributes:
        dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    def conv(self, x: Float[Array, "b h w i"], features: int, name: str, **how: Any) -> Array:
        return Conv(features, use_bias=False, initializer=INIT, dtype=self.dtype, name=name, **how)(
            x
        )

    def norm(self, x: Float[Array, "*b c"], number: str, train: bool) -> Array:
        return BatchNorm(scale_init=GAIN, name=f"norm{number}")(x, train=train)

    def enlarge(
        self, h: Float[Array, "b h w c"], times: int, train: bool
    ) -> Float[Array, "b H W o"]:
        """Doubles sides and halves channels, `times` over."""
        for level in range(times):
            h = self.conv(h, max(h.shape[-1] // 2, 1), f"up{level}", scale="up")
            h = nn.relu(self.norm(h, f"_up{level}", train))
        return h

    def image(self, h: Float[Array, "b h w c"], channels: int) -> Float[Array, "b h w o"]:
        return jnp.tanh(self.conv(h, channels, "image").astype(jnp.float32))


class Generator1(_Maps):
    """Noise and what stands for a sentence to small images.

    Attributes:
        width: an eighth of the channels of the first map, of 4x4 pixels.
        side: of the images.
        channels: of the images.
    """

    width: int = 128
    side: int = 64
    channels: int = 3

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], condition: Float[Array, "b f"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, latent] and [b, features] to [b, side, side, channels] in [-1, 1]."""
        h = jnp.concatenate([z, condition], -1)
        features = 8 * self.width
        dense = Dense(
            16 * features, use_bias=False, initializer=INIT, dtype=self.dtype, name="dense"
        )
        h = nn.relu(self.norm(dense(h), "_dense", train)).reshape(-1, 4, 4, features)
        return self.image(self.enlarge(h, halvings(self.side, 4), train), self.channels)


class Generator2(_Maps):
    """Small images and what stands for a sentence to large ones.

    Attributes:
        width: a quarter of the channels of the smallest map, a quarter as wide as small images.
        side: of the large images.
        blocks: residual ones.
        channels: of the images.
    """

    width: int = 128
    side: int = 256
    blocks: int = 4
    channels: int = 3

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], condition: Float[Array, "b f"], *, train: bool
    ) -> Float[Array, "b H W c"]:
        """[b, h, w, channels] and [b, features] to [b, side, side, channels] in [-1, 1]."""
        h = nn.relu(self.conv(image, self.width, "down0"))
        for level in (1, 2):
            how = {"kernel_size": 4, "stride": 2, "padding": 1}
            h = self.conv(h, self.width << level, f"down{level}", **how)
            h = nn.relu(self.norm(h, f"_down{level}", train))
        h = nn.relu(self.norm(self.conv(beside(h, condition), 4 * self.width, "joint"), "", train))
        for block in range(self.blocks):
            kept = h
            h = self.conv(h, 4 * self.width, f"block{block}_0")
            h = nn.relu(self.norm(h, f"_block{block}_0", train))
            h = self.conv(h, 4 * self.width, f"block{block}_1")
            h = nn.relu(kept + self.norm(h, f"_block{block}_1", train))
        return self.image(self.enlarge(h, halvings(self.side, h.shape[1]), train), self.channels)


class Discriminator(_Maps):
    """Images, with what stands for sentences, to logits.

    Attributes:
        width: channels of the first map.
        alone: whether images are judged by themselves, too: stage II.
    """

    width: int = 64
    alone: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *conditions: Float[Array, "b f"], train: bool
    ) -> tuple[Float[Array, " b"], ...]:
        """Logits [b] of the images with each of the conditions [b, features], and by themselves.

        Each condition goes through the conditional head's batch norm by itself.
        """
        for level in range(halvings(x.shape[1], 4)):
            how = {"kernel_size": 4, "stride": 2, "padding": 1}
            x = self.conv(x, self.width << level, f"down{level}", **how)
            x = nn.leaky_relu(self.norm(x, f"_down{level}", train) if level else x, 0.2)
        while x.shape[-1] > 8 * self.width:  # to as many channels as stage I has
            features = x.shape[-1] // 2
            x = self.conv(x, features, f"squeeze{features}")
            x = nn.leaky_relu(self.norm(x, f"_squeeze{features}", train), 0.2)
        joint = Conv(x.shape[-1], use_bias=False, initializer=INIT, dtype=self.dtype, name="joint")
        norm = BatchNorm(scale_init=GAIN, name="norm_joint")
        judge = self.judge("conditional")
        judged = [
            judge(nn.leaky_relu(norm(joint(beside(x, c)), train=train), 0.2).astype(jnp.float32))
            for c in conditions
        ]
        if self.alone:
            judged.append(self.judge("unconditional")(x.astype(jnp.float32)))
        return tuple(logits[:, 0, 0, 0] for logits in judged)

    def judge(self, name: str) -> Conv:
        """What makes logits of maps of 4x4 pixels."""
        return Conv(1, kernel_size=4, stride=1, padding=0, initializer=INIT, name=name)


def halvings(side: int, smallest: int) -> int:
    """How often a side is halved, down to the smallest."""
    return (side // smallest).bit_length() - 1


def beside(h: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c+f"]:
    """Maps with the condition at each of their places."""
    tiled = jnp.broadcast_to(condition[:, None, None], (*h.shape[:3], condition.shape[-1]))
    return jnp.concatenate([h, tiled.astype(h.dtype)], -1)


def divergence(mean: Float[Array, "b f"], log_variance: Float[Array, "b f"]) -> Float[Array, ""]:
    """KL(N(mean, variance) || N(0, 1)) in nats, a number: the mean over rows and features."""
    return -0.5 * jnp.mean(1 + log_variance - jnp.square(mean) - jnp.exp(log_variance))


def differ(caption: Float[Array, "b e"], other: Float[Array, "b e"]) -> Bool[Array, " b"]:
    """Where two sentences are not the same, by their vectors; an image may have both."""
    return jnp.square(caption - other).sum(-1) > SAME**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackGAN(Generative):
    """Both stages, for squares of 8, 16, 32, ... pixels."""

    shape: Shape = (256, 256, 3)
    """Height, width and channels of stage II's images."""
    sketch: Positive = 64
    """Side of stage I's images."""
    latent: Positive = 100
    """Size of the noise."""
    embedding: Positive = 1024
    """Size of a sentence's vector."""
    encoder: Literal["minilm", "none"] = "none"
    """What makes vectors of sentences; none: data hold vectors."""
    scale: Weight = 1.0
    """What vectors are multiplied by: numbers of unit vectors, such as MiniLM's, are small beside
    the noise of the conditioning augmentation; the root of `embedding` makes their squares 1."""
    condition: Positive = 128
    """Size of what the networks see of a sentence."""
    rectified: bool = False
    """ReLU on the log variance, too, as the authors' PyTorch code has it."""
    generator_width: Positive = 192
    """Channels that the generators' are multiples of."""
    discriminator_width: Positive = 96
    """Channels of the discriminators' first maps."""
    blocks: Few = 2
    """Residual blocks of stage II's generator."""
    steps: Positive = 77_640
    """Iterations of stage I, 120 epochs of COCO; stage II takes what the run has left."""
    batches: tuple[Positive, Positive] = (128, 40)
    """Images a draw of either stage."""
    halve_every: tuple[Positive, Positive] = (12_940, 41_400)
    """Iterations of either stage after which step sizes are halved: 20 epochs of COCO, of 647 and
    2,070 iterations."""
    inherit: bool = False
    """Stage II's conditioning augmentation begins as what stage I's has become; else anew."""
    divergence_weight: Weight = 2.0
    """Of the conditioning augmentation's divergence from the standard normal."""
    learning_rate: Rate = 2e-4
    """Adam's step size for all networks."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        side, sketch = self.shape[0], self.sketch
        squares = len(self.shape) == 3 and self.shape[1] == side
        if not squares or sketch < 8 or sketch & (sketch - 1) or side & (side - 1):
            raise UserError(
                f"image shape {self.shape}, sketch {sketch}: StackGAN makes squares of 8, 16, "
                "32, ... pixels; set both"
            )
        if self.encoder == "minilm" and self.embedding != minilm.SIZE:
            raise UserError(
                f"embedding is {self.embedding}: minilm makes vectors of {minilm.SIZE} numbers"
            )
        if side <= sketch:
            raise UserError(
                f"sketch is {sketch}: it must be smaller than the images, of {side} pixels"
            )

    def caption(self) -> Field:
        """A sentence's vector."""
        encode = minilm.encode if self.encoder == "minilm" else None
        return Text((self.embedding,), column="text", encode=encode)

    def latents(self) -> dict[str, Field]:
        """Noise of the image, and that of each stage's conditioning augmentation."""
        return {"z": Normal((self.latent,)), "noise": Normal((2, self.condition))}

    def data(self) -> tuple[dict[str, Field], ...]:
        """Images with a sentence each; and sentences of others."""
        return {"image": self.sample(), "caption": self.caption()}, {"other": self.caption()}

    def networks(self) -> dict[str, nn.Module]:
        """For each stage conditioning augmentation, a generator and a discriminator."""
        dtype, channels = jnp.dtype(self.dtype), self.shape[-1]
        width, judges = self.generator_width, self.discriminator_width
        augmentation = Augmentation(self.condition, self.rectified, self.scale, dtype)
        return {
            "augmentation1": augmentation,
            "generator1": Generator1(dtype, width, self.sketch, channels),
            "discriminator1": Discriminator(dtype, judges),
            "augmentation2": augmentation,
            "generator2": Generator2(dtype, width, self.shape[0], self.blocks, channels),
            "discriminator2": Discriminator(dtype, judges, alone=True),
        }

    def inputs(self) -> dict[str, tuple]:
        """Sentences, noise, images and conditions."""
        caption, condition = self.caption().zeros(), jnp.zeros((1, self.condition))
        image = self.sample()
        small = image.at(self.sketch).zeros()
        return {
            "augmentation1": (caption,),
            "generator1": (jnp.zeros((1, self.latent)), condition),
            "discriminator1": (small, condition),
            "augmentation2": (caption,),
            "generator2": (small, condition),
            "discriminator2": (image.zeros(), condition),
        }

    def ema(self) -> Mapping[str, Decay]:
        """The generators' averages, where they are kept."""
        names = ("augmentation1", "generator1", "augmentation2", "generator2")
        return dict.fromkeys(names, self.ema_decay) if self.ema_decay else {}

    def uses(self) -> dict[str, Use]:
        """Draws images of sentences."""
        return {
            "generate": Use(
                call=lambda view, taken, keys, options: {"image": self.make(view, taken)},
                takes={"caption": FromData(column="caption"), **self.latents()},
                gives={"image": self.sample()},
                summary="draws images of sentences",
            )
        }

    def stages(self) -> tuple[Stage, ...]:
        """Stage I, then stage II; in each the discriminator, then the generator."""
        return tuple(
            Stage(
                players=(
                    Player(
                        name="discriminator",
                        owns=(f"discriminator{number}",),
                        slot=f"discriminator{number}",
                        loss=self.discriminator_loss,
                        optimizer=self.adam(number),
                        writes=(f"discriminator{number}",),
                    ),
                    Player(
                        name="generator",
                        owns=(f"augmentation{number}", f"generator{number}"),
                        slot=f"generator{number}",
                        loss=self.generator_loss,
                        optimizer=self.adam(number),
                        reuse=True,
                        writes=(f"generator{number}",),
                    ),
                ),
                steps=steps,
                batch=batch,
                resolution=side,
                enter=self.enter if self.inherit and number == 2 else None,
            )
            for number, steps, batch, side in (
                (1, self.steps, self.batches[0], self.sketch),
                (2, None, self.batches[1], self.shape[0]),
            )
        )

    def enter(self, state: State, batch: Examples, key: PRNGKeyArray) -> State:
        """The state with stage I's conditioning augmentation in the place of stage II's."""
        del batch, key
        return dataclasses.replace(
            state,
            params=_inherited(state.params),
            ema=_inherited(state.ema) if state.ema else state.ema,
        )

    def adam(self, number: int) -> optax.GradientTransformation:
        """Adam, whose step size is halved every so many iterations of a stage."""
        halved = optax.exponential_decay(
            self.learning_rate, self.halve_every[number - 1], 0.5, staircase=True
        )
        return optax.adam(halved, *self.betas)

    def stage(self, view: View) -> int:
        """The number of the stage that a view is of."""
        return 1 if view.resolution == self.sketch else 2

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b h w c"]:
        """Images in [-1, 1] of sentences, of the size that the stage has."""
        return self.made(view, taken)[0]

    def made(
        self, view: View, taken: Mapping[str, Array]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b f"], Float[Array, "b f"]]:
        """Images, and the mean and the log variance of what the last generator saw."""
        stage, caption, noise = self.stage(view), taken["caption"], taken["noise"]
        # In stage II the first generator is as it is, and not trained.
        how = {} if stage == 1 else {"train": False}
        mean, log_variance = view("augmentation1", caption, **how)
        condition = mean + noise[:, 0] * jnp.exp(0.5 * log_variance)
        image = view("generator1", taken["z"], condition, **how)
        if stage == 2:
            mean, log_variance = view("augmentation2", caption)
            condition = mean + noise[:, 1] * jnp.exp(0.5 * log_variance)
            image = view("generator2", jax.lax.stop_gradient(image), condition)
        return image, mean, log_variance

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy of right pairs against wrong and made ones; and of images alone."""
        number, caption, other = self.stage(view), batch["caption"], batch["other"]
        network = f"discriminator{number}"
        drawn = view.draw(self.latents(), key, len(caption))
        fake, mean, _ = self.made(view, {"caption": caption, **drawn})
        others, _ = view(f"augmentation{number}", other)
        mean, others = jax.lax.stop_gradient((mean, others))
        right, wrong, *alone = view(network, view.augment(batch["image"]), mean, others)
        made, *made_alone = view(network, view.augment(fake), mean)
        counted = differ(caption, other).astype(jnp.float32)
        # By all rows: a share of those that count would not be the mean over micro-batches.
        on_wrong = (jax.nn.softplus(wrong) * counted).mean()
        on_right, on_made = jax.nn.softplus(-right).mean(), jax.nn.softplus(made).mean()
        if number == 1:
            loss = on_right + (on_made + on_wrong) / 2
        else:
            on_real = jax.nn.softplus(-alone[0]).mean()
            on_fake = jax.nn.softplus(made_alone[0]).mean()
            loss = (on_right + on_real) / 2 + (on_made + on_wrong + on_fake) / 3
        return loss, {**mean_logits(right, made), "wrong_logits": wrong.mean()}

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropy with the labels of right pairs, and the divergence."""
        caption = batch["caption"]
        drawn = view.draw(self.latents(), key, len(caption))
        fake, mean, log_variance = self.made(view, {"caption": caption, **drawn})
        network = f"discriminator{self.stage(view)}"
        # What the discriminator sees of the sentence is no way to please it.
        judged = view(network, view.augment(fake), jax.lax.stop_gradient(mean))
        kl = divergence(mean, log_variance)
        loss = sum(losses.non_saturating.generator(logits) for logits in judged)
        return loss + self.divergence_weight * kl, {"divergence": kl}


def _inherited(networks: dict[str, PyTree]) -> dict[str, PyTree]:
    """Networks, of which the second conditioning augmentation is a copy of the first."""
    return {**networks, "augmentation2": networks["augmentation1"]}
