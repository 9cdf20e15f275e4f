"""PyTorch layers that the reference networks share."""

import torch
from torch import Tensor, nn


class LinearToMap(nn.Linear):
    """A linear layer whose output is a map [b, channels, height, width]."""

    def __init__(self, features: int, channels: int, height: int, width: int):
        super().__init__(features, channels * height * width)
        self.map = (channels, height, width)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(-1, *self.map)


class ClassBatchNorm(nn.BatchNorm2d):
    """Batch norm with a scale and a bias per class."""

    def __init__(self, channels: int, classes: int, eps: float = 1e-5):
        super().__init__(channels, eps, affine=False)
        self.scale = nn.Parameter(torch.ones(classes, channels))
        self.shift = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        scale, shift = self.scale[label], self.shift[label]
        return torch.addcmul(shift[:, :, None, None], super().forward(x), scale[:, :, None, None])
