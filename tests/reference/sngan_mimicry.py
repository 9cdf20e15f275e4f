"""SNGAN and cGAN-PD in PyTorch, from their layer table, with the names of mimicry."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm


def double(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ConditionalNorm(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, affine=False)
        self.embed = nn.Embedding(classes, 2 * channels)

    def forward(self, x, label):
        gain, bias = self.embed(label)[:, :, None, None].chunk(2, 1)
        return gain * self.bn(x) + bias


class GBlock(nn.Module):
    def __init__(self, before, after, classes):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(before, after, 3, 1, 1), nn.Conv2d(after, after, 3, 1, 1)
        if classes:
            self.b1, self.b2 = ConditionalNorm(before, classes), ConditionalNorm(after, classes)
        else:
            self.b1, self.b2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.c_sc = nn.Conv2d(before, after, 1)

    def forward(self, x, *label):
        h = self.c1(double(F.relu(self.b1(x, *label))))
        return self.c2(F.relu(self.b2(h, *label))) + self.c_sc(double(x))


class Generator(nn.Module):
    """For 32 pixels."""

    def __init__(self, latent=9, width=8, classes=0):
        super().__init__()
        self.l1 = nn.Linear(latent, 16 * width)
        self.block2 = GBlock(width, width, classes)
        self.block3 = GBlock(width, width, classes)
        self.block4 = GBlock(width, width, classes)
        self.b5, self.c5 = nn.BatchNorm2d(width), nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, z, *label):
        h = self.l1(z)
        h = h.view(len(h), -1, 4, 4)
        for block in (self.block2, self.block3, self.block4):
            h = block(h, *label)
        return torch.tanh(self.c5(F.relu(self.b5(h))))


class DBlock(nn.Module):
    """mimicry computes its ReLU in place, so the shortcut sees it."""

    def __init__(self, before, after, *, first=False, down=False):
        super().__init__()
        self.first, self.down = first, down
        hidden = after if first else before
        self.c1 = spectral_norm(nn.Conv2d(before, hidden, 3, 1, 1))
        self.c2 = spectral_norm(nn.Conv2d(hidden, after, 3, 1, 1))
        if down or before != after:
            self.c_sc = spectral_norm(nn.Conv2d(before, after, 1))

    def forward(self, x):
        x = x if self.first else F.relu(x)
        h = self.c2(F.relu(self.c1(x)))
        x = self.c_sc(x) if hasattr(self, "c_sc") else x
        return F.avg_pool2d(h + x, 2) if self.down else h + x


class Normed(nn.Module):
    """mimicry's own spectral norm: a power iteration from `sn_u` in every pass."""

    def watch(self):
        self.register_buffer("sn_u", torch.randn(1, len(self.weight)))
        self.register_buffer("sn_sigma", torch.ones(1))

    def normalised(self):
        v = F.normalize(self.sn_u @ self.weight)
        u = F.normalize(v @ self.weight.T)
        return self.weight / (u @ self.weight @ v.T)


class Linear(nn.Linear, Normed):
    def forward(self, x):
        return F.linear(x, self.normalised(), self.bias)


class Embedding(nn.Embedding, Normed):
    def forward(self, label):
        return F.embedding(label, self.normalised())


class Discriminator(nn.Module):
    """For 32 pixels."""

    def __init__(self, width=8, classes=0):
        super().__init__()
        self.block1 = DBlock(3, width, first=True, down=True)
        self.block2 = DBlock(width, width, down=True)
        self.block3, self.block4 = DBlock(width, width), DBlock(width, width)
        if not classes:
            self.l5 = spectral_norm(nn.Linear(width, 1))
            return
        self.l5, self.l_y = Linear(width, 1), Embedding(classes, width)
        self.l5.watch()
        self.l_y.watch()

    def forward(self, x, *label):
        h = self.block4(self.block3(self.block2(self.block1(x))))
        h = F.relu(h).sum((2, 3))
        logits = self.l5(h)[:, 0]
        return logits + (self.l_y(*label) * h).sum(1) if label else logits
