"""StyleGAN2, with adaptive discriminator augmentation: no growing, and regularised now and then.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and Improving the Image Quality of
StyleGAN", CVPR 2020, configuration F: modulated convolutions, a generator that sums images of all
resolutions, a residual discriminator, R1 and path length as players of their own that move every
16th and 4th iteration and share the optimisers of the main ones. Layers and settings are those of
the authors' PyTorch code for "Training Generative Adversarial Networks with Limited Data" (NeurIPS
2020), whose augmentation, with its strength found in training, is on where `ada_target` is not 0.

When it is sampled, noise is that of fixed maps, drawn at the start. Six things differ from that
code. Generated images have the labels of the batch that the discriminator sees, there those of
items drawn for them. The running mean of styles moves in the generator's main turn alone, there
whenever latents are mapped. Micro-batches average gradients, where its rounds sum them: only Adam's
epsilon sees that. The signs that adapt the augmentation are those of the discriminator's main turn,
there also those of R1's. Parameters that a lazy turn does not reach, such as biases, count in it as
having a gradient of 0, where PyTorch's Adam passes over them and moves neither their averages nor
its count. And the augmentation's probability stays below 1.
"""

import dataclasses
from collections.abc import Mapping as MappingType
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxgan import losses, penalties
from jaxgan.augment import NUMBERS, augment
from jaxgan.errors import UserError
from jaxgan.fields import Resolution
from jaxgan.nn import fir
from jaxgan.nn.equalized import equalized
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.reduce import add_bias
from jaxgan.nn.stddev import minibatch_stddev
from jaxgan.nn.style import AddNoise, Mapping, ModulatedConv, Noise, mix
from jaxgan.ranges import Count, DecayRate, Positive, Rate, Shape, Share, Weight, Within
from jaxgan.system import Decay, Examples, Metrics, Player, Stage
from jaxgan.systems.common.generative import Conditional, label_of, mean_logits
from jaxgan.systems.common.growing import channels, doubled
from jaxgan.systems.common.styled import Styled
from jaxgan.view import View

Architecture = Literal["skip", "resnet", "orig"]
"""skip: images of all sizes are summed, or seen; resnet: maps of each size join those before; orig:
neither."""


def activation(x: Float[Array, "..."], clamp: float = 0.0) -> Float[Array, "..."]:
    """Leaky ReLU, its gain, which ProGAN has in the kernels, and `clamped`."""
    return clamped(nn.leaky_relu(x, 0.2) * 2**0.5, clamp)


def clamped(x: Float[Array, "..."], clamp: float) -> Float[Array, "..."]:
    """Between -`clamp` and it; as it is for 0."""
    return jnp.clip(x, -clamp, clamp) if clamp else x


class Synthesis(nn.Module):
    """Styles of each layer, and noise, to images, nominally in [-1, 1].

    Attributes:
        widths: channels of the maps of 4, 8, 16, ... pixels.
        channels: of an image.
        architecture: how the sizes come together.
        clamp: what layers and images do not exceed; 0: nothing.
        dtype: compute type.
    """

    widths: tuple[int, ...]
    channels: int
    architecture: Architecture = "skip"
    clamp: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, styles: Float[Array, "b l d"], noise: Noise) -> Float[Array, "b h w c"]:
        """[b, layers, features] to [b, h, w, c].

        An image's style is that of the next convolution, so the last size has one more.
        """
        conv = partial(ModulatedConv, dtype=self.dtype)
        constant = self.param("constant", jinit.normal(1.0), (1, 4, 4, self.widths[0]))
        h = jnp.broadcast_to(constant, (len(styles), *constant.shape[1:])).astype(self.dtype)
        image, inputs, last = jnp.zeros(()), h, 2 * len(self.widths) - 2
        for layer in range(last + 1):
            features, side = self.widths[(layer + 1) // 2], 4 << (layer + 1) // 2
            inputs = h if layer % 2 else inputs
            layers = conv(features, up=layer % 2 == 1, name=f"conv{layer}")
            h = self._finish(layers(h, styles[:, layer]), noise, layer)
            if layer and layer % 2 == 0 and self.architecture == "resnet":
                past = Conv(
                    features,
                    kernel_size=1,
                    use_bias=False,
                    dtype=self.dtype,
                    **equalized(),
                    name=f"skip{side}",
                )
                h = (h + fir.upsample(past(inputs))) * 0.5**0.5
            if layer == last or (layer % 2 == 0 and self.architecture == "skip"):
                to_rgb = conv(self.channels, 1, demodulate=False, name=f"rgb{side}")
                bias = self.param(f"rgb{side}_bias", jinit.zeros, (self.channels,), jnp.float32)
                detail = add_bias(to_rgb(h, styles[:, layer + 1]).astype(jnp.float32), bias)
                detail = clamped(detail, self.clamp)
                image = fir.upsample(image) + detail if image.ndim else detail
        return image

    def _finish(
        self, h: Float[Array, "b n n c"], noise: Noise, layer: int
    ) -> Float[Array, "b n n c"]:
        """Noise, bias, leaky ReLU."""
        noisy = AddNoise(name=f"noise{layer}")(h, None if noise is None else noise[layer])
        bias = self.param(f"bias{layer}", jinit.zeros, h.shape[-1:], jnp.float32)
        return activation(add_bias(noisy, bias), self.clamp)


class Generator(nn.Module):
    """Mapping and synthesis.

    Attributes:
        widths: channels of the maps of 4, 8, 16, ... pixels.
        channels: of an image.
        features: of a style.
        layers: of the mapping.
        classes: of labels; 0: there are none.
        architecture: how the sizes come together.
        clamp: what layers and images do not exceed; 0: nothing.
        dtype: compute type of the synthesis.
    """

    widths: tuple[int, ...]
    channels: int
    features: int
    layers: int
    classes: int = 0
    architecture: Architecture = "skip"
    clamp: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """The two parts."""
        self.mapping = Mapping(self.features, self.layers, 1.0, activation, classes=self.classes)
        self.synthesis = Synthesis(
            self.widths, self.channels, self.architecture, self.clamp, self.dtype
        )

    def __call__(
        self, z: Float[Array, "b z"], *label: Int[Array, " b"], train: bool
    ) -> Float[Array, "b h w c"]:
        """Latents to images, one style for all layers."""
        w = self.styles(z, *label, train=train)
        return self.synthesize(mix(w, w, 0, 2 * len(self.widths)), train=train)

    def styles(
        self, z: Float[Array, "b z"], *label: Int[Array, " b"], train: bool
    ) -> Float[Array, "b d"]:
        """[b, latent] to [b, features]."""
        return self.mapping(z, *label, train=train)

    def synthesize(
        self, styles: Float[Array, "b l d"], noise: Noise = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, layers, features] to [b, h, w, c]."""
        del train
        return self.synthesis(styles, noise)


class Discriminator(nn.Module):
    """Images to logits; with labels, as products of features with a mapping of the label.

    Attributes:
        widths: channels of the maps of 4, 8, 16, ... pixels.
        group: of minibatch standard deviation; 0: a whole batch.
        maps: of minibatch standard deviation; 0: there is none.
        classes: of labels; 0: there are none.
        layers: of the labels' mapping.
        architecture: how the sizes come together.
        clamp: what convolutions do not exceed; 0: nothing.
        dtype: compute type.
    """

    widths: tuple[int, ...]
    group: int = 4
    maps: int = 1
    classes: int = 0
    layers: int = 8
    architecture: Architecture = "resnet"
    clamp: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *label: Int[Array, " b"], train: bool
    ) -> Float[Array, " b"]:
        """[b, h, w, c], and [b] with labels, to [b]."""
        conv = partial(Conv, dtype=self.dtype, **equalized())
        active = partial(activation, clamp=self.clamp)
        h = active(conv(self.widths[-1], kernel_size=1, name="rgb")(x))
        for index in reversed(range(1, len(self.widths))):
            name, (small, features) = f"{4 << index}", self.widths[index - 1 : index + 1]
            inputs = h
            h = active(conv(features, name=f"conv{name}_0")(h))
            h = fir.fir(h, fir.BINOMIAL4, (2, 2))
            h = active(conv(small, stride=2, padding=0, name=f"conv{name}_1")(h))
            if self.architecture == "resnet":
                side = conv(small, kernel_size=1, use_bias=False, name=f"skip{name}")
                h = (h + side(fir.downsample(inputs))) * 0.5**0.5
            if self.architecture == "skip":
                x, joins = fir.downsample(x), active if index > 1 else activation
                h = h + joins(conv(small, kernel_size=1, name=f"rgb{2 << index}")(x))
        if self.maps:
            h = minibatch_stddev(h, self.group, maps=self.maps)
        h = active(conv(self.widths[0], name="conv4_0")(h))
        h = activation(conv(self.widths[0], kernel_size=4, padding=0, name="conv4_1")(h))
        h = h[:, 0, 0].astype(jnp.float32)
        if not self.classes:
            return Dense(1, **equalized(), name="dense")(h)[:, 0]
        width = self.widths[0]
        mapping = Mapping(
            width, self.layers, 1.0, activation, keep=0.0, classes=self.classes, name="mapping"
        )
        seen = Dense(width, **equalized(), name="dense")(h)
        return (seen * mapping(None, *label, train=train)).sum(-1) / width**0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2(Styled, Conditional):
    """Configuration F for squares of 8, 16, 32, ... pixels."""

    shape: Shape = (1024, 1024, 3)
    """Height, width and channels of an image."""
    width: Positive = 32_768
    """Channels of a map times its side."""
    max_channels: Positive = 512
    """Channels of a map at most."""
    mapping_layers: Annotated[int, Within(1, 64)] = 8
    """Dense layers from latents to styles."""
    generator_architecture: Architecture = "skip"
    """How the generator's sizes come together: images of all are summed (skip), maps join those
    before (resnet), or neither (orig)."""
    discriminator_architecture: Architecture = "resnet"
    """How the discriminator's do."""
    label_layers: Annotated[int, Within(1, 64)] = 8
    """Dense layers from labels to what the discriminator's features are multiplied by."""
    group: Count = 4
    """Images over which minibatch standard deviation is taken; 0: the whole (micro-)batch."""
    group_maps: Count = 1
    """Maps of minibatch standard deviation; 0: there is none."""
    clamp: Weight = 0.0
    """What layers do not exceed (256 in the authors' runs, for half precision); 0: nothing."""
    learning_rate: Rate = 2e-3
    """Adam's step size, for both networks."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.99)
    """Adam's decay rates."""
    gamma: Weight = 10.0
    """Weight of R1."""
    r1_every: Positive = 16
    """Iterations for one turn of R1."""
    path_weight: Weight = 2.0
    """Weight of path length; 0: none."""
    path_every: Positive = 4
    """Iterations for one turn of path length."""
    path_decay: Share = 0.01
    """What the running mean of path lengths forgets in a micro-batch."""
    path_shrink: Positive = 2
    """By how much the batch of path length is smaller. Where devices outnumber its images, or do
    not divide them, each device computes them all."""
    ada_target: Share = 0.0
    """Mean sign of real images' logits above which augmentation gets stronger (0.6); 0: none."""
    ada_kimg: Rate = 500.0
    """Thousands of images in which its probability can go from 0 to 1."""
    ada_every: Positive = 256
    """Real images from one change of it to the next."""
    ema_decay: DecayRate = 0.5 ** (32 / 10_000)
    """What the average of the generator's weights keeps in an iteration; 0: no average."""
    ema_rampup: Weight = 0.0
    """Its half-life is at most this share of the iterations done; 0: it is the same throughout."""

    def __post_init__(self) -> None:
        doubled(self.shape, "StyleGAN2")
        if self.ada_target and self.shape[-1] not in (1, 3):
            raise UserError(
                f"image shape {self.shape}: adaptive augmentation knows grey images and RGB; set "
                "ada_target to 0"
            )

    def widths(self) -> tuple[int, ...]:
        """Channels of the maps of 4, 8, 16, ... pixels."""
        return channels(doubled(self.shape, "StyleGAN2"), self.width, self.max_channels)

    def networks(self) -> dict[str, nn.Module]:
        """The generator, which is mapping and synthesis, and the discriminator."""
        common: dict[str, Any] = {"classes": self.classes, "clamp": self.clamp}
        common |= {"dtype": jnp.dtype(self.dtype)}
        return {
            "generator": Generator(
                self.widths(),
                self.shape[-1],
                self.latent,
                self.mapping_layers,
                architecture=self.generator_architecture,
                **common,
            ),
            "discriminator": Discriminator(
                self.widths(),
                self.group,
                self.group_maps,
                layers=self.label_layers,
                architecture=self.discriminator_architecture,
                **common,
            ),
        }

    def memory(self, key: PRNGKeyArray) -> dict[str, PyTree]:
        """The running mean of path lengths, and the strength of augmentation with its count."""
        del key
        names = ("strength", "signs", "count")
        return {
            "path_length": jnp.zeros(()),
            "augmentation": {name: jnp.zeros(()) for name in names},
        }

    def ema(self) -> MappingType[str, Decay]:
        """The generator's decay, in the beginning faster where there is a ramp."""
        if not (self.ema_decay and self.ema_rampup):
            return super().ema()

        def decay(step: Int[Array, ""]) -> Float[Array, ""]:
            half_life = jnp.maximum(self.ema_rampup * step, 1e-3)
            return jnp.minimum(0.5 ** (1 / half_life), self.ema_decay)

        return {"generator": decay}

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the generator, its path lengths, the discriminator, R1."""
        # The authors' code counts path length among the generator's updates also without it.
        generator = self._adam(self.path_every)
        discriminator = self._adam(self.r1_every)
        path = Player(
            name="path_length",
            owns=("generator",),
            loss=self.path_loss,
            optimizer=generator,
            slot="generator",
            every=self.path_every,
            reuse=True,
            writes=("path_length",),
        )
        return (
            Stage(
                players=(
                    Player(
                        name="generator",
                        owns=("generator",),
                        loss=self.generator_loss,
                        optimizer=generator,
                        reuse=True,
                        writes=("generator",),
                    ),
                    *((path,) if self.path_weight else ()),
                    Player(
                        name="discriminator",
                        owns=("discriminator",),
                        loss=self.discriminator_loss,
                        optimizer=discriminator,
                        writes=("augmentation",),
                    ),
                    Player(
                        name="r1",
                        owns=("discriminator",),
                        loss=self.r1_loss,
                        optimizer=discriminator,
                        slot="discriminator",
                        every=self.r1_every,
                        reuse=True,
                    ),
                )
            ),
        )

    def _adam(self, every: int) -> optax.GradientTransformation:
        """Adam for N updates and one more that regularises, as if they were N (appendix B)."""
        share = every / (every + 1)
        return optax.adam(self.learning_rate * share, *(beta**share for beta in self.betas))

    def layers(self, resolution: Resolution | None) -> int:
        """Two of each size of maps."""
        return 2 * len(self.widths())

    def sides(self, resolution: Resolution | None) -> tuple[int, ...]:
        """One of 4 pixels, two of each larger size of maps."""
        return tuple(4 << (layer + 1) // 2 for layer in range(self.layers(resolution) - 1))

    def _judge(
        self,
        view: View,
        images: Float[Array, "b h w c"],
        numbers: Float[Array, "b n"] | None,
        *label: Int[Array, " b"],
    ) -> Float[Array, " b"]:
        """Logits of images as the discriminator sees them: augmented."""
        if numbers is not None:
            images = augment(images, numbers, view.memory["augmentation"]["strength"])
        return view("discriminator", view.augment(images), *label)

    def _numbers(self, view: View, key: PRNGKeyArray, count: int) -> Float[Array, "b n"] | None:
        """What augmentation takes; None where there is none."""
        if not self.ada_target:
            return None
        return jax.vmap(lambda own: jax.random.uniform(own, (NUMBERS,)))(view.keys(key, count))

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Logistic loss; the logits of real images adapt the augmentation."""
        real, count, label = batch["image"], len(batch["image"]), label_of(batch)
        image_key, real_key, fake_key = jax.random.split(key, 3)
        fake = self.synthesize(view, *self.draw_mixed(view, image_key, count, *label))
        # Not together: each batch has a deviation of its own.
        real_logits = self._judge(view, real, self._numbers(view, real_key, count), *label)
        fake_logits = self._judge(view, fake, self._numbers(view, fake_key, count), *label)
        metrics = mean_logits(real_logits, fake_logits)
        if self.ada_target:
            adapted = self._adapted(view.memory["augmentation"], real_logits)
            view.memory["augmentation"] = adapted
            metrics["augmentation"] = adapted["strength"]
        return losses.non_saturating.discriminator(real_logits, fake_logits), metrics

    def _adapted(
        self, state: dict[str, Float[Array, ""]], real_logits: Float[Array, " b"]
    ) -> dict[str, Float[Array, ""]]:
        """The strength, up where the discriminator knows its images too well (ADA, section 3.2).

        At most 1, which the authors' code can leave and then has to come back from.
        """
        signs = state["signs"] + jax.lax.stop_gradient(jnp.sign(real_logits)).sum()
        count = state["count"] + len(real_logits)
        by = jnp.sign(signs / count - self.ada_target) * count / (1000 * self.ada_kimg)
        due = count >= self.ada_every
        return {
            "strength": jnp.clip(state["strength"] + jnp.where(due, by, 0.0), 0.0, 1.0),
            "signs": jnp.where(due, 0.0, signs),
            "count": jnp.where(due, 0.0, count),
        }

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Non-saturating logistic loss."""
        count, label = len(batch["image"]), label_of(batch)
        image_key, augment_key = jax.random.split(key)
        fake = self.synthesize(view, *self.draw_mixed(view, image_key, count, *label))
        logits = self._judge(view, fake, self._numbers(view, augment_key, count), *label)
        return losses.non_saturating.generator(logits), {}

    def r1_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """R1 for as many iterations as it rests in; through the augmentation."""
        real = batch["image"]
        numbers = self._numbers(view, key, len(real))
        strength = view.memory["augmentation"]["strength"]

        def critic(x: Float[Array, "b h w c"]) -> Float[Array, " b"]:
            seen = x if numbers is None else augment(x, numbers, strength)
            return view.frozen("discriminator", view.augment(seen), *label_of(batch))

        penalty = penalties.r1(critic, real)
        return self.gamma * self.r1_every * penalty, {"penalty": penalty}

    def path_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Squared deviation of path lengths from their running mean (section 3.2)."""
        count = max(1, len(batch["image"]) // self.path_shrink)
        image_key, direction_key = jax.random.split(key)
        label = [y[:count] for y in label_of(batch)]
        styles, noise = self.draw_mixed(view, image_key, count, *label)
        shape = self.shape
        directions = view.keys(direction_key, count)
        direction = jax.vmap(lambda own: jax.random.normal(own, shape))(directions)
        direction /= (shape[0] * shape[1]) ** 0.5
        slopes = jax.grad(lambda w: (self.synthesize(view, w, noise) * direction).sum())(styles)
        lengths = penalties.root(jnp.square(slopes).sum(2).mean(1))
        mean = view.memory["path_length"]
        mean += self.path_decay * (lengths.mean() - mean)
        view.memory["path_length"] = jax.lax.stop_gradient(mean)
        penalty = jnp.square(lengths - mean).mean()
        loss = self.path_weight * self.path_every * penalty
        return loss, {"penalty": penalty, "length": lengths.mean()}
