"""CycleGAN's and pix2pix's networks with the names of their authors' code; of any size."""

from itertools import pairwise

import torch
from torch import nn


def batch_norm(features):
    return nn.BatchNorm2d(features)


def instance_norm(features, tracked=False):
    return nn.InstanceNorm2d(features, track_running_stats=tracked)


class Residual(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.conv_block = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), norm(width), nn.ReLU()),
            *(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), norm(width)),
        )

    def forward(self, x):
        return x + self.conv_block(x)


class ResNet(nn.Module):
    def __init__(self, width=4, channels=3, blocks=9, norm=instance_norm):
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), norm(width), nn.ReLU()]
        for features in (2 * width, 4 * width):
            conv = nn.Conv2d(features // 2, features, 3, 2, 1)
            layers += [conv, norm(features), nn.ReLU()]
        layers += [Residual(4 * width, norm) for _ in range(blocks)]
        for features in (2 * width, width):
            up = nn.ConvTranspose2d(2 * features, features, 3, 2, 1, output_padding=1)
            layers += [up, norm(features), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


class Level(nn.Module):
    """A level of the U-Net: halves, goes through the level inside, doubles."""

    def __init__(self, outer, inner, inside, norm, *, inputs=None, outputs=None):
        super().__init__()
        self.outermost, bias = inputs is not None, norm is not batch_norm
        down = nn.Conv2d(inputs or outer, inner, 4, 2, 1, bias=bias)
        rows = inner if inside is None else 2 * inner
        if self.outermost:
            up = nn.ConvTranspose2d(rows, outputs, 4, 2, 1)
            layers = [down, inside, nn.ReLU(), up, nn.Tanh()]
        else:
            up = nn.ConvTranspose2d(rows, outer, 4, 2, 1, bias=bias)
            middle = [] if inside is None else [norm(inner), inside]
            layers = [nn.LeakyReLU(0.2), down, *middle, nn.ReLU(), up, norm(outer)]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UNet(nn.Module):
    """Without dropout, which has no tensors."""

    def __init__(self, width=4, inputs=3, outputs=3, halvings=6, norm=batch_norm):
        super().__init__()
        widths = [width * min(8, 2**index) for index in range(halvings)]
        level = None
        for outer, inner in reversed(list(pairwise(widths))):
            level = Level(outer, inner, level, norm)
        self.model = Level(outputs, width, level, norm, inputs=inputs, outputs=outputs)

    def forward(self, x):
        return self.model(x)


class PatchGAN(nn.Module):
    def __init__(self, width=4, channels=3, halvings=3, norm=instance_norm):
        super().__init__()
        layers, before = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)], width
        for index in range(1, halvings + 1):
            after, stride = width * min(8, 2**index), 2 if index < halvings else 1
            conv = nn.Conv2d(before, after, 4, stride, 1, bias=norm is not batch_norm)
            layers += [conv, norm(after), nn.LeakyReLU(0.2)]
            before = after
        self.model = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x):
        return self.model(x)[:, 0]
