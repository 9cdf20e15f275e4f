"""DCGAN for 64x64 images in PyTorch, from its layer table: the networks of PyTorch's example."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """[b, latent] to [b, channels, 64, 64]."""

    def __init__(self, latent: int = 100, width: int = 64, channels: int = 3):
        super().__init__()
        sizes = (latent, 8 * width, 4 * width, 2 * width, width, channels)
        for index, (before, after) in enumerate(pairwise(sizes), 1):
            stride, padding = (1, 0) if index == 1 else (2, 1)
            conv = nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)
            self.add_module(f"conv{index}", conv)
            if index < 5:
                self.add_module(f"norm{index}", nn.BatchNorm2d(after))

    def forward(self, z: Tensor) -> Tensor:
        h = z[:, :, None, None]
        for index in (1, 2, 3, 4):
            h = getattr(self, f"norm{index}")(getattr(self, f"conv{index}")(h)).relu_()
        return torch.tanh(self.conv5(h))


class Discriminator(nn.Module):
    """[b, channels, 64, 64] to logits [b]."""

    def __init__(self, width: int = 64, channels: int = 3):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width, 8 * width)
        for index, (before, after) in enumerate(pairwise(sizes), 1):
            self.add_module(f"conv{index}", nn.Conv2d(before, after, 4, 2, 1, bias=False))
            if index > 1:
                self.add_module(f"norm{index}", nn.BatchNorm2d(after))
        self.conv5 = nn.Conv2d(8 * width, 1, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.leaky_relu_(self.conv1(x), 0.2)
        for index in (2, 3, 4):
            h = getattr(self, f"norm{index}")(getattr(self, f"conv{index}")(h))
            h = nn.functional.leaky_relu_(h, 0.2)
        return self.conv5(h).flatten()
