"""Other frameworks' checkpoints in (one file a source), StableHLO and safetensors out."""

import dataclasses
import importlib
from pathlib import Path

from jaxtyping import PyTree

from jaxgan import pth
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError, nearest
from jaxgan.system import System

FORMATS = {
    "biggan_pytorch": "BigGAN-PyTorch (ajbrock): G_ema.pth and D.pth, of BigGAN and BigGAN-deep",
    "sagan_heykeetae": "Self-Attention-GAN (heykeetae): STEP_G.pth and STEP_D.pth",
    "dcgan_pytorch": "the DCGAN of PyTorch's examples: netG_epoch_N.pth and netD_epoch_N.pth",
    "sngan_mimicry": "SNGAN and cGAN-PD of mimicry: netG_N_steps.pth and netD_N_steps.pth",
    "cyclegan_pytorch": "CycleGAN (junyanz): latest_net_G_A.pth, and G_B, D_A, D_B beside it",
    "pix2pix_pytorch": "pix2pix (junyanz): latest_net_G.pth and latest_net_D.pth",
    "stylegan2_ada": "StyleGAN2-ADA (NVlabs, PyTorch): network-snapshot-N.pkl, all in one file",
}
"""{name: what it is}; each name is a module here.

It has `convert(generator, discriminator)`, which gives (system, params, stats) and, where a file
holds averages of parameters, those: fields of `Converted`. Where there are other networks it has
`files(generator, discriminator)`, too, which gives {argument of convert: file}.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Converted:
    """What files of another framework hold.

    Attributes:
        system: with the sizes that the files' tensors have.
        params: {network: parameters} of the networks that were given.
        stats: {network: {collection: ...}} of the same.
        averages: {network: parameters} where the files hold averages beside what was trained.
        files: that were read.
        left_out: names of tensors that say nothing of the networks.
    """

    system: System
    params: dict[str, PyTree]
    stats: dict[str, PyTree]
    averages: dict[str, PyTree]
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def load(format: str, generator: str | Path, discriminator: str | Path | None = None) -> Converted:
    """Reads a generator, and a discriminator if there is one.

    Args:
        format: one of FORMATS.
        generator: file.
        discriminator: file of the same training, where it is not found by the generator's.

    Raises:
        UserError: no such format; a file that is no such checkpoint; a tensor that is missing, that
            is not known, or whose shape does not fit the others.
    """
    if format not in FORMATS:
        near = nearest(format, FORMATS, hint=f"; there are {', '.join(FORMATS)}")
        raise UserError(f"no format {format!r}{near}")
    module = importlib.import_module(f"jaxgan.convert.{format}")
    paths = {"generator": generator}
    if hasattr(module, "files"):
        paths = module.files(generator, discriminator)
    elif discriminator is not None:
        paths["discriminator"] = discriminator
    tensors = {}
    for name, path in paths.items():
        file = pth.load(path)
        tensors[name] = Tensors(file.arrays, str(path), file.facts)
    files = list(tensors.values())
    try:
        system, params, stats, *averages = module.convert(**tensors)
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        if isinstance(error, UserError) and any(file.file in str(error) for file in files):
            raise
        # Of sizes that no network has: told by the system, or by what was computed with them.
        names = " and ".join(file.file for file in files)
        raise UserError(f"{names}: no network of {format} has such tensors ({error})") from error
    left_out = [name for file in files for name in file.finish(format)]
    return Converted(
        system=system,
        params=params,
        stats=stats,
        averages=averages[0] if averages else {},
        files=tuple(file.file for file in files),
        left_out=tuple(left_out),
    )
