"""Networks of pix2pix and CycleGAN in PyTorch, from their tables of layers."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """[b, channels, 2^n, 2^n] to [b, features, 2^n, 2^n], without dropout; batch norm."""

    def __init__(self, halvings: int = 8, channels: int = 3, features: int = 3, width: int = 64):
        super().__init__()
        self.halvings = halvings
        sizes = [channels, *(min(width << index, 8 * width) for index in range(halvings))]
        for index, (before, after) in enumerate(pairwise(sizes), 1):
            self.add_module(f"down{index}", nn.Conv2d(before, after, 4, 2, 1, bias=False))
            if 1 < index < halvings:
                self.add_module(f"down_norm{index}", nn.BatchNorm2d(after))
            joined = after if index == halvings else 2 * after
            out = features if index == 1 else before
            up = nn.ConvTranspose2d(joined, out, 4, 2, 1, bias=index == 1)
            self.add_module(f"up{index}", up)
            if index > 1:
                self.add_module(f"up_norm{index}", nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.level(1, x))

    def level(self, index: int, x: Tensor) -> Tensor:
        """What a level of the U makes of what comes in at its size, with all levels below."""
        h = self.get_submodule(f"down{index}")(x if index == 1 else F.leaky_relu(x, 0.2))
        if 1 < index < self.halvings:
            h = self.get_submodule(f"down_norm{index}")(h)
        if index < self.halvings:
            h = torch.cat([h, self.level(index + 1, h)], 1)
        h = self.get_submodule(f"up{index}")(F.relu(h))
        return h if index == 1 else self.get_submodule(f"up_norm{index}")(h)


class PatchGAN(nn.Module):
    """[b, channels, h, w] to a map of logits [b, y, x]: 70x70 patches."""

    def __init__(
        self, channels: int = 3, width: int = 64, affine: bool = False, kernel_size: int = 4
    ):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width, 8 * width, 1)
        for index, (before, after) in enumerate(pairwise(sizes), 1):
            stride = 2 if index < 4 else 1
            bias = not affine or index in (1, 5)
            conv = nn.Conv2d(before, after, kernel_size, stride, 1, bias=bias)
            self.add_module(f"conv{index}", conv)
            if 1 < index < 5:
                norm = nn.BatchNorm2d if affine else nn.InstanceNorm2d
                self.add_module(f"norm{index}", norm(after))

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv1(x), 0.2)
        for index in (2, 3, 4):
            h = self.get_submodule(f"norm{index}")(self.get_submodule(f"conv{index}")(h))
            h = F.leaky_relu(h, 0.2)
        return self.conv5(h)[:, 0]


class Translator(nn.Module):
    """[b, channels, h, w] to the same: the ResNet generator."""

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 9):
        super().__init__()
        self.blocks = blocks
        self.first = nn.Conv2d(channels, width, 7)
        self.down1 = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.down2 = nn.Conv2d(2 * width, 4 * width, 3, 2, 1)
        for index in range(1, blocks + 1):
            for part in (1, 2):
                conv = nn.Conv2d(4 * width, 4 * width, 3)
                self.add_module(f"block{index}_conv{part}", conv)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1, output_padding=1)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1)
        self.last = nn.Conv2d(width, channels, 7)

    def forward(self, x: Tensor) -> Tensor:
        def padded(h: Tensor, size: int) -> Tensor:
            return F.pad(h, (size,) * 4, mode="reflect")

        h = F.instance_norm(self.first(padded(x, 3))).relu()
        h = F.instance_norm(self.down1(h)).relu()
        h = F.instance_norm(self.down2(h)).relu()
        for index in range(1, self.blocks + 1):
            r = self.get_submodule(f"block{index}_conv1")(padded(h, 1))
            r = self.get_submodule(f"block{index}_conv2")(padded(F.instance_norm(r).relu(), 1))
            h = h + F.instance_norm(r)
        h = F.instance_norm(self.up2(h)).relu()
        h = F.instance_norm(self.up1(h)).relu()
        return torch.tanh(self.last(padded(h, 3)))
