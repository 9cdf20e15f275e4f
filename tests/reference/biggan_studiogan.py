"""BigGAN of 32 pixels in PyTorch, from its layer table, with StudioGAN's names."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

EPSILON = 1e-4


def conv(before, after, size, bias=True):
    return spectral_norm(nn.Conv2d(before, after, size, padding=size // 2, bias=bias))


def linear(before, after, bias=True):
    return spectral_norm(nn.Linear(before, after, bias=bias))


class Norm(nn.Module):
    def __init__(self, condition, channels):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=EPSILON, affine=False)
        self.gain, self.bias = (linear(condition, channels, bias=False) for _ in range(2))

    def forward(self, x, condition):
        gain, bias = 1 + self.gain(condition), self.bias(condition)
        return self.bn(x) * gain[:, :, None, None] + bias[:, :, None, None]


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1x1_theta, self.conv1x1_phi = (
            conv(channels, channels // 8, 1, bias=False) for _ in range(2)
        )
        self.conv1x1_g = conv(channels, channels // 2, 1, bias=False)
        self.conv1x1_attn = conv(channels // 2, channels, 1, bias=False)
        self.sigma = nn.Parameter(torch.tensor([0.7]))

    def forward(self, x, *condition):
        key, value = (
            F.max_pool2d(layer(x), 2).flatten(2) for layer in (self.conv1x1_phi, self.conv1x1_g)
        )
        places = torch.softmax(self.conv1x1_theta(x).flatten(2).transpose(1, 2) @ key, -1)
        out = (value @ places.transpose(1, 2)).unflatten(2, x.shape[2:])
        return self.sigma * self.conv1x1_attn(out) + x


class GBlock(nn.Module):
    def __init__(self, channels, condition):
        super().__init__()
        self.bn1, self.bn2 = Norm(condition, channels), Norm(condition, channels)
        self.conv2d0 = conv(channels, channels, 1)
        self.conv2d1, self.conv2d2 = conv(channels, channels, 3), conv(channels, channels, 3)

    def forward(self, x, condition):
        h = self.conv2d1(F.interpolate(F.relu(self.bn1(x, condition)), scale_factor=2))
        h = self.conv2d2(F.relu(self.bn2(h, condition)))
        return h + self.conv2d0(F.interpolate(x, scale_factor=2))


class Generator(nn.Module):
    def __init__(self, width=8, classes=5, shared=6, chunk=5, attended=(1,)):
        super().__init__()
        self.channels, self.chunk = 4 * width, chunk
        self.linear0 = linear(chunk, 16 * self.channels)
        self.shared = nn.Embedding(classes, shared)
        blocks = [GBlock(self.channels, shared + chunk) for _ in range(3)]
        for place in sorted(attended, reverse=True):
            blocks.insert(place + 1, Attention(self.channels))
        self.blocks = nn.ModuleList(nn.ModuleList([block]) for block in blocks)
        self.bn4 = nn.BatchNorm2d(self.channels, eps=EPSILON)
        self.conv2d5 = conv(self.channels, 3, 3)

    def forward(self, z, label):
        z, *chunks = z.split(self.chunk, 1)
        h = self.linear0(z).view(-1, self.channels, 4, 4)
        for (block,) in self.blocks:
            attends = isinstance(block, Attention)
            h = block(h) if attends else block(h, torch.cat([self.shared(label), chunks.pop(0)], 1))
        return torch.tanh(self.conv2d5(F.relu(self.bn4(h))))


class DBlock(nn.Module):
    def __init__(self, before, after, index):
        super().__init__()
        self.index = index
        self.conv2d1, self.conv2d2 = conv(before, after, 3), conv(after, after, 3)
        if index < 2:
            self.conv2d0 = conv(before, after, 1)

    def forward(self, x):
        h = self.conv2d2(F.relu(self.conv2d1(F.relu(x) if self.index else x)))
        x = self.conv2d0(x) if self.index < 2 else x
        return F.avg_pool2d(h + x, 2) if self.index < 2 else h + x


class Discriminator(nn.Module):
    def __init__(self, width=16, classes=5):
        super().__init__()
        blocks = [DBlock(width if index else 3, width, index) for index in range(4)]
        self.blocks = nn.ModuleList(nn.ModuleList([block]) for block in blocks)
        self.linear1 = linear(width, 1)
        self.embedding = spectral_norm(nn.Embedding(classes, width))

    def forward(self, x, label):
        for (block,) in self.blocks:
            x = block(x)
        h = F.relu(x).sum((2, 3))
        return self.linear1(h)[:, 0] + (self.embedding(label) * h).sum(1)
