"""pix2pix (junyanz, with CycleGAN): `latest_net_G.pth`, a U-Net, and `latest_net_D.pth`.

The U-Net's levels are nested: `model.model.3` of a level is the level inside, so that names grow
with depth. Its batch norm saw batches of one, in training and after, so its running statistics were
never used: they are left out. Whether there was dropout, files do not tell: as in that code, there
is, in training and after.
"""

from jaxtyping import PyTree

from jaxgan.convert.tensors import Target, Tensors
from jaxgan.errors import UserError
from jaxgan.systems.pix2pix import Pix2Pix

BUFFERS = ("*.running_mean", "*.running_var", "*.num_batches_tracked")
"""Statistics of norms that are those of single images."""


def convert(
    generator: Tensors, discriminator: Tensors | None = None
) -> tuple[Pix2Pix, dict[str, PyTree], dict[str, PyTree]]:
    """(system, params, stats) of the networks in the files.

    Raises:
        UserError: tensors that are missing or do not fit each other; norms other than batch norm;
            a generator that is no U-Net.
    """
    level, levels = "model.model.1.model", ["model.model"]
    while f"{level}.1.weight" in generator:
        levels.append(level)
        level += ".3.model"
    if len(levels) < 3:
        raise UserError(
            f"{generator.file} has no levels model.model.1.model, model.model.1.model.3.model, ... "
            "of a U-Net: give a latest_net_G.pth of pix2pix with unet_128 or unet_256"
        )
    if f"{levels[1]}.1.bias" in generator:
        raise UserError(
            f"{generator.file} has instance norm, but pix2pix here has the batch norm of its "
            "authors: give one that was trained with --norm batch"
        )
    width, inputs = generator.shape("model.model.0.weight")[:2]
    outputs = generator.shape("model.model.3.weight")[1]
    side = 1 << len(levels)
    system = Pix2Pix(
        shape=(side, side, outputs),
        input_channels=inputs,
        width=width,
        patch_halvings=3 if discriminator is None else patch_halvings(discriminator),
    )
    params, stats = {}, {}

    target = Target(system, "generator", generator)
    target.conv("down1", "model.model.0")
    target.conv_transpose("up1", "model.model.3")
    for number, name in enumerate(levels[1:], 2):
        innermost = number == len(levels)
        down, up = (1, 3) if innermost else (1, 5)
        target.conv(f"down{number}", f"{name}.{down}")
        target.conv_transpose(f"up{number}", f"{name}.{up}")
        affine(target, f"up_norm{number}", f"{name}.{up + 1}")
        if not innermost:
            affine(target, f"down_norm{number}", f"{name}.{down + 1}")
    generator.leave(*BUFFERS)
    params["generator"], stats["generator"] = target.variables()

    if discriminator is not None:
        target = Target(system, "discriminator", discriminator)
        patchgan(target, system.patch_halvings)
        for index in range(1, system.patch_halvings + 1):
            affine(target, f"norm{index + 1}", f"model.{3 * index}")
        discriminator.leave(*BUFFERS)
        params["discriminator"], stats["discriminator"] = target.variables()
    return system, params, stats


def affine(target: Target, path: str, name: str) -> None:
    """A norm's gains and biases."""
    target.copy(f"params/{path}/scale", f"{name}.weight")
    target.copy(f"params/{path}/bias", f"{name}.bias")


def patch_halvings(discriminator: Tensors) -> int:
    """How many convolutions of stride two a PatchGAN has.

    Raises:
        UserError: it is no PatchGAN.
    """
    # The second convolution is model.2, and each norm and activation takes a number.
    number = 0
    while f"model.{3 * number + 2}.weight" in discriminator:
        number += 1
    if number < 2:
        raise UserError(
            f"{discriminator.file} has no convolutions model.0, model.2, model.5, ...: give a "
            "latest_net_D.pth that was trained with --netD basic or n_layers"
        )
    return number - 1


def patchgan(target: Target, halvings: int) -> None:
    """The convolutions of a PatchGAN."""
    for index in range(halvings + 2):
        target.conv(f"conv{index + 1}", f"model.{max(0, 3 * index - 1)}")
