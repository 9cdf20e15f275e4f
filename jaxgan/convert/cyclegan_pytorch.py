"""CycleGAN (junyanz): `latest_net_G_A.pth`, and beside it those of G_B, D_A and D_B.

G_A makes B of A and G_B makes A of B; D_A scores what G_A makes, images of B, and D_B images of A.
Pretrained models, `horse2zebra.pth`, hold one generator; it is taken as one from A to B.

Instance norm has no gains, and always the statistics of the image at hand: running ones, which some
files hold, are left out. How large the images were, files do not tell: 256 pixels with nine blocks,
128 with fewer, as the paper has it.
"""

import re
from pathlib import Path

from jaxtyping import PyTree

from jaxgan.convert.pix2pix_pytorch import BUFFERS, patch_halvings, patchgan
from jaxgan.convert.tensors import Target, Tensors
from jaxgan.errors import UserError
from jaxgan.systems.cyclegan import CycleGAN

NAMES = {
    "generator_ab": "G_A",
    "generator_ba": "G_B",
    "discriminator_a": "D_B",
    "discriminator_b": "D_A",
}
"""{network: its name in names of files}."""


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


def convert(**networks: Tensors) -> tuple[CycleGAN, dict[str, PyTree], dict[str, PyTree]]:
    """(system, params, stats) of the networks in the files.

    Raises:
        UserError: tensors that are missing or do not fit each other; norms other than instance
            norm; a generator that is no ResNet, or has dropout.
    """
    # One of them there is, and both are of one size.
    first = next(networks[name] for name in ("generator_ab", "generator_ba") if name in networks)
    critics = [name for name in ("discriminator_a", "discriminator_b") if name in networks]
    blocks = _blocks(first)
    side = 256 if blocks >= 9 else 128
    system = CycleGAN(
        shape=(side, side, first.shape(f"model.{blocks + 17}.weight")[0]),
        width=first.shape("model.1.weight")[0],
        blocks=blocks,
        patch_halvings=patch_halvings(networks[critics[0]]) if critics else 3,
    )
    params, stats = {}, {}
    for network, tensors in networks.items():
        target = Target(system, network, tensors)
        if network in critics:
            patchgan(target, system.patch_halvings)
        else:
            _generator(target, blocks)
        tensors.leave(*BUFFERS)
        params[network], stats[network] = target.variables()
    return system, params, stats


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


def _generator(target: Target, blocks: int) -> None:
    """A ResNet: padding, norms and activations take numbers, too."""
    for path, number in (("first", 1), ("down1", 4), ("down2", 7), ("last", blocks + 17)):
        target.conv(path, f"model.{number}")
    for index in range(blocks):
        for part, number in ((1, 1), (2, 5)):
            name = f"model.{index + 10}.conv_block.{number}"
            target.conv(f"block{index + 1}_conv{part}", name)
    target.conv_transpose("up2", f"model.{blocks + 10}")
    target.conv_transpose("up1", f"model.{blocks + 13}")
