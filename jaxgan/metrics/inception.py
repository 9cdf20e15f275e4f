"""Inception-v3 as the scores FID, KID and IS know it: the TensorFlow graph of 2015-12-05.

Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision". The graph that
Salimans et al. 2016 and Heusel et al. 2017 scored with differs from the paper and from torchvision:

- its input is stretched to 299x299 by TensorFlow 1's bilinear filter, and is (x - 128) / 128;
- average pools of the mixed blocks leave the padding out of the mean;
- the last mixed block pools by maximum;
- it has 1,008 classes, of which 1,000 mean something.

Submodules carry the names of the PyTorch port of the weights (pytorch-fid, torch-fidelity).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PyTree, UInt8

from jaxgan.metrics import resize
from jaxgan.pretrained import port

Pool = Callable[[Float[Array, "b h w c"]], Float[Array, "b h w c"]]

average_pool: Pool = partial(
    nn.avg_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME", count_include_pad=False
)
max_pool: Pool = partial(nn.max_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME")
halve: Pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding="VALID")


class ConvBN(nn.Module):
    """Convolution without bias, batch norm by the running statistics, ReLU.

    Attributes:
        features: channels of the output.
        kernel: height and width of the kernel.
        stride: 1, or 2 without padding.
        padding: "SAME" or "VALID"; None for "SAME" at stride 1 and "VALID" at stride 2.
    """

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """[b, h, w, in] to [b, y, x, features]."""
        padding = self.padding or ("SAME" if self.stride == 1 else "VALID")
        x = nn.Conv(
            self.features,
            self.kernel,
            self.stride,
            padding,
            use_bias=False,
            precision="highest",
            name="conv",
        )(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


class InceptionA(nn.Module):
    """Mixed_5b to 5d, at 35x35: 1x1, 5x5, two 3x3, pool.

    Attributes:
        pool_features: channels of the pooled branch.
    """

    pool_features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """To 224 + pool_features channels."""
        one = ConvBN(64, name="branch1x1")(x)
        five = ConvBN(48, name="branch5x5_1")(x)
        five = ConvBN(64, (5, 5), name="branch5x5_2")(five)
        double = ConvBN(64, name="branch3x3dbl_1")(x)
        double = ConvBN(96, (3, 3), name="branch3x3dbl_2")(double)
        double = ConvBN(96, (3, 3), name="branch3x3dbl_3")(double)
        pool = ConvBN(self.pool_features, name="branch_pool")(average_pool(x))
        return jnp.concatenate([one, five, double, pool], -1)


class InceptionB(nn.Module):
    """Mixed_6a, from 35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """To 480 channels and those of the input."""
        three = ConvBN(384, (3, 3), 2, name="branch3x3")(x)
        double = ConvBN(64, name="branch3x3dbl_1")(x)
        double = ConvBN(96, (3, 3), name="branch3x3dbl_2")(double)
        double = ConvBN(96, (3, 3), 2, name="branch3x3dbl_3")(double)
        return jnp.concatenate([three, double, halve(x)], -1)


class InceptionC(nn.Module):
    """Mixed_6b to 6e, at 17x17: 7x7 convolutions as 1x7 and 7x1.

    Attributes:
        inner: channels inside of the 7x7 branches.
    """

    inner: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w 768"]:
        """To 768 channels."""
        one = ConvBN(192, name="branch1x1")(x)
        seven = ConvBN(self.inner, name="branch7x7_1")(x)
        seven = ConvBN(self.inner, (1, 7), name="branch7x7_2")(seven)
        seven = ConvBN(192, (7, 1), name="branch7x7_3")(seven)
        double = ConvBN(self.inner, name="branch7x7dbl_1")(x)
        double = ConvBN(self.inner, (7, 1), name="branch7x7dbl_2")(double)
        double = ConvBN(self.inner, (1, 7), name="branch7x7dbl_3")(double)
        double = ConvBN(self.inner, (7, 1), name="branch7x7dbl_4")(double)
        double = ConvBN(192, (1, 7), name="branch7x7dbl_5")(double)
        pool = ConvBN(192, name="branch_pool")(average_pool(x))
        return jnp.concatenate([one, seven, double, pool], -1)


class InceptionD(nn.Module):
    """Mixed_7a, from 17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """To 512 channels and those of the input."""
        three = ConvBN(192, name="branch3x3_1")(x)
        three = ConvBN(320, (3, 3), 2, name="branch3x3_2")(three)
        seven = ConvBN(192, name="branch7x7x3_1")(x)
        seven = ConvBN(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = ConvBN(192, (7, 1), name="branch7x7x3_3")(seven)
        seven = ConvBN(192, (3, 3), 2, name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, halve(x)], -1)


class InceptionE(nn.Module):
    """Mixed_7b and 7c, at 8x8: 3x3 convolutions that fan out into 1x3 and 3x1.

    Attributes:
        pool: what precedes the pooled branch.
    """

    pool: Pool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w 2048"]:
        """To 2048 channels."""
        one = ConvBN(320, name="branch1x1")(x)
        three = ConvBN(384, name="branch3x3_1")(x)
        three_a = ConvBN(384, (1, 3), name="branch3x3_2a")(three)
        three_b = ConvBN(384, (3, 1), name="branch3x3_2b")(three)
        double = ConvBN(448, name="branch3x3dbl_1")(x)
        double = ConvBN(384, (3, 3), name="branch3x3dbl_2")(double)
        double_a = ConvBN(384, (1, 3), name="branch3x3dbl_3a")(double)
        double_b = ConvBN(384, (3, 1), name="branch3x3dbl_3b")(double)
        pool = ConvBN(192, name="branch_pool")(self.pool(x))
        return jnp.concatenate([one, three_a, three_b, double_a, double_b, pool], -1)


class Inception(nn.Module):
    """The network, from preprocessed images of any size that it can halve five times."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b 2048"], Float[Array, "b 1008"]]:
        """Pooled features, and logits without their bias, as the Inception score takes them."""
        x = ConvBN(32, (3, 3), 2, name="Conv2d_1a_3x3")(x)  # [b, 149, 149, 32]
        x = ConvBN(32, (3, 3), padding="VALID", name="Conv2d_2a_3x3")(x)
        x = ConvBN(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = halve(x)  # [b, 73, 73, 64]
        x = ConvBN(80, name="Conv2d_3b_1x1")(x)
        x = ConvBN(192, (3, 3), padding="VALID", name="Conv2d_4a_3x3")(x)
        x = halve(x)  # [b, 35, 35, 192]
        x = InceptionA(32, name="Mixed_5b")(x)
        x = InceptionA(64, name="Mixed_5c")(x)
        x = InceptionA(64, name="Mixed_5d")(x)
        x = InceptionB(name="Mixed_6a")(x)  # [b, 17, 17, 768]
        x = InceptionC(128, name="Mixed_6b")(x)
        x = InceptionC(160, name="Mixed_6c")(x)
        x = InceptionC(160, name="Mixed_6d")(x)
        x = InceptionC(192, name="Mixed_6e")(x)
        x = InceptionD(name="Mixed_7a")(x)  # [b, 8, 8, 1280]
        x = InceptionE(average_pool, name="Mixed_7b")(x)
        x = InceptionE(max_pool, name="Mixed_7c")(x)
        features = x.mean((1, 2))
        return features, nn.Dense(1008, use_bias=False, precision="highest", name="fc")(features)


def params_from_torch(state: Mapping[str, np.ndarray]) -> PyTree:
    """The network's variables from the state_dict of its PyTorch port.

    Raises:
        UserError: it is the state of another network.
    """
    return port.variables(state, Inception(), (1, 299, 299, 3), unused=("fc.bias",))


def apply(
    variables: PyTree, images: UInt8[Array, "b h w c"]
) -> tuple[Float[Array, "b 2048"], Float[Array, "b 1008"]]:
    """Features and logits of grey or RGB images of any size."""
    x = resize.bilinear_tf1(resize.rgb(images), 299)
    out: Any = Inception().apply(variables, (x - 128) / 128)
    return out
