"""Normalisation: over the batch, plain or conditional, over a sample, over a map, over a pixel.

Statistics and affine maps are computed in float32 whatever the input's type; the output has the
input's type. Variances are biased (divided by n) unless a docstring says otherwise.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers as jinit
from jaxtyping import Array, Float, Int

from jaxgan.backend import on_cpu
from jaxgan.errors import UserError
from jaxgan.nn.initializers import TORCH, Init, Initializer
from jaxgan.nn.layers import Dense, Reparam
from jaxgan.nn.reduce import batch_normalize, scale_shift, standardize


def _standardize(
    x: Float[Array, "..."], axes: tuple[int, ...], epsilon: float, correction: int = 0
) -> Float[Array, "..."]:
    """(x - mean) / sqrt(var + epsilon) over `axes`, var over n - correction; float32.

    In two passes, because a map may be constant (StyleGAN's first one is) and epsilon 1e-8: the
    cancellation in E[x^2] - E[x]^2 would then be all there is. Nothing here crosses devices.
    """
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axes, keepdims=True)
    var = jnp.var(x, axes, keepdims=True, ddof=correction)
    return (x - mean) * jax.lax.rsqrt(var + epsilon)


def _standardize_each(x: Float[Array, "b *n c"], epsilon: float) -> Float[Array, "b *n c"]:
    """`_standardize` over positions, in the form that is fast on the backend."""
    if on_cpu():
        return standardize(x, epsilon)
    return _standardize(x, tuple(range(1, x.ndim - 1)), epsilon)


def _scale_and_bias(
    module: nn.Module,
    shape: tuple[int, ...],
    scale_init: Initializer = jinit.ones,
    bias_init: Initializer = jinit.zeros,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The module's parameters `scale` and `bias`, float32."""
    scale = module.param("scale", scale_init, shape, jnp.float32)
    return scale, module.param("bias", bias_init, shape, jnp.float32)


def _affine(module: nn.Module, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """x * scale + bias with the module's parameters `scale` [c] and `bias` [c]."""
    return scale_shift(x, *_scale_and_bias(module, x.shape[-1:]))


def _per_sample(v: Float[Array, "b k"], x: Float[Array, "b *s c"]) -> Float[Array, "b ... k"]:
    """`v` shaped to broadcast over the positions of `x`, float32."""
    return v.astype(jnp.float32).reshape(len(v), *(1,) * (x.ndim - 2), -1)


class _BatchNormalize(nn.Module):
    """Normalisation by the batch's or the running statistics, what norms that keep these share.

    State, in the collection "batch_stats": `mean` [c] and `var` [c], float32, starting at 0 and 1.

    Attributes:
        momentum: what a running statistic keeps in one update; 0.9 is PyTorch's 0.1.
        epsilon: added to the variance.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    def statistics(self, features: int) -> tuple[nn.Variable, nn.Variable]:
        """The running mean and variance, [features] each."""
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        return mean, self.variable("batch_stats", "var", jnp.ones, (features,))

    def move(self, running: tuple[nn.Variable, nn.Variable], mean: Array, var: Array) -> None:
        """Moves running statistics towards a batch's [c], where they may move."""
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            keep = self.momentum
            for each, seen in zip(running, (mean, var), strict=True):
                each.value = keep * each.value + (1 - keep) * seen

    def normalize(
        self,
        x: Float[Array, "b *s c"],
        scale: Float[Array, "..."],
        bias: Float[Array, "..."],
        train: bool,
    ) -> Float[Array, "b *s c"]:
        """Standardised x, times `scale`, plus `bias`, each [c] or [b, c]; in the type of x."""
        running = self.statistics(x.shape[-1])
        if train:
            y, mean, var = batch_normalize(x, scale, bias, self.epsilon)
            self.move(running, mean, var)
            return y
        y = x.astype(jnp.float32) - running[0].value
        y = y * jax.lax.rsqrt(running[1].value + self.epsilon)
        return scale_shift(y, scale, bias).astype(x.dtype)


class BatchNorm(_BatchNormalize):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015).

    The running variance is that of the biased estimates, as in Flax; PyTorch stores unbiased ones:
    multiply those by (n - 1) / n, n values per channel in a batch, to compare.

    Attributes:
        affine: learn a scale and a bias per channel.
        scale_init: initialiser of the scale.
        bias_init: initialiser of the bias.
    """

    affine: bool = True
    scale_init: Initializer = jinit.ones
    bias_init: Initializer = jinit.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b c"]:
        """Normalised by the batch if `train`, else by the running statistics.

        `train` also moves the running statistics, where "batch_stats" is mutable.
        """
        features = x.shape[-1:]
        if self.affine:
            scale, bias = _scale_and_bias(self, features, self.scale_init, self.bias_init)
        else:
            scale, bias = jnp.ones(features), jnp.zeros(features)
        return self.normalize(x, scale, bias, train)


class ClassBatchNorm(_BatchNormalize):
    """Batch normalisation with a scale and a bias per class (Dumoulin et al. 2016; SNGAN).

    Parameters: `scale` and `bias`, [classes, c].

    Attributes:
        classes: number of classes.
        scale_init: initialiser of the scales.
        bias_init: initialiser of the biases.
    """

    classes: int = 1
    scale_init: Initializer = jinit.ones
    bias_init: Initializer = jinit.zeros

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], label: Int[Array, " b"], *, train: bool
    ) -> Float[Array, "b *s c"]:
        """As `BatchNorm`, with the affine map of each sample's class.

        A label of `classes` or more gives NaN, which stops a run, and no other class's map.
        """
        shape = (self.classes, x.shape[-1])
        tables = _scale_and_bias(self, shape, self.scale_init, self.bias_init)
        scale, bias = (jnp.take(table, label, axis=0) for table in tables)
        return self.normalize(x, scale, bias, train)


class LinearBatchNorm(_BatchNormalize):
    """Batch normalisation with an affine map linear in a condition (BigGAN, appendix B).

    scale = 1 + W_scale c and bias = W_bias c, neither with a constant of its own.

    Attributes:
        initializer: initialiser of both kernels.
        reparam: reparametrisation of both kernels; BigGAN's is spectral norm.
    """

    initializer: Init = TORCH
    reparam: Reparam | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], condition: Float[Array, "b d"], *, train: bool
    ) -> Float[Array, "b *s c"]:
        """As `BatchNorm`, with the affine map of each sample's condition."""

        def linear(name: str) -> Float[Array, "b c"]:
            layer = Dense(
                x.shape[-1],
                use_bias=False,
                initializer=self.initializer,
                reparam=self.reparam,
                dtype=x.dtype,
                name=name,
            )
            return layer(condition).astype(jnp.float32)

        return self.normalize(x, 1 + linear("scale"), linear("bias"), train)


class InstanceNorm(_BatchNormalize):
    """Normalisation of each sample's channels over positions (Ulyanov et al. 2016).

    With `running`, PyTorch's `track_running_stats`: while training each sample still has its own
    mean and variance, and the running ones move to the batch's means of both, variances unbiased;
    after training they take the place of the sample's. With an affine map that is also batch norm
    of batches of one (pix2pix, Isola et al. 2017), at any batch size.

    Attributes:
        affine: learn a scale and a bias per channel; off by default, as in PyTorch.
        running: keep running statistics, and use them after training.
        scale_init: initialiser of the scale.
    """

    affine: bool = False
    running: bool = False
    scale_init: Initializer = jinit.ones

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"], *, train: bool = True) -> Float[Array, "b *s c"]:
        """[b, ..., c] to the same shape; `train` matters with `running` alone."""
        features = x.shape[-1:]
        affine = _scale_and_bias(self, features, self.scale_init) if self.affine else None
        if self.running and not train:
            scale, bias = affine or (jnp.ones(features), jnp.zeros(features))
            return self.normalize(x, scale, bias, train=False)
        y = _standardize_each(x, self.epsilon)
        if self.running:
            if x.size == len(x) * x.shape[-1]:
                raise UserError(
                    f"instance norm of {x.shape}: a map of one place has no variance to keep a "
                    "running one of; set `running` to False, or norm larger maps"
                )
            wide = jax.lax.stop_gradient(x.astype(jnp.float32))
            running = self.statistics(x.shape[-1])
            axes = tuple(range(1, x.ndim - 1))
            self.move(running, wide.mean(axes).mean(0), wide.var(axes, ddof=1).mean(0))
        return (scale_shift(y, *affine) if affine else y).astype(x.dtype)


class ClassInstanceNorm(nn.Module):
    """Instance norm with a scale and a bias per class (Dumoulin et al. 2017).

    A class is a style there: N styles share a network and differ in these tables alone, so a new
    one is learned by its rows. Parameters: `scale` and `bias`, [classes, c].

    Attributes:
        classes: number of classes.
        scale_init: initialiser of the scales.
        bias_init: initialiser of the biases.
        epsilon: added to the variance.
    """

    classes: int
    scale_init: Initializer = jinit.ones
    bias_init: Initializer = jinit.zeros
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], label: Int[Array, " b"] | Float[Array, "b classes"]
    ) -> Float[Array, "b *s c"]:
        """[b, ..., c] to the same shape, with the affine map of each sample's class.

        Weights over the classes in place of a label blend their maps, and so their styles. A label
        of `classes` or more gives NaN, which stops a run, and no other class's map.
        """
        shape = (self.classes, x.shape[-1])
        tables = _scale_and_bias(self, shape, self.scale_init, self.bias_init)
        if label.ndim == 2:
            scale, bias = (label.astype(jnp.float32) @ table for table in tables)
        else:
            scale, bias = (jnp.take(table, label, axis=0) for table in tables)
        y = _standardize_each(x, self.epsilon)
        return scale_shift(y, scale, bias).astype(x.dtype)


class AdaptiveInstanceNorm(nn.Module):
    """Instance norm, then a scale and a shift per channel from a style (Huang & Belongie 2017).

    StyleGAN's form (Karras et al. 2019): s = W w + b, y = x (s_0 + 1) + s_1, where s_0 is the first
    half of s.

    Attributes:
        initializer: initialiser of the style's dense layer.
        reparam: reparametrisation of its kernel.
        epsilon: added to the variance.
    """

    initializer: Init = TORCH
    reparam: Reparam | None = None
    epsilon: float = 1e-8

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], style: Float[Array, "b d"]
    ) -> Float[Array, "b *s c"]:
        """[b, ..., c] to the same shape, with mean s_1 and standard deviation |s_0 + 1|."""
        dense = Dense(
            2 * x.shape[-1],
            initializer=self.initializer,
            reparam=self.reparam,
            dtype=x.dtype,
            name="style",
        )
        scale, shift = jnp.split(_per_sample(dense(style), x), 2, axis=-1)
        y = _standardize_each(x, self.epsilon)
        return (y * (scale + 1) + shift).astype(x.dtype)


class LayerNorm(nn.Module):
    """Normalisation of each sample over positions and channels, then a scale and bias per channel.

    The critic's norm in WGAN-GP (Gulrajani et al. 2017), where batch norm would tie the samples of
    a gradient penalty together.

    Attributes:
        affine: learn the scale and the bias.
        epsilon: added to the variance.
    """

    affine: bool = True
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *s c"]:
        """[b, ..., c] to the same shape."""
        y = _standardize(x, tuple(range(1, x.ndim)), self.epsilon)
        return (_affine(self, y) if self.affine else y).astype(x.dtype)


class ChannelNorm(nn.Module):
    """Normalisation of each pixel over channels, then a scale and bias per channel (HiFiC 2020).

    The variance is unbiased, divided by c - 1, as in HiFiC.

    Attributes:
        affine: learn the scale and the bias.
        epsilon: added to the variance.
    """

    affine: bool = True
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """[..., c] to the same shape."""
        y = _standardize(x, (-1,), self.epsilon, correction=1)
        return (_affine(self, y) if self.affine else y).astype(x.dtype)


class PixelNorm(nn.Module):
    """x / sqrt(mean of x^2 over channels + epsilon) (ProGAN, Karras et al. 2018, section 4.2).

    Attributes:
        epsilon: added to the mean square.
    """

    epsilon: float = 1e-8

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """[..., c] to the same shape."""
        y = x.astype(jnp.float32)
        y *= jax.lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + self.epsilon)
        return y.astype(x.dtype)


class ConditionalAffine(nn.Module):
    """Any norm, with the affine map that a perceptron makes of a condition (Chen et al. 2019).

    y = norm(x) (1 + gamma(c)) + beta(c), where gamma and beta share the hidden layers: the paper's
    self-modulation where c is the generator's own latent. Maps linear in a condition are those of
    `LinearBatchNorm` and `AdaptiveInstanceNorm`.

    Attributes:
        norm: factory of a norm, which is told to have no affine map of its own; such as
            `BatchNorm`, `partial(InstanceNorm, running=True)`, `LayerNorm` or `ChannelNorm`.
        hidden: sizes of the hidden layers, each followed by ReLU; the paper has one of 32.
        initializer: initialiser of all layers.
        reparam: reparametrisation of all kernels.
    """

    norm: Callable[..., nn.Module]
    hidden: tuple[int, ...] = (32,)
    initializer: Init = TORCH
    reparam: Reparam | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], condition: Float[Array, "b d"], **options: bool
    ) -> Float[Array, "b *s c"]:
        """[b, ..., c] to the same shape; `options`, such as `train`, go to the norm."""
        dense = partial(Dense, initializer=self.initializer, reparam=self.reparam, dtype=x.dtype)
        h = condition
        for index, size in enumerate(self.hidden):
            h = nn.relu(dense(size, name=f"hidden{index + 1}")(h))
        scale, bias = (
            dense(x.shape[-1], name=name)(h).astype(jnp.float32) for name in ("scale", "bias")
        )
        y = self.norm(affine=False, name="norm")(x, **options)
        return scale_shift(y.astype(jnp.float32), 1 + scale, bias).astype(x.dtype)
