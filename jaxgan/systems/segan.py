"""SegAN: segmentation whose loss is learned, as a distance of an image's parts at many scales.

Xue, Xu, Zhang, Long, Huang, "SegAN: Adversarial Network with Multi-scale L1 Loss for Medical Image
Segmentation", Neuroinformatics 2018; the networks are those of Xue, Xu, Huang, "Adversarial
Learning with Multi-Scale Loss for Skin Lesion Segmentation", ISBI 2018, whose code the authors
publish. A segmentor says for each pixel how probable the object is there. A critic sees the image
times a mask, and gives features of six scales; the distance of the features of the image under the
segmentor's mask to those under the true one is what the critic raises and the segmentor lowers.
The critic's parameters are clamped, so the distance stays bounded.

Follows the authors' PyTorch code. It adds a Dice loss to the segmentor's, of which the paper has
nothing: `dice=0` leaves it out. The masked image itself is among the features, with weight 1, and
most of the mean is of it and of the first map. Modules of the critic that the code declares and
never calls, and batch norms of the residual blocks that it never applies, are not here: 9,393,088
and 156,235,264 parameters are live. Where the code makes new optimisers whenever the step size is
halved, Adam's moments start anew. Differs in that Dice's quotient has an epsilon, where the code
divides by 0 for two empty masks; in that probabilities are cut at 1/2, where the code cuts logits
there; and in that RGB alone is standardised by ImageNet's mean and deviation.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Image, Mask
from jaxgan.nn.initializers import Init, shifted_normal
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import BatchNorm
from jaxgan.pretrained.vgg import MEAN, STD
from jaxgan.ranges import Count, DecayRate, Positive, Rate, Shape, Weight
from jaxgan.system import Examples, Metrics, Player, Stage, System, Use
from jaxgan.view import View

WEIGHTS = Init(jinit.variance_scaling(2.0, "fan_out", "normal"))
GAINS = shifted_normal(1.0, 0.02)

SCALES = (1, 1, 2, 2, 2, 2, 4)
"""What the masked image, and each of the critic's maps, is multiplied by."""

EPSILON = 1e-6
"""Pixels on both sides of Dice's quotient."""

SMALLEST = 33
"""Pixels a side, of which the sixth halving leaves one."""

_RECTIFY: dict[str, Callable[[Array], Array]] = {
    "leaky": partial(nn.leaky_relu, negative_slope=0.2),
    "relu": nn.relu,
}


class Block(nn.Module):
    """Convolution without bias, batch norm, rectifier.

    Attributes:
        features: channels of the result.
        kernel_size: taps a side.
        stride: 1 or 2.
        padding: zeros a side; None keeps the size at stride 1.
        rectifier: "leaky" (0.2) or "relu".
        norm: whether there is the batch norm.
        dtype: compute type.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    padding: int | None = None
    rectifier: str = "leaky"
    norm: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], *, train: bool) -> Float[Array, "b y x o"]:
        """[b, h, w, i] to [b, y, x, features]."""
        h = Conv(
            self.features,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            use_bias=False,
            initializer=WEIGHTS,
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.norm:
            h = BatchNorm(scale_init=GAINS, name="norm")(h, train=train)
        return _RECTIFY[self.rectifier](h)


class Residual(nn.Module):
    """x + three convolutions of it, 1x1 to twice the channels, 3x3, 1x1 back, each rectified.

    Attributes:
        rectifier: "leaky" (0.2) or "relu".
        dtype: compute type.
    """

    rectifier: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """[b, h, w, c] to the same shape."""
        count, h = x.shape[-1], x
        for index, (features, taps) in enumerate(((2 * count, 1), (2 * count, 3), (count, 1))):
            h = Conv(
                features,
                kernel_size=taps,
                use_bias=False,
                initializer=WEIGHTS,
                dtype=self.dtype,
                name=f"conv{index + 1}",
            )(h)
            h = _RECTIFY[self.rectifier](h)
        return x + h


class GlobalConv(nn.Module):
    """A large kernel of rank two: k x 1 then 1 x k, plus 1 x k then k x 1; batch norm and ReLU.

    Attributes:
        features: channels of the result.
        taps: of the large side.
        dtype: compute type.
    """

    features: int
    taps: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], *, train: bool) -> Float[Array, "b h w o"]:
        """[b, h, w, i] to [b, h, w, features]."""
        high, wide = (self.taps, 1), (1, self.taps)

        def path(name: str, first: tuple[int, int], second: tuple[int, int]) -> Array:
            conv = partial(Conv, self.features, initializer=WEIGHTS, dtype=self.dtype)
            h = conv(kernel_size=first, name=f"{name}1")(x)
            # The norm after the sum subtracts what the second bias adds.
            return conv(kernel_size=second, inert_bias=True, name=f"{name}2")(h)

        h = path("left", high, wide) + path("right", wide, high)
        return nn.relu(BatchNorm(scale_init=GAINS, name="norm")(h, train=train))


def _like(x: Float[Array, "b h w c"], other: Float[Array, "b y x _"]) -> Float[Array, "b y x c"]:
    """`x` of the size of `other`, bilinear."""
    shape = (len(x), *other.shape[1:3], x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


class Segmentor(nn.Module):
    """S: images to logits of the object, by a U-Net with residual blocks and large kernels.

    Attributes:
        width: channels of the first map; up to 32 times as many in the middle.
        dtype: compute type.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w 1"]:
        """[b, h, w, c] to float32 logits [b, h, w, 1]."""
        w = self.width
        block = partial(Block, dtype=self.dtype)
        residual = partial(Residual, dtype=self.dtype)
        maps, h = [], x
        for index, (taps, factor) in enumerate(
            ((7, 1), (5, 2), (5, 4), (5, 8), (5, 8), (4, 16), (3, 32)), 1
        ):
            h = block(
                factor * w,
                kernel_size=taps,
                stride=2,
                padding=(taps - 1) // 2,
                norm=index > 1,
                name=f"down{index}",
            )(h, train=train)
            if index < 6:
                h = residual("leaky", name=f"down_residual{index}")(h)
            elif index == 6:
                h = block(factor * w, name="down_residual6")(h, train=train) + h
            maps.append(h)
        h = block(8 * w, name="middle")(h, train=train)
        block = partial(block, rectifier="relu")
        h = block(32 * w, name="up7")(h, train=train)
        for index, (taps, factor) in zip(
            range(6, -1, -1),
            ((3, 16), (3, 8), (7, 8), (7, 4), (9, 2), (9, 1), (11, 1)),
            strict=True,
        ):
            target = maps[index - 1] if index else x
            h = _like(jnp.concatenate([maps[index], h], -1), target)
            if index > 4:
                h = block(factor * w, kernel_size=taps, name=f"up{index}")(h, train=train)
            else:
                h = GlobalConv(factor * w, taps, self.dtype, name=f"up{index}")(h, train=train)
            if index == 6:
                h = block(factor * w, name="up_residual6")(h, train=train) + h
            else:
                h = residual("relu", name=f"up_residual{index}")(h)
        logits = Conv(
            1, kernel_size=5, use_bias=False, initializer=WEIGHTS, dtype=self.dtype, name="out"
        )(h)
        return logits.astype(jnp.float32)


class Critic(nn.Module):
    """C: masked images to their features, the image itself among them.

    Attributes:
        width: channels of the first map; up to 8 times as many.
        dtype: compute type.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """[b, h, w, c] to float32 maps of seven scales, times `SCALES`."""
        maps = [x]
        for index, (taps, factor) in enumerate(((7, 1), (5, 2), (4, 4), (4, 8), (4, 8), (3, 8)), 1):
            maps.append(
                Block(
                    factor * self.width,
                    kernel_size=taps,
                    stride=2,
                    padding=(taps - 1) // 2,
                    norm=index > 1,
                    dtype=self.dtype,
                    name=f"down{index}",
                )(maps[-1], train=train)
            )
        return tuple(k * h.astype(jnp.float32) for k, h in zip(SCALES, maps, strict=True))


def multi_scale_l1(a: Sequence[Array], b: Sequence[Array]) -> Float[Array, ""]:
    """Mean absolute difference over all numbers of all maps (equation 1 with equal weights)."""
    total = jnp.stack([jnp.abs(x - y).sum() for x, y in zip(a, b, strict=True)]).sum()
    return total / sum(x.size for x in a)


def dice_loss(
    probabilities: Float[Array, "b h w 1"], masks: Float[Array, "b h w 1"]
) -> Float[Array, ""]:
    """One minus 2 sum(p t) / (sum(p^2) + sum(t^2)) of each sample, mean over the batch."""
    both = (probabilities * masks).sum((1, 2, 3))
    each = (probabilities**2).sum((1, 2, 3)) + (masks**2).sum((1, 2, 3))
    return 1 - ((2 * both + EPSILON) / (each + EPSILON)).mean()


class Restarted(NamedTuple):
    """State of `halving_adam`: updates made, and Adam's state since the last halving."""

    updates: Int[Array, ""]
    adam: optax.OptState


def halving_adam(
    rate: float, betas: tuple[float, float], halve: tuple[int, int], least: float
) -> optax.GradientTransformation:
    """Adam that is made anew, with half the step size, after `halve[0]` updates and every later
    `halve[1]`; never with less than `least`.
    """
    first, every = halve
    if not every:
        return optax.adam(rate, *betas)
    adam = optax.scale_by_adam(*betas)

    def init(params: PyTree) -> Restarted:
        return Restarted(jnp.zeros((), jnp.int32), adam.init(params))

    def update(
        gradients: PyTree, state: Restarted, params: PyTree = None
    ) -> tuple[PyTree, Restarted]:
        since = state.updates - first
        anew = (since >= 0) & (since % every == 0)
        inner = jax.tree.map(
            lambda fresh, kept: jnp.where(anew, fresh, kept), adam.init(gradients), state.adam
        )
        halvings = jnp.where(since >= 0, since // every + 1, 0)
        step = jnp.maximum(rate * 0.5**halvings, min(least, rate))
        updates, inner = adam.update(gradients, inner, params)
        return jax.tree.map(lambda x: -step * x, updates), Restarted(state.updates + 1, inner)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegAN(System):
    """SegAN, for images of 33 and more pixels a side and masks of one object."""

    shape: Shape = (128, 128, 3)
    """Height, width and channels of an image."""
    width: Positive = 64
    """Channels of both networks' first maps; 16 makes a segmentor of 9.8 million parameters."""
    dice: Weight = 1.0
    """Weight of the Dice loss in the segmentor's; the paper has none, 0."""
    clip: Rate = 0.05
    """Largest absolute value of a parameter of the critic."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""
    halve: tuple[Count, Count] = (0, 0)
    """Iterations before the step size is halved and both Adams are made anew for the first time,
    and from then on between; 0 between: never."""
    least_rate: Rate = 1e-5
    """Where the halving of the step size ends."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape[:2]) < SMALLEST:
            raise UserError(
                f"image shape {self.shape}: SegAN takes (height, width, channels) of at least "
                f"{SMALLEST} pixels a side"
            )

    def data(self) -> tuple[dict[str, Field], ...]:
        """Images with the masks of their objects."""
        return ({"image": Image(self.shape), "mask": Mask((*self.shape[:2], 1))},)

    def uses(self) -> dict[str, Use]:
        """Masks of images."""
        return {
            "segment": Use(
                call=lambda view, taken, keys, options: {
                    "mask": self.probabilities(view, taken["image"])
                },
                takes={"image": FromData(column="image")},
                gives={"mask": Mask((*self.shape[:2], 1))},
                summary="says how probable the object is at each pixel; it is where that is 1/2",
            )
        }

    def networks(self) -> dict[str, nn.Module]:
        """The segmentor and the critic."""
        dtype = jnp.dtype(self.dtype)
        return {"segmentor": Segmentor(self.width, dtype), "critic": Critic(self.width, dtype)}

    def inputs(self) -> dict[str, tuple]:
        """Images."""
        return dict.fromkeys(("segmentor", "critic"), (jnp.zeros((1, *self.shape)),))

    def stages(self) -> tuple[Stage, ...]:
        """One stage: the critic, then the segmentor, on the same batch."""
        adam = halving_adam(self.learning_rate, self.betas, self.halve, self.least_rate)
        critic = Player(
            name="critic",
            owns=("critic",),
            loss=self.critic_loss,
            optimizer=adam,
            writes=("segmentor", "critic"),  # both networks train in both turns
            project=self.clamped,
        )
        segmentor = Player(
            name="segmentor",
            owns=("segmentor",),
            loss=self.segmentor_loss,
            optimizer=adam,
            reuse=True,
            writes=("segmentor", "critic"),
        )
        return (Stage(players=(critic, segmentor)),)

    def clamped(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
        """Every parameter brought into [-clip, clip]."""
        return jax.tree.map(lambda p: jnp.clip(p, -self.clip, self.clip), params)

    def seen(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Images as networks take them: RGB standardised as ImageNet's."""
        if self.shape[-1] != 3:
            return images
        return ((images + 1) / 2 - MEAN) / STD

    def probabilities(self, view: View, images: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
        """How probable the object is at each pixel."""
        return nn.sigmoid(view("segmentor", self.seen(images)))

    def distance(
        self, view: View, batch: Examples, masks: Float[Array, "b h w 1"]
    ) -> Float[Array, ""]:
        """Of the images under these masks to those under the true ones, to the critic."""
        images = self.seen(batch["image"])
        # One after the other: each has its own batch statistics.
        made, true = (view("critic", images * m) for m in (masks, batch["mask"]))
        return multi_scale_l1(made, true)

    def critic_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Minus the distance."""
        del key
        distance = self.distance(view, batch, self.probabilities(view, batch["image"]))
        return -distance, {"distance": distance}

    def segmentor_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """The distance, and the Dice loss."""
        del key
        masks = self.probabilities(view, batch["image"])
        distance, dice = self.distance(view, batch, masks), dice_loss(masks, batch["mask"])
        return distance + self.dice * dice, {"distance": distance, "dice": 1 - dice}
