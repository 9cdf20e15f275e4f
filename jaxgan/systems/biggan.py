"""BigGAN: class-conditional residual networks with self-attention, on a large batch.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
ICLR 2019. Spectral norm on every weight of both networks, a shared class embedding and a chunk of
the latent vector in every batch norm of the generator (hierarchical latents), a projection
discriminator, hinge loss, a late average of the generator's weights, truncated latents.

Layers and defaults follow the paper's appendix B and the author's PyTorch code (ajbrock), whose
parameter counts at 128 pixels are the paper's. The widths for 32 and 64 pixels are that code's; its
table for 32 takes all maps in the discriminator for 16x16, so that attention at 16, where it is
asked for, comes after every block. At 256 and 512 that code and compare_gan differ in where
attention sits and in one convolution: `generator_attention`, `discriminator_attention` and
`equal_shortcuts` choose. ajbrock's truncation scales latents, here components are redrawn, as in
the paper. Its networks all train in every pass: the generator's running statistics and both
networks' power iterations move in the turns of either player; here in their own player's alone,
unless `every_turn`; and power iterations run once an update, also where it accumulates
micro-batches.

What the paper reports as not helping (appendix H) are settings that are off by default: batch norm
in the discriminator, a class embedding that both networks share, attention at several sizes,
dilated convolutions, twice the depth; and growing, which the paper does without. The paper says
little of how; each setting's docstring says how it is done here.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxgan import losses, penalties
from jaxgan.errors import UserError
from jaxgan.nn.attention import PooledSelfAttention
from jaxgan.nn.initializers import Init, normal, orthogonal
from jaxgan.nn.layers import Conv, Dense, Embed, Reparam
from jaxgan.nn.norm import BatchNorm, ClassBatchNorm, LinearBatchNorm
from jaxgan.nn.projection import Scores, projection
from jaxgan.nn.resample import downsample, upsample
from jaxgan.nn.residual import DiscriminatorBlock, GeneratorBlock
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.ranges import Count, DecayRate, Positive, Rate, Shape, Weight, Within
from jaxgan.system import Decay, Examples, Metrics, Stage
from jaxgan.systems.common.auxiliary import Classifying, split
from jaxgan.systems.common.generative import (
    Attentive,
    duel,
    label_of,
    mean_logits,
)
from jaxgan.systems.common.growing import Fade, blend, faded, progress, reached
from jaxgan.view import View

GENERATOR = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
"""{side of the image: width of the 4x4 map, then after each doubling, in `channels`}."""

DISCRIMINATOR = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
"""{side of the image: width after each block, in `channels`}."""


START = 8
"""Side of the images of the first stage, where they grow."""

NEGATIVE = (
    "discriminator_norm",
    "shared_projection",
    "generator_dilation",
    "discriminator_dilation",
    "double_depth",
    "growing",
)
"""Settings of appendix H that BigGAN alone has, of this package and of the authors' codes."""


def halvings(side: int) -> int:
    """How often the discriminator halves an image: 32 pixels to 8x8, others to 4x4."""
    return 2 if side == 32 else side.bit_length() - 3


def sizes(side: int, blocks: int) -> tuple[int, ...]:
    """Sizes of the discriminator's maps after each block, by which attention finds its place.

    By ajbrock's tables: at 32 pixels they are 16, 8, 8, 8, but count as 16.
    """
    if side == 32:
        return (16,) * blocks
    return tuple(side >> min(block, halvings(side)) for block in range(1, blocks + 1))


def attention_names(attention: tuple[int, ...]) -> dict[int, str]:
    """{size of the generator's map: name of the attention after it}."""
    return {size: f"attention{size}" if len(attention) > 1 else "attention" for size in attention}


def apply_block(
    block: nn.Module,
    x: Float[Array, "b h w i"],
    shift: Float[Array, " i"] | None,
    condition: tuple[Array, ...],
    *,
    remat: bool,
    train: bool,
) -> tuple[Float[Array, "b y x o"], Float[Array, " o"] | None]:
    """A generator block's output and shift (`jaxgan.nn.residual`); no shift where none comes in.

    With `remat`, backpropagation keeps the block's input alone and computes the rest again.
    """

    def apply(block: Any, x: Array, shift: Array | None, *condition: Array) -> Any:
        return block(x, *condition, train=train, shift=shift)

    out = (nn.remat(apply) if remat else apply)(block, x, shift, *condition)
    return (out, None) if shift is None else out


class Conditioning(NamedTuple):
    """How labels and latents condition a generator's batch norms.

    classes: 0 for no labels.
    shared: size of the class embedding that all norms share; 0: a table in every norm.
    latents: latents condition the norms, too.
    initializer: of embeddings, tables and linear layers.
    reparam: reparametrisation of the linear layers; embeddings have none.
    epsilon: added to the norms' variances.
    """

    classes: int
    shared: int
    latents: bool
    initializer: Init
    reparam: Reparam
    epsilon: float

    def norm(self) -> Callable[..., nn.Module]:
        """Factory of the blocks' norms."""
        if self.shared or self.latents:
            return partial(
                LinearBatchNorm,
                initializer=self.initializer,
                reparam=self.reparam,
                epsilon=self.epsilon,
            )
        if not self.classes:
            return partial(BatchNorm, epsilon=self.epsilon)
        table = self.initializer.kernel
        return partial(
            ClassBatchNorm,
            classes=self.classes,
            epsilon=self.epsilon,
            scale_init=lambda *args: 1 + table(*args),
            bias_init=table,
        )

    def embedding(self, name: str | None = None) -> Embed | None:
        """The class embedding that all norms share, where there is one."""
        if not self.shared:
            return None
        return Embed(self.shared, classes=self.classes, initializer=self.initializer, name=name)

    def of(
        self, label: tuple[Int[Array, " b"], ...], embedding: Embed | None
    ) -> Callable[..., tuple[Array, ...]]:
        """(*latents) -> what a norm is given besides its input; call it inside of a network."""
        embedded = () if embedding is None else (embedding(*label),)

        def condition(*latents: Array) -> tuple[Array, ...]:
            vectors = (*embedded, *latents)
            return (jnp.concatenate(vectors, -1),) if vectors else label

        return condition


class Generator(nn.Module):
    """Latents, and labels if there are classes, to images in [-1, 1] and attention maps.

    Attributes:
        channels: after the first dense layer, then after each block that doubles the size.
        colours: channels of an image.
        conditioning: of the blocks; with latents, these go in equal chunks to the dense layer and
            to the blocks.
        attention: sizes of the maps after which attention comes.
        initializer: of all kernels.
        reparam: reparametrisation of all kernels.
        dilation: of the blocks' 3x3 convolutions.
        double: a block that keeps the size after every one that doubles it.
        growing: images of all sizes from `START` on can be made.
        remat: blocks are computed again in backpropagation.
        dtype: compute type.
    """

    channels: tuple[int, ...]
    colours: int
    conditioning: Conditioning
    attention: tuple[int, ...]
    initializer: Init
    reparam: Reparam
    dilation: int = 1
    double: bool = False
    growing: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """The class embedding, which `embed` reads alone."""
        self.shared = self.conditioning.embedding()

    def embed(self, label: Int[Array, " b"], *, train: bool) -> Float[Array, "b e"]:
        """Rows of the class embedding."""
        del train
        return self.shared(label)

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b z"],
        *label: Int[Array, " b"],
        train: bool,
        resolution: int = 0,
        fade: Fade = None,
    ) -> tuple[Float[Array, "b h w c"], tuple[Float[Array, "b n m"], ...]]:
        """[b, latent] and, for a conditional generator, labels [b] to images, and attention maps.

        Images have the side `resolution`; 0: the whole one. `fade` blends in the image of half that
        side, enlarged.
        """
        common: dict[str, Any] = {
            "initializer": self.initializer,
            "reparam": self.reparam,
            "dtype": self.dtype,
        }
        base, *wider = self.channels
        whole, names = 4 << len(wider), attention_names(self.attention)
        resolution = resolution or whole
        condition = self.conditioning.of(label, self.shared)
        latents: list[tuple[Array, ...]] = [()] * len(wider)
        if self.conditioning.latents:
            z, *chunks = jnp.split(z, len(self.channels), axis=1)
            latents = [(chunk,) for chunk in chunks]

        def paint(h: Float[Array, "b h w i"]) -> Float[Array, "b h w c"]:
            of_size = "" if h.shape[1] == whole else str(h.shape[1])
            norm = BatchNorm(epsilon=self.conditioning.epsilon, name=f"norm{of_size}")
            conv = Conv(self.colours, **common, name=f"conv{of_size}")
            return jnp.tanh(conv(nn.relu(norm(h, train=train))).astype(jnp.float32))

        h = Dense(4 * 4 * base, **common, name="dense")(z).reshape(-1, 4, 4, base)
        maps: tuple[Array, ...] = ()
        shift = jnp.zeros(base) if self.attention else None
        smaller: Any = None
        for index, features in enumerate(wider, 1):
            block = partial(
                GeneratorBlock,
                features,
                norm=self.conditioning.norm(),
                shortcut_init=self.initializer,
                dilation=self.dilation,
                **common,
            )
            given = condition(*latents[index - 1])
            for name, up in ((f"block{index}", True), (f"more{index}", False))[: 1 + self.double]:
                layer = block(up=up, name=name)
                h, shift = apply_block(layer, h, shift, given, remat=self.remat, train=train)
            side = h.shape[1]
            if side in names:
                attend = PooledSelfAttention(self.initializer, self.reparam, name=names[side])
                h, attention, *after = attend(h, shift)
                shift, maps = (None if side == self.attention[-1] else after[0]), (*maps, attention)
            if side == resolution:
                break
            blended = fade is not None and 2 * side == resolution
            if self.growing and (blended or self.is_initializing()):
                smaller = paint(h)
        images = paint(h)
        return images if fade is None else blend(upsample(smaller), images, fade), maps


class Discriminator(nn.Module):
    """Images, and labels if `classes`, to logits psi(phi(x)) + <embed(y), phi(x)>.

    Attributes:
        channels: after each block.
        halvings: how many blocks, from the first, halve the size.
        classes: 0 for no projection.
        attention: blocks, counted from 1, after which attention comes.
        equal_shortcuts: blocks that halve the size at equal channels have a shortcut convolution.
        initializer: of all kernels and of the embedding.
        reparam: reparametrisation of all of them.
        norm: "none", "batch" or "class": batch norm before the blocks' ReLUs, with or without an
            affine map of each class.
        epsilon: of those norms.
        dilation: of the blocks' 3x3 convolutions.
        double: a block that keeps the size after every one that halves it.
        growing: side of the whole images, where they may be smaller, down to `START`; 0: they never
            are.
        remat: blocks are computed again in backpropagation.
        dtype: compute type.
        classify: class logits in place of the projection (AC-GAN).
    """

    channels: tuple[int, ...]
    halvings: int
    classes: int
    attention: tuple[int, ...]
    equal_shortcuts: bool
    initializer: Init
    reparam: Reparam
    norm: Literal["none", "batch", "class"] = "none"
    epsilon: float = 1e-5
    dilation: int = 1
    double: bool = False
    growing: int = 0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    classify: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *label: Array, train: bool, fade: Fade = None
    ) -> Scores:
        """Images and, for a conditional discriminator, labels [b] to logits [b].

        After the labels may come vectors [b, e] of the classes, of which the projection is then
        linear. `fade` blends what the first block makes of the images with what the next one sees
        of them at half the size.
        """
        common: dict[str, Any] = {
            "initializer": self.initializer,
            "reparam": self.reparam,
            "dtype": self.dtype,
        }
        skipped = (self.growing // x.shape[1]).bit_length() - 1 if self.growing else 0

        def enter(x: Float[Array, "b h w c"], done: int) -> Float[Array, "b h w o"]:
            """What takes the place of the first `done` blocks for images of their output's size."""
            name = f"image{self.growing >> done}"
            return Conv(self.channels[done - 1], kernel_size=1, **common, name=name)(x)

        if self.growing and self.is_initializing():
            for done in range(1, (self.growing // START).bit_length()):
                enter(x[:, :1, :1], done)
        h = enter(x, skipped) if skipped else x
        given = label[:1] if self.norm == "class" else ()
        for index, features in enumerate(self.channels[skipped:], skipped + 1):
            block = partial(
                DiscriminatorBlock,
                features,
                hidden=features,
                project=self.equal_shortcuts,
                norm=self._norm(),
                shortcut_init=self.initializer,
                dilation=self.dilation,
                **common,
            )
            down = index <= self.halvings
            layer = block(first=index == 1, down=down, name=f"block{index}")
            h = self._apply(layer, h, given, train)
            if fade is not None and index == skipped + 1:
                h = blend(enter(downsample(x), index), h, fade)
            if self.double and down:
                h = self._apply(block(down=False, name=f"more{index}"), h, given, train)
            if index in self.attention:
                name = f"attention{index}"
                h, _ = PooledSelfAttention(self.initializer, self.reparam, name=name)(h)
        end = partial(projection, classify=self.classify)
        return end(h, self.classes, label[-1:], self.initializer, self.reparam)

    def _norm(self) -> Callable[..., nn.Module] | None:
        """Factory of the blocks' norms."""
        if self.norm == "none":
            return None
        if self.norm == "batch":
            return partial(BatchNorm, epsilon=self.epsilon)
        return partial(ClassBatchNorm, classes=self.classes, epsilon=self.epsilon)

    def _apply(
        self,
        block: nn.Module,
        x: Float[Array, "b h w i"],
        given: tuple[Array, ...],
        train: bool,
    ) -> Float[Array, "b y x o"]:
        """A block's output, computed again in backpropagation with `remat`."""

        def apply(block: Any, x: Array, *given: Array) -> Any:
            return block(x, *given, train=train)

        return (nn.remat(apply) if self.remat else apply)(block, x, *given)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BigGAN(Attentive, Classifying):
    """BigGAN for images of 32, 64, 128, 256 or 512 pixels; without `classes`, unconditional."""

    shape: Shape = (128, 128, 3)
    """Height, width and channels of an image."""
    classes: Count = 1000
    """Number of classes; 0 trains without labels."""
    channels: Positive = 96
    """What the widths of all blocks are multiples of."""
    latent: Positive = 120
    """Size of the latent vector; if hierarchical, a multiple of the generator's blocks + 1."""
    shared: Count = 128
    """Size of the class embedding that all norms of the generator share; 0: a table in each."""
    hierarchical: bool = True
    """A chunk of the latent vector conditions each block's norms, too."""
    generator_attention: tuple[Positive, ...] = (64,)
    """Sizes of the generator's maps after which attention comes, the smallest first."""
    discriminator_attention: tuple[Positive, ...] = (64,)
    """Sizes of the discriminator's maps after which attention comes, the smallest first. At 32
    pixels, 16."""
    discriminator_multipliers: tuple[Positive, ...] = ()
    """Width after each block of the discriminator, in `channels`; empty: ajbrock's. compare_gan has
    (2, 2, 2, 2) at 32 pixels and (2, 4, 8, 16, 16) at 64."""
    equal_shortcuts: bool = True
    """A convolution also in those shortcuts of the discriminator that halve the size at equal
    channels (ajbrock); otherwise their input is averaged (compare_gan)."""
    epsilon: Rate = 1e-5
    """Added to the variances in the generator's batch norms (ajbrock's --BN_eps)."""
    weights: Literal["orthogonal", "normal"] = "orthogonal"
    """How kernels and embeddings start: orthogonal, or from N(0, 0.02^2)."""
    power_iterations: Annotated[int, Within(1, 100)] = 1
    """Iterations of the spectral norms in an update."""
    singular_values: Positive = 1
    """Singular values that the spectral norms estimate and log; the first one normalises."""
    spectral_epsilon: Weight = 1e-6
    """Added to the norms that the spectral norms' vectors are divided by."""
    orthogonal_penalty: Weight = 0.0
    """beta of the generator's beta ||W'W (1 - I)||^2 (equation 3; the paper's is 1e-4). ajbrock's
    code adds half of that gradient: its beta is twice this one."""
    generator_rate: Rate = 5e-5
    """Adam's step size for the generator."""
    discriminator_rate: Rate = 2e-4
    """Adam's step size for the discriminator."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.999)
    """Adam's decay rates."""
    adam_epsilon: Rate = 1e-6
    """Adam's epsilon."""
    discriminator_updates: Positive = 2
    """Updates of the discriminator for one of the generator."""
    ema_decay: DecayRate = 0.9999
    """What the average of the generator's weights keeps in an iteration; 0: no average."""
    ema_start: Count = 20_000
    """The iteration, counted from 1, before which that average is a copy of the weights."""
    every_turn: bool = False
    """Running statistics and power iterations of both networks move in both players' turns. What is
    trained is the same but for the latter's precision; running statistics look back less far."""
    remat: bool = False
    """Backpropagation computes each block again instead of keeping its maps: less memory, a third
    more work."""
    discriminator_norm: Literal["none", "batch", "class"] = "none"
    """Batch norm before the ReLUs of the discriminator's blocks, plain or with an affine map for
    each class; real and generated images are then batches of their own. It cripples training, says
    the paper."""
    shared_projection: bool = False
    """The discriminator has a linear layer of the generator's class embedding instead of a table of
    its own. The generator alone moves it, by the images that it makes: to the discriminator it is a
    constant. It helps at first and scales poorly, says the paper."""
    generator_dilation: Annotated[int, Within(1, 16)] = 1
    """Places from tap to tap of the 3x3 convolutions of the generator's blocks. Above 1 it degrades
    both networks, says the paper."""
    discriminator_dilation: Annotated[int, Within(1, 16)] = 1
    """The same of the discriminator's."""
    double_depth: bool = False
    """A block of equal size after every one that doubles or halves it, with the same condition. It
    hampers performance, says the paper."""
    growing: Count = 0
    """Iterations of each size from 8 pixels to half of the whole; over the first half of as many
    iterations, each new size is faded in (ProGAN's way). 0: all layers train from the start."""

    @classmethod
    def renewed(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Attention was at one size, 0 for none."""
        names = ("generator_attention", "discriminator_attention")
        old = {name: size for name in names if type(size := settings.get(name)) is int}
        return {**settings, **{name: [size] if size else [] for name, size in old.items()}}

    def __post_init__(self) -> None:
        super().__post_init__()
        side = self.shape[0]
        if len(self.shape) != 3 or self.shape[1] != side or side not in GENERATOR:
            raise UserError(
                f"image shape {self.shape}: {type(self).__name__} makes squares of "
                f"{', '.join(map(str, GENERATOR))} pixels; set `shape`, and resize the data to it"
            )
        if self.latent % self._chunks():
            raise UserError(
                f"latent is {self.latent}, but hierarchical latents at {side} pixels are cut into "
                f"{self._chunks()} equal chunks: set it to "
                f"{self.latent // self._chunks() * self._chunks() or self._chunks()}"
            )
        if self.hierarchical and self.classes and not self.shared:
            raise UserError(
                "hierarchical latents join the shared class embedding, but shared is 0: set its "
                "size, such as 128, or hierarchical to False"
            )
        blocks = len(DISCRIMINATOR[side])
        if self.discriminator_multipliers and len(self.discriminator_multipliers) != blocks:
            raise UserError(
                f"discriminator_multipliers has {len(self.discriminator_multipliers)} numbers, "
                f"but at {side} pixels the discriminator needs {blocks}"
            )
        makes = [4 << k for k in range(1, len(GENERATOR[side]))]
        sees = list(dict.fromkeys(sizes(side, blocks)))
        for name, places in (("generator", makes), ("discriminator", sees)):
            given = getattr(self, f"{name}_attention")
            if list(given) != sorted(set(given) & set(places)):
                raise UserError(
                    f"{name}_attention is {' '.join(map(str, given))}, but at {side} pixels the "
                    f"{name} can have it at {', '.join(map(str, sorted(places)))}: choose of "
                    "these, the smallest first, or none"
                )
        if self.discriminator_norm == "class" and not self.classes:
            raise UserError("discriminator_norm is class, but classes is 0: choose batch")
        if self.classifies and (self.shared_projection or self.discriminator_norm == "class"):
            raise UserError(
                f"class_weights is {self.class_weights}, but a discriminator that classifies sees "
                'no labels: leave out shared_projection and the discriminator_norm "class"'
            )
        if self.shared_projection and not (self.classes and self.shared):
            raise UserError(
                "shared_projection is on, but there is no class embedding to share: set classes "
                "and shared"
            )

    def negative(self) -> tuple[str, ...]:
        """Names of the settings of `NEGATIVE` that are on."""
        default = {field.name: field.default for field in dataclasses.fields(BigGAN)}
        return tuple(name for name in NEGATIVE if getattr(self, name) != default[name])

    def _chunks(self) -> int:
        """Into how many equal parts the latent vector is cut."""
        return len(GENERATOR[self.shape[0]]) if self.hierarchical else 1

    def _discriminator_channels(self) -> tuple[int, ...]:
        multipliers = self.discriminator_multipliers or DISCRIMINATOR[self.shape[0]]
        return tuple(self.channels * m for m in multipliers)

    def _attended(self, blocks: int) -> tuple[int, ...]:
        """The discriminator's blocks, counted from 1, after which attention comes."""
        seen = sizes(self.shape[0], blocks)
        return tuple(k for k, n in enumerate(seen, 1) if n in self.discriminator_attention)

    def transparent(self) -> "BigGAN":
        """Without `remat`."""
        return dataclasses.replace(self, remat=False)

    def _generator_channels(self) -> tuple[int, ...]:
        return tuple(self.channels * m for m in GENERATOR[self.shape[0]])

    def _common(self) -> dict[str, Any]:
        """What both networks are built with."""
        return {
            "initializer": orthogonal() if self.weights == "orthogonal" else normal(0.02),
            "reparam": partial(
                SpectralNorm,
                iterations=self.power_iterations,
                epsilon=self.spectral_epsilon,
                singular_values=self.singular_values,
            ),
            "remat": self.remat,
            "dtype": jnp.dtype(self.dtype),
        }

    def _conditioning(self, common: dict[str, Any]) -> Conditioning:
        return Conditioning(
            classes=self.classes,
            shared=self.shared if self.classes else 0,
            latents=self.hierarchical,
            initializer=common["initializer"],
            reparam=common["reparam"],
            epsilon=self.epsilon,
        )

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        common, channels = self._common(), self._discriminator_channels()
        return {
            "generator": Generator(
                self._generator_channels(),
                self.shape[-1],
                self._conditioning(common),
                self.generator_attention,
                dilation=self.generator_dilation,
                double=self.double_depth,
                growing=self.growing > 0,
                **common,
            ),
            "discriminator": Discriminator(
                channels,
                halvings(self.shape[0]),
                self.classes,
                self._attended(len(channels)),
                self.equal_shortcuts,
                norm=self.discriminator_norm,
                epsilon=self.epsilon,
                dilation=self.discriminator_dilation,
                double=self.double_depth,
                growing=self.shape[0] if self.growing else 0,
                classify=self.classifies,
                **common,
            ),
        }

    def inputs(self) -> dict[str, tuple]:
        """As of others, and vectors of the classes for a discriminator that projects them."""
        given = super().inputs()
        if self.shared_projection:
            given["discriminator"] += (jnp.zeros((1, self.shared)),)
        return given

    def attention_shape(self) -> tuple[int, int] | None:
        """Of the last map to a quarter as many places, keys are pooled; None: without attention.

        Nor can one look at it where images grow, because the smaller ones may lack it.
        """
        if not self.generator_attention or self.growing:
            return None
        places = self.generator_attention[-1] ** 2
        return places, places // 4

    def ema(self) -> Mapping[str, Decay]:
        """The generator's decay: 0, a copy, before `ema_start`."""
        if not self.ema_decay or self.ema_start <= 1:
            return super().ema()
        # `step` counts the iterations that were done before this one.
        return {"generator": lambda step: jnp.where(step + 1 < self.ema_start, 0.0, self.ema_decay)}

    def stages(self) -> tuple[Stage, ...]:
        """The discriminator `discriminator_updates` times, then the generator; a stage a size."""
        adam = partial(optax.adam, b1=self.betas[0], b2=self.betas[1], eps=self.adam_epsilon)
        generator = adam(self.generator_rate)
        if self.orthogonal_penalty:
            generator = optax.chain(self._orthogonalise(), generator)
        whole = self.shape[0]
        stages: list[dict[str, Any]] = [{}]
        if self.growing:
            stages = [
                {"resolution": side, "steps": self.growing if side < whole else None}
                for side in self._sides()
            ]
        return tuple(
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam(self.discriminator_rate),
                generator_optimizer=generator,
                updates=self.discriminator_updates,
                writes=("discriminator",),
                every_turn=self.every_turn,
                stage=stage,
            )
            for stage in stages
        )

    def _sides(self) -> list[int]:
        """Of images that grow: 8, 16, ... pixels."""
        return [START << k for k in range((self.shape[0] // START).bit_length())]

    def _size(self, view: View) -> dict[str, Any]:
        """{"resolution", "fade"} of the stage and the step, where images grow."""
        if not self.growing:
            return {}
        side = view.resolution or self.shape[0]
        level = self._sides().index(int(side))  # type: ignore[arg-type]
        fade = None
        if level:
            fade = reached(view.step, level * self.growing, max(1, self.growing // 2))
        return {"resolution": side, "fade": fade}

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b h w c"]:
        """Samples in [-1, 1], of the size that the stage has."""
        return view("generator", taken["z"], *label_of(taken), **self._size(view))[0]

    def judged(
        self, view: View, taken: Mapping[str, Array]
    ) -> tuple[tuple[Array, ...], dict[str, Any]]:
        """As of all generators, with what labels share, and how far a size is faded in."""
        fade = self._size(view).get("fade")
        options = {} if fade is None else {"fade": fade}
        return (taken["image"], *self._labels(view, taken)), options

    def _orthogonalise(self) -> optax.GradientTransformation:
        """Adds the penalty's gradient: once an update, it depends on no image.

        It counts all parameters of two and more axes but the shared embedding, as ajbrock's code
        does. That is kernels, and where norms have tables of classes (`shared` 0), those, too:
        there products of classes are lowered, and gains count from 1.
        """

        def counted(path: str, leaf: Array) -> Array:
            if path.endswith("kernel") or leaf.ndim < 2:
                return leaf
            return (leaf - 1 if path.endswith("scale") else leaf).T

        def penalty(params: PyTree) -> Float[Array, ""]:
            tree = unflatten_dict(
                {path: counted(path[-1], leaf) for path, leaf in flatten_dict(params).items()}
            )
            return self.orthogonal_penalty * penalties.orthogonal(
                tree, lambda path: "shared" not in path.split("/")
            )

        return optax.stateless(
            lambda updates, params: jax.tree.map(jnp.add, updates, jax.grad(penalty)(params))
        )

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Hinge loss (appendix B)."""
        fade = self._size(view).get("fade")
        real = faded(batch["image"], fade)
        fake, drawn = self.fakes(view, key, len(real))
        seen = (
            (view.augment(real), *self._labels(view, batch)),
            (view.augment(fake), *self._labels(view, drawn)),
        )
        if self.discriminator_norm == "none" and fade is None:
            on_real, on_fake = view.together("discriminator", *seen)
        else:
            options = {} if fade is None else {"fade": fade}
            on_real, on_fake = (view("discriminator", *each, **options) for each in seen)
        real_logits, fake_logits = split(on_real)[0], split(on_fake)[0]
        loss = losses.hinge.discriminator(real_logits, fake_logits)
        metrics = {**mean_logits(real_logits, fake_logits), **progress(fade)}
        return self.with_classes(loss, metrics, on_real, batch, self.class_weights[0])

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean logit (appendix B)."""
        fake, drawn = self.fakes(view, key, len(batch["image"]))
        fade = self._size(view).get("fade")
        options = {} if fade is None else {"fade": fade}
        on_fake = view("discriminator", view.augment(fake), *self._labels(view, drawn), **options)
        loss = losses.hinge.generator(split(on_fake)[0])
        return self.with_classes(loss, {}, on_fake, drawn, self.class_weights[1])

    def _labels(self, view: View, given: Mapping[str, Array]) -> tuple[Array, ...]:
        """What the discriminator is given of the classes."""
        label = label_of(given)
        if not self.shared_projection:
            return label
        vectors = view.frozen("generator", *label, method="embed")
        return (*label, jax.lax.stop_gradient(vectors))
