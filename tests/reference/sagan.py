"""SAGAN for 64x64 images in PyTorch, from its layer table: the networks of heykeetae's code.

Spectral norm is PyTorch's own, with the rows that that code takes: a transposed convolution's input
channels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class SelfAttention(nn.Module):
    """gamma * attention(x) + x, and the attention map [b, hw, hw]."""

    def __init__(self, channels: int):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
        out = value @ attention.transpose(1, 2)
        return self.gamma * out.view_as(x) + x, attention


class Generator(nn.Module):
    """[b, latent] to [b, 3, 64, 64] and two attention maps."""

    def __init__(self, latent: int = 128, width: int = 64):
        super().__init__()
        sizes = (latent, 8 * width, 4 * width, 2 * width, width)
        for index, (before, after) in enumerate(pairwise(sizes), 1):
            stride, padding = (1, 0) if index == 1 else (2, 1)
            conv = nn.ConvTranspose2d(before, after, 4, stride, padding)
            self.add_module(f"conv{index}", spectral_norm(conv, dim=0))
            self.add_module(f"norm{index}", nn.BatchNorm2d(after))
        self.attention1 = SelfAttention(2 * width)
        self.attention2 = SelfAttention(width)
        self.conv5 = nn.ConvTranspose2d(width, 3, 4, 2, 1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.norm1(self.conv1(z[:, :, None, None])).relu_()
        h = self.norm2(self.conv2(h)).relu_()
        h = self.norm3(self.conv3(h)).relu_()
        h, map1 = self.attention1(h)
        h = self.norm4(self.conv4(h)).relu_()
        h, map2 = self.attention2(h)
        return torch.tanh(self.conv5(h)), map1, map2


class Discriminator(nn.Module):
    """[b, 3, 64, 64] to logits [b] and two attention maps."""

    def __init__(self, width: int = 64):
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width, 8 * width)
        for index, (before, after) in enumerate(pairwise(sizes), 1):
            self.add_module(f"conv{index}", spectral_norm(nn.Conv2d(before, after, 4, 2, 1)))
        self.attention1 = SelfAttention(4 * width)
        self.attention2 = SelfAttention(8 * width)
        self.conv5 = nn.Conv2d(8 * width, 1, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.leaky_relu_(self.conv1(x), 0.1)
        h = F.leaky_relu_(self.conv2(h), 0.1)
        h = F.leaky_relu_(self.conv3(h), 0.1)
        h, map1 = self.attention1(h)
        h = F.leaky_relu_(self.conv4(h), 0.1)
        h, map2 = self.attention2(h)
        return self.conv5(h).flatten(), map1, map2
