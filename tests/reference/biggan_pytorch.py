"""BigGAN and BigGAN-deep in PyTorch, from their layer table, with the names of ajbrock's code.

Spectral norm: a power iteration from `u0` in every pass, also in evaluation.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.reference.biggan import DISCRIMINATOR, GENERATOR, HALVINGS


class Normed(nn.Module):
    """A weight with spectral norm; only the first singular value divides it."""

    def watch(self, values: int) -> None:
        for index in range(values):
            self.register_buffer(f"u{index}", torch.randn(1, len(self.weight)))
            self.register_buffer(f"sv{index}", torch.ones(1))

    def normalised(self) -> Tensor:
        matrix = self.weight.flatten(1)
        v = F.normalize(self.u0 @ matrix)
        u = F.normalize(v @ matrix.T)
        return self.weight / (v @ matrix.T @ u.T)[0, 0]


class Conv(nn.Conv2d, Normed):
    def __init__(self, before, after, size=3, *, bias=True, values=1):
        super().__init__(before, after, size, padding=size // 2, bias=bias)
        self.watch(values)

    def forward(self, x):
        return F.conv2d(x, self.normalised(), self.bias, padding=self.padding)


class Linear(nn.Linear, Normed):
    def __init__(self, before, after, *, bias=True, values=1):
        super().__init__(before, after, bias)
        self.watch(values)

    def forward(self, x):
        return F.linear(x, self.normalised(), self.bias)


class Embedding(nn.Embedding, Normed):
    def __init__(self, classes, features):
        super().__init__(classes, features)
        self.watch(1)

    def forward(self, label):
        return F.embedding(label, self.normalised())


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.theta = Conv(channels, channels // 8, 1, bias=False)
        self.phi = Conv(channels, channels // 8, 1, bias=False)
        self.g = Conv(channels, channels // 2, 1, bias=False)
        self.o = Conv(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x, *condition):
        key, value = (F.max_pool2d(conv(x), 2).flatten(2) for conv in (self.phi, self.g))
        self.map = torch.softmax(self.theta(x).flatten(2).transpose(1, 2) @ key, -1)
        out = (value @ self.map.transpose(1, 2)).unflatten(2, x.shape[2:])
        return self.gamma * self.o(out) + x


class Statistics(nn.Module):
    """Running statistics: at the norm itself, or below it as in --cross_replica and --mybn."""

    def __init__(self, channels, kind):
        super().__init__()
        holder, stem = self, "running" if kind == "cross_replica" else "stored"
        if kind != "plain":
            self.bn = holder = nn.Module()
        if kind == "cross_replica":
            holder.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))
        if kind == "mybn":
            holder.register_buffer("accumulation_counter", torch.zeros(1))
        self.names = f"{stem}_mean", f"{stem}_var"
        holder.register_buffer(self.names[0], torch.zeros(channels))
        holder.register_buffer(self.names[1], torch.ones(channels))
        self.holder = (holder,)

    def normalise(self, x):
        mean, var = (getattr(self.holder[0], name) for name in self.names)
        return F.batch_norm(x, mean, var, training=self.training, eps=1e-5)


class ConditionalNorm(Statistics):
    """`condition` is the size of a vector, or in a table the number of classes."""

    def __init__(self, channels, condition, table, kind, values):
        super().__init__(channels, kind)
        for name in ("gain", "bias"):
            layer = nn.Embedding(condition, channels) if table else None
            self.add_module(name, layer or Linear(condition, channels, bias=False, values=values))

    def forward(self, x, condition):
        gain, bias = 1 + self.gain(condition), self.bias(condition)
        return self.normalise(x) * gain[:, :, None, None] + bias[:, :, None, None]


class Norm(Statistics):
    def __init__(self, channels, kind):
        super().__init__(channels, kind)
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return self.normalise(x) * self.gain[:, None, None] + self.bias[:, None, None]


class GBlock(nn.Module):
    def __init__(self, before, after, norm, values):
        super().__init__()
        self.conv1 = Conv(before, after, values=values)
        self.conv2 = Conv(after, after, values=values)
        self.conv_sc = Conv(before, after, 1, values=values)
        self.bn1, self.bn2 = norm(before), norm(after)

    def forward(self, x, condition):
        h = self.conv1(F.interpolate(F.relu(self.bn1(x, condition)), scale_factor=2))
        h = self.conv2(F.relu(self.bn2(h, condition)))
        return h + self.conv_sc(F.interpolate(x, scale_factor=2))


class DeepGBlock(nn.Module):
    def __init__(self, before, after, norm, up):
        super().__init__()
        hidden, self.after, self.up = before // 4, after, up
        self.conv1, self.conv2 = Conv(before, hidden, 1), Conv(hidden, hidden)
        self.conv3, self.conv4 = Conv(hidden, hidden), Conv(hidden, after, 1)
        self.bn1, self.bn2 = norm(before), norm(hidden)
        self.bn3, self.bn4 = norm(hidden), norm(hidden)

    def forward(self, x, condition):
        h = F.relu(self.bn2(self.conv1(F.relu(self.bn1(x, condition))), condition))
        x = x[:, : self.after]
        if self.up:
            h, x = F.interpolate(h, scale_factor=2), F.interpolate(x, scale_factor=2)
        h = self.conv3(F.relu(self.bn3(self.conv2(h), condition)))
        return self.conv4(F.relu(self.bn4(h, condition))) + x


class Generator(nn.Module):
    def __init__(
        self,
        size=32,
        width=8,
        classes=5,
        latent=20,
        *,
        shared=6,
        hier=True,
        attention=(),
        deep=False,
        kind="plain",
        values=1,
    ):
        super().__init__()
        first, *rest = (width * m for m in GENERATOR[size])
        self.chunk = latent // (len(rest) + 1) if hier and not deep else 0
        self.hier, self.deep = hier, deep
        condition = shared + (latent if deep else self.chunk) if shared else classes

        def norm(channels):
            return ConditionalNorm(channels, condition, not shared, kind, values)

        self.shared = nn.Embedding(classes, shared) if shared else nn.Identity()
        heard = latent + shared if deep else self.chunk or latent
        self.linear = Linear(heard, 16 * first, values=values)
        blocks, side = [], 4
        for after in rest:
            side *= 2
            if deep:
                blocks.append([DeepGBlock(first, first, norm, False)])
                blocks.append([DeepGBlock(first, after, norm, True)])
            else:
                blocks.append([GBlock(first, after, norm, values)])
            if side in attention:
                blocks[-1].append(Attention(after))
            first = after
        self.blocks = nn.ModuleList(nn.ModuleList(block) for block in blocks)
        last = Conv(first, 3, values=values)
        self.output_layer = nn.Sequential(Norm(first, kind), nn.ReLU(), last)

    def forward(self, z, label):
        y = self.shared(label)
        conditions = [y] * len(self.blocks)
        if self.deep:
            z = torch.cat([y, z], 1)
            conditions = [z] * len(self.blocks)
        elif self.hier:
            z, *chunks = torch.split(z, self.chunk, 1)
            conditions = [torch.cat([y, chunk], 1) for chunk in chunks]
        h = self.linear(z)
        h = h.view(len(h), -1, 4, 4)
        for block, condition in zip(self.blocks, conditions, strict=True):
            for layer in block:
                h = layer(h, condition)
        return torch.tanh(self.output_layer(h))


class DBlock(nn.Module):
    def __init__(self, before, after, first, down):
        super().__init__()
        self.first, self.down = first, down
        self.conv1, self.conv2 = Conv(before, after), Conv(after, after)
        if before != after or down:
            self.conv_sc = Conv(before, after, 1)

    def forward(self, x):
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        x = self.conv_sc(x) if hasattr(self, "conv_sc") else x
        return F.avg_pool2d(h + x, 2) if self.down else h + x


class DeepDBlock(nn.Module):
    def __init__(self, before, after, down):
        super().__init__()
        hidden, self.down = after // 4, down
        self.conv1, self.conv2 = Conv(before, hidden, 1), Conv(hidden, hidden)
        self.conv3, self.conv4 = Conv(hidden, hidden), Conv(hidden, after, 1)
        if before != after:
            self.conv_sc = Conv(before, after - before, 1)

    def forward(self, x):
        h = F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(F.relu(x)))))))
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        if hasattr(self, "conv_sc"):
            x = torch.cat([x, self.conv_sc(x)], 1)
        return self.conv4(h) + x


class Discriminator(nn.Module):
    """`attended`: blocks, from 0, after which attention comes."""

    def __init__(self, size=32, width=8, classes=5, *, attended=(), deep=False):
        super().__init__()
        channels = [width * m for m in DISCRIMINATOR[size]]
        before = 3
        if deep:
            before, *channels = channels
            self.input_conv = Conv(3, before)
        blocks = []
        for index, after in enumerate(channels):
            down = index < HALVINGS[size]
            if deep:
                block = [DeepDBlock(before, after, down), DeepDBlock(after, after, False)]
            else:
                block = [DBlock(before, after, index == 0, down)]
            blocks.append([*block, Attention(after)] if index in attended else block)
            before = after
        self.blocks = nn.ModuleList(nn.ModuleList(block) for block in blocks)
        self.linear, self.embed = Linear(before, 1), Embedding(classes, before)

    def forward(self, x, label):
        h = self.input_conv(x) if hasattr(self, "input_conv") else x
        for block in self.blocks:
            for layer in block:
                h = layer(h)
        h = F.relu(h).sum((2, 3))
        return self.linear(h)[:, 0] + (self.embed(label) * h).sum(1)
