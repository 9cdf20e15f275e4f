"""StyleGAN2-ADA (NVlabs, PyTorch): `network-snapshot-N.pkl`, with `G`, `D` and `G_ema` in one file.

Networks are objects with their source code, which is not executed (`jaxgan.pth`); a .pth file of
{"G": state_dict, "D": state_dict, "G_ema": state_dict} does as well. `G_ema` is the average, and
the generator, too, where there is no `G`. Up-convolutions are stored flipped here. Training goes on
with adaptive augmentation where there was augmentation; its strength starts at 0, as that code's
does when it resumes.

That code clamps what layers give to +-256 and computes the largest maps in half precision; neither
is done here.
"""

import numpy as np
from jaxtyping import PyTree

from jaxgan.convert.tensors import Target, Tensors
from jaxgan.errors import UserError
from jaxgan.systems.stylegan2 import StyleGAN2


def convert(
    generator: Tensors, discriminator: Tensors | None = None
) -> tuple[StyleGAN2, dict[str, PyTree], dict[str, PyTree], dict[str, PyTree]]:
    """(system, params, stats, averages) of the networks in the file.

    Raises:
        UserError: tensors that are missing or do not fit each other; a conditional network, or one
            of an architecture that StyleGAN2's system does not have; a second file.
    """
    if discriminator is not None:
        raise UserError(
            f"{discriminator.file} is one file too many: the discriminator of stylegan2_ada is in "
            "the generator's file; leave it out"
        )
    file = generator
    names = [name for name in ("G", "G_ema") if f"{name}.synthesis.b4.const" in file]
    if not names:
        raise UserError(
            f"{file.file} has no tensor G_ema.synthesis.b4.const: give a network-snapshot-*.pkl, "
            'or a .pth file of {"G_ema": state_dict, "D": state_dict}'
        )
    judged = "D.b4.out.weight" in file
    system = _system(file, names[-1], judged)
    params, stats = {}, {}
    trees = {name: _generator(system, file, name) for name in names}
    # What is no parameter, the average has from the other.
    params["generator"], stats["generator"] = trees[names[0]]
    averages = {"generator": trees["G_ema"][0]} if "G_ema" in trees else {}
    if judged:
        params["discriminator"], stats["discriminator"] = _discriminator(system, file)
    file.leave("*.resample_filter", "augment_pipe.*")
    return system, params, stats, averages


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


def _generator(system: StyleGAN2, file: Tensors, root: str) -> tuple[PyTree, PyTree]:
    """(parameters, statistics) of G or G_ema."""
    target = Target(system, "generator", file)
    for index in range(system.mapping_layers):
        target.dense(f"mapping/dense{index}", f"{root}.mapping.fc{index}")
    target.copy("average/mapping/style", f"{root}.mapping.w_avg")
    constant = file.take(f"{root}.synthesis.b4.const")
    target.put("params/synthesis/constant", f"{root}.synthesis.b4.const", _last(constant)[None])
    layer = 0
    for index in range(len(system.widths())):
        block = f"{root}.synthesis.b{4 << index}"
        for part in ("conv0", "conv1") if index else ("conv1",):
            name = f"{block}.{part}"
            _modulated(target, file, f"conv{layer}", name, up=part == "conv0")
            target.copy(f"params/synthesis/bias{layer}", f"{name}.bias")
            target.copy(f"params/synthesis/noise{layer}/strength", f"{name}.noise_strength")
            noise = file.take(f"{name}.noise_const")[None, ..., None]
            target.put(f"noise/synthesis/noise{layer}/map", f"{name}.noise_const", noise)
            layer += 1
        _modulated(target, file, f"rgb{4 << index}", f"{block}.torgb")
        target.copy(f"params/synthesis/rgb{4 << index}_bias", f"{block}.torgb.bias")
    return target.variables()


def _modulated(target: Target, file: Tensors, path: str, name: str, up: bool = False) -> None:
    """A modulated convolution's kernel, and its style's dense layer."""
    weight = file.take(f"{name}.weight")
    weight = weight[:, :, ::-1, ::-1] if up else weight
    target.put(f"params/synthesis/{path}/kernel", f"{name}.weight", weight.transpose(2, 3, 1, 0))
    target.dense(f"synthesis/{path}/affine", f"{name}.affine")


def _discriminator(system: StyleGAN2, file: Tensors) -> tuple[PyTree, PyTree]:
    """(parameters, statistics) of D."""
    target = Target(system, "discriminator", file)
    sides = [4 << index for index in range(len(system.widths()))]
    target.conv("rgb", f"D.b{sides[-1]}.fromrgb")
    for side in sides[1:]:
        for part in (0, 1):
            target.conv(f"conv{side}_{part}", f"D.b{side}.conv{part}")
        if system.residual:
            target.conv(f"skip{side}", f"D.b{side}.skip")
    target.conv("conv4_0", "D.b4.conv")
    weight = file.take("D.b4.fc.weight")
    weight = _last(weight.reshape(len(weight), -1, 4, 4).transpose(1, 2, 3, 0))
    target.put("params/conv4_1/kernel", "D.b4.fc.weight", weight)
    target.copy("params/conv4_1/bias", "D.b4.fc.bias")
    target.dense("dense", "D.b4.out")
    return target.variables()


def _last(array: np.ndarray) -> np.ndarray:
    """Channels first to channels after the sides."""
    return np.moveaxis(array, 0, 2)
