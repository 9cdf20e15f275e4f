"""BigGAN in PyTorch, from its layer table, for 32, 64 and 128 pixels; and BigGAN-deep.

Convolutions run in the order of the author's code: upsample, then convolve; convolve, then average.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from tests.reference.layers import ClassBatchNorm, LinearToMap

EPSILON = 1e-6  # of the spectral norms

GENERATOR = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), 128: (16, 16, 8, 4, 2, 1)}
DISCRIMINATOR = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16)}
HALVINGS = {32: 2, 64: 4, 128: 5}

normed = partial(spectral_norm, eps=EPSILON)


def conv(before: int, after: int, size: int, bias: bool = True) -> nn.Module:
    """A convolution of the same size, spectrally normalised."""
    return normed(nn.Conv2d(before, after, size, padding=size // 2, bias=bias))


class LinearBatchNorm(nn.BatchNorm2d):
    """Batch norm whose scale, but for a one, and bias are linear in a vector."""

    def __init__(self, channels: int, condition: int):
        super().__init__(channels, affine=False)
        del self.bias  # without an affine map it is None, and holds the name
        self.scale = normed(nn.Linear(condition, channels, bias=False))
        self.bias = normed(nn.Linear(condition, channels, bias=False))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = F.batch_norm(x, self.running_mean, self.running_var, None, None, self.training)
        scale, bias = 1 + self.scale(condition), self.bias(condition)
        return torch.addcmul(bias[:, :, None, None], y, scale[:, :, None, None])


class PooledSelfAttention(nn.Module):
    """x + sigma * o(attention(x)), keys and values max-pooled."""

    def __init__(self, channels: int):
        super().__init__()
        self.theta = conv(channels, channels // 8, 1, bias=False)
        self.phi = conv(channels, channels // 8, 1, bias=False)
        self.g = conv(channels, channels // 2, 1, bias=False)
        self.o = conv(channels // 2, channels, 1, bias=False)
        self.sigma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.theta(x).flatten(2)
        key = F.max_pool2d(self.phi(x), 2).flatten(2)
        value = F.max_pool2d(self.g(x), 2).flatten(2)
        attention = torch.softmax(query.transpose(1, 2) @ key, -1)
        out = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.sigma * self.o(out)


class GeneratorBlock(nn.Module):
    """Norm-ReLU-up-conv-norm-ReLU-conv plus up-conv1."""

    def __init__(self, before: int, after: int, norm: partial):
        super().__init__()
        self.norm1, self.norm2 = norm(before), norm(after)
        self.conv1, self.conv2 = conv(before, after, 3), conv(after, after, 3)
        self.shortcut = conv(before, after, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.interpolate(self.norm1(x, condition).relu_(), scale_factor=2))
        h = self.conv2(self.norm2(h, condition).relu_())
        return h + self.shortcut(F.interpolate(x, scale_factor=2))


class Generator(nn.Module):
    """Latents [b, latent] and labels [b] to [b, colours, size, size].

    With `shared`, the size of a class embedding, latents go in chunks to dense layer and blocks;
    without, every norm has a table of classes. Attention comes after the map of size `attention`.
    """

    def __init__(
        self,
        size: int = 32,
        width: int = 64,
        classes: int = 10,
        latent: int = 128,
        shared: int = 0,
        attention: int = 0,
        colours: int = 3,
    ):
        super().__init__()
        first, *rest = (width * m for m in GENERATOR[size])
        self.chunks = len(rest) + 1 if shared else 1
        part = latent // self.chunks
        if shared:
            self.shared = nn.Embedding(classes, shared)
            norm = partial(LinearBatchNorm, condition=shared + part)
        else:
            norm = partial(ClassBatchNorm, classes=classes)
        self.dense = normed(LinearToMap(part, first, 4, 4))
        self.blocks, before, side = len(rest), first, 4
        for index, after in enumerate(rest, 1):
            self.add_module(f"block{index}", GeneratorBlock(before, after, norm))
            before, side = after, 2 * side
            if side == attention:
                self.attention, self.attended = PooledSelfAttention(after), index
        self.norm = nn.BatchNorm2d(before)
        self.conv = conv(before, colours, 3)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        z, *chunks = z.chunk(self.chunks, 1)
        h = self.dense(z)
        for index in range(1, self.blocks + 1):
            condition = label
            if chunks:
                condition = torch.cat([self.shared(label), chunks[index - 1]], 1)
            h = getattr(self, f"block{index}")(h, condition)
            if index == getattr(self, "attended", 0):
                h = self.attention(h)
        return torch.tanh(self.conv(self.norm(h).relu_()))


class DiscriminatorBlock(nn.Module):
    """[ReLU]-conv-ReLU-conv[-average] plus a shortcut."""

    def __init__(self, before: int, after: int, *, first: bool, down: bool):
        super().__init__()
        self.first, self.down = first, down
        self.conv1, self.conv2 = conv(before, after, 3), conv(after, after, 3)
        if down or before != after:
            self.shortcut = conv(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else F.relu(x)
        h = self.conv2(self.conv1(h).relu_())
        if not self.down:
            return h + (self.shortcut(x) if hasattr(self, "shortcut") else x)
        if self.first:
            return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return F.avg_pool2d(h + self.shortcut(x), 2)


class Discriminator(nn.Module):
    """[b, colours, size, size] and labels [b] to logits [b].

    Attention comes after the blocks in `attended`, counted from 1.
    """

    def __init__(
        self,
        size: int = 32,
        width: int = 64,
        classes: int = 10,
        attended: tuple[int, ...] = (),
        colours: int = 3,
    ):
        super().__init__()
        before, self.attended = colours, attended
        channels = [width * m for m in DISCRIMINATOR[size]]
        self.blocks = len(channels)
        for index, after in enumerate(channels, 1):
            down = index <= HALVINGS[size]
            block = DiscriminatorBlock(before, after, first=index == 1, down=down)
            self.add_module(f"block{index}", block)
            if index in attended:
                self.add_module(f"attention{index}", PooledSelfAttention(after))
            before = after
        self.dense = normed(nn.Linear(before, 1))
        self.embed = normed(nn.Embedding(classes, before))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        for index in range(1, self.blocks + 1):
            x = getattr(self, f"block{index}")(x)
            if index in self.attended:
                x = getattr(self, f"attention{index}")(x)
        h = F.relu(x).sum((2, 3))
        return self.dense(h)[:, 0] + (self.embed(label) * h).sum(1)


class DeepGeneratorBlock(nn.Module):
    """A bottleneck of four convolutions, plus the input with its last channels dropped."""

    def __init__(self, before: int, after: int, condition: int, *, up: bool):
        super().__init__()
        hidden, self.after, self.up = before // 4, after, up
        for index, channels in enumerate((before, hidden, hidden, hidden), 1):
            self.add_module(f"norm{index}", LinearBatchNorm(channels, condition))
        self.conv1, self.conv2 = conv(before, hidden, 1), conv(hidden, hidden, 3)
        self.conv3, self.conv4 = conv(hidden, hidden, 3), conv(hidden, after, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x, condition).relu_())
        h, x = self.norm2(h, condition).relu_(), x[:, : self.after]
        if self.up:
            h, x = F.interpolate(h, scale_factor=2), F.interpolate(x, scale_factor=2)
        h = self.conv3(self.norm3(self.conv2(h), condition).relu_())
        return x + self.conv4(self.norm4(h, condition).relu_())


class DeepGenerator(nn.Module):
    """Latents [b, latent] and labels [b] to [b, 3, size, size]; the norms hear both."""

    def __init__(self, size: int, width: int, classes: int, latent: int, shared: int):
        super().__init__()
        before, *rest = (width * m for m in GENERATOR[size])
        condition = shared + latent
        self.shared = nn.Embedding(classes, shared)
        self.dense = normed(LinearToMap(condition, before, 4, 4))
        self.blocks = 2 * len(rest)
        for index, after in enumerate(rest):
            for part, out in enumerate((before, after)):
                block = DeepGeneratorBlock(before, out, condition, up=part == 1)
                self.add_module(f"block{2 * index + part + 1}", block)
            before = after
        self.norm = nn.BatchNorm2d(before)
        self.conv = conv(before, 3, 3)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        condition = torch.cat([self.shared(label), z], 1)
        h = self.dense(condition)
        for index in range(1, self.blocks + 1):
            h = getattr(self, f"block{index}")(h, condition)
        return torch.tanh(self.conv(self.norm(h).relu_()))


class DeepDiscriminatorBlock(nn.Module):
    """A bottleneck of four convolutions, plus the input with computed channels behind."""

    def __init__(self, before: int, after: int, *, down: bool):
        super().__init__()
        hidden, self.down = after // 4, down
        self.conv1, self.conv2 = conv(before, hidden, 1), conv(hidden, hidden, 3)
        self.conv3, self.conv4 = conv(hidden, hidden, 3), conv(hidden, after, 1)
        if before < after:
            self.shortcut = conv(before, after - before, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv3(self.conv2(self.conv1(F.relu(x)).relu_()).relu_()).relu_()
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        if hasattr(self, "shortcut"):
            x = torch.cat([x, self.shortcut(x)], 1)
        return x + self.conv4(h)


class DeepDiscriminator(nn.Module):
    """[b, 3, size, size] and labels [b] to logits [b]."""

    def __init__(self, size: int, width: int, classes: int):
        super().__init__()
        before, *rest = (width * m for m in DISCRIMINATOR[size])
        self.conv = conv(3, before, 3)
        self.blocks = 2 * len(rest)
        for index, after in enumerate(rest):
            down = index < HALVINGS[size]
            first = DeepDiscriminatorBlock(before, after, down=down)
            self.add_module(f"block{2 * index + 1}", first)
            second = DeepDiscriminatorBlock(after, after, down=False)
            self.add_module(f"block{2 * index + 2}", second)
            before = after
        self.dense = normed(nn.Linear(before, 1))
        self.embed = normed(nn.Embedding(classes, before))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = self.conv(x)
        for index in range(1, self.blocks + 1):
            h = getattr(self, f"block{index}")(h)
        h = F.relu(h).sum((2, 3))
        return self.dense(h)[:, 0] + (self.embed(label) * h).sum(1)
