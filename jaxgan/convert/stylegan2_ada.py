"""StyleGAN2-ADA (NVlabs, PyTorch): `network-snapshot-N.pkl`, with `G`, `D` and `G_ema` in one file.

Networks are objects with their source code, which is not executed (`jaxgan.pth`); a .pth file of
{"G": state_dict, "D": state_dict, "G_ema": state_dict} does as well. `G_ema` is the average, and
the generator, too, where there is no `G`. Up-convolutions are stored flipped here. Training goes on
with adaptive augmentation where there was augmentation; its strength starts at 0, as that code's
does when it resumes.

That code clamps what layers give to +-256 and computes the largest maps in half precision; neither
is done here.
"""

from pathlib import Path

import numpy as np

from jaxgan.convert.files import Found, Part
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


def files(generator: str | Path, discriminator: str | Path | None = None) -> dict[str, str | Path]:
    """{network: file}: the one.

    Raises:
        UserError: a second file is given.
    """
    if discriminator is not None:
        raise UserError(
            f"{discriminator} is one file too many: the discriminator of stylegan2_ada is in the "
            "generator's file; leave it out"
        )
    return {"generator": generator}


def parts(file: Tensors) -> dict[str, Part]:
    """{prefix of names: what is below it}.

    Raises:
        UserError: there is no generator.
    """
    names = [name for name in ("G", "G_ema") if f"{name}.synthesis.b4.const" in file]
    if not names:
        raise UserError(
            f"{file.file} has no tensor G_ema.synthesis.b4.const: give a network-snapshot-*.pkl, "
            'or a .pth file of {"G_ema": state_dict, "D": state_dict}'
        )
    # What is no parameter, the average has from the other.
    found = {f"{name}.": Part("generator", name != names[0]) for name in names}
    if _judged(file):
        found["D."] = Part("discriminator")
    return found


def _judged(file: Tensors) -> bool:
    return "D.b4.out.weight" in file


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the file holds.

    Raises:
        UserError: tensors that are missing or do not fit each other; a conditional network, or one
            of an architecture that StyleGAN2's system does not have.
    """
    file = files["generator"]
    return Found(_system(file, next(iter(parts(file))).removesuffix("."), _judged(file)))


def table(system: StyleGAN2, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network."""
    return _generator(system) if network == "generator" else _discriminator(system)


def _system(file: Tensors, name: str, judged: bool) -> StyleGAN2:
    """The configuration, from the shapes of a generator's tensors."""
    if f"{name}.mapping.embed.weight" in file:
        raise UserError(
            f"{file.file} is conditional: its {name} takes labels, but StyleGAN2 here has none; "
            "give one that was trained with --cond=0"
        )
    widths: dict[int, int] = {}
    while f"{name}.synthesis.b{4 << len(widths)}.conv1.weight" in file:
        side = 4 << len(widths)
        widths[side] = file.shape(f"{name}.synthesis.b{side}.conv1.weight")[0]
    side = max(widths)
    if f"{name}.synthesis.b4.torgb.weight" not in file:
        raise UserError(
            f"{file.file}: its {name} makes an image of the last maps alone, but StyleGAN2 here "
            "sums images of all sizes: give one of architecture 'skip'"
        )
    group, residual = 4, True
    if judged:
        residual = f"D.b{side}.skip.weight" in file
        if "D.b4.fromrgb.weight" in file:
            raise UserError(
                f"{file.file}: its D sees images of all sizes, but StyleGAN2's here is residual or "
                "plain: give one of architecture 'resnet' or 'orig'"
            )
        size = file.facts.get("D.b4.mbstd.group_size", group)
        if not isinstance(size, int):
            raise UserError(f"{file.file}: its D takes deviations over whole batches, not groups")
        group = size
    return StyleGAN2(
        shape=(side, side, file.shape(f"{name}.synthesis.b4.torgb.weight")[0]),
        latent=file.shape(f"{name}.mapping.fc0.weight")[1],
        width=max(side * width for side, width in widths.items()),
        max_channels=max(widths.values()),
        mapping_layers=file.count(name + ".mapping.fc{}.weight"),
        residual=residual,
        group=group,
        ada_target=0.6 if "augment_pipe.p" in file else 0.0,
    )


def _generator(system: StyleGAN2) -> Table:
    result = Table(system, "generator")
    for index in range(system.mapping_layers):
        result.dense(f"mapping/dense{index}", f"mapping.fc{index}")
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
            _modulated(result, f"conv{layer}", name, up=part == "conv0")
            result.copy(f"params/synthesis/bias{layer}", f"{name}.bias")
            result.copy(f"params/synthesis/noise{layer}/strength", f"{name}.noise_strength")
            result.map(
                f"noise/synthesis/noise{layer}/map",
                f"{name}.noise_const",
                lambda a: a[None, ..., None],
                lambda a: a[0, ..., 0],
            )
            layer += 1
        _modulated(result, f"rgb{4 << index}", f"{block}.torgb")
        result.copy(f"params/synthesis/rgb{4 << index}_bias", f"{block}.torgb.bias")
    return result


def _modulated(result: Table, path: str, name: str, up: bool = False) -> None:
    """A modulated convolution's kernel, and its style's dense layer."""
    turn = -1 if up else 1
    result.map(
        f"params/synthesis/{path}/kernel",
        f"{name}.weight",
        lambda a: a[:, :, ::turn, ::turn].transpose(2, 3, 1, 0),
        lambda a: a.transpose(3, 2, 0, 1)[:, :, ::turn, ::turn],
    )
    result.dense(f"synthesis/{path}/affine", f"{name}.affine")


def _discriminator(system: StyleGAN2) -> Table:
    result = Table(system, "discriminator")
    sides = [4 << index for index in range(len(system.widths()))]
    result.conv("rgb", f"b{sides[-1]}.fromrgb")
    for side in sides[1:]:
        for part in (0, 1):
            result.conv(f"conv{side}_{part}", f"b{side}.conv{part}")
        if system.residual:
            result.conv(f"skip{side}", f"b{side}.skip")
    result.conv("conv4_0", "b4.conv")
    result.map(
        "params/conv4_1/kernel",
        "b4.fc.weight",
        lambda a: a.reshape(len(a), -1, 4, 4).transpose(2, 3, 1, 0),
        lambda a: a.transpose(3, 2, 0, 1).reshape(a.shape[-1], -1),
    )
    result.copy("params/conv4_1/bias", "b4.fc.bias")
    result.dense("dense", "b4.out")
    return result
