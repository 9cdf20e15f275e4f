"""ReDO: segmentation without labels, by redrawing regions.

Chen, Artières, Denoyer, "Unsupervised Object Segmentation by Redrawing", NeurIPS 2019. A network M
parts an image x into two regions, by masks m_1 and m_2 = 1 - m_1. For each region a generator draws
another content of the same outline from noise, G_k(m_k, z_k), which is put into the image:

    x_k = m_k G_k(m_k, z_k) + (1 - m_k) x

A discriminator compares x_k with real images. What can be drawn anew while the rest stays, and
still be real, are the object and its ground: any other cut shows. So that a generator cannot draw
the same content always, a fourth network must find all z in the sum of m_k G_k (section 3.2).

Follows the authors' code (github.com/mickaelChen/ReDO): both regions are redrawn in each iteration,
in which M, the generators and what finds z move together first, then the discriminator, which sees
what they make of the same images and noise after that step, beside other real images. Masks come
from a network of residual blocks with pyramid pooling, and depend on a sigmoid of one logit; the
generators' norms are scaled and shifted by layers of z, without a 1 added to scales; biases start
as PyTorch's do. Weight decay is that of PyTorch's Adam, a part of the gradient, of M alone.

Differs in that a power iteration of spectral norm runs once an update of its network, not in every
pass; and in that networks for other sizes than 128 are derived: each halving of the size takes a
block off every network but M, the one with the most channels. Nothing says which region is the
object: that is chosen when it is used. Collapse, in which one region takes the whole image, is
normal (the authors count 3.5 runs in 10): it stops the run, where their code can start it anew.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Image, Mask, Normal
from jaxgan.nn.attention import PooledSelfAttention
from jaxgan.nn.initializers import TORCH, Init, orthogonal
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import InstanceNorm
from jaxgan.nn.reduce import scale_shift
from jaxgan.nn.residual import DiscriminatorBlock, carry, lift_bias
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.nn.translator import reflect
from jaxgan.ranges import DecayRate, Positive, Ranged, Rate, Shape, Share, Stretch, Weight, Within
from jaxgan.system import Decay, Examples, Metrics, Player, Stage, System, Use
from jaxgan.systems.common.generative import mean_logits
from jaxgan.view import View

REGIONS = 2
"""The object and its ground."""

WEIGHTS = Init(orthogonal(0.8).kernel, TORCH.bias)
"""Of all layers."""

GRIDS = (1, 2, 3, 6)
"""Places a side of the pyramid's maps, at 128 pixels."""

conv = partial(Conv, initializer=WEIGHTS)
spectral = partial(conv, reparam=SpectralNorm)


class MaskNetwork(nn.Module):
    """Images to masks of the regions, which sum to 1 everywhere.

    Attributes:
        width: channels at a quarter of the size.
        blocks: residual ones.
        dtype: compute type.
    """

    width: int
    blocks: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w 2"]:
        """[b, h, w, c] to [b, h, w, 2] in [0, 1]."""
        del train
        plain = partial(conv, use_bias=False, dtype=self.dtype)

        def active(h: Float[Array, "b y x c"], name: str) -> Float[Array, "b y x c"]:
            return nn.relu(InstanceNorm(affine=True, name=name)(h))

        h = plain(self.width // 4, kernel_size=7, padding=0, name="first")(reflect(x, 3))
        h = active(h, "first_norm")
        for level, features in enumerate((self.width // 2, self.width), 1):
            h = plain(features, stride=2, padding=1, name=f"down{level}")(h)
            h = active(h, f"down{level}_norm")
        for index in range(1, self.blocks + 1):
            r = active(plain(self.width, name=f"block{index}_conv1")(h), f"block{index}_norm1")
            # The norm that follows subtracts its bias.
            last = conv(self.width, inert_bias=True, dtype=self.dtype, name=f"block{index}_conv2")
            h = active(last(r) + h, f"block{index}_norm2")
        h = jnp.concatenate([h, *self._pyramid(h)], -1)
        for level in (1, 2):
            features = h.shape[-1] // 2
            h = active(plain(features, scale="up", name=f"up{level}")(h), f"up{level}_norm")
        last = conv(1, kernel_size=7, padding=0, dtype=self.dtype, name="last")
        mask = nn.sigmoid(last(reflect(h, 3)).astype(jnp.float32))
        return jnp.concatenate([mask, 1 - mask], -1)

    def _pyramid(self, h: Float[Array, "b y x c"]) -> list[Float[Array, "b y x 1"]]:
        """A channel for each grid: means over its cells, mixed, brought back to the size."""
        maps = []
        for grid in GRIDS:
            size = h.shape[1] // grid
            cells = nn.avg_pool(h, (size, size), (size, size))
            cells = conv(1, kernel_size=1, dtype=self.dtype, name=f"pool{grid}")(cells)
            shape = (*h.shape[:3], 1)
            maps.append(jax.image.resize(cells, shape, "bilinear", antialias=False))
        return maps


class LatentNorm(nn.Module):
    """Instance norm with a scale and a shift per channel that are affine in z.

    Attributes:
        dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], z: Float[Array, "b z"]) -> Array:
        """[b, h, w, c] and [b, latent] to [b, h, w, c]."""
        dense = partial(Dense, x.shape[-1], initializer=WEIGHTS, dtype=self.dtype)
        scale, bias = (dense(name=name)(z).astype(jnp.float32) for name in ("scale", "bias"))
        y = InstanceNorm(name="norm")(x).astype(jnp.float32)
        return scale_shift(y, scale, bias).astype(x.dtype)


class RegionBlock(nn.Module):
    """Norm-ReLU-mask-up-conv3-norm-ReLU-conv3, plus up-conv1 of the input.

    Attributes:
        features: output channels.
        dtype: compute type.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w i"],
        mask: Float[Array, "b h w 1"],
        z: Float[Array, "b z"],
        shift: Float[Array, " i"],
    ) -> tuple[Float[Array, "b 2*h 2*w o"], Float[Array, " o"]]:
        """[b, h, w, i] to [b, 2h, 2w, features], and the shift after it (`jaxgan.nn.residual`)."""
        layer = partial(spectral, self.features, dtype=self.dtype)
        h = nn.relu(LatentNorm(self.dtype, name="norm1")(x, z))
        h = jnp.concatenate([h, mask.astype(h.dtype)], -1)
        h = layer(use_bias=False, scale="up", name="conv1")(h)
        h = nn.relu(LatentNorm(self.dtype, name="norm2")(h, z))
        # Every norm takes these two biases away; attention, which does not, sees the shift.
        last = layer(inert_bias=True, name="conv2")
        side = layer(kernel_size=1, scale="up", inert_bias=True, name="shortcut")
        x = last(h) + side(x)
        return x, carry(side, shift) + lift_bias(side) + lift_bias(last)


class RegionGenerator(nn.Module):
    """A mask and latents to the content of that region, 0 outside.

    Attributes:
        width: channels at full size; they double with each halving but the last.
        features: channels of the result.
        attention: over half the size.
        dtype: compute type.
    """

    width: int
    features: int
    attention: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, mask: Float[Array, "b h w 1"], z: Float[Array, "b z"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """[b, h, w, 1] and [b, latent] to [b, h, w, features]: tanh of the last layer, times m."""
        del train
        blocks = halvings(mask.shape[1])
        most = self.width << (blocks - 1)
        h = Dense(4 * 4 * most, initializer=WEIGHTS, dtype=self.dtype, name="dense")(z)
        h = h.reshape(-1, 4, 4, most)
        shift = jnp.zeros(most)
        for index in range(blocks):
            last = index == blocks - 1
            if last and self.attention:
                attend = PooledSelfAttention(WEIGHTS, SpectralNorm, name="attention")
                h, _, shift = attend(h, shift)
            size = mask.shape[1] // h.shape[1]
            small = nn.avg_pool(mask, (size, size), (size, size))
            block = RegionBlock(
                self.width << (blocks - 1 - index), self.dtype, name=f"block{index + 1}"
            )
            h, shift = block(h, small, z, shift)
        h = nn.relu(LatentNorm(self.dtype, name="norm")(h, z))
        h = jnp.concatenate([h, mask.astype(h.dtype)], -1)
        h = spectral(self.features, dtype=self.dtype, name="conv")(h)
        return jnp.tanh(h.astype(jnp.float32)) * mask


class Generator(nn.Module):
    """Masks and latents to the content of each region: a `RegionGenerator` each.

    Attributes: as those of `RegionGenerator`.
    """

    width: int
    features: int
    attention: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, masks: Float[Array, "b h w k"], z: Float[Array, "b k z"], *, train: bool
    ) -> Float[Array, "b k h w c"]:
        """[b, h, w, 2] and [b, 2, latent] to [b, 2, h, w, features]."""
        drawn = []
        for k in range(REGIONS):
            region = RegionGenerator(
                self.width, self.features, self.attention, self.dtype, name=f"region{k + 1}"
            )
            drawn.append(region(masks[..., k : k + 1], z[:, k], train=train))
        return jnp.stack(drawn, 1)


class Critic(nn.Module):
    """Images to a few numbers each: the logit of the discriminator, or the latents.

    Attributes:
        width: channels at half the size; they double with each halving.
        outputs: how many numbers.
        attention: over half the size.
        dtype: compute type.
    """

    width: int
    outputs: int
    attention: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b k"]:
        """[b, h, w, c] to [b, outputs]."""
        del train
        h, blocks = x, halvings(x.shape[1])
        for index in range(blocks + 1):
            features = self.width << min(index, blocks - 1)
            h = DiscriminatorBlock(
                features,
                hidden=features,
                first=index == 0,
                down=index < blocks,
                initializer=WEIGHTS,
                shortcut_init=WEIGHTS,
                reparam=SpectralNorm,
                dtype=self.dtype,
                name=f"block{index + 1}",
            )(h)
            if index == 0 and self.attention:
                h, _ = PooledSelfAttention(WEIGHTS, SpectralNorm, name="attention")(h)
        h = h.astype(jnp.float32).sum((1, 2))
        return Dense(self.outputs, initializer=WEIGHTS, name="dense")(h)


def halvings(side: int) -> int:
    """How often a side is halved down to 4 pixels."""
    return (side // 4).bit_length() - 1


def redrawn(
    images: Float[Array, "b h w c"],
    masks: Float[Array, "b h w k"],
    drawn: Float[Array, "b k h w c"],
) -> Float[Array, "b k h w c"]:
    """Each image with one region redrawn, for each region; `drawn` is 0 outside of it."""
    return drawn + (1 - jnp.moveaxis(masks, -1, 1)[..., None]) * images[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmented(Ranged):
    """Options of the use "segment"."""

    other: bool = False
    """Marks the second region, not the first: nothing says which of them is the object."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redrawn(Ranged):
    """Options of the use "redraw"."""

    region: Annotated[int, Within(0, REGIONS)] = 1
    """Which one is redrawn, 1 or 2; 0: both of them, each by its generator."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReDO(System):
    """Unsupervised segmentation by redrawing, for square images of 32, 64, ... pixels a side."""

    shape: Shape = (128, 128, 3)
    """Height, width and channels of an image."""
    latent: Positive = 32
    """Size of each region's latent vector."""
    mask_width: Annotated[int, Within(4, 2**16)] = 64
    """Channels of the mask network at a quarter of the size."""
    mask_blocks: Positive = 3
    """Residual blocks of the mask network."""
    generator_width: Positive = 64
    """Channels of the generators at full size."""
    discriminator_width: Positive = 64
    """Channels of the discriminator at half the size."""
    recogniser_width: Positive = 64
    """Channels of the network that finds latents, at half the size."""
    attention: bool = False
    """Self-attention over half the size, in generators and discriminator."""
    recovery: Weight = 5.0
    """Weight of the mean square error of the latents that are found."""
    mask_learning_rate: Rate = 1e-5
    """Adam's step size for the mask network."""
    generator_learning_rate: Rate = 1e-4
    """Adam's step size for the generators."""
    discriminator_learning_rate: Rate = 1e-4
    """Adam's step size for the discriminator."""
    recogniser_learning_rate: Rate = 1e-4
    """Adam's step size for the network that finds latents."""
    weight_decay: Weight = 1e-4
    """Times the mask network's parameters, added to its gradient."""
    betas: tuple[DecayRate, DecayRate] = (0.0, 0.9)
    """Adam's decay rates."""
    ema_decay: DecayRate = 0.0
    """What averages of the mask network and the generators keep in an iteration; 0: none."""
    least_region: Share = 0.05
    """Share of a batch's pixels in the smaller region, by masks cut at a half, below which a run
    has collapsed and is stopped. The authors' option autoRestart begins anew by itself; there it is
    off by default, and looks at two batches every 500 iterations."""
    watched: Stretch = (500, 7000)
    """Iterations between which it is: before, masks are nothing yet, and after, training is
    stable."""

    def __post_init__(self) -> None:
        side = self.shape[0]
        if len(self.shape) != 3 or side != self.shape[1] or side < 32 or side & (side - 1):
            raise UserError(
                f"image shape {self.shape}: images must be square, of side 32, 64, 128, ...; "
                "change `shape` and resize the data"
            )
        if self.mask_width % 4:
            raise UserError(f"mask_width is {self.mask_width}: give a multiple of 4")

    def data(self) -> tuple[dict[str, Field], ...]:
        """Images alone."""
        return ({"image": Image(self.shape)},)

    def networks(self) -> dict[str, nn.Module]:
        """What parts images, what redraws regions, what judges, and what finds latents."""
        dtype = jnp.dtype(self.dtype)
        return {
            "masks": MaskNetwork(self.mask_width, self.mask_blocks, dtype),
            "generator": Generator(self.generator_width, self.shape[-1], self.attention, dtype),
            "discriminator": Critic(self.discriminator_width, 1, self.attention, dtype),
            "recogniser": Critic(self.recogniser_width, REGIONS * self.latent, False, dtype),
        }

    def inputs(self) -> dict[str, tuple]:
        """Images; masks and latents."""
        images = jnp.zeros((1, *self.shape))
        return {
            "masks": (images,),
            "generator": (jnp.zeros((1, *self.shape[:2], REGIONS)), self._noise().zeros()),
            "discriminator": (images,),
            "recogniser": (images,),
        }

    def ema(self) -> Mapping[str, Decay]:
        """Averages of what the uses apply, where they are kept."""
        return dict.fromkeys(("masks", "generator"), self.ema_decay) if self.ema_decay else {}

    def _noise(self) -> Normal:
        return Normal((REGIONS, self.latent))

    def uses(self) -> dict[str, Use]:
        """Marks a region; redraws one."""
        return {
            "segment": Use(
                call=self.segment,
                takes={"image": FromData(column="image")},
                gives={"mask": Mask((*self.shape[:2], 1))},
                options=Segmented(),
                summary="marks one of two regions, the object or its ground",
            ),
            "redraw": Use(
                call=self.redraw,
                takes={"image": FromData(column="image"), "z": self._noise()},
                gives={"image": Image(self.shape)},
                options=Redrawn(),
                summary="draws another content of a region and leaves the rest as it is",
            ),
        }

    def segment(
        self, view: View, taken: Mapping[str, Array], keys: Key[Array, " b"], options: Segmented
    ) -> dict[str, Array]:
        """The mask [b, h, w, 1] of a region, in [0, 1]."""
        del keys
        masks = view("masks", taken["image"])
        return {"mask": masks[..., 1:] if options.other else masks[..., :1]}

    def redraw(
        self, view: View, taken: Mapping[str, Array], keys: Key[Array, " b"], options: Redrawn
    ) -> dict[str, Array]:
        """Images [b, h, w, c] with other contents of a region, or of both."""
        del keys
        masks = view("masks", taken["image"])
        drawn = view("generator", masks, taken["z"])
        if not options.region:
            return {"image": drawn.sum(1)}
        return {"image": redrawn(taken["image"], masks, drawn)[:, options.region - 1]}

    def stages(self) -> tuple[Stage, ...]:
        """One stage: all that makes images, then the discriminator."""
        return (
            Stage(
                players=(
                    Player(
                        name="generator",
                        owns=("masks", "generator", "recogniser"),
                        loss=self.generator_loss,
                        optimizer=self._adam(),
                        writes=("generator", "recogniser"),
                    ),
                    Player(
                        name="discriminator",
                        owns=("discriminator",),
                        loss=self.discriminator_loss,
                        optimizer=optax.adam(self.discriminator_learning_rate, *self.betas),
                        writes=("discriminator",),
                    ),
                )
            ),
        )

    def _adam(self) -> optax.GradientTransformation:
        """Adam with a step size for each network, after weight decay of the mask network."""
        rates = {
            "masks": self.mask_learning_rate,
            "generator": self.generator_learning_rate,
            "recogniser": self.recogniser_learning_rate,
        }

        def decayed(slopes: PyTree, params: PyTree) -> PyTree:
            masks = jax.tree.map(
                lambda slope, weight: slope + self.weight_decay * weight,
                slopes["masks"],
                params["masks"],
            )
            return {**slopes, "masks": masks}

        def scaled(steps: PyTree, params: PyTree) -> PyTree:
            del params
            return {
                name: jax.tree.map(lambda step, rate=rates[name]: -rate * step, tree)
                for name, tree in steps.items()
            }

        return optax.chain(
            optax.stateless(decayed), optax.scale_by_adam(*self.betas), optax.stateless(scaled)
        )

    def failed(self, step: int, metrics: Mapping[str, float]) -> str:
        """Whether one region has taken the whole image, while that happens."""
        first, last = self.watched
        least = metrics["generator/region_min"]
        if not first <= step <= last or least >= self.least_region:
            return ""
        return (
            f"region_min is {least:.3f}, below {self.least_region:g} (--system.least-region): one "
            "region has taken the whole image, as happens in a third of all runs; begin anew with "
            "another --seed and another --out"
        )

    def _redrawn(
        self, view: View, images: Float[Array, "b h w c"], z: Float[Array, "b k z"]
    ) -> tuple[Array, Array, Array]:
        """Masks [b, h, w, k], contents [b, k, h, w, c] and images with these, [b * k, h, w, c]."""
        masks = view("masks", images)
        drawn = view("generator", masks, z)
        return masks, drawn, redrawn(images, masks, drawn).reshape(-1, *self.shape)

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the mean logit (equation 5), and how far the latents that are found are off."""
        images = batch["image"]
        z = view.draw({"z": self._noise()}, key, len(images))["z"]
        # The discriminator sees what becomes of the same afterwards, beside other real images.
        view.out["source"], view.out["z"] = images, z
        masks, drawn, fake = self._redrawn(view, images, z)
        logits = view("discriminator", view.augment(fake))
        adversarial = losses.hinge.generator(logits)
        found = view("recogniser", drawn.sum(1)).reshape(z.shape)
        recovery = jnp.square(found - z).mean()
        sizes = (masks >= 0.5).mean((0, 1, 2))
        loss = adversarial + self.recovery * recovery
        metrics = {"adversarial": adversarial, "recovery": recovery, "region_min": sizes.min()}
        return loss, metrics

    def discriminator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Hinge loss (equation 6): as many fakes as regions for each real image, means of each."""
        del key
        _, _, fake = self._redrawn(view, batch["source"], batch["z"])
        real_logits = view("discriminator", view.augment(batch["image"]))
        fake_logits = view("discriminator", view.augment(fake))
        loss = losses.hinge.discriminator(real_logits, fake_logits)
        return loss, mean_logits(real_logits, fake_logits)
