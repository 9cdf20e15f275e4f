"""SNGAN and cGAN-PD of mimicry: `netG_N_steps.pth` and `netD_N_steps.pth`, of 32 to 128 pixels.

A file holds a network's tensors beside those of its optimiser. Spectral norm is PyTorch's own, but
for the last two layers of cGAN-PD: there it stores `sn_u`, and does a power iteration in every
pass, also in evaluation; what is stored here is what that iteration makes of it. Conditional batch
norm has one table, of scales and then biases.

Running variances are taken as they are, which PyTorch makes of unbiased estimates; training here
goes on with biased ones, (n - 1) / n of those at n values a channel in a batch.
"""

import numpy as np

from jaxgan.convert.files import Found, Part
from jaxgan.convert.table import Spectral, Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.mimicry import MimicrySNGAN

DISCRIMINATORS = {
    32: (2, (128, 128, 128, 128)),
    48: (4, (64, 128, 256, 512, 1024)),
    64: (5, (64, 128, 256, 512, 1024)),
    128: (5, (64, 128, 256, 512, 1024, 1024)),
}
"""{side of the image: (blocks that halve it, channels after each block)}: their defaults."""

SYSTEMS = (MimicrySNGAN,)
KNOWN = {"generator": "block2.c1.weight", "discriminator": "block1.c1.weight_orig"}
FILES = {"netG.pth": {"": Part("generator", True)}, "netD.pth": {"": Part("discriminator")}}
LEFT = ("*.num_batches_tracked", "*.sn_sigma")
SPECTRAL = Spectral("weight_orig", ("weight_u",), "weight_v")
OWN = Spectral("weight", ("sn_u",), row=True, sigmas=("sn_sigma",))


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the files hold.

    Raises:
        UserError: tensors that are missing or do not fit each other, or a size that mimicry's
            SNGAN does not have.
    """
    generator, discriminator = files["generator"], files.get("discriminator")
    blocks = 0
    while f"block{blocks + 2}.c1.weight" in generator:
        blocks += 1
    if not blocks:
        raise UserError(f"{generator.file} has no blocks block2, block3, ...: give a netG_*.pth")
    channels = [generator.shape("block2.c1.weight")[1]]
    channels += [generator.shape(f"block{k + 2}.c1.weight")[0] for k in range(blocks)]
    rows, latent = generator.shape("l1.weight")
    side = round((rows / channels[0]) ** 0.5) << blocks
    if side not in DISCRIMINATORS:
        raise UserError(
            f"{generator.file} makes images of {side} pixels, but mimicry's SNGAN has "
            f"{', '.join(map(str, DISCRIMINATORS))}: which blocks of its discriminator halve the "
            "size is not known"
        )
    classes = 0
    if "block2.b1.embed.weight" in generator:
        classes = generator.shape("block2.b1.embed.weight")[0]
    halvings, widths = DISCRIMINATORS[side]
    guessed = {}
    if discriminator is None:
        guessed["discriminator_channels"] = "mimicry's of this size"
    else:
        widths = tuple(
            discriminator.shape(f"block{k + 1}.c2.weight_orig")[0] for k in range(len(widths))
        )
    system = MimicrySNGAN(
        shape=(side, side, generator.shape(f"c{blocks + 2}.weight")[0]),
        latent=latent,
        classes=classes,
        generator_channels=tuple(channels),
        discriminator_channels=widths,
        halvings=halvings,
    )
    return Found(system, guessed)


def table(system: MimicrySNGAN, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network.

    Raises:
        UserError: a discriminator that mimicry has not.
    """
    if system.classifies:
        raise UserError(
            "mimicry's SNGAN has no discriminator that classifies, but this run has "
            f"class_weights {system.class_weights}"
        )
    if network == "generator":
        return _generator(system)
    halvings = DISCRIMINATORS.get(system.shape[0], (0,))[0]
    if not system.last_bias or system.halvings != halvings:
        raise UserError(
            f"mimicry's discriminators of {system.shape[0]} pixels have {halvings} halvings and a "
            f"bias in the last layer, but this run has {system.halvings} and last_bias "
            f"{system.last_bias}"
        )
    return _discriminator(system)


def _generator(system: MimicrySNGAN) -> Table:
    result, blocks = Table(system, "generator"), len(system.generator_channels) - 1
    result.dense("dense", "l1", side=system.shape[0] >> blocks)
    for index in range(1, blocks + 1):
        name = f"block{index + 1}"
        for path, part in (("conv1", "c1"), ("conv2", "c2"), ("shortcut", "c_sc")):
            result.conv(f"block{index}/{path}", f"{name}.{part}")
        for number in (1, 2):
            norm, path = f"{name}.b{number}", f"block{index}/norm{number}"
            if not system.classes:
                result.batch_norm(path, norm)
                continue
            result.add(
                (f"params/{path}/scale", f"params/{path}/bias"),
                (f"{norm}.embed.weight",),
                lambda table: np.split(table, 2, axis=1),
                lambda scale, bias: (np.concatenate([scale, bias], 1),),
            )
            result.running(path, f"{norm}.bn")
    result.batch_norm("norm", f"b{blocks + 2}")
    result.conv("conv", f"c{blocks + 2}")
    return result


def _discriminator(system: MimicrySNGAN) -> Table:
    result, blocks = (
        Table(system, "discriminator", SPECTRAL),
        len(system.discriminator_channels),
    )
    for index in range(1, blocks + 1):
        for path, part in (("conv1", "c1"), ("conv2", "c2"), ("shortcut", "c_sc")):
            if f"params/block{index}/{path}/kernel" in result:
                result.conv(f"block{index}/{path}", f"block{index}.{part}")
    # At 48 pixels it is called as the last block is.
    last = f"l{blocks}" if system.shape[0] == 48 else f"l{blocks + 1}"
    result.dense("dense", last, spectral=OWN if system.classes else None)
    if system.classes:
        result.embed("embed", "l_y", spectral=OWN)
    return result
