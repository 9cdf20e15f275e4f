"""Other frameworks' checkpoints in (one file a source), StableHLO and safetensors out."""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from jaxtyping import PyTree

from jaxgan import pth
from jaxgan.convert.files import Found, Part
from jaxgan.convert.table import shapes
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError, nearest
from jaxgan.system import System

FORMATS = {
    "biggan_pytorch": "BigGAN-PyTorch (ajbrock): G_ema.pth and D.pth, of BigGAN and BigGAN-deep",
    "biggan_studiogan": "BigGAN of StudioGAN: model=G_ema-*.pth and model=D-*.pth",
    "sagan_heykeetae": "Self-Attention-GAN (heykeetae): STEP_G.pth and STEP_D.pth",
    "dcgan_pytorch": "the DCGAN of PyTorch's examples: netG_epoch_N.pth and netD_epoch_N.pth",
    "sngan_mimicry": "SNGAN and cGAN-PD of mimicry: netG_N_steps.pth and netD_N_steps.pth",
    "cyclegan_pytorch": "CycleGAN (junyanz): latest_net_G_A.pth, and G_B, D_A, D_B beside it",
    "pix2pix_pytorch": "pix2pix (junyanz): latest_net_G.pth and latest_net_D.pth",
    "stylegan2_ada": "StyleGAN2-ADA (NVlabs, PyTorch): network-snapshot-N.pkl, all in one file",
    "stylegan2_rosinality": "StyleGAN2 (rosinality): checkpoint/N.pt, all in one file",
}
"""{name: what it is}; each name is a module here, with

    SYSTEMS: classes of systems, whose networks the files hold.
    KNOWN: {network: a tensor by which its file is known, also inside of wrappers}.
    FILES: {name of a file that is exported: {prefix of names: the `Part` that is in it}}.
    LEFT: patterns of names of tensors that say nothing of a network.
    recognise({network: Tensors}): the system, as `Found`.
    table(system, network, tensors or None): a `Table`, to read and to write by.
    files(generator, discriminator): {network: file}, where there are other networks than these two.
    parts(file): {prefix of names: `Part`}, where a file holds several networks.
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
        guessed: {field of the system: (value, why)} of what the files do not say.
        chosen: {field of the system: value} that was set from outside.
        notes: sentences: wrappers that were entered, and where the originals differ.
    """

    system: System
    params: dict[str, PyTree]
    stats: dict[str, PyTree]
    averages: dict[str, PyTree]
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    guessed: dict[str, tuple[object, str]] = dataclasses.field(default_factory=dict)
    chosen: dict[str, object] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def module_of(format: str) -> ModuleType:
    """The module of a format.

    Raises:
        UserError: there is none of that name.
    """
    if format not in FORMATS:
        near = nearest(format, FORMATS, hint=f"; there are {', '.join(FORMATS)}")
        raise UserError(f"no format {format!r}{near}")
    return importlib.import_module(f"jaxgan.convert.{format}")


def load(
    format: str,
    generator: str | Path,
    discriminator: str | Path | None = None,
    adjust: Callable[[System], System] | None = None,
) -> Converted:
    """Reads a generator, and a discriminator if there is one.

    Args:
        format: one of FORMATS.
        generator: file.
        discriminator: file of the same training, where it is not found by the generator's.
        adjust: sets fields that the files do not say, such as a resolution; None: as guessed.

    Raises:
        UserError: no such format; a file that is no such checkpoint; a tensor that is missing, that
            is not known, or whose shape does not fit the others; fields with which they do not fit.
    """
    module = module_of(format)
    paths = {"generator": generator}
    if hasattr(module, "files"):
        paths = module.files(generator, discriminator)
    elif discriminator is not None:
        paths["discriminator"] = discriminator
    tensors = {}
    for name, path in paths.items():
        content = pth.load(path)
        tensors[name] = Tensors(content.arrays, str(path), content.facts)
    files = list(tensors.values())
    for network, file in tensors.items():
        file.enter(module.KNOWN[network], network)
    try:
        found = module.recognise(tensors)
        system = _adjusted(found, adjust)
        read = {
            part: module.table(system, part.network, file).read(file, prefix)
            for network, file in tensors.items()
            for prefix, part in _parts(module, network, file).items()
        }
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        if isinstance(error, _Refused) or any(file.file in str(error) for file in files):
            raise
        # Of sizes that no network has: told by the system, or by what was computed with them.
        names = " and ".join(file.file for file in files)
        raise UserError(f"{names}: no network of {format} has such tensors ({error})") from error
    for file in files:
        file.leave(*module.LEFT)
    left_out = [name for file in files for name in file.finish(format)]
    before, after = vars(found.system), vars(system)
    chosen = {name: value for name, value in after.items() if value != before[name]}
    return Converted(
        system=system,
        params={part.network: it[0] for part, it in read.items() if not part.average},
        stats={part.network: it[1] for part, it in read.items() if not part.average},
        averages={part.network: it[0] for part, it in read.items() if part.average},
        files=tuple(file.file for file in files),
        left_out=tuple(left_out),
        guessed={
            name: (after[name], why) for name, why in found.guessed.items() if name not in chosen
        },
        chosen=chosen,
        notes=(*(f"{f.file}: read below {f.prefix[:-1]}" for f in files if f.prefix), *found.notes),
    )


def _parts(module: ModuleType, network: str, file: Tensors) -> dict[str, Part]:
    return module.parts(file) if hasattr(module, "parts") else {"": Part(network)}


class _Refused(UserError):
    """Fields from outside, not those of the files."""


def _adjusted(found: Found, adjust: Callable[[System], System] | None) -> System:
    """The system with fields from outside, with which parameters still have their shapes."""
    if adjust is None:
        return found.system
    try:
        system = adjust(found.system)
    except UserError as error:
        raise _Refused(str(error)) from error
    for network in found.system.networks():
        before, after = (
            {path: shape for path, shape in shapes(it, network).items() if path[:7] == "params/"}
            for it in (found.system, system)
        )
        for path in before | after:
            was, is_ = (each.get(path, "none") for each in (before, after))
            if was != is_:
                raise _Refused(
                    f"with what is set, {network}'s {path[7:]} has shape {is_}, but the files have "
                    f"{was}: set only what they do not say"
                )
    return system
