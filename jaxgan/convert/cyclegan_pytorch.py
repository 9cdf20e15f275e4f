"""CycleGAN (junyanz): `latest_net_G_A.pth`, and beside it those of G_B, D_A and D_B.

G_A makes B of A and G_B makes A of B; D_A scores what G_A makes, images of B, and D_B images of A.
Pretrained models, `horse2zebra.pth`, hold one generator; it is taken as one from A to B.

Instance norm has no gains, and always the statistics of the image at hand: running ones, which some
files hold, are left out. How large the images were, files do not tell: 256 pixels with nine blocks,
128 with fewer, as the paper has it, or what --resolution says.
"""

import re
from pathlib import Path

from jaxgan.convert.files import Found, Part
from jaxgan.convert.pix2pix_pytorch import BUFFERS, patches, patchgan, refuse_kernels
from jaxgan.convert.table import Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.cyclegan import DISCRIMINATORS, GENERATORS, CycleGAN

NAMES = {
    "generator_ab": "G_A",
    "generator_ba": "G_B",
    "discriminator_a": "D_B",
    "discriminator_b": "D_A",
}
"""{network: its name in names of files}."""

SYSTEMS = (CycleGAN,)
KNOWN = dict.fromkeys(GENERATORS, "model.10.conv_block.1.weight") | dict.fromkeys(
    DISCRIMINATORS, "model.0.weight"
)
FILES = {
    f"latest_net_{name}.pth": {"": Part(network, network in GENERATORS)}
    for network, name in NAMES.items()
}
LEFT = BUFFERS


def files(generator: str | Path, discriminator: str | Path | None = None) -> dict[str, Path]:
    """{network: file}: a generator, and what else there is of its training, in the same folder.

    Raises:
        UserError: a file of a discriminator is given.
    """
    if discriminator is not None:
        raise UserError(
            f"--discriminator is {discriminator}, but CycleGAN has two: they are found beside "
            "latest_net_G_A.pth, called latest_net_D_A.pth and latest_net_D_B.pth; leave it out"
        )
    path = Path(generator)
    parts = re.fullmatch(r"(.*net_)G_[AB](\.[^.]*)", path.name)
    if parts is None:
        return {"generator_ab": path}
    family = {
        network: path.with_name(f"{parts[1]}{name}{parts[2]}") for network, name in NAMES.items()
    }
    return {network: file for network, file in family.items() if file == path or file.is_file()}


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the files hold.

    Raises:
        UserError: tensors that are missing or do not fit each other; norms other than instance
            norm; a generator that is no ResNet, or has dropout.
    """
    # One of them there is, and both are of one size.
    first = next(files[name] for name in GENERATORS if name in files)
    critics = [files[name] for name in DISCRIMINATORS if name in files]
    blocks = _blocks(first)
    side = 256 if blocks >= 9 else 128
    guessed = {"shape": f"{side} pixels of {blocks} blocks, as in the paper; --resolution sets it"}
    width = first.shape("model.1.weight")[0]
    patch_halvings, judged = 3, width
    if critics:
        patch_halvings, judged = patches(critics[0])
    else:
        guessed["patch_halvings"] = "70x70 pixels, the authors' --netD basic"
    given, made = first.shape("model.1.weight")[1], first.shape(f"model.{blocks + 17}.weight")[0]
    if first is files.get("generator_ba"):
        given, made = made, given
    identity = CycleGAN.identity
    if given != made:
        identity = 0.0
        guessed["identity"] = "there is none between images of unlike channels"
    return Found(
        CycleGAN(
            shape=(side, side, made),
            input_channels=0 if given == made else given,
            width=width,
            discriminator_width=0 if judged == width else judged,
            blocks=blocks,
            patch_halvings=patch_halvings,
            identity=identity,
        ),
        guessed,
    )


def _blocks(generator: Tensors) -> int:
    """How many residual blocks a generator has."""
    blocks = 0
    while f"model.{blocks + 10}.conv_block.1.weight" in generator:
        blocks += 1
    if not blocks:
        raise UserError(
            f"{generator.file} has no residual blocks model.10, model.11, ...: give a "
            "latest_net_G_A.pth that was trained with --netG resnet_6blocks or resnet_9blocks"
        )
    if "model.2.weight" in generator:
        raise UserError(
            f"{generator.file} has batch norm, but CycleGAN here has the instance norm of its "
            "authors: give one that was trained with --norm instance"
        )
    if "model.10.conv_block.6.weight" in generator:
        raise UserError(
            f"{generator.file} has dropout, but CycleGAN here has none, as its authors': give one "
            "that was trained with --no_dropout"
        )
    return blocks


def table(system: CycleGAN, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network.

    Raises:
        UserError: discriminators that CycleGAN has not.
    """
    refuse_kernels(system)
    result = Table(system, network)
    if network in DISCRIMINATORS:
        patchgan(result, system.patch_halvings)
        return result
    # A ResNet: padding, norms and activations take numbers, too.
    blocks = system.blocks
    for path, number in (("first", 1), ("down1", 4), ("down2", 7), ("last", blocks + 17)):
        result.conv(path, f"model.{number}")
    for index in range(blocks):
        for part, number in ((1, 1), (2, 5)):
            name = f"model.{index + 10}.conv_block.{number}"
            result.conv(f"block{index + 1}_conv{part}", name)
    result.conv_transpose("up2", f"model.{blocks + 10}")
    result.conv_transpose("up1", f"model.{blocks + 13}")
    return result
