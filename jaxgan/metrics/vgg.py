"""VGG16's second fully connected layer, which improved precision and recall compare images by.

Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models".
"""

from typing import Any

from jaxtyping import Array, Float, PyTree, UInt8

from jaxgan.metrics import resize
from jaxgan.pretrained.vgg import MEAN, STD, VGG16, params_from_torch

__all__ = ["apply", "params_from_torch"]


def apply(
    variables: PyTree, images: UInt8[Array, "b h w c"]
) -> tuple[Float[Array, "b 4096"], Float[Array, "b 1000"]]:
    """Features and logits of grey or RGB images of any size."""
    x = resize.bilinear_tf1(resize.rgb(images), 224)
    out: Any = VGG16().apply(variables, (x - 255 * MEAN) / (255 * STD))
    return out
