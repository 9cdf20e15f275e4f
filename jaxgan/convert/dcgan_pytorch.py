"""The DCGAN of PyTorch's examples: `netG_epoch_N.pth` and `netD_epoch_N.pth`.

One `nn.Sequential` called `main` holds all layers, so that names are counts: convolutions, batch
norms between them, and activations, which have no tensors. The example's networks are for 64
pixels; more or fewer layers of the same pattern make another size.

Running variances are taken as they are, which PyTorch makes of unbiased estimates; training here
goes on with biased ones, (n - 1) / n of those at n values a channel in a batch.
"""

from jaxgan.convert.files import Found, Part
from jaxgan.convert.table import Table
from jaxgan.convert.tensors import Tensors
from jaxgan.errors import UserError
from jaxgan.systems.dcgan import DCGAN, doublings

SYSTEMS = (DCGAN,)
KNOWN = {"generator": "main.0.weight", "discriminator": "main.0.weight"}
FILES = {"netG.pth": {"": Part("generator", True)}, "netD.pth": {"": Part("discriminator")}}
LEFT = ("*.num_batches_tracked",)


def recognise(files: dict[str, Tensors]) -> Found:
    """The system whose networks the files hold.

    Raises:
        UserError: tensors that are missing or do not fit each other.
    """
    generator = files["generator"]
    layers = generator.count("main.{}.weight", step=3)
    if layers < 2:
        raise UserError(f"{generator.file} has no layers main.0, main.3, ...: give a netG_*.pth")
    width, colours = generator.shape(f"main.{3 * (layers - 1)}.weight")[:2]
    judged = width
    if "discriminator" in files:
        judged = files["discriminator"].shape("main.0.weight")[0]
    side = 4 << (layers - 1)
    return Found(
        DCGAN(
            shape=(side, side, colours),
            latent=generator.shape("main.0.weight")[0],
            width=width,
            discriminator_width=0 if judged == width else judged,
        )
    )


def table(system: DCGAN, network: str, file: Tensors | None = None) -> Table:
    """Which tensors hold which variables of a network."""
    result = Table(system, network)
    last = doublings(system.shape)
    for index in range(last + 1):
        path, norm = f"conv{index + 1}", f"norm{index + 1}"
        if network == "generator":
            place = 3 * index
            result.conv_transpose(path, f"main.{place}")
        else:
            # The first convolution has no batch norm, so all others come one place earlier.
            place = 3 * index - 1 if index else 0
            result.conv(path, f"main.{place}")
        if index < last and (index or network == "generator"):
            result.batch_norm(norm, f"main.{place + 1}")
    return result
