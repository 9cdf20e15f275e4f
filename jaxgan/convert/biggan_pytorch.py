"""BigGAN-PyTorch (ajbrock): `G_ema.pth` or `G.pth`, and `D.pth`, of BigGAN and BigGAN-deep.

Blocks are lists of modules, `blocks.I.J`: a residual block, and perhaps attention after it.
Spectral norm stores `u0`, and with several singular values `u1`, ...; it does a power iteration in
every pass, also in evaluation, and what is stored here is what that iteration makes of them. `sv0`,
... are a log; where one network has more of them than the other, so are the rest of its vectors.
Without a shared embedding, norms have a table of classes each, whose gains count from 1.

One thing differs: with --cross_replica that code multiplies by gains in training, but adds them in
evaluation; here they multiply.

Running variances are taken as they are, which PyTorch makes of unbiased estimates (but with
--mybn); training here goes on with biased ones, (n - 1) / n of those at n values a channel in a
batch. It also goes on with running statistics and power iterations that move in their own player's
turn; `--system.every-turn True` moves them in both, as that code does.
"""

from functools import partial

import numpy as np
from jaxtyping import PyTree

from jaxgan.convert.tensors import Target, Tensors
from jaxgan.errors import UserError
from jaxgan.systems.biggan import DISCRIMINATOR, GENERATOR, BigGAN, sizes
from jaxgan.systems.biggan_deep import DEPTH, BigGANDeep


def convert(
    generator: Tensors, discriminator: Tensors | None = None
) -> tuple[BigGAN, dict[str, PyTree], dict[str, PyTree]]:
    """(system, params, stats) of the networks in the files.

    Raises:
        UserError: tensors that are missing or do not fit each other; attention at two sizes, or
            another layout that BigGAN's and BigGAN-deep's systems do not have.
    """
    system = _system(generator, discriminator)
    deep = isinstance(system, BigGANDeep)
    weight = partial(_weight, system.singular_values)
    params, stats = {}, {}

    target = Target(system, "generator", generator, weight)
    target.dense("dense", "linear", side=4)
    if system.shared:
        target.embed("shared", "shared")
    for index in range(generator.count("blocks.{}.0.conv1.weight")):
        name, path = f"blocks.{index}.0", f"block{index + 1}"
        _convs(target, generator, path, name)
        for part in range(1, 5 if deep else 3):
            _norm(target, generator, f"{path}/norm{part}", f"{name}.bn{part}", system)
        _attention(target, generator, "attention", f"blocks.{index}.1")
    for variable in ("scale", "bias"):
        source = "output_layer.0.gain" if variable == "scale" else "output_layer.0.bias"
        target.copy(f"params/norm/{variable}", source)
    _running(target, generator, "norm", "output_layer.0")
    target.conv("conv", "output_layer.2")
    generator.leave("*.sv[0-9]", "*.u[1-9]", "*.num_batches_tracked")
    params["generator"], stats["generator"] = target.variables()

    if discriminator is not None:
        target = Target(system, "discriminator", discriminator, weight)
        if deep:
            target.conv("conv", "input_conv")
        depth = DEPTH if deep else 1
        for index in range(discriminator.count("blocks.{}.0.conv1.weight")):
            for part in range(depth):
                path = f"block{depth * index + part + 1}"
                _convs(target, discriminator, path, f"blocks.{index}.{part}")
            _attention(target, discriminator, f"attention{index + 1}", f"blocks.{index}.{depth}")
        target.dense("dense", "linear")
        target.embed("embed", "embed")
        discriminator.leave("*.sv[0-9]", "*.u[1-9]")
        params["discriminator"], stats["discriminator"] = target.variables()
    return system, params, stats


def _system(generator: Tensors, discriminator: Tensors | None) -> BigGAN:
    """The configuration, from the shapes of the tensors."""
    deep = "blocks.0.0.conv4.weight" in generator
    blocks = generator.count("blocks.{}.0.conv1.weight") // (DEPTH if deep else 1)
    side = 4 << blocks
    if side not in GENERATOR:
        raise UserError(
            f"{generator.file} has {blocks} groups of blocks, but BigGAN has "
            f"{', '.join(str(len(widths) - 1) for widths in GENERATOR.values())}: give a G_ema.pth"
        )
    rows, heard = generator.shape("linear.weight")
    channels = rows // 16 // GENERATOR[side][0]
    gains, condition = generator.shape("blocks.0.0.bn1.gain.weight")
    shared = 0
    if "shared.weight" in generator:
        classes, shared = generator.shape("shared.weight")
        hierarchical = condition > shared
    else:
        classes, hierarchical = gains, False
    latent = heard
    if hierarchical:
        chunk = condition - shared
        latent = chunk if deep else chunk * (blocks + 1)
    step = DEPTH if deep else 1
    places = [4 << k for k in range(1, blocks + 1)]
    attended = [
        place
        for index, place in enumerate(places, 1)
        if f"blocks.{step * index - 1}.1.gamma" in generator
    ]
    if len(attended) > 1:
        raise UserError(
            f"{generator.file} has attention at {' and '.join(map(str, attended))} pixels, but "
            "BigGAN here has it at one size: there is no system for this file"
        )
    attention = attended[0] if attended else 0
    files = [generator] if discriminator is None else [generator, discriminator]
    seen = sizes(side, len(DISCRIMINATOR[side]))
    multipliers: tuple[int, ...] = ()
    seen_attention = attention if attention in seen else 0
    if discriminator is not None:
        multipliers, seen_attention = _discriminator(discriminator, deep, channels, side)
    return (BigGANDeep if deep else BigGAN)(
        shape=(side, side, generator.shape("output_layer.2.weight")[0]),
        classes=classes,
        channels=channels,
        latent=latent,
        shared=shared,
        hierarchical=hierarchical,
        generator_attention=attention,
        discriminator_attention=seen_attention,
        discriminator_multipliers=() if multipliers == DISCRIMINATOR[side] else multipliers,
        singular_values=max(1, min(file.count("linear.u{}") for file in files)),
        ema_start=0,
    )


def _discriminator(
    tensors: Tensors, deep: bool, channels: int, side: int
) -> tuple[tuple[int, ...], int]:
    """(widths in `channels`, size of the maps after which attention comes)."""
    tensors.shape("embed.weight")  # no generator has it
    count = tensors.count("blocks.{}.0.conv1.weight")
    last = "conv4" if deep else "conv2"
    widths = [tensors.shape(f"blocks.{index}.0.{last}.weight")[0] for index in range(count)]
    if deep:
        widths.insert(0, tensors.shape("input_conv.weight")[0])
    if any(width % channels for width in widths):
        raise UserError(
            f"{tensors.file} has blocks of {', '.join(map(str, widths))} channels, but with this "
            f"generator they must be multiples of {channels}: give the D.pth of its training"
        )
    depth = DEPTH if deep else 1
    attended = [k for k in range(count) if f"blocks.{k}.{depth}.gamma" in tensors]
    reached = sizes(side, count)
    size = reached[attended[0]] if attended else 0
    if attended != [k for k in range(count) if reached[k] == size]:
        raise UserError(
            f"{tensors.file} has attention after blocks {', '.join(map(str, attended))}, but "
            "BigGAN here has it at one size: there is no system for this file"
        )
    return tuple(width // channels for width in widths), size


def _weight(count: int, tensors: Tensors, name: str) -> tuple[np.ndarray, np.ndarray, None]:
    us = [tensors.take(f"{name}.u{index}").reshape(1, -1) for index in range(count)]
    return tensors.take(f"{name}.weight"), np.concatenate(us), None


def _convs(target: Target, tensors: Tensors, path: str, name: str) -> None:
    """All convolutions of a block."""
    for index in range(1, 5):
        if f"{name}.conv{index}.weight" in tensors:
            target.conv(f"{path}/conv{index}", f"{name}.conv{index}")
    if f"{name}.conv_sc.weight" in tensors:
        target.conv(f"{path}/shortcut", f"{name}.conv_sc")


def _attention(target: Target, tensors: Tensors, path: str, name: str) -> None:
    if f"{name}.gamma" in tensors:
        for part in ("theta", "phi", "g", "o"):
            target.conv(f"{path}/{part}", f"{name}.{part}")
        target.copy(f"params/{path}/sigma", f"{name}.gamma")


def _norm(target: Target, tensors: Tensors, path: str, name: str, system: BigGAN) -> None:
    """A block's norm: affine maps linear in a condition, or a table of classes."""
    for variable, source in (("scale", f"{name}.gain"), ("bias", f"{name}.bias")):
        if system.shared:
            target.dense(f"{path}/{variable}", source)
        else:
            table = tensors.take(f"{source}.weight")
            value = 1 + table if variable == "scale" else table
            target.put(f"params/{path}/{variable}", f"{source}.weight", value)
    _running(target, tensors, path, name)


def _running(target: Target, tensors: Tensors, path: str, name: str) -> None:
    """Running statistics, by the names of its three batch norms."""
    stem = f"{name}.stored"
    if f"{name}.bn.running_mean" in tensors:  # --cross_replica
        stem = f"{name}.bn.running"
    elif f"{name}.bn.stored_mean" in tensors:  # --mybn
        stem = f"{name}.bn.stored"
        if tensors.take(f"{name}.bn.accumulation_counter").any():
            raise UserError(
                f"{tensors.file} was saved while standing statistics were summed "
                f"({name}.bn.accumulation_counter is not 0): give weights saved in training"
            )
    target.copy(f"batch_stats/{path}/mean", f"{stem}_mean")
    target.copy(f"batch_stats/{path}/var", f"{stem}_var")
