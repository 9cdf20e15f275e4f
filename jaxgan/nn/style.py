"""What style-based generators share: mapping, modulation, noise, mixing, truncation.

Karras, Laine, Aila 2019 (StyleGAN); Karras et al. 2020 (StyleGAN2).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxgan.nn import fir, resample
from jaxgan.nn.equalized import EqualizedRate, equalized
from jaxgan.nn.layers import Dense
from jaxgan.nn.norm import PixelNorm
from jaxgan.nn.shares import at_use, in_shares

EPSILON = 1e-8  # of demodulation

Noise = tuple[Float[Array, "b _ _ 1"], ...] | None
"""Square maps, one for each layer; None: those that are fixed."""


class Mapping(nn.Module):
    """Latents, labels or both to styles: pixel norms, then dense layers that learn slowly; float32.

    State, in the collection "average", where `keep` is not 0: `style` [features], a running mean of
    styles. It moves where the collection is mutable and `train`.

    Attributes:
        features: of every layer.
        layers: how many.
        gain: of kernels.
        activation: after each layer.
        rate: what their steps are multiplied by.
        keep: what the running mean keeps in a (micro-)batch.
        classes: of labels, whose embedding of `features` follows the latents; 0: there are none.
    """

    features: int
    layers: int
    gain: float
    activation: Callable[[Array], Array]
    rate: float = 0.01
    keep: float = 0.995
    classes: int = 0

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"] | None, *label: Int[Array, " b"], train: bool
    ) -> Float[Array, "b d"]:
        """[b, latent] and [b] to [b, features]."""
        average = self.variable("average", "style", jnp.zeros, self.features) if self.keep else None
        parts = [] if z is None else [z]
        if self.classes:
            embed = Dense(self.features, **equalized(), name="embed")
            parts += [embed(jax.nn.one_hot(y, self.classes)) for y in label]
        h = jnp.concatenate([PixelNorm()(part) for part in parts], -1)
        for index in range(self.layers):
            layer = Dense(
                self.features, **equalized(self.gain, rate=self.rate), name=f"dense{index}"
            )
            h = self.activation(layer(h))
        moves = train and self.is_mutable_collection("average") and not self.is_initializing()
        if average is not None and moves:
            mean = jax.lax.stop_gradient(h).mean(0)
            average.value = self.keep * average.value + (1 - self.keep) * mean
        return h


class ModulatedConv(nn.Module):
    """Convolution whose input channels a style scales, and whose outputs are scaled to variance 1.

    StyleGAN2, section 2.2. Scaling images by s, convolving, and scaling the outputs by
    1 / sqrt(sum (w s)^2) equals convolving each sample with weights of its own, and keeps one
    kernel for all. The style's dense layer starts at scales of 1.

    Attributes:
        features: output channels.
        kernel_size: taps a side.
        up: to twice the size: a transposed convolution of stride 2, stored as the layer
            ConvTranspose stores it, then [1, 3, 3, 1].
        demodulate: scale the outputs.
        dtype: compute type.
    """

    features: int
    kernel_size: int = 3
    up: bool = False
    demodulate: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], style: Float[Array, "b d"]
    ) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, y, x, features]."""
        k, inputs = self.kernel_size, x.shape[-1]
        scale = Dense(inputs, **equalized(bias=1.0), name="affine")(style)
        kernel = in_shares(self, "kernel", jinit.normal(1.0), (k, k, inputs, self.features))
        # The gain joins the scales. As a product of its own with the kernel, whose square has a
        # gradient too, it would be computed in shares of channels where gradients are shared out,
        # and maps would follow: a step at 1024 pixels on 8 devices gathered 47 GB.
        scale = scale * EqualizedRate()(kernel)
        y = x * scale[:, None, None].astype(x.dtype)
        after = jnp.ones(())
        if self.up:
            y = resample.conv_transpose(y, kernel, stride=2, dtype=self.dtype)
            y = fir.fir(y, fir.BINOMIAL4, (1, 1))
            after = jnp.full((), 4.0)  # dilation left one value in four
        else:
            y = resample.conv(y, kernel, padding=k // 2, dtype=self.dtype)
        if self.demodulate:
            power = jnp.square(scale) @ at_use(jnp.square(kernel).sum((0, 1)))
            after = after * jax.lax.rsqrt(power + EPSILON)[:, None, None]
        return y * after.astype(y.dtype)


class AddNoise(nn.Module):
    """Adds a map of noise to every channel, times a strength that is learned from 0.

    State, in the collection "noise": a fixed `map`, for when none is given.

    Attributes:
        each: whether every channel has a strength of its own.
    """

    each: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n n c"], given: Float[Array, "b n n 1"] | None
    ) -> Float[Array, "b n n c"]:
        """[b, n, n, c] to the same."""
        side = x.shape[1]
        fixed = self.variable(
            "noise",
            "map",
            lambda: jax.random.normal(self.make_rng("params"), (1, side, side, 1)),
        )
        shape = x.shape[-1:] if self.each else ()
        strength = self.param("strength", jinit.zeros, shape, jnp.float32)
        return x + (strength * (fixed.value if given is None else given)).astype(x.dtype)


def mix(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    cutoff: int | Int[Array, ""],
    layers: int,
) -> Float[Array, "b l d"]:
    """Styles of `layers` layers: `first` before the layer `cutoff`, `second` from it on."""
    before = jnp.arange(layers)[:, None] < cutoff
    return jnp.where(before, first[:, None], second[:, None])


def random_cutoff(key: PRNGKeyArray, probability: float, layers: int) -> Int[Array, ""]:
    """Where styles change over in training: after 1 to layers - 1 layers, or after all, not at all.

    One for a whole batch (StyleGAN, section 3.1).
    """
    coin_key, cut_key = jax.random.split(key)
    cut = jax.random.randint(cut_key, (), 1, layers)
    return jnp.where(jax.random.bernoulli(coin_key, probability), cut, layers)


def truncate(
    styles: Float[Array, "b l d"],
    average: Float[Array, " d"],
    psi: float | Float[Array, " b"],
    layers: int,
) -> Float[Array, "b l d"]:
    """Styles of the first `layers` layers at psi times their distance from the average.

    At a psi of 1 they stay as they are, to the last bit.
    """
    share = jnp.reshape(jnp.asarray(psi), (-1, 1, 1))
    near = average + share * (styles - average)
    early = jnp.arange(styles.shape[1])[:, None] < layers
    return jnp.where(early & (share != 1), near, styles)


def draw_noise(keys: Key[Array, " b"], sides: Sequence[int]) -> tuple[Float[Array, "b _ _ 1"], ...]:
    """Standard normal maps, one for each layer, of these sides; of the key of each row."""

    def maps(layer: int, side: int) -> Float[Array, "b n n 1"]:
        return jax.vmap(
            lambda key: jax.random.normal(jax.random.fold_in(key, layer), (side, side, 1))
        )(keys)

    return tuple(maps(layer, side) for layer, side in enumerate(sides))
