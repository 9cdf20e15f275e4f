"""Self-Attention-GAN (heykeetae): `STEP_G.pth` and `STEP_D.pth`.

Its spectral norm is a module around each layer, with `weight_bar` for the weight and a matrix whose
rows are the weight's first axis, the input channels of a transposed convolution. It does a power
iteration in every pass, also in evaluation, from `weight_u` alone: what is stored here is what that
iteration makes of it.

Running variances are taken as they are, which PyTorch makes of unbiased estimates; training here
goes on with biased ones, (n - 1) / n of those at n values a channel in a batch.
"""

import numpy as np
from jaxtyping import PyTree

from jaxgan.convert.tensors import Target, Tensors
from jaxgan.errors import UserError
from jaxgan.systems.sagan import SAGAN


def convert(
    generator: Tensors, discriminator: Tensors | None = None
) -> tuple[SAGAN, dict[str, PyTree], dict[str, PyTree]]:
    """(system, params, stats) of the networks in the files.

    Raises:
        UserError: tensors that are missing or do not fit each other.
    """
    layers = 0
    while f"l{layers + 1}.0.module.weight_bar" in generator:
        layers += 1
    if layers < 2:
        raise UserError(f"{generator.file} has no layers l1, l2, ...: give a *_G.pth")
    latent = generator.shape("l1.0.module.weight_bar")[0]
    width, colours = generator.shape("last.0.weight")[:2]
    side = 4 << layers
    system = SAGAN(shape=(side, side, colours), latent=latent, width=width)
    params, stats = {}, {}

    target = Target(system, "generator", generator, _weight)
    for index in range(1, layers + 1):
        target.conv_transpose(f"conv{index}", f"l{index}.0.module", axis=-2)
        target.batch_norm(f"norm{index}", f"l{index}.1")
    target.conv_transpose(f"conv{layers + 1}", "last.0")
    _attention(target, generator)
    generator.leave("*.weight_v", "*.num_batches_tracked")
    params["generator"], stats["generator"] = target.variables()

    if discriminator is not None:
        target = Target(system, "discriminator", discriminator, _weight)
        for index in range(1, layers + 1):
            target.conv(f"conv{index}", f"l{index}.0.module")
        target.conv(f"conv{layers + 1}", "last.0")
        _attention(target, discriminator)
        discriminator.leave("*.weight_v")
        params["discriminator"], stats["discriminator"] = target.variables()
    return system, params, stats


def _weight(tensors: Tensors, name: str) -> tuple[np.ndarray, np.ndarray, None]:
    return tensors.take(f"{name}.weight_bar"), tensors.take(f"{name}.weight_u")[None], None


def _attention(target: Target, tensors: Tensors) -> None:
    for index in (1, 2):
        for name in ("query", "key", "value"):
            target.conv(f"attention{index}/{name}", f"attn{index}.{name}_conv")
        gamma = f"attn{index}.gamma"
        target.put(f"params/attention{index}/gamma", gamma, tensors.take(gamma).squeeze())
