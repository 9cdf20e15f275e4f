"""StyleGAN2-ADA's networks with the names of their authors' code, and their way of pickling."""

import pickle
import sys
import types

import numpy as np
import torch
from torch import nn

from tests.reference.stylegan2 import Conv, Dense, ModulatedConv, activation, resample


def filtered(module, act="linear", clamp=None):
    """A convolution with the filter and the settings that it holds."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    module.register_buffer("resample_filter", torch.outer(taps, taps))
    module.activation, module.conv_clamp = act, clamp
    module.act_gain = np.sqrt(2) if act == "lrelu" else 1  # of NumPy, as theirs is
    return module


def block_of(**parts):
    """A block, which holds the filter, too."""
    block = nn.Module()
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    block.register_buffer("resample_filter", torch.outer(taps, taps))
    for name, part in parts.items():
        setattr(block, name, part)
    return block


def dense(inputs, outputs, act="linear", rate=1.0):
    layer = Dense(inputs, outputs, rate=rate)
    layer.activation, layer.bias_gain = act, rate
    return layer


def bounded(x, clamp):
    return x if clamp is None else x.clamp(-clamp, clamp)


def normed(x):
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Layer(ModulatedConv):
    """With a fixed map of noise."""

    def __init__(self, inputs, outputs, styles, side, up, clamp):
        super().__init__(inputs, outputs, 3, styles, up=up)
        filtered(self, "lrelu", clamp)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.3)
        self.noise_strength = nn.Parameter(torch.randn(()) * 0.3)
        self.register_buffer("noise_const", torch.randn(side, side))

    def forward(self, x, style, gain=1.0):
        h = super().forward(x, style) + self.noise_strength * self.noise_const
        h = activation(h + self.bias[:, None, None]) * gain
        return bounded(h, self.conv_clamp and self.conv_clamp * gain)


class ToRGB(ModulatedConv):
    def __init__(self, inputs, outputs, styles, clamp):
        super().__init__(inputs, outputs, 1, styles, demodulate=False)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.3)
        self.conv_clamp = clamp

    def forward(self, x, style):
        return bounded(super().forward(x, style) + self.bias[:, None, None], self.conv_clamp)


class Mapping(nn.Module):
    """`latent` 0: of labels alone, as a discriminator has it, and without a mean."""

    def __init__(self, latent, features, layers, classes):
        super().__init__()
        self.layers, inputs = layers, latent
        if classes:
            self.embed, inputs = dense(classes, features), latent + features
            nn.init.normal_(self.embed.bias, 0, 0.3)
        for index in range(layers):
            self.add_module(f"fc{index}", dense(inputs, features, "lrelu", rate=0.01))
            inputs = features
        if latent:
            self.register_buffer("w_avg", torch.randn(features))

    def forward(self, z, label=None):
        parts = [] if z is None else [normed(z)]
        if hasattr(self, "embed"):
            count = self.embed.weight.shape[1]
            parts.append(normed(self.embed(nn.functional.one_hot(label.long(), count).float())))
        h = torch.cat(parts, 1)
        for index in range(self.layers):
            h = activation(self.get_submodule(f"fc{index}")(h))
        return h


class Synthesis(nn.Module):
    """One style for all layers; `architecture`: how the sizes come together."""

    def __init__(self, widths, channels, features, architecture, clamp):
        super().__init__()
        self.sides = [4 << index for index in range(len(widths))]
        self.architecture = architecture
        for index, (side, width) in enumerate(zip(self.sides, widths, strict=True)):
            block = block_of()
            if index:
                block.conv0 = Layer(widths[index - 1], width, features, side, True, clamp)
                if architecture == "resnet":
                    block.skip = filtered(Conv(widths[index - 1], width, 1, bias=False))
            else:
                block.const = nn.Parameter(torch.randn(width, 4, 4))
            block.conv1 = Layer(width, width, features, side, False, clamp)
            if architecture == "skip" or side == self.sides[-1]:
                block.torgb = ToRGB(width, channels, features, clamp)
            self.add_module(f"b{side}", block)

    def forward(self, style):
        h = self.b4.const.expand(len(style), -1, -1, -1)
        h, image = self.b4.conv1(h, style), 0
        for side in self.sides:
            block = self.get_submodule(f"b{side}")
            if side > 4 and self.architecture == "resnet":
                past = resample(block.skip(h), 2, 1, (2, 1), 4) * 0.5**0.5
                h = past + block.conv1(block.conv0(h, style), style, 0.5**0.5)
            elif side > 4:
                h = block.conv1(block.conv0(h, style), style)
            if side > 4 and self.architecture == "skip":
                image = resample(image, 2, 1, (2, 1), 4)
            if hasattr(block, "torgb"):
                image = image + block.torgb(h, style)
        return image


class Generator(nn.Module):
    def __init__(
        self,
        widths=(8, 8, 6),
        channels=3,
        features=10,
        layers=2,
        classes=0,
        architecture="skip",
        clamp=None,
    ):
        super().__init__()
        self.synthesis = Synthesis(widths, channels, features, architecture, clamp)
        self.mapping = Mapping(features, features, layers, classes)

    def forward(self, z, label=None):
        return self.synthesis(self.mapping(z, label))


class Discriminator(nn.Module):
    """`group` None: the whole batch; `maps` of deviation."""

    def __init__(
        self,
        widths=(8, 8, 6),
        channels=3,
        group=4,
        architecture="resnet",
        maps=1,
        classes=0,
        clamp=None,
        label_layers=8,
    ):
        super().__init__()
        self.sides = [4 << index for index in reversed(range(1, len(widths)))]
        self.architecture, width = architecture, widths[0]
        for side, small, wide in zip(self.sides, widths[-2::-1], widths[:0:-1], strict=True):
            block = block_of()
            if side == self.sides[0] or architecture == "skip":
                block.fromrgb = filtered(Conv(channels, wide, 1), "lrelu", clamp)
            block.conv0 = filtered(Conv(wide, wide, 3), "lrelu", clamp)
            block.conv1 = filtered(Conv(wide, small, 3, down=True), "lrelu", clamp)
            if architecture == "resnet":
                block.skip = filtered(Conv(wide, small, 1, bias=False, down=True))
            self.add_module(f"b{side}", block)
        self.b4 = nn.Module()
        if architecture == "skip":
            self.b4.fromrgb = filtered(Conv(channels, width, 1), "lrelu")
        if maps:
            self.b4.mbstd = nn.Module()
            self.b4.mbstd.group_size, self.b4.mbstd.num_channels = group, maps
        self.b4.conv = filtered(Conv(width + maps, width, 3), "lrelu", clamp)
        self.b4.fc = dense(16 * width, width, "lrelu")
        self.b4.out = dense(width, width if classes else 1)
        for parameter in self.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, 0, 0.3)
        if classes:
            self.mapping = Mapping(0, width, label_layers, classes)

    def deviations(self, h):
        """[b, c, 4, 4] with maps appended."""
        layer = self.b4.mbstd
        group = len(h) if layer.group_size is None else min(layer.group_size, len(h))
        parts = h.reshape(group, -1, layer.num_channels, h.shape[1] // layer.num_channels, 4, 4)
        deviation = (parts.var(0, correction=0) + 1e-8).sqrt().mean((2, 3, 4))
        deviation = deviation.repeat(group, 1)[:, :, None, None].expand(-1, -1, 4, 4)
        return torch.cat([h, deviation], 1)

    def forward(self, x, label=None):
        h, image = 0, x
        for side in self.sides:
            block = self.get_submodule(f"b{side}")
            if hasattr(block, "fromrgb"):
                h = h + bounded(activation(block.fromrgb(image)), block.fromrgb.conv_clamp)
            if self.architecture == "skip":
                image = resample(image, 1, 2, (1, 1), 1)
            y = bounded(activation(block.conv0(h)), block.conv0.conv_clamp)
            y = bounded(activation(block.conv1(y)), block.conv1.conv_clamp)
            h = (y + block.skip(h)) * 0.5**0.5 if hasattr(block, "skip") else y
        if self.architecture == "skip":
            h = h + activation(self.b4.fromrgb(image))
        h = self.deviations(h) if hasattr(self.b4, "mbstd") else h
        h = bounded(activation(self.b4.conv(h)), self.b4.conv.conv_clamp)
        out = self.b4.out(activation(self.b4.fc(h.flatten(1))))
        if hasattr(self, "mapping"):
            out = (out * self.mapping(None, label)).sum(1, keepdim=True) / out.shape[1] ** 0.5
        return out[:, 0]


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
