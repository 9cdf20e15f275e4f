"""AdaIN: any image in the style of any other, by one pass of one network.

Huang, Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV
2017. A published network encodes content and style; each channel of the content's map gets the mean
and the deviation that it has in the style's; a decoder, the only network that learns, makes an
image of that. It minimises how far the image's map is from the one that it was made of (content),
and how far the statistics of four maps are from the style's. There is no adversary.

Follows naoto0804/pytorch-AdaIN. What differs: VGG16 instead of VGG-19, which no package ships
(`common/perceptual.py`), so images are as the paper's in kind, not in number; images are in [-1, 1]
instead of [0, 1]; the decoder starts from He's kernels, whose maps do not fade from layer to layer
as those of PyTorch's do, and may first learn to give back the images that were encoded
(`first_steps`). The paper's masks, mixtures and kept colours (section 6.4 and 6.5) are uses; the
colours are matched as in that code (CORAL: Sun et al. 2016).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import initializers as jinit
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Image, Mask, Number, Resolution, Shares
from jaxgan.nn.initializers import Init
from jaxgan.nn.layers import Conv
from jaxgan.nn.resample import upsample
from jaxgan.nn.translator import reflect
from jaxgan.ranges import Count, DecayRate, Rate, Shape, Weight, Within
from jaxgan.system import Examples, Metrics, Player, Pretrained, Stage, System, Use
from jaxgan.systems.common.perceptual import (
    pretrained_encoder,
    squared,
    statistics,
    style_loss,
)
from jaxgan.view import View

_LEAST = 16
"""Pixels a side: an eighth of it has two places, which reflection needs."""

HE = Init(jinit.variance_scaling(2.0, "fan_in", "normal"))
FAINT = Init(jinit.variance_scaling(0.01, "fan_in", "normal"))  # images near 0 at first

DECODER: tuple[int | None, ...] = (256, None, 256, 256, 256, 128, None, 128, 64, None, 64)
"""Channels of the convolutions but the last; None doubles the size."""


class Decoder(nn.Module):
    """The encoder's mirror image, without norms.

    Attributes:
        features: channels of the result.
        dtype: compute type.
    """

    features: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 512"], *, train: bool) -> Float[Array, "b y x 3"]:
        """[b, h, w, 512] to images of eight times the size; nothing keeps them within [-1, 1]."""
        del train
        for index, channels in enumerate(DECODER):
            if channels is None:
                x = upsample(x)
            else:
                name = f"conv{index}"
                conv = Conv(channels, padding=0, initializer=HE, dtype=self.dtype, name=name)
                x = nn.relu(conv(reflect(x, 1)))
        last = Conv(self.features, padding=0, initializer=FAINT, dtype=self.dtype, name="last")
        return last(reflect(x, 1)).astype(jnp.float32)


def adain(
    content: Float[Array, "b h w c"],
    style: Float[Array, "b y x c"],
    region: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, "b h w c"]:
    """The content's map with the statistics of the style's (equation 8).

    Args:
        content: relu4_1 of it.
        style: relu4_1 of it, of any size.
        region: weights of the content's places, whose statistics are replaced; None: of all.
    """
    mean, std = statistics(content, region)
    wanted_mean, wanted_std = statistics(style)
    return (content - mean) / std * wanted_std + wanted_mean


def recolour(
    style: Float[Array, "b y x 3"], content: Float[Array, "b h w 3"]
) -> Float[Array, "b y x 3"]:
    """The style's image with the mean and the covariance of the content's colours (CORAL).

    Each channel is standardised; covariances, plus the identity by the number of places, are
    matched by their roots.
    """

    def standardised(x: Array) -> tuple[Array, Array, Array]:
        x = x.reshape(len(x), -1, 3)
        mean = x.mean(1, keepdims=True)
        std = jnp.sqrt(x.var(1, keepdims=True) + 1e-8)  # of one colour: 0
        return (x - mean) / std, mean, std

    def power(x: Array, exponent: float) -> Array:
        products = jnp.einsum("bnc,bnd->bcd", x, x, precision="highest")
        values, vectors = jnp.linalg.eigh((products + jnp.eye(3)) / x.shape[1])
        return jnp.einsum("bij,bj,bkj->bik", vectors, values**exponent, vectors)

    plain, _, _ = standardised(style)
    wanted, mean, std = standardised(content)
    changed = plain @ power(plain, -0.5) @ power(wanted, 0.5)
    return (changed * std + mean).reshape(style.shape)


@dataclasses.dataclass(frozen=True)
class Colours:
    """How a style's colours are used."""

    keep_colours: bool = False
    """Give the style the content's colours before."""


@dataclasses.dataclass(frozen=True)
class Several(Colours):
    """How many styles are mixed."""

    styles: Annotated[int, Within(2, 16)] = 2
    """Styles that are mixed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaIN(System):
    """Style transfer by adaptive instance normalisation."""

    shape: Shape = (256, 256, 3)
    """Height, width and channels (3) of the crops that it learns from; it is used at any size."""
    style: Weight = 10.0
    """Weight of the style loss; the content loss has 1."""
    learning_rate: Rate = 1e-4
    """Adam's step size at first."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """Adam's decay rates."""
    first_steps: Count = 0
    """Iterations in which the decoder learns at first to give back images, by their pixels."""
    decay: Weight = 5e-5
    """The step size is divided by 1 + decay * iteration."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape[:2]) < _LEAST or self.shape[2] != 3:
            raise UserError(
                f"image shape {self.shape}: expected height and width of at least {_LEAST} and 3 "
                "channels, which the encoder was trained with; change `shape`"
            )

    def data(self) -> tuple[dict[str, Field], ...]:
        """Two unrelated sets: contents are the inputs, styles the images of `unpaired:A,B`."""
        return (
            {"content": Image(self.shape, column="input")},
            {"style": Image(self.shape, column="image")},
        )

    def networks(self) -> dict[str, nn.Module]:
        """The decoder."""
        return {"decoder": Decoder(dtype=jnp.dtype(self.dtype))}

    def pretrained(self) -> dict[str, Pretrained]:
        """The encoder."""
        return {"encoder": pretrained_encoder(self.dtype)}

    def inputs(self) -> dict[str, tuple]:
        """A map, and an image."""
        return {"decoder": (jnp.zeros((1, 2, 2, 512)),), "encoder": (jnp.zeros((1, 16, 16, 3)),)}

    def stages(self) -> tuple[Stage, ...]:
        """One player, who may first give back what was encoded."""
        adam = optax.adam(lambda count: self.learning_rate / (1 + self.decay * count), *self.betas)
        player = Player(name="decoder", owns=("decoder",), loss=self.loss, optimizer=adam)
        first = dataclasses.replace(player, loss=self.first_loss, slot="first")
        begin = (Stage(players=(first,), steps=self.first_steps),) if self.first_steps else ()
        return (*begin, Stage(players=(player,)))

    def first_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Mean squared difference of pixels."""
        del key
        images = jnp.concatenate([batch["content"], batch["style"]])
        return squared(view("decoder", view("encoder", images)[-1]), images), {}

    def loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Content and style losses (equations 11 to 13)."""
        del key
        content, style = view.together("encoder", (batch["content"],), (batch["style"],))
        target = adain(content[-1], style[-1])
        made = view("encoder", view("decoder", target))
        content_loss, loss_of_style = squared(made[-1], target), style_loss(made, style)
        return content_loss + self.style * loss_of_style, {
            "content": content_loss,
            "style": loss_of_style,
        }

    def uses(self) -> dict[str, Use]:
        """Images of any size in one style, in a mixture of several, or in two by a mask."""
        any_size = Image((None, None, 3))
        alpha, image = Number(default=1.0, low=0.0, high=1.0), {"image": any_size}
        content = {"content": any_size, "alpha": alpha}

        def mixed(options: Several, resolution: Resolution | None) -> dict[str, Field]:
            del resolution
            names = style_names(options.styles)
            shares = Shares((options.styles,))
            return {**content, **dict.fromkeys(names, any_size), "weights": shares}

        return {
            "crops": Use(
                call=self.stylise,
                takes={
                    "content": FromData(column="content"),
                    "style": FromData(column="style"),
                    "alpha": alpha,
                },
                gives={"image": Image(self.shape)},
                options=Colours(),
                summary="makes crops of the contents in the styles of the data",
            ),
            "stylise": Use(
                call=self.stylise,
                takes={**content, "style": any_size},
                gives=image,
                options=Colours(),
                summary="makes images in a style; alpha 0 leaves them, up to the decoder's errors",
            ),
            "mix": Use(
                call=self.mix,
                takes=mixed,
                gives=image,
                options=Several(),
                summary="makes images in a mixture of styles, by their weights",
            ),
            "regions": Use(
                call=self.regions,
                takes={**content, "inside": any_size, "outside": any_size, "mask": _MASK},
                gives=image,
                options=Colours(),
                summary="makes images in one style where a mask is white and another where not",
            ),
        }

    def stylise(
        self, view: View, taken: dict[str, Array], keys: Any, options: Colours
    ) -> dict[str, Array]:
        """In one style."""
        del keys
        content = encode(view, "content", taken["content"])
        (style,) = _styles(view, taken, ("style",), options)
        return self._decoded(view, taken, content, adain(content, style))

    def mix(
        self, view: View, taken: dict[str, Array], keys: Any, options: Several
    ) -> dict[str, Array]:
        """In several styles: the weighted sum of what each makes of the content's map."""
        del keys
        content = encode(view, "content", taken["content"])
        styles = _styles(view, taken, style_names(options.styles), options)
        weights = taken["weights"].T[..., None, None, None]
        wanted = sum(w * adain(content, s) for w, s in zip(weights, styles, strict=True))
        return self._decoded(view, taken, content, wanted)

    def regions(
        self, view: View, taken: dict[str, Array], keys: Any, options: Colours
    ) -> dict[str, Array]:
        """In two styles; the statistics of either region are replaced by those of its style."""
        del keys
        content = encode(view, "content", taken["content"])
        styles = _styles(view, taken, ("inside", "outside"), options)
        size = (*content.shape[:3], 1)
        inside = jnp.clip(jax.image.resize(taken["mask"], size, "linear"), 0, 1)
        parts = zip((inside, 1 - inside), styles, strict=True)
        wanted = sum(region * adain(content, s, region) for region, s in parts)
        return self._decoded(view, taken, content, wanted)

    def _decoded(
        self, view: View, taken: dict[str, Array], content: Array, wanted: Any
    ) -> dict[str, Array]:
        """An image as large as the content, of a map on the way from its own by alpha."""
        alpha = taken["alpha"][:, None, None, None]
        made = view("decoder", alpha * wanted + (1 - alpha) * content)
        height, width = taken["content"].shape[1:3]  # maps are of sizes rounded up
        return {"image": made[:, :height, :width]}


_MASK = Mask((None, None, 1))


def style_names(count: int) -> tuple[str, ...]:
    """What the use "mix" calls its styles."""
    return tuple(f"style_{index}" for index in range(1, count + 1))


def encode(view: View, name: str, images: Float[Array, "b h w 3"]) -> Float[Array, "b y x 512"]:
    """relu4_1.

    Raises:
        UserError: images that are too small.
    """
    if min(images.shape[1:3]) < _LEAST:
        raise UserError(
            f"{name} has {images.shape[1]}x{images.shape[2]} pixels, expected at least "
            f"{_LEAST}x{_LEAST}: give larger images"
        )
    return view("encoder", images)[-1]


def _styles(
    view: View, taken: Mapping[str, Array], names: Sequence[str], options: Colours
) -> list[Float[Array, "b y x 512"]]:
    """relu4_1 of styles by name."""
    images = {name: taken[name] for name in names}
    if options.keep_colours:
        images = {name: recolour(x, taken["content"]) for name, x in images.items()}
    return [encode(view, name, x) for name, x in images.items()]
