"""StyleGAN2-ADA (NVlabs, PyTorch): `network-snapshot-N.pkl`, with `G`, `D` and `G_ema` in one file.

Networks are objects with their source code, which is not executed (`jaxgan.pth`), and settings,
which are checked: those that the system lacks, such as another activation or filter, are refused.
A .pth or .safetensors file of {"G": state_dict, "D": state_dict, "G_ema": state_dict}, or of a
generator alone, does as well; it says nothing of clamping. `G_ema` is the average, and the
generator, too, where there is no `G`. Up-convolutions are stored flipped here. Training goes on
with adaptive augmentation where there was augmentation; its strength starts at 0, as that code's
does when it resumes.

That code computes the largest maps in half precision, which is not done here.
"""

import re
from functools import partial
from typing import Any, NoReturn

import numpy as np

from jaxgan.convert.files import Found, Part, one_file
from jaxgan.convert.table import Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.stylegan2 import StyleGAN2

SYSTEMS = (StyleGAN2,)
KNOWN = {"generator": "G_ema.synthesis.b4.const"}
FILES = {
    "network.pth": {
        "G.": Part("generator"),
        "D.": Part("discriminator"),
        "G_ema.": Part("generator", True),
    }
}
LEFT = ("*.resample_filter", "augment_pipe.*")
FILTER = (np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64).astype(np.float32)
"""The filter that StyleGAN2 here has. Layers of that code keep it, whether they resample or not."""


files = partial(one_file, "stylegan2_ada")


def parts(file: Tensors) -> dict[str, Part]:
    """{prefix of names: what is below it}.

    Raises:
        UserError: there is no generator.
    """
    names = [name for name in ("G.", "G_ema.", "") if f"{name}synthesis.b4.const" in file]
    if file.some("*synthesis.input.freqs") or file.some("*synthesis.L0_*"):
        raise UserError(
            f"{file.file} is a StyleGAN3 pickle, for which there is no system: give one of "
            "StyleGAN2-ADA"
        )
    if not names:
        raise UserError(
            f"{file.file} has no tensor G_ema.synthesis.b4.const: give a network-snapshot-*.pkl, "
            'or a .pth file of {"G_ema": state_dict, "D": state_dict}'
        )
    # What is no parameter, the average has from the other.
    found = {name: Part("generator", name != names[0]) for name in names}
    if "D.b4.out.weight" in file:
        found["D."] = Part("discriminator")
    return found


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the file holds.

    Raises:
        UserError: tensors that are missing or do not fit each other; settings that StyleGAN2's
            system does not have.
    """
    file = files["generator"]
    found = parts(file)
    for name in found:
        _check(file, name)
    (name, *_) = (name for name, part in found.items() if part.network == "generator")
    settings, guessed = _generator_of(file, name), {}
    if file.facts:
        settings["clamp"] = _clamp(file)
    else:
        guessed["clamp"] = "that code's conv_clamp, 256 in its own runs; --set clamp=256 sets it"
    if "D." in found:
        settings |= _discriminator_of(file, settings["shape"][0])
        if settings["group_maps"] and _GROUP not in file.facts:
            guessed["group"] = "that code's mbstd_group_size"
    return Found(StyleGAN2(**settings), guessed, _notes(file))


def _notes(file: Tensors) -> tuple[str, ...]:
    if any(value is True for name, value in file.facts.items() if name.endswith(".use_fp16")):
        return ("its largest maps were computed in half precision, which is not done here",)
    return ()


_GROUP = "D.b4.mbstd.group_size"


def is_filter(taps: np.ndarray) -> bool:
    """Whether a file's filter is `FILTER`."""
    return taps.shape == FILTER.shape and np.allclose(taps, FILTER, atol=1e-6)


def _check(file: Tensors, root: str) -> None:
    """Refuses settings of a network that would be drawn wrongly.

    Raises:
        UserError: an activation, filter, gain or step size that StyleGAN2's system does not have.
    """

    def refuse(name: str, what: object, here: object) -> NoReturn:
        raise UserError(
            f"{file.file}: {name} is {what}, but StyleGAN2 here has {here}: there is no system for "
            "this file"
        )

    for name in file.some(f"{root}*resample_filter"):
        taps = file.take(name)
        if not is_filter(taps):
            row = taps[0] if taps.ndim > 1 else taps
            shown = ", ".join(f"{tap:g}" for tap in row / (row[0] or 1))
            refuse(name, f"of taps [{shown}]", "[1, 3, 3, 1]")
    for name, value in file.facts.items():
        *_, layer, key = ("", *name.split("."))
        if not name.startswith(root):
            continue
        bends = re.fullmatch(r"conv[01]?|fc[0-9]*|fromrgb", layer)
        if key == "activation" and value != ("lrelu" if bends else "linear"):
            refuse(name, repr(value), repr("lrelu" if bends else "linear"))
        if key == "act_gain" and isinstance(value, float):
            gain = 2**0.5 if bends else 1.0
            if abs(value - gain) > 1e-6:
                refuse(name, value, f"{gain:.6g}")
        rate = 0.01 if layer[:2] == "fc" and "mapping" in name else 1.0
        if key == "bias_gain" and isinstance(value, int | float) and abs(value - rate) > 1e-9:
            refuse(name, value, rate)


def _clamp(file: Tensors) -> float:
    """What all convolutions clamp to; those that pass others by, and the last `fromrgb`, do not."""
    found = {
        float(value or 0)
        for name, value in file.facts.items()
        if name.endswith(".conv_clamp")
        and ".skip." not in name
        and ".b4.fromrgb." not in name
        and not isinstance(value, str)
    }
    if len(found) > 1:
        raise UserError(
            f"{file.file}: its layers are clamped to {', '.join(map(str, sorted(found)))}, but "
            "StyleGAN2 here has one bound for all: there is no system for this file"
        )
    return found.pop() if found else 0.0


def _generator_of(file: Tensors, root: str) -> dict[str, Any]:
    """Fields that a generator's tensors give."""
    widths: dict[int, int] = {}
    while f"{root}synthesis.b{4 << len(widths)}.conv1.weight" in file:
        side = 4 << len(widths)
        widths[side] = file.shape(f"{root}synthesis.b{side}.conv1.weight")[0]
    side = max(widths, default=4)
    latent, classes = file.shape(f"{root}mapping.fc0.weight")[1], 0
    if f"{root}mapping.embed.weight" in file:
        features, classes = file.shape(f"{root}mapping.embed.weight")
        latent -= features
    architecture = "orig"
    if f"{root}synthesis.b4.torgb.weight" in file:
        architecture = "skip"
    elif f"{root}synthesis.b{side}.skip.weight" in file:
        architecture = "resnet"
    return {
        "shape": (side, side, file.shape(f"{root}synthesis.b{side}.torgb.weight")[0]),
        "latent": latent,
        "classes": classes,
        "width": max(side * width for side, width in widths.items()),
        "max_channels": max(widths.values()),
        "mapping_layers": file.count(root + "mapping.fc{}.weight"),
        "generator_architecture": architecture,
        "ada_target": 0.6 if "augment_pipe.p" in file else 0.0,
    }


def _discriminator_of(file: Tensors, side: int) -> dict[str, Any]:
    """Fields that a discriminator's tensors give, and its settings."""
    architecture = "orig"
    if "D.b4.fromrgb.weight" in file:
        architecture = "skip"
    elif f"D.b{side}.skip.weight" in file:
        architecture = "resnet"
    outputs, inputs, *_ = file.shape("D.b4.conv.weight")
    settings: dict[str, Any] = {
        "discriminator_architecture": architecture,
        "group_maps": inputs - outputs,
    }
    if _GROUP in file.facts:
        settings["group"] = file.facts[_GROUP] or 0
    if layers := file.count("D.mapping.fc{}.weight"):
        settings["label_layers"] = layers
    return settings


def table(system: StyleGAN2, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network."""
    return _generator(system) if network == "generator" else _discriminator(system)


def _generator(system: StyleGAN2) -> Table:
    result = Table(system, "generator")
    for index in range(system.mapping_layers):
        result.dense(f"mapping/dense{index}", f"mapping.fc{index}")
    if system.classes:
        result.dense("mapping/embed", "mapping.embed")
    result.copy("average/mapping/style", "mapping.w_avg")
    result.map(
        "params/synthesis/constant",
        "synthesis.b4.const",
        lambda a: np.moveaxis(a, 0, 2)[None],
        lambda a: np.moveaxis(a[0], 2, 0),
    )
    layer = 0
    for index in range(len(system.widths())):
        block = f"synthesis.b{4 << index}"
        for part in ("conv0", "conv1") if index else ("conv1",):
            name = f"{block}.{part}"
            result.spare(f"{name}.resample_filter", FILTER)
            result.modulated(f"synthesis/conv{layer}", name, "affine", up=part == "conv0")
            result.copy(f"params/synthesis/bias{layer}", f"{name}.bias")
            result.copy(f"params/synthesis/noise{layer}/strength", f"{name}.noise_strength")
            result.map(
                f"noise/synthesis/noise{layer}/map",
                f"{name}.noise_const",
                lambda a: a[None, ..., None],
                lambda a: a[0, ..., 0],
            )
            layer += 1
        result.spare(f"{block}.resample_filter", FILTER)
        if f"params/synthesis/rgb{4 << index}_bias" in result:
            result.modulated(f"synthesis/rgb{4 << index}", f"{block}.torgb", "affine", up=False)
            result.copy(f"params/synthesis/rgb{4 << index}_bias", f"{block}.torgb.bias")
        if f"params/synthesis/skip{4 << index}/kernel" in result:
            result.conv(f"synthesis/skip{4 << index}", f"{block}.skip")
            result.spare(f"{block}.skip.resample_filter", FILTER)
    return result


def _discriminator(system: StyleGAN2) -> Table:
    result = Table(system, "discriminator")
    sides = [4 << index for index in range(len(system.widths()))]
    result.conv("rgb", f"b{sides[-1]}.fromrgb")
    result.spare(f"b{sides[-1]}.fromrgb.resample_filter", FILTER)
    for side in sides[1:]:
        for part in (0, 1):
            result.conv(f"conv{side}_{part}", f"b{side}.conv{part}")
            result.spare(f"b{side}.conv{part}.resample_filter", FILTER)
        result.spare(f"b{side}.resample_filter", FILTER)
        if system.discriminator_architecture == "resnet":
            result.conv(f"skip{side}", f"b{side}.skip")
            result.spare(f"b{side}.skip.resample_filter", FILTER)
    for side in sides[:-1] if system.discriminator_architecture == "skip" else ():
        result.conv(f"rgb{side}", f"b{side}.fromrgb")
        result.spare(f"b{side}.fromrgb.resample_filter", FILTER)
    if system.classes:
        result.dense("mapping/embed", "mapping.embed")
        for index in range(system.label_layers):
            result.dense(f"mapping/dense{index}", f"mapping.fc{index}")
    result.conv("conv4_0", "b4.conv")
    result.spare("b4.conv.resample_filter", FILTER)
    result.dense_of_maps("conv4_1", "b4.fc", 4)
    result.dense("dense", "b4.out")
    return result
