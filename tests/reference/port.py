"""Weights between the PyTorch networks here and Flax: layers correspond by name.

Layouts: convolution (o, i, h, w) to (h, w, i, o); transposed convolution (i, o, h, w), flipped,
to (h, w, i, o); linear (o, i) to (i, o). A linear layer that makes a map orders its outputs
(c, h, w) in PyTorch and (h, w, c) in Flax.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.reference.layers import ClassBatchNorm, LinearToMap

Variables = dict[str, Any]


def to_flax(network: nn.Module) -> Variables:
    """Collections "params", "batch_stats" and "spectral" with the values of a PyTorch network."""
    variables: Variables = {}
    for path, tensor, (forth, _) in _leaves(network):
        tree = variables
        for name in path[:-1]:
            tree = tree.setdefault(name, {})
        tree[path[-1]] = np.array(forth(tensor.detach().numpy()), order="C")
    for tree in _spectral(variables.get("spectral", {})):
        tree["sigma"] = np.ones((), np.float32)  # is only read
    return variables


@torch.no_grad()
def to_torch(variables: Variables, network: nn.Module) -> None:
    """Gives a PyTorch network the values of Flax variables."""
    for path, tensor, (_, back) in _leaves(network):
        value: Any = variables
        for name in path:
            value = value[name]
        tensor.copy_(torch.from_numpy(np.array(back(np.asarray(value)))))


def images_to_torch(x: np.ndarray) -> Tensor:
    """[b, h, w, c] to [b, c, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def images_from_torch(x: Tensor) -> np.ndarray:
    """[b, c, h, w] to [b, h, w, c]."""
    return np.moveaxis(x.detach().numpy(), 1, -1)


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Norms and gates away from the identity, where mistakes hide; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            draw(module.running_mean, -0.5, 0.5)
            draw(module.running_var, 0.5, 1.5)
        for name, parameter in module.named_parameters(recurse=False):
            if name in ("weight", "scale") and isinstance(
                module, nn.BatchNorm2d | nn.InstanceNorm2d
            ):
                draw(parameter, 0.5, 1.5)
            elif name in ("bias", "shift", "gamma", "sigma"):
                draw(parameter, -0.5, 0.5)
    return network.eval()


def _leaves(network: nn.Module) -> Iterator[tuple[tuple[str, ...], Tensor, tuple]]:
    """Path in Flax, tensor in PyTorch, and the conversion forth and back."""
    for dotted, module in network.named_modules():
        path = tuple(dotted.split("."))
        if "parametrizations" in path:
            continue
        if isinstance(module, ClassBatchNorm):
            yield ("params", *path, "scale"), module.scale, _SAME
            yield ("params", *path, "bias"), module.shift, _SAME
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and module.affine:
            yield ("params", *path, "scale"), module.weight, _SAME
            yield ("params", *path, "bias"), module.bias, _SAME
        if isinstance(module, nn.BatchNorm2d):
            yield ("batch_stats", *path, "mean"), module.running_mean, _SAME
            yield ("batch_stats", *path, "var"), module.running_var, _SAME
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            kernel, bias, vector = _layouts(module)
            if hasattr(module, "parametrizations"):
                weight = module.parametrizations.weight.original
                state = module.parametrizations.weight[0]
                spectral = ("spectral", *path, "SpectralNorm_0")
                yield (*spectral, "u"), state._u, bias  # one number an output, as in a bias
                yield (*spectral, "v"), state._v, vector
            else:
                weight = module.weight
            yield ("params", *path, "kernel"), weight, kernel
            if getattr(module, "bias", None) is not None:
                yield ("params", *path, "bias"), module.bias, bias
        for gate in ("gamma", "sigma"):
            if hasattr(module, gate):
                yield ("params", *path, gate), getattr(module, gate), _SAME


_SAME = (lambda a: a, lambda a: a)


def _layouts(module: nn.Module) -> tuple[tuple, tuple, tuple]:
    """Conversions, forth and back, of the kernel, the bias and spectral norm's v."""
    if isinstance(module, nn.Embedding):
        return _SAME, _SAME, _SAME
    if isinstance(module, LinearToMap):
        c, h, w = module.map
        kernel = (
            lambda a: a.reshape(c, h, w, -1).transpose(3, 1, 2, 0).reshape(-1, h * w * c),
            lambda a: a.reshape(-1, h, w, c).transpose(3, 1, 2, 0).reshape(c * h * w, -1),
        )
        return kernel, _channels_last(c, h, w), _SAME
    if isinstance(module, nn.Linear):
        return (lambda a: a.T, lambda a: a.T), _SAME, _SAME
    h, w = module.kernel_size
    if isinstance(module, nn.Conv2d):
        kernel = (lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))
        return kernel, _SAME, _channels_last(module.in_channels, h, w)
    kernel = (
        lambda a: a[:, :, ::-1, ::-1].transpose(2, 3, 0, 1),
        lambda a: a[::-1, ::-1].transpose(2, 3, 0, 1),
    )
    forth, back = _channels_last(module.out_channels, h, w)
    # Both spatial axes reversed: the whole vector reversed, but for the order of channels.
    vector = (
        lambda a: forth(a.reshape(-1, h * w)[:, ::-1].reshape(-1)),
        lambda a: back(a).reshape(-1, h * w)[:, ::-1].reshape(-1),
    )
    return kernel, _SAME, vector


def _channels_last(c: int, h: int, w: int) -> tuple:
    """A vector's order (c, h, w) to (h, w, c) and back."""
    return (
        lambda a: a.reshape(c, h, w).transpose(1, 2, 0).reshape(-1),
        lambda a: a.reshape(h, w, c).transpose(2, 0, 1).reshape(-1),
    )


def _spectral(tree: Variables) -> Iterator[Variables]:
    for value in tree.values():
        if "u" in value:
            yield value
        else:
            yield from _spectral(value)
