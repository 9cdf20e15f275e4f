"""ReDO's networks in PyTorch, from the table of layers of the authors' code."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from tests.reference.biggan import PooledSelfAttention
from tests.reference.layers import LinearToMap


def conv(before: int, after: int, size: int, bias: bool = True) -> nn.Module:
    """A convolution of the same size, spectrally normalised."""
    return spectral_norm(nn.Conv2d(before, after, size, padding=size // 2, bias=bias))


class MaskNetwork(nn.Module):
    """Images [b, 3, size, size] to masks [b, 2, size, size]."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        plain = partial(nn.Conv2d, bias=False)
        self.blocks = blocks

        def normed(name: str, layer: nn.Conv2d) -> None:
            self.add_module(name, layer)
            self.add_module(f"{name}_norm", nn.InstanceNorm2d(layer.out_channels, affine=True))

        normed("first", plain(3, width // 4, 7))
        normed("down1", plain(width // 4, width // 2, 3, 2, 1))
        normed("down2", plain(width // 2, width, 3, 2, 1))
        for index in range(1, blocks + 1):
            for number in (1, 2):
                layer = nn.Conv2d(width, width, 3, 1, 1, bias=number == 2)
                self.add_module(f"block{index}_conv{number}", layer)
                norm = nn.InstanceNorm2d(width, affine=True)
                self.add_module(f"block{index}_norm{number}", norm)
        for grid in (1, 2, 3, 6):
            self.add_module(f"pool{grid}", nn.Conv2d(width, 1, 1))
        wide = width + 4
        normed("up1", plain(wide, wide // 2, 3, 1, 1))
        normed("up2", plain(wide // 2, wide // 4, 3, 1, 1))
        self.last = nn.Conv2d(wide // 4, 1, 7)

    def step(self, name: str, h: Tensor) -> Tensor:
        return getattr(self, f"{name}_norm")(getattr(self, name)(h)).relu()

    def forward(self, x: Tensor) -> Tensor:
        h = self.step("first", F.pad(x, (3, 3, 3, 3), mode="reflect"))
        h = self.step("down2", self.step("down1", h))
        for index in range(1, self.blocks + 1):
            first, second, norm1, norm2 = (
                getattr(self, f"block{index}_{name}")
                for name in ("conv1", "conv2", "norm1", "norm2")
            )
            h = norm2(second(norm1(first(h)).relu()) + h).relu()
        maps = [h]
        for grid in (1, 2, 3, 6):
            cells = getattr(self, f"pool{grid}")(F.avg_pool2d(h, h.shape[-1] // grid))
            maps.append(F.interpolate(cells, size=h.shape[-2:], mode="bilinear"))
        h = torch.cat(maps, 1)
        for name in ("up1", "up2"):
            h = self.step(name, F.interpolate(h, scale_factor=2))
        m = self.last(F.pad(h, (3, 3, 3, 3), mode="reflect")).sigmoid()
        return torch.cat([m, 1 - m], 1)


class LatentNorm(nn.Module):
    """Instance norm, scaled and shifted by linear layers of z; nothing is added to the scale."""

    def __init__(self, channels: int, latent: int):
        super().__init__()
        self.scale, self.bias = nn.Linear(latent, channels), nn.Linear(latent, channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, bias = self.scale(z)[:, :, None, None], self.bias(z)[:, :, None, None]
        return F.instance_norm(x) * scale + bias


class RegionBlock(nn.Module):
    """Norm-ReLU-mask-up-conv-norm-ReLU-conv plus up-conv1."""

    def __init__(self, before: int, after: int, latent: int):
        super().__init__()
        self.norm1, self.norm2 = LatentNorm(before, latent), LatentNorm(after, latent)
        self.conv1, self.conv2 = conv(before + 1, after, 3, bias=False), conv(after, after, 3)
        self.shortcut = conv(before, after, 1)

    def forward(self, x: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        small = F.avg_pool2d(mask, mask.shape[-1] // x.shape[-1])
        h = torch.cat([self.norm1(x, z).relu(), small], 1)
        h = self.conv1(F.interpolate(h, scale_factor=2))
        h = self.conv2(self.norm2(h, z).relu())
        return h + self.shortcut(F.interpolate(x, scale_factor=2))


class RegionGenerator(nn.Module):
    """Masks [b, 1, size, size] and latents [b, latent] to contents [b, 3, size, size]."""

    def __init__(self, width: int, latent: int, blocks: int, attention: bool):
        super().__init__()
        most = width << (blocks - 1)
        self.blocks = blocks
        self.dense = LinearToMap(latent, most, 4, 4)
        before = most
        for index in range(blocks):
            after = width << (blocks - 1 - index)
            self.add_module(f"block{index + 1}", RegionBlock(before, after, latent))
            before = after
        if attention:
            self.attention = PooledSelfAttention(2 * width)
        self.norm, self.conv = LatentNorm(width, latent), conv(width + 1, 3, 3)

    def forward(self, mask: Tensor, z: Tensor) -> Tensor:
        h = self.dense(z)
        for number in range(1, self.blocks + 1):
            if number == self.blocks and hasattr(self, "attention"):
                h = self.attention(h)
            h = getattr(self, f"block{number}")(h, mask, z)
        return self.conv(torch.cat([self.norm(h, z).relu(), mask], 1)).tanh() * mask


class Generator(nn.Module):
    """Masks [b, 2, size, size] and latents [b, 2, latent] to contents [b, 2, 3, size, size]."""

    def __init__(self, *settings: int):
        super().__init__()
        self.region1, self.region2 = RegionGenerator(*settings), RegionGenerator(*settings)

    def forward(self, masks: Tensor, z: Tensor) -> Tensor:
        regions = (self.region1, self.region2)
        return torch.stack([g(masks[:, k : k + 1], z[:, k]) for k, g in enumerate(regions)], 1)


class CriticBlock(nn.Module):
    """ReLU-conv-ReLU-conv-down plus down-conv1; the first has no ReLU, the last stays as large."""

    def __init__(self, before: int, after: int, *, first: bool, down: bool):
        super().__init__()
        self.first, self.down = first, down
        self.conv1, self.conv2 = conv(before, after, 3), conv(after, after, 3)
        if down:
            self.shortcut = conv(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(self.conv1(x if self.first else x.relu()).relu())
        if not self.down:
            return h + x
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class Critic(nn.Module):
    """Images [b, 3, size, size] to numbers [b, outputs]."""

    def __init__(self, width: int, outputs: int, halvings: int, attention: bool):
        super().__init__()
        self.halvings = halvings
        before = 3
        for index in range(halvings + 1):
            after = width << min(index, halvings - 1)
            block = CriticBlock(before, after, first=index == 0, down=index < halvings)
            self.add_module(f"block{index + 1}", block)
            before = after
        if attention:
            self.attention = PooledSelfAttention(width)
        self.dense = nn.Linear(before, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, self.halvings + 2):
            x = getattr(self, f"block{number}")(x)
            if number == 1 and hasattr(self, "attention"):
                x = self.attention(x)
        return self.dense(x.sum((2, 3)))
