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
turn; `--system.every-turn` moves them in both, as that code does.
"""

from jaxgan.convert.files import Found, Part
from jaxgan.convert.table import Spectral, Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.biggan import DISCRIMINATOR, GENERATOR, BigGAN, attention_names, sizes
from jaxgan.systems.biggan_deep import DEPTH, BigGANDeep

SYSTEMS = (BigGAN, BigGANDeep)
KNOWN = dict.fromkeys(("generator", "discriminator"), "blocks.0.0.conv1.weight")
FILES = {
    "G_ema.pth": {"": Part("generator", True)},
    "G.pth": {"": Part("generator")},
    "D.pth": {"": Part("discriminator")},
}
LEFT = ("*.sv[0-9]", "*.u[1-9]", "*.num_batches_tracked")
CROSS_REPLICA = "blocks.0.0.bn1.bn.running_mean"


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the files hold.

    Raises:
        UserError: tensors that are missing or do not fit each other, or a layout that BigGAN's and
            BigGAN-deep's systems do not have.
    """
    generator, discriminator = files["generator"], files.get("discriminator")
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
    attention = _attended(generator, deep, blocks)
    guessed = {"epsilon": "BigGAN-PyTorch's --BN_eps", "spectral_epsilon": "its --SN_eps"}
    multipliers: tuple[int, ...] = ()
    reached = sizes(side, len(DISCRIMINATOR[side]))
    seen_attention = tuple(size for size in attention if size in reached)
    if discriminator is not None:
        multipliers, seen_attention = _discriminator(discriminator, deep, channels, side)
    else:
        guessed |= {"discriminator_multipliers": "BigGAN-PyTorch's of this size"}
        guessed |= {"discriminator_attention": "the generator's"}
    notes = (_CROSS_REPLICA,) if CROSS_REPLICA in generator else ()
    system = (BigGANDeep if deep else BigGAN)(
        shape=(side, side, generator.shape("output_layer.2.weight")[0]),
        classes=classes,
        channels=channels,
        latent=latent,
        shared=shared,
        hierarchical=hierarchical,
        generator_attention=attention,
        discriminator_attention=seen_attention,
        discriminator_multipliers=() if multipliers == DISCRIMINATOR[side] else multipliers,
        singular_values=max(1, min(file.count("linear.u{}") for file in files.values())),
        ema_start=0,
    )
    return Found(system, guessed, notes)


_CROSS_REPLICA = (
    "trained with --cross_replica: BigGAN-PyTorch then multiplies by gains in training, but adds "
    "them in evaluation; here they multiply, so images are those of its training mode, and differ "
    "from its evaluation mode"
)


def _attended(generator: Tensors, deep: bool, blocks: int) -> tuple[int, ...]:
    """Sizes of the maps after which attention comes."""
    step = DEPTH if deep else 1
    return tuple(
        4 << index
        for index in range(1, blocks + 1)
        if f"blocks.{step * index - 1}.1.gamma" in generator
    )


def _discriminator(
    tensors: Tensors, deep: bool, channels: int, side: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(widths in `channels`, sizes of the maps after which attention comes)."""
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
    found = {reached[k] for k in attended}
    if attended != [k for k in range(count) if reached[k] in found]:
        raise UserError(
            f"{tensors.file} has attention after blocks {', '.join(map(str, attended))}, but "
            "BigGAN here has it after all blocks of a size: there is no system for this file"
        )
    return tuple(width // channels for width in widths), tuple(sorted(found))


def table(system: BigGAN, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network; norms as in `file`, or by default there.

    Raises:
        UserError: a network that BigGAN-PyTorch has not.
    """
    if not system.classes:
        raise UserError("BigGAN-PyTorch has no networks without classes")
    if not system.equal_shortcuts:
        raise UserError(
            "BigGAN-PyTorch has a convolution in every shortcut that halves the size, but this run "
            "has equal_shortcuts false"
        )
    if on := system.negative():
        raise UserError(f"BigGAN-PyTorch has no networks with {on[0]}, which this run has")
    if system.classifies:
        raise UserError(
            "BigGAN-PyTorch has no discriminator that classifies, but this run has "
            f"class_weights {system.class_weights}"
        )
    values = range(system.singular_values)
    spectral = Spectral(
        "weight",
        tuple(f"u{index}" for index in values),
        row=True,
        sigmas=tuple(f"sv{index}" for index in values),
    )
    result = Table(system, network, spectral)
    deep = isinstance(system, BigGANDeep)
    if network == "generator":
        _generator_table(result, system, deep, file)
    else:
        _discriminator_table(result, deep)
    return result


def exported(system: BigGAN) -> tuple[str, ...]:
    """What is to be known of exported files."""
    same = system.epsilon == BigGAN.epsilon
    return () if same else (f"call that code with --BN_eps {system.epsilon:g}",)


def _generator_table(result: Table, system: BigGAN, deep: bool, file: Tensors | None) -> None:
    result.dense("dense", "linear", side=4)
    if system.shared:
        result.embed("shared", "shared")
    index, names = 0, attention_names(system.generator_attention)
    while f"params/block{index + 1}/conv1/kernel" in result:
        name, path = f"blocks.{index}.0", f"block{index + 1}"
        _convs(result, path, name)
        for part in range(1, 5 if deep else 3):
            _norm(result, f"{path}/norm{part}", f"{name}.bn{part}", system, file)
        step = DEPTH if deep else 1
        side = 4 << (index + 1) // step
        if (index + 1) % step == 0 and side in names:
            _attention(result, names[side], f"blocks.{index}.1")
        index += 1
    result.copy("params/norm/scale", "output_layer.0.gain")
    result.copy("params/norm/bias", "output_layer.0.bias")
    _running(result, "norm", "output_layer.0", file)
    result.conv("conv", "output_layer.2")


def _discriminator_table(result: Table, deep: bool) -> None:
    if deep:
        result.conv("conv", "input_conv")
    depth, index = DEPTH if deep else 1, 0
    while f"params/block{depth * index + 1}/conv1/kernel" in result:
        for part in range(depth):
            _convs(result, f"block{depth * index + part + 1}", f"blocks.{index}.{part}")
        _attention(result, f"attention{index + 1}", f"blocks.{index}.{depth}")
        index += 1
    result.dense("dense", "linear")
    result.embed("embed", "embed")


def _convs(result: Table, path: str, name: str) -> None:
    """All convolutions of a block."""
    parts = {f"conv{index}": f"conv{index}" for index in range(1, 5)}
    for part, source in (parts | {"shortcut": "conv_sc"}).items():
        if f"params/{path}/{part}/kernel" in result:
            result.conv(f"{path}/{part}", f"{name}.{source}")


def _attention(result: Table, path: str, name: str) -> None:
    if f"params/{path}/sigma" in result:
        for part in ("theta", "phi", "g", "o"):
            result.conv(f"{path}/{part}", f"{name}.{part}")
        result.copy(f"params/{path}/sigma", f"{name}.gamma")


def _norm(result: Table, path: str, name: str, system: BigGAN, file: Tensors | None) -> None:
    """A block's norm: affine maps linear in a condition, or a table of classes."""
    if system.shared:
        result.dense(f"{path}/scale", f"{name}.gain")
        result.dense(f"{path}/bias", f"{name}.bias")
    else:
        result.map(f"params/{path}/scale", f"{name}.gain.weight", lambda a: 1 + a, lambda a: a - 1)
        result.copy(f"params/{path}/bias", f"{name}.bias.weight")
    _running(result, path, name, file)


def _running(result: Table, path: str, name: str, file: Tensors | None) -> None:
    """Running statistics, by the names of its three batch norms."""
    stem = f"{name}.stored"
    if file and f"{name}.bn.running_mean" in file:  # --cross_replica
        stem = f"{name}.bn.running"
    elif file and f"{name}.bn.stored_mean" in file:  # --mybn
        stem = f"{name}.bn.stored"
        if file.take(f"{name}.bn.accumulation_counter").any():
            raise UserError(
                f"{file.file} was saved while standing statistics were summed "
                f"({name}.bn.accumulation_counter is not 0): give weights saved in training"
            )
    result.copy(f"batch_stats/{path}/mean", f"{stem}_mean")
    result.copy(f"batch_stats/{path}/var", f"{stem}_var")
