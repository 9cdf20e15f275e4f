"""StyleGAN2's networks with the names of rosinality's code."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from tests.reference.stylegan2 import activation, resample


def filter_of(gain=1.0):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    module = nn.Module()
    module.register_buffer("kernel", torch.outer(taps, taps) * gain)
    return module


class Linear(nn.Module):
    def __init__(self, inputs, outputs, rate=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.3 / rate)
        self.rate = rate

    def forward(self, x):
        scale = self.rate / self.weight.shape[1] ** 0.5
        return F.linear(x, self.weight * scale, self.bias * self.rate)


class Norm(nn.Module):
    def forward(self, x):
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Active(Linear):
    def forward(self, x):
        return activation(super().forward(x))


class Modulated(nn.Module):
    def __init__(self, inputs, outputs, size, styles, up=False, demodulate=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, size, size))
        self.modulation = Linear(styles, inputs)
        self.up, self.demodulate = up, demodulate
        if up:
            self.blur = filter_of(4)

    def forward(self, x, style):
        _, _, inputs, size, _ = self.weight.shape
        results = []
        for image, scale in zip(x, self.modulation(style), strict=True):
            w = self.weight[0] * scale[:, None, None] / (inputs * size**2) ** 0.5
            if self.demodulate:
                w = w * (w.square().sum((1, 2, 3)) + 1e-8).rsqrt()[:, None, None, None]
            if self.up:
                y = F.conv_transpose2d(image[None], w.transpose(0, 1), stride=2)
                results.append(resample(y, 1, 1, (1, 1), 4))
            else:
                results.append(F.conv2d(image[None], w, padding=size // 2))
        return torch.cat(results)


class Styled(nn.Module):
    def __init__(self, inputs, outputs, styles, up=False):
        super().__init__()
        self.conv = Modulated(inputs, outputs, 3, styles, up)
        self.noise, self.activate = nn.Module(), nn.Module()
        self.noise.weight = nn.Parameter(torch.randn(1) * 0.3)
        self.activate.bias = nn.Parameter(torch.randn(outputs) * 0.3)

    def forward(self, x, style, noise):
        h = self.conv(x, style) + self.noise.weight * noise
        return activation(h + self.activate.bias[:, None, None])


class ToRGB(nn.Module):
    def __init__(self, inputs, styles, up=True):
        super().__init__()
        if up:
            self.upsample = filter_of(4)
        self.conv = Modulated(inputs, 3, 1, styles, demodulate=False)
        self.bias = nn.Parameter(torch.randn(1, 3, 1, 1) * 0.3)

    def forward(self, x, style):
        return self.conv(x, style) + self.bias


class Generator(nn.Module):
    def __init__(self, widths=(8, 8, 6), features=10, layers=3):
        super().__init__()
        mapping = (Active(features, features, rate=0.01) for _ in range(layers))
        self.style = nn.Sequential(Norm(), *mapping)
        self.input = nn.Module()
        self.input.input = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.conv1 = Styled(widths[0], widths[0], features)
        self.to_rgb1 = ToRGB(widths[0], features, up=False)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise_0", torch.randn(1, 1, 4, 4))
        for index, (before, width) in enumerate(itertools.pairwise(widths)):
            self.convs.append(Styled(before, width, features, up=True))
            self.convs.append(Styled(width, width, features))
            self.to_rgbs.append(ToRGB(width, features))
            for layer in (2 * index + 1, 2 * index + 2):
                self.noises.register_buffer(f"noise_{layer}", torch.randn(1, 1, *[8 << index] * 2))

    def forward(self, z):
        style = self.style(z)
        noises = [self.noises.get_buffer(f"noise_{k}") for k in range(1 + len(self.convs))]
        h = self.conv1(self.input.input.expand(len(z), -1, -1, -1), style, noises[0])
        image = self.to_rgb1(h, style)
        for index, to_rgb in enumerate(self.to_rgbs):
            for layer in (2 * index, 2 * index + 1):
                h = self.convs[layer](h, style, noises[layer + 1])
            image = resample(image, 2, 1, (2, 1), 4) + to_rgb(h, style)
        return image


class Kernel(nn.Module):
    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))

    def forward(self, x, **how):
        return F.conv2d(x, self.weight / self.weight[0].numel() ** 0.5, **how)


class Bias(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(outputs) * 0.3)

    def forward(self, x):
        return activation(x + self.bias[:, None, None])


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Sequential(Kernel(inputs, inputs, 3), Bias(inputs))
        self.conv2 = nn.Sequential(filter_of(), Kernel(inputs, outputs, 3), Bias(outputs))
        self.skip = nn.Sequential(filter_of(), Kernel(inputs, outputs, 1))

    def forward(self, x):
        y = self.conv1[1](self.conv1[0](x, padding=1))
        y = self.conv2[2](self.conv2[1](resample(y, 1, 1, (2, 2), 1), stride=2))
        return (y + self.skip[1](resample(x, 1, 1, (1, 1), 1), stride=2)) / 2**0.5


class Discriminator(nn.Module):
    def __init__(self, widths=(8, 8, 6)):
        super().__init__()
        blocks = (Block(*pair) for pair in zip(widths[:0:-1], widths[-2::-1], strict=True))
        rgb = nn.Sequential(Kernel(3, widths[-1], 1), Bias(widths[-1]))
        self.convs = nn.Sequential(rgb, *blocks)
        width = widths[0]
        self.final_conv = nn.Sequential(Kernel(width + 1, width, 3), Bias(width))
        self.final_linear = nn.Sequential(Active(16 * width, width), Linear(width, 1))

    def forward(self, x):
        h = self.convs(x)
        group = min(4, len(h))
        parts = h.reshape(group, -1, *h.shape[1:])
        deviation = (parts.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3)).repeat(group)
        h = torch.cat([h, deviation[:, None, None, None].expand(-1, 1, 4, 4)], 1)
        h = self.final_conv[1](self.final_conv[0](h, padding=1))
        return self.final_linear(h.flatten(1))[:, 0]
