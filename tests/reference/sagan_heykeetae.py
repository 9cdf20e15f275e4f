"""heykeetae's SAGAN in PyTorch, from its layer table, with that code's names.

Its attention is for 64 channels in the layers next to the image; here for any number. Spectral
norm: a power iteration from `weight_u` in every pass, over rows that are the weight's first axis.
"""

import torch
from torch import nn


def unit(v):
    return v / (v.norm() + 1e-12)


class SpectralNorm(nn.Module):
    def __init__(self, module):
        super().__init__()
        weight = module.weight.detach()
        del module.weight
        matrix = weight.flatten(1)
        module.weight_u = nn.Parameter(unit(torch.randn(matrix.shape[0])), requires_grad=False)
        module.weight_v = nn.Parameter(unit(torch.randn(matrix.shape[1])), requires_grad=False)
        module.weight_bar = nn.Parameter(weight)
        self.module = module

    def forward(self, x):
        matrix = self.module.weight_bar.flatten(1)
        v = unit(matrix.T @ self.module.weight_u)
        u = unit(matrix @ v)
        self.module.weight = self.module.weight_bar / (u @ matrix @ v)
        return self.module(x)


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.query_conv = nn.Conv2d(channels, channels // 8, 1)
        self.key_conv = nn.Conv2d(channels, channels // 8, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        query, key = self.query_conv(x).flatten(2), self.key_conv(x).flatten(2)
        attention = torch.softmax(query.transpose(1, 2) @ key, -1)
        out = self.value_conv(x).flatten(2) @ attention.transpose(1, 2)
        return self.gamma * out.view_as(x) + x, attention


class Generator(nn.Module):
    def __init__(self, latent=12, width=8):
        super().__init__()
        before = latent
        for index in range(1, 5):
            after, geometry = width << (4 - index), (4, 2, 1) if index > 1 else (4,)
            conv = SpectralNorm(nn.ConvTranspose2d(before, after, *geometry))
            self.add_module(f"l{index}", nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU()))
            before = after
        self.last = nn.Sequential(nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())
        self.attn1, self.attn2 = Attention(2 * width), Attention(width)

    def forward(self, z):
        h, first = self.attn1(self.l3(self.l2(self.l1(z[:, :, None, None]))))
        h, second = self.attn2(self.l4(h))
        return self.last(h), first, second


class Discriminator(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        before = 3
        for index in range(4):
            conv = SpectralNorm(nn.Conv2d(before, width << index, 4, 2, 1))
            self.add_module(f"l{index + 1}", nn.Sequential(conv, nn.LeakyReLU(0.1)))
            before = width << index
        self.last = nn.Sequential(nn.Conv2d(before, 1, 4))
        self.attn1, self.attn2 = Attention(4 * width), Attention(8 * width)

    def forward(self, x):
        h, first = self.attn1(self.l3(self.l2(self.l1(x))))
        h, second = self.attn2(self.l4(h))
        return self.last(h).flatten(), first, second
