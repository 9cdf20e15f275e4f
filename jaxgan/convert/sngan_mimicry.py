"""SNGAN and cGAN-PD of mimicry: `netG_N_steps.pth` and `netD_N_steps.pth`, of 32 to 128 pixels.

A file holds a network's tensors beside those of its optimiser. Spectral norm is PyTorch's own, but
for the last two layers of cGAN-PD: there it stores `sn_u`, and does a power iteration in every
pass, also in evaluation; what is stored here is what that iteration makes of it. Conditional batch
norm has one table, of scales and then biases.

Running variances are taken as they are, which PyTorch makes of unbiased estimates; training here
goes on with biased ones, (n - 1) / n of those at n values a channel in a batch.
"""

import numpy as np
from jaxtyping import PyTree

from jaxgan.convert.tensors import Target, Tensors
from jaxgan.errors import UserError
from jaxgan.systems.mimicry import MimicrySNGAN

DISCRIMINATORS = {
    32: (2, (128, 128, 128, 128)),
    48: (4, (64, 128, 256, 512, 1024)),
    64: (5, (64, 128, 256, 512, 1024)),
    128: (5, (64, 128, 256, 512, 1024, 1024)),
}
"""{side of the image: (blocks that halve it, channels after each block)}: their defaults."""


def convert(
    generator: Tensors, discriminator: Tensors | None = None
) -> tuple[MimicrySNGAN, dict[str, PyTree], dict[str, PyTree]]:
    """(system, params, stats) of the networks in the files.

    Raises:
        UserError: tensors that are missing or do not fit each other, or a size that mimicry's
            SNGAN does not have.
    """
    for file in (generator, discriminator):
        if file is not None:
            file.enter("model_state_dict.")
    blocks = 0
    while f"block{blocks + 2}.c1.weight" in generator:
        blocks += 1
    if not blocks:
        raise UserError(f"{generator.file} has no blocks block2, block3, ...: give a netG_*.pth")
    channels = [generator.shape("block2.c1.weight")[1]]
    channels += [generator.shape(f"block{k + 2}.c1.weight")[0] for k in range(blocks)]
    rows, latent = generator.shape("l1.weight")
    start = round((rows / channels[0]) ** 0.5)
    side = start << blocks
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
    if discriminator is not None:
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
    params, stats = {}, {}
    params["generator"], stats["generator"] = _generator(system, generator, blocks, start)
    if discriminator is not None:
        params["discriminator"], stats["discriminator"] = _discriminator(system, discriminator)
    return system, params, stats


def _generator(
    system: MimicrySNGAN, generator: Tensors, blocks: int, start: int
) -> tuple[PyTree, PyTree]:
    """(parameters, statistics)."""
    target = Target(system, "generator", generator)
    target.dense("dense", "l1", side=start)
    for index in range(1, blocks + 1):
        name = f"block{index + 1}"
        for path, part in (("conv1", "c1"), ("conv2", "c2"), ("shortcut", "c_sc")):
            target.conv(f"block{index}/{path}", f"{name}.{part}")
        for number in (1, 2):
            norm, path = f"{name}.b{number}", f"block{index}/norm{number}"
            if not system.classes:
                target.batch_norm(path, norm)
                continue
            table = generator.take(f"{norm}.embed.weight")
            half = table.shape[1] // 2
            target.put(f"params/{path}/scale", f"{norm}.embed.weight", table[:, :half])
            target.put(f"params/{path}/bias", f"{norm}.embed.weight", table[:, half:])
            target.batch_norm(path, norm, stats=f"{norm}.bn")
    target.batch_norm("norm", f"b{blocks + 2}")
    target.conv("conv", f"c{blocks + 2}")
    generator.leave("*.num_batches_tracked")
    return target.variables()


def _discriminator(system: MimicrySNGAN, discriminator: Tensors) -> tuple[PyTree, PyTree]:
    """(parameters, statistics)."""
    target, blocks = Target(system, "discriminator", discriminator, _weight), 0
    for blocks in range(1, len(system.discriminator_channels) + 1):
        for path, part in (("conv1", "c1"), ("conv2", "c2"), ("shortcut", "c_sc")):
            if part != "c_sc" or f"block{blocks}.c_sc.weight_orig" in discriminator:
                target.conv(f"block{blocks}/{path}", f"block{blocks}.{part}")
    # At 48 pixels it is called as the last block is.
    target.dense("dense", f"l{blocks}" if system.shape[0] == 48 else f"l{blocks + 1}")
    if system.classes:
        target.embed("embed", "l_y")
    discriminator.leave("*.sn_sigma")
    return target.variables()


def _weight(tensors: Tensors, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if f"{name}.sn_u" in tensors:
        return tensors.take(f"{name}.weight"), tensors.take(f"{name}.sn_u"), None
    weight, u, v = (tensors.take(f"{name}.weight_{part}") for part in ("orig", "u", "v"))
    return weight, u[None], v
