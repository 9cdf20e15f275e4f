"""LPIPS: how far apart two images look, by the maps of VGG16.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", section
3; weights and constants of version 0.1 of the published code. Perceptual path lengths use it.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxgan.metrics.features import Extractor
from jaxgan.nn.resample import downsample
from jaxgan.pretrained import vgg
from jaxgan.pretrained.weights import LPIPS, VGG, find_weights, read_weights


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Distance:
    """A distance of images.

    Attributes:
        name: of the distance.
        weights: sha256 of its weights (hex); of several files, joined with "+".
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


def lpips(
    vgg_weights: str | Path | None = None, linear_weights: str | Path | None = None
) -> Distance:
    """LPIPS on VGG16.

    Args:
        vgg_weights: torchvision's vgg16-397923af.pth, or a folder with it; by default in the
            folder that JAXGAN_WEIGHTS names.
        linear_weights: lpips/weights/v0.1/vgg.pth of the package lpips, or a folder with it; by
            default in the same folder, or in the package if it is installed.

    Raises:
        UserError: weights are missing or altered.
    """
    network, network_digest = read_weights(VGG, vgg_weights)
    linear, linear_digest = read_weights(LPIPS, linear_weights)
    return Distance(
        name="lpips-vgg16",
        weights=f"{network_digest}+{linear_digest}",
        resize="mean to at most 256x256",
        params={
            "vgg": vgg.params_from_torch(network),
            "linear": [linear[f"lin{i}.model.1.weight"].reshape(-1) for i in range(5)],
        },
        apply=lambda params, a, b: distance(params, _shrunk(a), _shrunk(b)),
    )


def perceptual_distance(extractor: Extractor) -> Distance:
    """LPIPS if its weights lie where JAXGAN_WEIGHTS says, else an extractor's own distance.

    That is the squared one of its features, which like LPIPS grows with the square of a small
    change. Path lengths by it are not to be compared with published ones.
    """
    if find_weights(VGG) and find_weights(LPIPS):
        return lpips()

    def apply(
        params: PyTree, a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        features, _ = extractor.apply(params, (jnp.concatenate([a, b]) + 1) * 127.5)
        left, right = jnp.split(features, 2)
        return ((left - right) ** 2).sum(-1)

    return Distance(
        name=extractor.name,
        weights=extractor.weights,
        resize=extractor.resize,
        params=extractor.params,
        apply=apply,
    )


def _shrunk(images: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
    """As path lengths take them: sides above 256 are halved by means, until they are not."""
    while images.shape[1] > 256:
        images = downsample(images)
    return images


def distance(
    params: PyTree, a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """Weighted squared differences of unit-length feature vectors, averaged over places.

    Args:
        params: "vgg": the network's variables; "linear": a weight per channel for each of its maps.
        a: images in [-1, 1], grey or RGB, 16 pixels a side or more.
        b: the images to compare them with.
    """
    x = (jnp.concatenate([a, b]) + 1) / 2
    total = jnp.zeros(len(a))
    maps = vgg.Convolutions().apply(params["vgg"], (x - vgg.MEAN) / vgg.STD)
    for x, weight in zip(maps, params["linear"], strict=True):
        # The gradient of the root is infinite at zero, which is where whole vectors are after ReLU.
        length = jnp.sqrt(jnp.maximum((x**2).sum(-1, keepdims=True), 1e-30))
        left, right = jnp.split(x / (length + 1e-10), 2)
        total += ((left - right) ** 2 @ weight).mean((1, 2))
    return total
