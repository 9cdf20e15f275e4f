"""pix2pix (junyanz, with CycleGAN): `latest_net_G.pth`, a U-Net, and `latest_net_D.pth`.

The U-Net's levels are nested: `model.model.3` of a level is the level inside, so that names grow
with depth. Its batch norm sees batches of one, in training, and after it, too, unless that code's
test is called with --eval. So the running statistics are left out, and norms are of the image at
hand, or, with `statistics` "running", those are taken as --eval does. Whether there was dropout,
files do not tell: as in that code, there is, in training and after it, but not with --eval.
"""

from jaxgan.convert.files import Found, Part
from jaxgan.convert.table import Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.nn.unet import halvings
from jaxgan.systems.common.translation import Translation
from jaxgan.systems.pix2pix import Pix2Pix

BUFFERS = ("*.running_mean", "*.running_var", "*.num_batches_tracked")
"""Statistics of norms that are those of single images."""

SYSTEMS = (Pix2Pix,)
KNOWN = {"generator": "model.model.0.weight", "discriminator": "model.0.weight"}
FILES = {
    "latest_net_G.pth": {"": Part("generator", True)},
    "latest_net_D.pth": {"": Part("discriminator")},
}
LEFT = BUFFERS


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the files hold.

    Raises:
        UserError: tensors that are missing or do not fit each other; norms other than batch norm;
            a generator that is no U-Net.
    """
    generator, discriminator = files["generator"], files.get("discriminator")
    level, levels = "model.model.1.model", 1
    while f"{level}.1.weight" in generator:
        level, levels = f"{level}.3.model", levels + 1
    if levels < 3:
        raise UserError(
            f"{generator.file} has no levels model.model.1.model, model.model.1.model.3.model, ... "
            "of a U-Net: give a latest_net_G.pth of pix2pix with unet_128 or unet_256"
        )
    if "model.model.1.model.1.bias" in generator:
        raise UserError(
            f"{generator.file} has instance norm, but pix2pix here has the batch norm of its "
            "authors: give one that was trained with --norm batch"
        )
    width, inputs = generator.shape("model.model.0.weight")[:2]
    guessed = {
        "statistics": "of the image at hand, as the authors' test without --eval; running is "
        "their --eval",
        "dropout": "the authors' without --no_dropout",
    }
    patch_halvings, judged = 3, width
    if discriminator is None:
        guessed["patch_halvings"] = "70x70 pixels, the authors' --netD basic"
    else:
        patch_halvings, judged = patches(discriminator)
    return Found(
        Pix2Pix(
            shape=(1 << levels, 1 << levels, generator.shape("model.model.3.weight")[1]),
            input_channels=inputs,
            width=width,
            discriminator_width=0 if judged == width else judged,
            patch_halvings=patch_halvings,
        ),
        guessed,
    )


def table(system: Pix2Pix, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network.

    Raises:
        UserError: a discriminator that pix2pix has not.
    """
    refuse_kernels(system)
    result = Table(system, network)
    if network == "discriminator":
        patchgan(result, system.patch_halvings)
        for index in range(1, system.patch_halvings + 1):
            _norm(result, f"norm{index + 1}", f"model.{3 * index}")
        return result
    result.conv("down1", "model.model.0")
    result.conv_transpose("up1", "model.model.3")
    depth, level = halvings(system.shape), "model.model.1.model"
    for number in range(2, depth + 1):
        innermost = number == depth
        down, up = (1, 3) if innermost else (1, 5)
        result.conv(f"down{number}", f"{level}.{down}")
        result.conv_transpose(f"up{number}", f"{level}.{up}")
        _norm(result, f"up_norm{number}", f"{level}.{up + 1}")
        if not innermost:
            _norm(result, f"down_norm{number}", f"{level}.{down + 1}")
        level += ".3.model"
    return result


def exported(system: Pix2Pix) -> tuple[str, ...]:
    """What is to be known of exported files."""
    if system.statistics == "running":
        return ()
    return ("running statistics are as a new network's: call that code's test without --eval",)


def _norm(result: Table, path: str, name: str) -> None:
    """A batch norm of batches of one."""
    if f"batch_stats/{path}/mean" in result:
        result.batch_norm(path, name)
    else:
        result.affine(path, name)
        result.untouched(path, name)


def patches(discriminator: Tensors) -> tuple[int, int]:
    """A PatchGAN's convolutions of stride two, and its width.

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
    return number - 1, discriminator.shape("model.0.weight")[0]


def refuse_kernels(system: Translation) -> None:
    """Refuses a PatchGAN that the code, of which this and CycleGAN are, has not.

    Raises:
        UserError: its kernels are not 4x4.
    """
    if system.patch_kernel != 4:
        raise UserError(
            "CycleGAN's and pix2pix's discriminators have 4x4 kernels, but this run has "
            f"patch_kernel {system.patch_kernel}"
        )


def patchgan(result: Table, halvings: int) -> None:
    """The convolutions of a PatchGAN."""
    for index in range(halvings + 2):
        result.conv(f"conv{index + 1}", f"model.{max(0, 3 * index - 1)}")
