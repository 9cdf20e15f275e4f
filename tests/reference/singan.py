"""SinGAN's networks in PyTorch, from their table of layers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Patches(nn.Module):
    """[b, channels, h, w] to [b, features, h - 10, w - 10]."""

    def __init__(self, width: int, channels: int, features: int):
        super().__init__()
        sizes = (channels, width, width, width, width)
        for index in range(1, 5):
            self.add_module(f"conv{index}", nn.Conv2d(sizes[index - 1], sizes[index], 3))
            self.add_module(f"norm{index}", nn.BatchNorm2d(sizes[index]))
        self.conv5 = nn.Conv2d(width, features, 3)

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, 5):
            x = self.get_submodule(f"norm{index}")(self.get_submodule(f"conv{index}")(x))
            x = F.leaky_relu(x, 0.2)
        return self.conv5(x)


class Generator(nn.Module):
    """Noise and an image [b, channels, h, w] to an image of this size."""

    def __init__(self, width: int = 32, channels: int = 3):
        super().__init__()
        self.patches = Patches(width, channels, channels)

    def forward(self, noise: Tensor, prior: Tensor) -> Tensor:
        return torch.tanh(self.patches(F.pad(noise + prior, (5, 5, 5, 5)))) + prior


class Discriminator(nn.Module):
    """[b, channels, h, w] to a map of scores [b, y, x]."""

    def __init__(self, width: int = 32, channels: int = 3):
        super().__init__()
        self.patches = Patches(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x)[:, 0]
