"""BigGAN-deep: BigGAN of bottleneck blocks, two a resolution, with the whole latent in every norm.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
ICLR 2019, appendix B, figure 16. Four convolutions a block, the inner ones at a quarter of the
channels; shortcuts without weights in the generator (channels are dropped) and with few in the
discriminator (only the channels that are missing are computed). Follows the author's PyTorch code
(ajbrock); compare_gan averages over the places of the discriminator's last map, here they are
summed. All that is not a network is BigGAN's.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxgan.errors import UserError
from jaxgan.nn.attention import PooledSelfAttention
from jaxgan.nn.initializers import Init
from jaxgan.nn.layers import Conv, Dense, Reparam
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.projection import Scores, projection
from jaxgan.nn.resample import downsample, upsample
from jaxgan.nn.residual import lift_bias
from jaxgan.ranges import Positive, Rate
from jaxgan.systems.biggan import BigGAN, Conditioning, apply_block, attention_names, halvings

RATIO = 4  # of a block's channels to those of its inner convolutions
DEPTH = 2  # blocks a resolution


class GeneratorBlock(nn.Module):
    """Norm-ReLU-conv1, norm-ReLU-[up]-conv3, norm-ReLU-conv3, norm-ReLU-conv1, plus the input.

    The input's last channels are dropped where fewer go out.

    Attributes:
        features: output channels, at most as many as come in.
        norm: factory of a norm whose `__call__` takes (x, *condition, train).
        up: doubles the size.
        initializer: of all kernels.
        reparam: reparametrisation of all kernels.
        dtype: compute type.
    """

    features: int
    norm: Callable[..., nn.Module]
    up: bool
    initializer: Init
    reparam: Reparam
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w i"],
        *condition: Array,
        train: bool,
        shift: Float[Array, " i"] | None = None,
    ) -> Any:
        """[b, h, w, i] to [b, y, x, o]; with `shift`, a pair (see `jaxgan.nn.residual`)."""
        hidden = x.shape[-1] // RATIO
        conv = partial(_conv(self), inert_bias=True)

        def norm(h: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
            return nn.relu(self.norm(name=name)(h, *condition, train=train))

        h = conv(hidden, kernel_size=1, name="conv1")(norm(x, "norm1"))
        h = norm(h, "norm2")
        h = conv(hidden, scale="up" if self.up else None, name="conv2")(h)
        h = conv(hidden, name="conv3")(norm(h, "norm3"))
        last = conv(self.features, kernel_size=1, name="conv4")
        h = last(norm(h, "norm4"))
        x = x[..., : self.features]
        h = h + (upsample(x) if self.up else x).astype(h.dtype)
        return h if shift is None else (h, shift[: self.features] + lift_bias(last))


class DiscriminatorBlock(nn.Module):
    """ReLU-conv1, ReLU-conv3, ReLU-conv3, ReLU-[mean]-conv1, plus the averaged input.

    Channels that the input lacks are a 1x1 convolution of it.

    Attributes:
        features: output channels, at least as many as come in.
        down: halves the size.
        initializer: of all kernels.
        reparam: reparametrisation of all kernels.
        dtype: compute type.
    """

    features: int
    down: bool
    initializer: Init
    reparam: Reparam
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, h, w, features], or half of h and w."""
        hidden = self.features // RATIO
        conv = _conv(self)
        h = conv(hidden, kernel_size=1, name="conv1")(nn.relu(x))
        h = conv(hidden, name="conv2")(nn.relu(h))
        h = nn.relu(conv(hidden, name="conv3")(nn.relu(h)))
        if self.down:
            h, x = downsample(h), downsample(x)
        h = conv(self.features, kernel_size=1, name="conv4")(h)
        x = x.astype(h.dtype)
        if missing := self.features - x.shape[-1]:
            more = conv(missing, kernel_size=1, name="shortcut")(x)
            x = jnp.concatenate([x, more], -1)
        return h + x


def _conv(block: GeneratorBlock | DiscriminatorBlock) -> Callable[..., Conv]:
    return partial(Conv, initializer=block.initializer, reparam=block.reparam, dtype=block.dtype)


class Generator(nn.Module):
    """Latents, and labels if there are classes, to images in [-1, 1] and attention maps.

    Attributes: as those of `jaxgan.systems.biggan.Generator`; `conditioning` with latents gives all
    of them, behind the class embedding, to the dense layer and to every block.
    """

    channels: tuple[int, ...]
    colours: int
    conditioning: Conditioning
    attention: tuple[int, ...]
    initializer: Init
    reparam: Reparam
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], *label: Int[Array, " b"], train: bool
    ) -> tuple[Float[Array, "b h w c"], tuple[Float[Array, "b n m"], ...]]:
        """[b, latent] and, where there are classes, labels [b] to images, and attention maps."""
        common: dict[str, Any] = {
            "initializer": self.initializer,
            "reparam": self.reparam,
            "dtype": self.dtype,
        }
        names = attention_names(self.attention)
        condition = self.conditioning.of(label, self.conditioning.embedding("shared"))
        given = condition(z) if self.conditioning.latents else condition()
        if self.conditioning.latents:
            (z,) = given
        base, *narrower = self.channels
        h = Dense(4 * 4 * base, **common, name="dense")(z).reshape(-1, 4, 4, base)
        maps: tuple[Array, ...] = ()
        shift = jnp.zeros(base) if self.attention else None
        for index, features in enumerate(narrower):
            for part in range(DEPTH):
                last = part == DEPTH - 1
                block = GeneratorBlock(
                    features if last else h.shape[-1],
                    norm=self.conditioning.norm(),
                    up=last,
                    **common,
                    name=f"block{DEPTH * index + part + 1}",
                )
                h, shift = apply_block(block, h, shift, given, remat=self.remat, train=train)
            if (side := h.shape[1]) in names:
                attend = PooledSelfAttention(self.initializer, self.reparam, name=names[side])
                h, attention, *after = attend(h, shift)
                shift, maps = (None if side == self.attention[-1] else after[0]), (*maps, attention)
        h = nn.relu(BatchNorm(epsilon=self.conditioning.epsilon, name="norm")(h, train=train))
        h = Conv(self.colours, **common, name="conv")(h)
        return jnp.tanh(h.astype(jnp.float32)), maps


class Discriminator(nn.Module):
    """Images, and labels if `classes`, to logits psi(phi(x)) + <embed(y), phi(x)>.

    Attributes: as those of `jaxgan.systems.biggan.Discriminator`; the first of `channels` are those
    of a convolution before all blocks, and every further one has two blocks, which count as one for
    `halvings` and `attention`.
    """

    channels: tuple[int, ...]
    halvings: int
    classes: int
    attention: tuple[int, ...]
    initializer: Init
    reparam: Reparam
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    classify: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *label: Int[Array, " b"], train: bool) -> Scores:
        """Images and, for a conditional discriminator, labels [b] to logits [b]."""
        del train
        common: dict[str, Any] = {
            "initializer": self.initializer,
            "reparam": self.reparam,
            "dtype": self.dtype,
        }
        kind = nn.remat(DiscriminatorBlock) if self.remat else DiscriminatorBlock
        base, *wider = self.channels
        h = Conv(base, **common, name="conv")(x)
        for index, features in enumerate(wider, 1):
            for part in range(DEPTH):
                h = kind(
                    features,
                    down=part == 0 and index <= self.halvings,
                    **common,
                    name=f"block{DEPTH * (index - 1) + part + 1}",
                )(h)
            if index in self.attention:
                name = f"attention{index}"
                h, _ = PooledSelfAttention(self.initializer, self.reparam, name=name)(h)
        end = partial(projection, classify=self.classify)
        return end(h, self.classes, label, self.initializer, self.reparam)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BigGANDeep(BigGAN):
    """BigGAN-deep for images of 32, 64, 128, 256 or 512 pixels."""

    channels: Positive = 128
    """What the widths of all blocks are multiples of."""
    latent: Positive = 128
    """Size of the latent vector."""
    hierarchical: bool = True
    """The class conditions the dense layer, too, and the whole latent vector every norm."""
    generator_rate: Rate = 5e-5
    """Adam's step size for the generator: 5e-5 at 128 pixels, 2.5e-5 above."""
    discriminator_rate: Rate = 2e-4
    """Adam's step size for the discriminator: 2e-4 at 128 pixels, 2.5e-5 above."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if on := self.negative():
            raise UserError(
                f"BigGANDeep has no {on[0]}, which is a setting of BigGAN: leave it out"
            )

    def _chunks(self) -> int:
        return 1

    def networks(self) -> dict[str, nn.Module]:
        """The generator and the discriminator."""
        common, channels = self._common(), self._discriminator_channels()
        return {
            "generator": Generator(
                self._generator_channels(),
                self.shape[-1],
                self._conditioning(common),
                self.generator_attention,
                **common,
            ),
            "discriminator": Discriminator(
                channels,
                halvings(self.shape[0]),
                self.classes,
                self._attended(len(channels) - 1),
                classify=self.classifies,
                **common,
            ),
        }
