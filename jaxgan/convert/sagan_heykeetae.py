"""Self-Attention-GAN (heykeetae): `STEP_G.pth` and `STEP_D.pth`.

Its spectral norm is a module around each layer, with `weight_bar` for the weight and a matrix whose
rows are the weight's first axis, the input channels of a transposed convolution. It does a power
iteration in every pass, also in evaluation, from `weight_u` alone: what is stored here is what that
iteration makes of it.

Running variances are taken as they are, which PyTorch makes of unbiased estimates; training here
goes on with biased ones, (n - 1) / n of those at n values a channel in a batch.
"""

import numpy as np

from jaxgan.convert.files import Found, Part
from jaxgan.convert.table import Spectral, Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.dcgan import doublings
from jaxgan.systems.sagan import SAGAN

SYSTEMS = (SAGAN,)
KNOWN = dict.fromkeys(("generator", "discriminator"), "l1.0.module.weight_bar")
FILES = {"G.pth": {"": Part("generator", True)}, "D.pth": {"": Part("discriminator")}}
LEFT = ("*.num_batches_tracked",)
SPECTRAL = Spectral("weight_bar", ("weight_u",), spare_v="weight_v")


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the files hold.

    Raises:
        UserError: tensors that are missing or do not fit each other.
    """
    generator = files["generator"]
    layers = 0
    while f"l{layers + 1}.0.module.weight_bar" in generator:
        layers += 1
    if layers < 2:
        raise UserError(f"{generator.file} has no layers l1, l2, ...: give a *_G.pth")
    latent = generator.shape("l1.0.module.weight_bar")[0]
    width, colours = generator.shape("last.0.weight")[:2]
    side = 4 << layers
    return Found(SAGAN(shape=(side, side, colours), latent=latent, width=width))


def table(system: SAGAN, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network.

    Raises:
        UserError: a network without spectral norm.
    """
    if not system.spectral:
        raise UserError(
            "Self-Attention-GAN's networks have spectral norm, but this run has spectral false: "
            "without it that code's layers have other names"
        )
    result = Table(system, network, SPECTRAL)
    layers = doublings(system.shape)
    for index in range(1, layers + 1):
        if network == "generator":
            result.conv_transpose(f"conv{index}", f"l{index}.0.module", axis=-2)
            result.batch_norm(f"norm{index}", f"l{index}.1")
        else:
            result.conv(f"conv{index}", f"l{index}.0.module")
    last = result.conv_transpose if network == "generator" else result.conv
    last(f"conv{layers + 1}", "last.0")
    for index in (1, 2):
        for name in ("query", "key", "value"):
            result.conv(f"attention{index}/{name}", f"attn{index}.{name}_conv")
        result.map(
            f"params/attention{index}/gamma", f"attn{index}.gamma", np.squeeze, np.atleast_1d
        )
    return result
