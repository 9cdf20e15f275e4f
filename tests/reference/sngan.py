"""SNGAN for 32x32 images in PyTorch, from its layer table; with `classes`, conditional.

Convolutions run in the order of the authors' code: upsample, then convolve; convolve, then average.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from tests.reference.layers import ClassBatchNorm, LinearToMap

EPSILON = 2e-5


class GeneratorBlock(nn.Module):
    """Norm-ReLU-up-conv-norm-ReLU-conv plus up-conv1."""

    def __init__(self, before: int, after: int, classes: int):
        super().__init__()
        self.norm1 = _norm(before, classes)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = _norm(after, classes)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, *label: Tensor) -> Tensor:
        h = self.conv1(F.interpolate(self.norm1(x, *label).relu_(), scale_factor=2))
        h = self.conv2(self.norm2(h, *label).relu_())
        return h + self.shortcut(F.interpolate(x, scale_factor=2))


class Generator(nn.Module):
    """[b, latent], and labels [b] if `classes`, to [b, 3, 32, 32]."""

    def __init__(self, width: int = 256, classes: int = 0, latent: int = 128):
        super().__init__()
        self.dense = LinearToMap(latent, width, 4, 4)
        for index in (1, 2, 3):
            self.add_module(f"block{index}", GeneratorBlock(width, width, classes))
        self.norm = nn.BatchNorm2d(width, EPSILON)
        self.conv = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor, *label: Tensor) -> Tensor:
        h = self.dense(z)
        for block in (self.block1, self.block2, self.block3):
            h = block(h, *label)
        return torch.tanh(self.conv(self.norm(h).relu_()))


class DiscriminatorBlock(nn.Module):
    """[ReLU]-conv-ReLU-conv[-average] plus a shortcut; spectrally normalised."""

    def __init__(self, before: int, after: int, *, first: bool, down: bool):
        super().__init__()
        self.first, self.down = first, down
        hidden = after if first else before
        self.conv1 = spectral_norm(nn.Conv2d(before, hidden, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(hidden, after, 3, padding=1))
        if down or before != after:
            self.shortcut = spectral_norm(nn.Conv2d(before, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else F.relu(x)
        h = self.conv2(self.conv1(h).relu_())
        if not self.down:
            return h + (self.shortcut(x) if hasattr(self, "shortcut") else x)
        if self.first:
            return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return F.avg_pool2d(h + self.shortcut(x), 2)


class Discriminator(nn.Module):
    """[b, 3, 32, 32], and labels [b] if `classes`, to logits [b]."""

    def __init__(self, width: int = 128, classes: int = 0):
        super().__init__()
        self.block1 = DiscriminatorBlock(3, width, first=True, down=True)
        self.block2 = DiscriminatorBlock(width, width, first=False, down=True)
        self.block3 = DiscriminatorBlock(width, width, first=False, down=False)
        self.block4 = DiscriminatorBlock(width, width, first=False, down=False)
        self.dense = spectral_norm(nn.Linear(width, 1, bias=False))
        if classes:
            self.embed = spectral_norm(nn.Embedding(classes, width))

    def forward(self, x: Tensor, *label: Tensor) -> Tensor:
        h = self.block4(self.block3(self.block2(self.block1(x))))
        h = F.relu(h).sum((2, 3))
        logits = self.dense(h)[:, 0]
        return logits + (self.embed(*label) * h).sum(1) if label else logits


def _norm(channels: int, classes: int) -> nn.Module:
    if classes:
        return ClassBatchNorm(channels, classes, EPSILON)
    return nn.BatchNorm2d(channels, EPSILON)
