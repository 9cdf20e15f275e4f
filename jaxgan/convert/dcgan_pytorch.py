"""The DCGAN of PyTorch's examples: `netG_epoch_N.pth` and `netD_epoch_N.pth`.

One `nn.Sequential` called `main` holds all layers, so that names are counts: convolutions, batch
norms between them, and activations, which have no tensors. The example's networks are for 64
pixels; more or fewer layers of the same pattern make another size.

Running variances are taken as they are, which PyTorch makes of unbiased estimates; training here
goes on with biased ones, (n - 1) / n of those at n values a channel in a batch.
"""

from jaxtyping import PyTree

from jaxgan.convert.tensors import Target, Tensors
from jaxgan.errors import UserError
from jaxgan.systems.dcgan import DCGAN


def convert(
    generator: Tensors, discriminator: Tensors | None = None
) -> tuple[DCGAN, dict[str, PyTree], dict[str, PyTree]]:
    """(system, params, stats) of the networks in the files.

    Raises:
        UserError: tensors that are missing or do not fit each other.
    """
    layers = generator.count("main.{}.weight", step=3)
    if layers < 2:
        raise UserError(f"{generator.file} has no layers main.0, main.3, ...: give a netG_*.pth")
    latent = generator.shape("main.0.weight")[0]
    width, colours = generator.shape(f"main.{3 * (layers - 1)}.weight")[:2]
    side = 4 << (layers - 1)
    system = DCGAN(shape=(side, side, colours), latent=latent, width=width)
    params, stats = {}, {}

    target = Target(system, "generator", generator)
    for index in range(layers):
        target.conv_transpose(f"conv{index + 1}", f"main.{3 * index}")
        if index < layers - 1:
            target.batch_norm(f"norm{index + 1}", f"main.{3 * index + 1}")
    generator.leave("*.num_batches_tracked")
    params["generator"], stats["generator"] = target.variables()

    if discriminator is not None:
        target = Target(system, "discriminator", discriminator)
        for index in range(layers):
            # The first convolution has no batch norm, so all others come one place earlier.
            place = 3 * index - 1 if index else 0
            target.conv(f"conv{index + 1}", f"main.{place}")
            if 0 < index < layers - 1:
                target.batch_norm(f"norm{index + 1}", f"main.{place + 1}")
        discriminator.leave("*.num_batches_tracked")
        params["discriminator"], stats["discriminator"] = target.variables()
    return system, params, stats
