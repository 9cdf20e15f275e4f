"""BigGAN of StudioGAN (POSTECH): `model=G-...pth` or `model=G_ema-...pth`, and `model=D-...pth`.

A trainer's file, whose "state_dict" holds the network (`big_resnet`). Blocks and attention are
entries of one list, `blocks.I.0`. Spectral norm is PyTorch's own. Batch norm adds 1e-4 to the
variance, in that code and here.
"""

import numpy as np

from jaxgan.convert.files import Found, Part
from jaxgan.convert.table import Spectral, Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.biggan import DISCRIMINATOR, GENERATOR, BigGAN, attention_names, sizes
from jaxgan.systems.biggan_deep import BigGANDeep

SYSTEMS = (BigGAN,)
KNOWN = {
    "generator": "blocks.0.0.conv2d1.weight_orig",
    "discriminator": "blocks.0.0.conv2d1.weight_orig",
}
FILES = {
    "model=G_ema.pth": {"": Part("generator", True)},
    "model=G.pth": {"": Part("generator")},
    "model=D.pth": {"": Part("discriminator")},
}
LEFT = ("*.num_batches_tracked",)
EPSILON = 1e-4
SPECTRAL = Spectral("weight_orig", ("weight_u",), "weight_v")


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the files hold.

    Raises:
        UserError: tensors that are missing or do not fit each other; another network of StudioGAN's
            than BigGAN with labels in its norms.
    """
    generator, discriminator = files["generator"], files.get("discriminator")
    blocks, attended = _blocks(generator)
    side = 4 << len(blocks)
    if side not in GENERATOR or "linear0.weight_orig" not in generator:
        raise UserError(
            f"{generator.file} is no generator big_resnet of StudioGAN with --apply_g_sn: give a "
            "model=G_ema-*.pth of BigGAN"
        )
    rows, heard = generator.shape("linear0.weight_orig")
    classes, shared = generator.shape("shared.weight")
    channels = rows // 16 // GENERATOR[side][0]
    seen: set[int] = set()
    multipliers = DISCRIMINATOR[side]
    guessed = {"epsilon": "StudioGAN's"}
    if discriminator is None:
        guessed["discriminator_attention"] = "none"
    else:
        discriminator.shape("embedding.weight_orig")  # a projection; no generator has it
        places, after = _blocks(discriminator)
        reached = sizes(side, len(places))
        seen = {reached[k] for k in after}
        whole = after == [k for k in range(len(places)) if reached[k] in seen]
        widths = [discriminator.shape(f"{name}.conv2d2.weight_orig")[0] for name in places]
        if not whole or any(width % channels for width in widths):
            raise UserError(
                f"{discriminator.file} has blocks of {', '.join(map(str, widths))} channels and "
                f"attention after {', '.join(str(k + 1) for k in after)}: BigGAN here has it after "
                f"all blocks of a size, and multiples of the generator's {channels} channels"
            )
        multipliers = tuple(width // channels for width in widths)
    return Found(
        BigGAN(
            shape=(side, side, generator.shape("conv2d5.weight_orig")[0]),
            classes=classes,
            channels=channels,
            latent=heard * (len(blocks) + 1),
            shared=shared,
            generator_attention=tuple(8 << index for index in attended),
            discriminator_attention=tuple(sorted(seen)),
            discriminator_multipliers=() if multipliers == DISCRIMINATOR[side] else multipliers,
            epsilon=EPSILON,
            ema_start=0,
        ),
        guessed,
    )


def _blocks(file: Tensors) -> tuple[list[str], list[int]]:
    """(names of the blocks; blocks, from 0, after which attention comes)."""
    names: list[str] = []
    attended: list[int] = []
    index = 0
    while True:
        name = f"blocks.{index}.0"
        if f"{name}.conv2d1.weight_orig" in file:
            names.append(name)
        elif f"{name}.sigma" in file:
            attended.append(len(names) - 1)
        else:
            return names, attended
        index += 1


def table(system: BigGAN, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network.

    Raises:
        UserError: a network that StudioGAN has not.
    """
    if isinstance(system, BigGANDeep) or not (system.classes and system.shared):
        raise UserError("StudioGAN's BigGAN has classes and a shared embedding")
    if not (system.hierarchical and system.equal_shortcuts):
        raise UserError("StudioGAN's BigGAN has hierarchical latents and equal_shortcuts")
    if on := system.negative():
        raise UserError(f"StudioGAN's BigGAN has no {on[0]}, which this run has")
    if system.classifies:
        raise UserError(
            "StudioGAN's BigGAN here has no discriminator that classifies, but this run has "
            f"class_weights {system.class_weights}"
        )
    result, place, index = Table(system, network, SPECTRAL), 0, 1
    generates, names = network == "generator", attention_names(system.generator_attention)
    if generates:
        result.dense("dense", "linear0", side=4)
        result.embed("shared", "shared")
    while f"params/block{index}/conv1/kernel" in result:
        name, path = f"blocks.{place}.0", f"block{index}"
        for part, source in (("conv1", "conv2d1"), ("conv2", "conv2d2"), ("shortcut", "conv2d0")):
            if f"params/{path}/{part}/kernel" in result:
                result.conv(f"{path}/{part}", f"{name}.{source}")
        for part in ("1", "2") if generates else ():
            result.dense(f"{path}/norm{part}/scale", f"{name}.bn{part}.gain")
            result.dense(f"{path}/norm{part}/bias", f"{name}.bn{part}.bias")
            result.running(f"{path}/norm{part}", f"{name}.bn{part}.bn")
        attention = names.get(4 << index, "") if generates else f"attention{index}"
        if f"params/{attention}/sigma" in result:
            place += 1
            _attention(result, attention, f"blocks.{place}.0")
        place, index = place + 1, index + 1
    if generates:
        result.batch_norm("norm", "bn4")
        result.conv("conv", "conv2d5")
    else:
        result.dense("dense", "linear1")
        result.embed("embed", "embedding")
    return result


def _attention(result: Table, path: str, name: str) -> None:
    for part, source in (("theta", "theta"), ("phi", "phi"), ("g", "g"), ("o", "attn")):
        result.conv(f"{path}/{part}", f"{name}.conv1x1_{source}")
    result.map(f"params/{path}/sigma", f"{name}.sigma", np.squeeze, np.atleast_1d)
