"""HiFiC's networks in PyTorch, for parity: layers and paddings as Justin-Tan's code has them."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad, softplus


class ChannelNorm(nn.InstanceNorm2d):
    """(x - mean) / sqrt(unbiased variance + 1e-3) over channels, then gain and bias.

    A norm by its type, so that its weights are carried over; what it computes is its own.
    """

    def __init__(self, channels: int):
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=True)
        y = (x - mean) * torch.rsqrt(var + 1e-3)
        return y * self.weight[None, :, None, None] + self.bias[None, :, None, None]


def reflect(x: Tensor, size: int) -> Tensor:
    return pad(x, (size,) * 4, mode="reflect")


class Encoder(nn.Module):
    def __init__(self, latents: int, width: int, halvings: int):
        super().__init__()
        self.halvings = halvings
        self.first, self.first_norm = nn.Conv2d(3, width, 7), ChannelNorm(width)
        for level in range(1, halvings + 1):
            before, after = width << (level - 1), width << level
            self.add_module(f"down{level}", nn.Conv2d(before, after, 3, stride=2))
            self.add_module(f"down{level}_norm", ChannelNorm(after))
        self.last = nn.Conv2d(width << halvings, latents, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first_norm(self.first(reflect(x, 3))).relu()
        for level in range(1, self.halvings + 1):
            h = getattr(self, f"down{level}")(pad(h, (0, 1, 1, 0), mode="reflect"))
            h = getattr(self, f"down{level}_norm")(h).relu()
        return self.last(reflect(h, 1))


class Generator(nn.Module):
    def __init__(self, latents: int, width: int, halvings: int, blocks: int):
        super().__init__()
        self.halvings, self.blocks, wide = halvings, blocks, width << halvings
        self.latents_norm = ChannelNorm(latents)
        self.first, self.first_norm = nn.Conv2d(latents, wide, 3), ChannelNorm(wide)
        for index in range(1, blocks + 1):
            for number in (1, 2):
                self.add_module(f"block{index}_conv{number}", nn.Conv2d(wide, wide, 3))
                self.add_module(f"block{index}_norm{number}", ChannelNorm(wide))
        for level in reversed(range(halvings)):
            up = nn.ConvTranspose2d(width << (level + 1), width << level, 3, 2, 1, 1)
            self.add_module(f"up{level + 1}", up)
            self.add_module(f"up{level + 1}_norm", ChannelNorm(width << level))
        self.last = nn.Conv2d(width, 3, 7)

    def forward(self, y: Tensor) -> Tensor:
        h = head = self.first_norm(self.first(reflect(self.latents_norm(y), 1)))
        for index in range(1, self.blocks + 1):
            name = f"block{index}"
            r = getattr(self, f"{name}_conv1")(reflect(h, 1))
            r = getattr(self, f"{name}_norm1")(r).relu()
            r = getattr(self, f"{name}_conv2")(reflect(r, 1))
            h = h + getattr(self, f"{name}_norm2")(r)
        h = h + head
        for level in reversed(range(self.halvings)):
            h = getattr(self, f"up{level + 1}_norm")(getattr(self, f"up{level + 1}")(h)).relu()
        return self.last(reflect(h, 3))


class Analysis(nn.Module):
    def __init__(self, latents: int, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(latents, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 5, 2, 2)
        self.conv3 = nn.Conv2d(features, features, 5, 2, 2)

    def forward(self, y: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(y).relu()).relu())


class Synthesis(nn.Module):
    def __init__(self, latents: int, features: int):
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(features, features, 5, 2, 2, 1)
        self.conv2 = nn.ConvTranspose2d(features, features, 5, 2, 2, 1)
        self.conv3 = nn.ConvTranspose2d(features, latents, 3, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(z).relu()).relu())


class Discriminator(nn.Module):
    """Without spectral norm: the test gives both the same factor, 1."""

    def __init__(self, latents: int, width: int, halvings: int):
        super().__init__()
        self.halvings = halvings
        self.latents = nn.Conv2d(latents, 12, 3)
        for index in range(4):
            before = 15 if index == 0 else width << (index - 1)
            self.add_module(f"conv{index + 1}", nn.Conv2d(before, width << index, 4, stride=2))
        self.last = nn.Conv2d(width << 3, 1, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        y = leaky_relu(self.latents(reflect(y, 1)), 0.2)
        h = torch.cat([x, interpolate(y, scale_factor=2**self.halvings, mode="nearest")], 1)
        for index in range(4):
            h = leaky_relu(getattr(self, f"conv{index + 1}")(reflect(h, 1)), 0.2)
        return self.last(h)[:, 0]


def density(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """Mass within a half of x [c, n], by Ballé et al. 2018, appendix 6.1."""

    def cumulative(x: Tensor) -> Tensor:
        h = x[:, None]
        for index in range(4):
            h = torch.bmm(softplus(parameters[f"matrix{index}"]), h)
            h = h + parameters[f"bias{index}"][..., None]
            if index < 3:
                h = h + torch.tanh(parameters[f"factor{index}"][..., None]) * torch.tanh(h)
        return torch.sigmoid(h[:, 0])

    return cumulative(x + 0.5) - cumulative(x - 0.5)
