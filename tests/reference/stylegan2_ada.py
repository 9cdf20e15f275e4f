"""StyleGAN2-ADA's networks with the names of their authors' code, and their way of pickling."""

import pickle
import sys
import types

import numpy as np
import torch
from torch import nn

from tests.reference.stylegan2 import Conv, Dense, ModulatedConv, activation, resample


def filtered(module):
    """A module with the filter that most of them hold."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    module.register_buffer("resample_filter", torch.outer(taps, taps))
    module.act_gain = np.sqrt(2)  # of NumPy, as theirs is
    return module


class Layer(ModulatedConv):
    """With a fixed map of noise."""

    def __init__(self, inputs, outputs, styles, side, up):
        super().__init__(inputs, outputs, 3, styles, up=up)
        filtered(self)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.3)
        self.noise_strength = nn.Parameter(torch.randn(()) * 0.3)
        self.register_buffer("noise_const", torch.randn(side, side))

    def forward(self, x, style):
        h = super().forward(x, style) + self.noise_strength * self.noise_const
        return activation(h + self.bias[:, None, None])


class ToRGB(ModulatedConv):
    def __init__(self, inputs, outputs, styles):
        super().__init__(inputs, outputs, 1, styles, demodulate=False)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.3)

    def forward(self, x, style):
        return super().forward(x, style) + self.bias[:, None, None]


class Mapping(nn.Module):
    def __init__(self, features, layers, classes):
        super().__init__()
        self.layers = layers
        if classes:
            self.embed = Dense(classes, features)
        for index in range(layers):
            self.add_module(f"fc{index}", Dense(features, features, rate=0.01))
        self.register_buffer("w_avg", torch.randn(features))

    def forward(self, z):
        h = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for index in range(self.layers):
            h = activation(self.get_submodule(f"fc{index}")(h))
        return h


class Synthesis(nn.Module):
    """One style for all layers; images of all sizes are summed, or with `skip` off not made."""

    def __init__(self, widths, channels, features, skip=True):
        super().__init__()
        self.sides = [4 << index for index in range(len(widths))]
        for index, (side, width) in enumerate(zip(self.sides, widths, strict=True)):
            block = filtered(nn.Module())
            if index:
                block.conv0 = Layer(widths[index - 1], width, features, side, up=True)
            else:
                block.const = nn.Parameter(torch.randn(width, 4, 4))
            block.conv1 = Layer(width, width, features, side, up=False)
            if skip or side == self.sides[-1]:
                block.torgb = ToRGB(width, channels, features)
            self.add_module(f"b{side}", block)

    def forward(self, style):
        h = self.b4.const.expand(len(style), -1, -1, -1)
        h, image = self.b4.conv1(h, style), 0
        for side in self.sides:
            block = self.get_submodule(f"b{side}")
            if side > 4:
                h = block.conv1(block.conv0(h, style), style)
                image = resample(image, 2, 1, (2, 1), 4)
            image = image + block.torgb(h, style)
        return image


class Generator(nn.Module):
    def __init__(self, widths=(8, 8, 6), channels=3, features=10, layers=2, classes=0, skip=True):
        super().__init__()
        self.synthesis = Synthesis(widths, channels, features, skip)
        self.mapping = Mapping(features, layers, classes)

    def forward(self, z):
        return self.synthesis(self.mapping(z))


class Discriminator(nn.Module):
    """`architecture` "resnet" or "orig"; of "skip" there are the tensors alone."""

    def __init__(self, widths=(8, 8, 6), channels=3, group=4, architecture="resnet"):
        super().__init__()
        self.sides = [4 << index for index in reversed(range(1, len(widths)))]
        for side, small, width in zip(self.sides, widths[-2::-1], widths[:0:-1], strict=True):
            block = filtered(nn.Module())
            if side == self.sides[0] or architecture == "skip":
                block.fromrgb = Conv(channels, width, 1)
            block.conv0 = filtered(Conv(width, width, 3))
            block.conv1 = filtered(Conv(width, small, 3, down=True))
            if architecture == "resnet":
                block.skip = filtered(Conv(width, small, 1, bias=False, down=True))
            self.add_module(f"b{side}", block)
        self.b4, width = nn.Module(), widths[0]
        if architecture == "skip":
            self.b4.fromrgb = Conv(channels, width, 1)
        self.b4.mbstd = nn.Module()
        self.b4.mbstd.group_size = group
        self.b4.conv = filtered(Conv(width + 1, width, 3))
        self.b4.fc = Dense(16 * width, width)
        self.b4.out = Dense(width, 1)
        for parameter in self.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, 0, 0.3)

    def forward(self, x):
        h = activation(self.get_submodule(f"b{self.sides[0]}").fromrgb(x))
        for side in self.sides:
            block = self.get_submodule(f"b{side}")
            y = activation(block.conv1(activation(block.conv0(h))))
            h = (y + block.skip(h)) * 0.5**0.5 if hasattr(block, "skip") else y
        group = min(self.b4.mbstd.group_size, len(h))
        groups = h.reshape(group, -1, *h.shape[1:])
        deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        deviation = deviation.repeat(group)[:, None, None, None].expand(-1, 1, 4, 4)
        h = activation(self.b4.conv(torch.cat([h, deviation], 1)))
        return self.b4.out(activation(self.b4.fc(h.flatten(1))))[:, 0]


class Persistence:
    """Pickles networks as that code does, with `source`, which it executes when it loads them.

    Its modules exist for as long as the test runs.
    """

    def __init__(self, monkeypatch, source):
        def reconstruct(meta):
            exec(meta["module_src"])

        reconstruct.__module__ = "torch_utils.persistence"
        reconstruct.__name__ = reconstruct.__qualname__ = "_reconstruct_persistent_obj"
        self.reconstruct, self.source = reconstruct, source
        self.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
        for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = reconstruct
        sys.modules["dnnlib.util"].EasyDict = self.EasyDict

    def save(self, tree, path, protocol=4):
        """The path of a pickle of containers, tensors and networks."""
        persistence = self

        class Pickler(pickle.Pickler):
            def reducer_override(self, value):
                if not isinstance(value, nn.Module):
                    return NotImplemented
                meta = {"type": "class", "version": 6, "module_src": persistence.source}
                meta |= {"class_name": type(value).__name__, "state": value.__dict__}
                return persistence.reconstruct, (meta,)

        with open(path, "wb") as file:
            Pickler(file, protocol).dump(tree)
        return str(path)
