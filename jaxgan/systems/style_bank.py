"""Many styles in one network that differ in the tables of its norms alone.

Dumoulin, Shlens, Kudlur, "A Learned Representation for Artistic Style", ICLR 2017. A feed-forward
network (Johnson et al. 2016, without transposed convolutions, mirrored at its borders) makes images
of contents; each style has its own scale and bias in every instance norm. A new style is learned by
its rows of the tables while all else is frozen, and weights over styles blend them.

What differs from the paper: the losses are AdaIN's, by maps of a normalised VGG16
(`common/perceptual.py`): means and deviations instead of Gram matrices, relu3_1 for content.
"""

import dataclasses
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan.errors import UserError
from jaxgan.fields import Field, FromData, Image, Label, Shares
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import ClassInstanceNorm
from jaxgan.nn.resample import upsample
from jaxgan.nn.translator import reflect
from jaxgan.ranges import DecayRate, Few, Positive, Rate, Shape, Weight
from jaxgan.system import Examples, Metrics, Player, Pretrained, Stage, System, Use
from jaxgan.systems.common.perceptual import pretrained_encoder, squared, style_loss
from jaxgan.view import View


class StyleNetwork(nn.Module):
    """Images to images of the same size, in [-1, 1], in one of several styles.

    Attributes:
        classes: number of styles.
        width: channels at full size; a half has twice, a quarter four times as many.
        blocks: residual ones.
        dtype: compute type.
    """

    classes: int
    width: int = 32
    blocks: int = 5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w 3"],
        style: Int[Array, " b"] | Float[Array, "b classes"],
        *,
        train: bool,
    ) -> Float[Array, "b h w 3"]:
        """Of any height and width; `style`: a number, or weights over all of them."""
        del train
        height, width = x.shape[1:3]
        rest = ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0))
        h = jnp.pad(x, rest, mode="reflect")

        def layer(h: Array, features: int, name: str, size: int = 3, stride: int = 1) -> Array:
            conv = partial(Conv, padding=0, kernel_size=size, stride=stride, dtype=self.dtype)
            # Every norm takes the bias away.
            h = conv(features, inert_bias=True, name=name)(reflect(h, size // 2))
            return ClassInstanceNorm(self.classes, name=f"{name}_norm")(h, style)

        h = nn.relu(layer(h, self.width, "first", 9))
        for level in (1, 2):
            h = nn.relu(layer(h, self.width << level, f"down{level}", stride=2))
        for index in range(1, self.blocks + 1):
            r = nn.relu(layer(h, self.width << 2, f"block{index}_conv1"))
            h = h + layer(r, self.width << 2, f"block{index}_conv2")
        for level in (1, 0):
            h = nn.relu(layer(upsample(h), self.width << level, f"up{level + 1}"))
        h = jnp.tanh(layer(h, 3, "last", 9).astype(jnp.float32))
        return h[:, :height, :width]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleBank(System):
    """Style transfer in a given number of styles."""

    classes: Positive
    """Styles, each an image of its own class."""
    shape: Shape = (256, 256, 3)
    """Height, width and channels (3) of the crops that it learns from; it is used at any size."""
    width: Positive = 32
    """Channels at full size."""
    blocks: Few = 5
    """Residual blocks."""
    style: Weight = 1.0
    """Weight of the style loss; the content loss has 1."""
    learning_rate: Rate = 1e-3
    """Adam's step size."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape[:2]) < 16 or self.shape[2] != 3:
            raise UserError(
                f"image shape {self.shape}: expected height and width of at least 16 and 3 "
                "channels, which the encoder was trained with; change `shape`"
            )

    def data(self) -> tuple[dict[str, Field], ...]:
        """Two unrelated sets: contents are the inputs, styles the images of `unpaired:A,B`."""
        return (
            {"content": Image(self.shape, column="input")},
            {"style": Image(self.shape, column="image"), "label": Label(classes=self.classes)},
        )

    def networks(self) -> dict[str, nn.Module]:
        """The network of all styles."""
        dtype = jnp.dtype(self.dtype)
        return {"network": StyleNetwork(self.classes, self.width, self.blocks, dtype)}

    def pretrained(self) -> dict[str, Pretrained]:
        """The network that judges."""
        return {"encoder": pretrained_encoder(self.dtype)}

    def inputs(self) -> dict[str, tuple]:
        """An image and a style's number; an image."""
        image = jnp.zeros((1, 16, 16, 3))
        return {"network": (image, jnp.zeros(1, jnp.int32)), "encoder": (image,)}

    def stages(self) -> tuple[Stage, ...]:
        """One player."""
        adam = optax.adam(self.learning_rate, *self.betas)
        player = Player(name="network", owns=("network",), loss=self.loss, optimizer=adam)
        return (Stage(players=(player,)),)

    def loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Content and style losses."""
        del key
        content, style = view.together("encoder", (batch["content"],), (batch["style"],))
        made = view("encoder", view("network", batch["content"], batch["label"]))
        content_loss, loss_of_style = squared(made[2], content[2]), style_loss(made, style)
        return content_loss + self.style * loss_of_style, {
            "content": content_loss,
            "style": loss_of_style,
        }

    def uses(self) -> dict[str, Use]:
        """Images of any size in one style, or in a blend of all by weights."""
        any_size = Image((None, None, 3))

        def call(view: View, taken: dict[str, Array], keys: Any, options: Any) -> dict[str, Array]:
            del keys, options
            style = taken["label"] if "label" in taken else taken["weights"]
            return {"image": view("network", taken["content"], style)}

        return {
            "crops": Use(
                call=call,
                takes={"content": FromData(column="content"), "label": FromData(column="label")},
                gives={"image": Image(self.shape)},
                summary="makes crops of the contents in the styles of the data",
            ),
            "stylise": Use(
                call=call,
                takes={"content": any_size, "label": Label(classes=self.classes)},
                gives={"image": any_size},
                summary="makes images in a style",
            ),
            "blend": Use(
                call=call,
                takes={"content": any_size, "weights": Shares((self.classes,))},
                gives={"image": any_size},
                summary="makes images in a blend of all styles, by their weights",
            ),
        }
