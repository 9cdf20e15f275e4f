"""StyleGAN2's networks in PyTorch, from the table of layers.

Weights of every sample by themselves, which is plain to read; `SharedConv` is the fast form. Names
are those of the Flax networks, so that weights can be carried over by name.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def activation(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def resample(x: Tensor, up: int, down: int, padding: tuple[int, int], gain: float) -> Tensor:
    """Zeros between, [1, 3, 3, 1] twice, every `down`-th place."""
    b, c, h, w = x.shape
    wide = x
    if up > 1:
        wide = torch.zeros(b, c, h, up, w, up, dtype=x.dtype, device=x.device)
        wide[:, :, :, 0, :, 0] = x
        wide = wide.reshape(b, c, h * up, w * up)
    wide = F.pad(wide, (*padding, *padding))
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device)
    taps = torch.outer(taps, taps)
    taps = (taps / taps.sum() * gain).expand(c, 1, 4, 4)
    return F.conv2d(wide, taps, stride=down, groups=c)


class Dense(nn.Module):
    def __init__(self, inputs, outputs, rate=1.0, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, x):
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class Conv(nn.Module):
    def __init__(self, inputs, outputs, size, bias=True, down=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain, self.size, self.down = 1 / math.sqrt(inputs * size**2), size, down

    def forward(self, x):
        weight = self.weight * self.gain
        if not self.down:
            padding = self.size // 2 if self.size < 4 else 0
            return F.conv2d(x, weight, self.bias, padding=padding)
        if self.size == 1:
            return F.conv2d(resample(x, 1, 2, (1, 1), 1), weight, self.bias)
        return F.conv2d(resample(x, 1, 1, (2, 2), 1), weight, self.bias, stride=2)


class ModulatedConv(nn.Module):
    def __init__(self, inputs, outputs, size, styles, up=False, demodulate=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.affine = Dense(styles, inputs, bias=1.0)
        self.gain, self.up, self.demodulate = 1 / math.sqrt(inputs * size**2), up, demodulate

    def forward(self, x, style):
        results = []
        for image, scale in zip(x, self.affine(style), strict=True):
            w = self.weight * self.gain * scale[:, None, None]
            if self.demodulate:
                w = w * (w.square().sum((1, 2, 3)) + 1e-8).rsqrt()[:, None, None, None]
            if self.up:
                y = F.conv_transpose2d(image[None], w.transpose(0, 1), stride=2)
                results.append(resample(y, 1, 1, (1, 1), 4))
            else:
                results.append(F.conv2d(image[None], w, padding=w.shape[-1] // 2))
        return torch.cat(results)


class SharedConv(ModulatedConv):
    """One weight for all samples, its inputs and outputs scaled: what the authors' code trains."""

    def forward(self, x, style):
        weight, scale = self.weight * self.gain, self.affine(style)
        x = x * scale[:, :, None, None]
        if self.up:
            y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        else:
            y = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = scale.square() @ weight.square().sum((2, 3)).T
            y = y * (power + 1e-8).rsqrt()[:, :, None, None]
        return resample(y, 1, 1, (1, 1), 4) if self.up else y


class Generator(nn.Module):
    def __init__(self, widths, channels, features, layers, conv=ModulatedConv):
        super().__init__()
        self.widths = widths
        self.dense = nn.ModuleList(Dense(features, features, rate=0.01) for _ in range(layers))
        self.constant = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.conv, self.noise, self.bias = nn.ModuleList(), nn.ParameterList(), nn.ParameterList()
        self.rgb, self.rgb_bias = nn.ModuleList(), nn.ParameterList()
        for layer in range(2 * len(widths) - 1):
            inputs, outputs = widths[layer // 2], widths[(layer + 1) // 2]
            self.conv.append(conv(inputs, outputs, 3, features, up=layer % 2 == 1))
            self.noise.append(nn.Parameter(torch.randn(()) * 0.3))
            self.bias.append(nn.Parameter(torch.randn(outputs) * 0.3))
        for width in widths:
            self.rgb.append(conv(width, channels, 1, features, demodulate=False))
            self.rgb_bias.append(nn.Parameter(torch.randn(channels) * 0.3))

    def styles(self, z):
        h = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.dense:
            h = activation(layer(h))
        return h

    def forward(self, styles, noise):
        h = self.constant.expand(len(styles), -1, -1, -1)
        image = None
        for layer, (conv, strength, bias) in enumerate(
            zip(self.conv, self.noise, self.bias, strict=True)
        ):
            h = conv(h, styles[:, layer]) + strength * noise[layer]
            h = activation(h + bias[:, None, None])
            if layer % 2 == 0:
                detail = self.rgb[layer // 2](h, styles[:, layer + 1])
                detail = detail + self.rgb_bias[layer // 2][:, None, None]
                image = detail if image is None else resample(image, 2, 1, (2, 1), 4) + detail
        return image


class Discriminator(nn.Module):
    def __init__(self, widths, channels, group, residual=True):
        super().__init__()
        self.group, self.residual = group, residual
        self.rgb = Conv(channels, widths[-1], 1)
        self.first, self.second, self.skip = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for small, width in zip(widths[-2::-1], widths[:0:-1], strict=True):
            self.first.append(Conv(width, width, 3))
            self.second.append(Conv(width, small, 3, down=True))
            self.skip.append(Conv(width, small, 1, bias=False, down=True))
        self.last = Conv(widths[0] + 1, widths[0], 3)
        self.whole = Conv(widths[0], widths[0], 4)
        self.dense = Dense(widths[0], 1)

    def forward(self, x):
        h = activation(self.rgb(x))
        for first, second, skip in zip(self.first, self.second, self.skip, strict=True):
            y = activation(second(activation(first(h))))
            h = (y + skip(h)) * math.sqrt(0.5) if self.residual else y
        groups = h.reshape(self.group, -1, *h.shape[1:])
        deviation = ((groups - groups.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
        deviation = deviation.repeat(self.group)[:, None, None, None].expand(-1, 1, 4, 4)
        h = activation(self.last(torch.cat([h, deviation], 1)))
        h = activation(self.whole(h))
        return self.dense(h[:, :, 0, 0])[:, 0]


def layer(module, name="kernel", flip=False):
    """A layer's parameters as Flax has them."""
    weight = module.weight.detach().numpy()
    if weight.ndim == 2:
        tree = {name: weight.T}
    else:
        weight = weight[:, :, ::-1, ::-1] if flip else weight
        tree = {name: weight.transpose(2, 3, 1, 0)}
    if getattr(module, "bias", None) is not None:
        tree["bias"] = module.bias.detach().numpy()
    if hasattr(module, "affine"):
        tree["affine"] = layer(module.affine)
    return tree


def generator_to_flax(network):
    """Parameters of the Flax generator; up-convolutions are stored flipped."""
    mapping = {f"dense{index}": layer(dense) for index, dense in enumerate(network.dense)}
    synthesis = {"constant": network.constant.detach().numpy().transpose(1, 2, 0)[None]}
    for index, conv in enumerate(network.conv):
        synthesis[f"conv{index}"] = layer(conv, flip=index % 2 == 1)
        synthesis[f"noise{index}"] = {"strength": network.noise[index].detach().numpy()}
        synthesis[f"bias{index}"] = network.bias[index].detach().numpy()
    for index, rgb in enumerate(network.rgb):
        synthesis[f"rgb{4 << index}"] = layer(rgb)
        synthesis[f"rgb{4 << index}_bias"] = network.rgb_bias[index].detach().numpy()
    return {"mapping": mapping, "synthesis": synthesis}


def discriminator_to_flax(network):
    """Parameters of the Flax discriminator."""
    params = {
        "rgb": layer(network.rgb),
        "conv4_0": layer(network.last),
        "conv4_1": layer(network.whole),
        "dense": layer(network.dense),
    }
    count = len(network.first)
    for index in range(count):
        side = 4 << (count - index)
        params[f"conv{side}_0"] = layer(network.first[index])
        params[f"conv{side}_1"] = layer(network.second[index])
        if network.residual:
            params[f"skip{side}"] = layer(network.skip[index])
    return params
