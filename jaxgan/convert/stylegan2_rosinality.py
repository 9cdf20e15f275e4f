"""StyleGAN2 (rosinality, PyTorch): `checkpoint/N.pt`, with `g`, `d` and `g_ema` in one file.

`g_ema` is the average, and the generator, too, where there is no `g`. Up-convolutions are stored
flipped here. That code keeps no running mean of styles: a converted file has it as `latent_avg`,
else it is the mean of 4,096 styles, as that code's `--truncation_mean` makes it. Whether images
were augmented is not said: training goes on without.
"""

from functools import partial
from typing import Any

import numpy as np

from jaxgan.convert.files import Found, Part, one_file
from jaxgan.convert.stylegan2_ada import is_filter
from jaxgan.convert.table import Arrays, Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.stylegan2 import StyleGAN2

SYSTEMS = (StyleGAN2,)
KNOWN = {"generator": "g_ema.input.input"}
FILES = {
    "checkpoint.pt": {
        "g.": Part("generator"),
        "d.": Part("discriminator"),
        "g_ema.": Part("generator", True),
    }
}
LEFT = ("g_optim.*", "d_optim.*", "latent_avg", "*.kernel", "ada_aug_p")
_LATENTS = 4096


files = partial(one_file, "stylegan2_rosinality")


def parts(file: Tensors) -> dict[str, Part]:
    """{prefix of names: what is below it}.

    Raises:
        UserError: there is no generator.
    """
    names = [name for name in ("g.", "g_ema.", "") if f"{name}input.input" in file]
    if not names:
        raise UserError(
            f"{file.file} has no tensor g_ema.input.input: give a checkpoint/*.pt, or a file of "
            '{"g_ema": state_dict}'
        )
    found = {name: Part("generator", name != names[0]) for name in names}
    if "d.final_conv.0.weight" in file:
        found["d."] = Part("discriminator")
    return found


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the file holds.

    Raises:
        UserError: tensors that are missing or do not fit each other, or filters or a generator
            (SWAGAN's) that StyleGAN2's system does not have.
    """
    file = files["generator"]
    (root, *_) = parts(file)
    if file.some("*.iwt.*") or file.some("*.dwt.*"):
        raise UserError(f"{file.file} is a SWAGAN, of wavelets, for which there is no system")
    for name in file.some("*.kernel"):
        taps = file.take(name)
        if not is_filter(taps / (taps.sum() or 1)):
            raise UserError(
                f"{file.file}: {name} is another filter than [1, 3, 3, 1], which StyleGAN2 here "
                "has: there is no system for this file"
            )
    widths = [file.shape(f"{root}conv1.conv.weight")[1]]
    while f"{root}convs.{2 * len(widths) - 1}.conv.weight" in file:
        widths.append(file.shape(f"{root}convs.{2 * len(widths) - 1}.conv.weight")[1])
    side = 2 << len(widths)
    layers = 0
    while f"{root}style.{layers + 1}.weight" in file:
        layers += 1
    system = StyleGAN2(
        shape=(side, side, file.shape(f"{root}to_rgb1.conv.weight")[1]),
        latent=file.shape(f"{root}style.1.weight")[1],
        width=max((4 << index) * width for index, width in enumerate(widths)),
        max_channels=max(widths),
        mapping_layers=layers,
    )
    note = f"the mean style, for psi, is that of {_LATENTS:,} latents: the file has none"
    return Found(system, notes=() if "latent_avg" in file else (note,))


def table(system: StyleGAN2, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network."""
    if network == "discriminator":
        return _discriminator(system)
    mean = None if file is None or "latent_avg" not in file else file.take("latent_avg").ravel()
    return _generator(system, mean)


def _generator(system: StyleGAN2, mean: np.ndarray | None) -> Table:
    result = Table(system, "generator")
    _mapping(result, system, mean)
    first = partial(np.transpose, axes=(0, 2, 3, 1)), partial(np.transpose, axes=(0, 3, 1, 2))
    result.map("params/synthesis/constant", "input.input", *first)
    for layer in range(2 * len(system.widths()) - 1):
        name = f"convs.{layer - 1}" if layer else "conv1"
        result.modulated(
            f"synthesis/conv{layer}", f"{name}.conv", "modulation", up=layer % 2 == 1, lead=1
        )
        result.copy(f"params/synthesis/bias{layer}", f"{name}.activate.bias")
        result.map(
            f"params/synthesis/noise{layer}/strength",
            f"{name}.noise.weight",
            lambda a: a.reshape(()),
            lambda a: a.reshape(1),
        )
        result.map(f"noise/synthesis/noise{layer}/map", f"noises.noise_{layer}", *first)
    for index in range(len(system.widths())):
        name, side = f"to_rgbs.{index - 1}" if index else "to_rgb1", 4 << index
        result.modulated(f"synthesis/rgb{side}", f"{name}.conv", "modulation", up=False, lead=1)
        result.map(
            f"params/synthesis/rgb{side}_bias",
            f"{name}.bias",
            np.ravel,
            lambda a: a.reshape(1, -1, 1, 1),
        )
    return result


def _mapping(result: Table, system: StyleGAN2, mean: np.ndarray | None) -> None:
    """The mapping's layers, and the running mean, which they make where the file has none."""
    layers = range(system.mapping_layers)
    kinds = (("kernel", "weight"), ("bias", "bias"))
    paths = [f"params/mapping/dense{k}/{ours}" for ours, _ in kinds for k in layers]
    names = [f"style.{k + 1}.{theirs}" for _, theirs in kinds for k in layers]

    def read(*tensors: np.ndarray) -> Arrays:
        weights, biases = tensors[: len(layers)], tensors[len(layers) :]
        found = _mean(weights, biases) if mean is None else mean
        return (*map(np.transpose, weights), *biases, found)

    def write(*variables: np.ndarray) -> Arrays:
        return (*map(np.transpose, variables[: len(layers)]), *variables[len(layers) : -1])

    result.add((*paths, "average/mapping/style"), tuple(names), read, write)


def _mean(weights: Arrays, biases: Arrays) -> np.ndarray:
    """The mean of styles of random latents."""
    h: np.ndarray = np.random.default_rng(0).standard_normal(
        (_LATENTS, weights[0].shape[1]), np.float32
    )
    h /= np.sqrt(np.square(h).mean(1, keepdims=True) + 1e-8)
    for weight, bias in zip(weights, biases, strict=True):
        h = h @ weight.T * np.float32(0.01 / weight.shape[1] ** 0.5) + np.float32(0.01) * bias
        h = np.maximum(h, np.float32(0.2) * h) * np.float32(2**0.5)
    return h.mean(0)


def _discriminator(system: StyleGAN2) -> Table:
    result = Table(system, "discriminator")

    def conv(path: str, weight: str, bias: str = "") -> None:
        turned: Any = partial(np.transpose, axes=(2, 3, 1, 0))
        back: Any = partial(np.transpose, axes=(3, 2, 0, 1))
        result.map(f"params/{path}/kernel", weight, turned, back)
        if bias:
            result.copy(f"params/{path}/bias", bias)

    conv("rgb", "convs.0.0.weight", "convs.0.1.bias")
    sides = [4 << index for index in reversed(range(1, len(system.widths())))]
    for index, side in enumerate(sides, 1):
        name = f"convs.{index}"
        conv(f"conv{side}_0", f"{name}.conv1.0.weight", f"{name}.conv1.1.bias")
        conv(f"conv{side}_1", f"{name}.conv2.1.weight", f"{name}.conv2.2.bias")
        conv(f"skip{side}", f"{name}.skip.1.weight")
    conv("conv4_0", "final_conv.0.weight", "final_conv.1.bias")
    result.dense_of_maps("conv4_1", "final_linear.0", 4)
    result.dense("dense", "final_linear.1")
    return result
