import numpy as np
import pytest
import torch

from jaxgan import convert
from jaxgan.convert import module_of
from jaxgan.errors import UserError
from jaxgan.pth import writer
from tests.reference import biggan_pytorch, originals
from tests.reference.biggan_studiogan import Discriminator, Generator


def checkpoint(network, path):
    """A trainer's file."""
    torch.save({"state_dict": network.state_dict(), "epoch": 3, "best_fid": 7.5}, path)
    return path


def trained(network, *inputs):
    """With singular vectors that have moved."""
    network(*inputs)
    return originals.scattered(network)


@pytest.mark.parametrize("attended", [(0,), (0, 1)])
def test_equals_pytorch_and_back(tmp_path, rng, attended):
    torch.manual_seed(0)
    label = torch.arange(4)
    generator = trained(Generator(attended=attended), torch.randn(4, 20), label)
    discriminator = trained(Discriminator(), torch.randn(4, 3, 32, 32), label)
    converted = convert.load(
        "biggan_studiogan",
        checkpoint(generator, tmp_path / "model=G_ema-best.pth"),
        checkpoint(discriminator, tmp_path / "model=D-best.pth"),
    )
    system = converted.system
    assert (system.generator_attention, system.epsilon) == (tuple(8 << k for k in attended), 1e-4)
    assert (system.discriminator_multipliers, system.discriminator_attention) == ((2,) * 4, ())
    z, x, y = originals.inputs(rng, system, 4)
    images = originals.torch_draw(generator, z, y)
    np.testing.assert_allclose(originals.draw(converted, z, y), images, atol=1e-4)
    logits = originals.torch_judge(discriminator, x, y)
    np.testing.assert_allclose(originals.judge(converted, x, y), logits, rtol=1e-4, atol=1e-4)

    module = module_of("biggan_studiogan")
    for network, original in (("generator", generator), ("discriminator", discriminator)):
        table = module.table(system, network)
        state = table.write(converted.params[network], converted.stats[network])
        (tmp_path / "out.pth").write_bytes(writer.dumps(state))
        read = torch.load(tmp_path / "out.pth", weights_only=True)
        for name, tensor in original.state_dict().items():
            if name.endswith("num_batches_tracked"):
                assert name in read
            else:
                torch.testing.assert_close(read.pop(name), tensor, rtol=0, atol=1e-6)
        assert all(name.endswith("num_batches_tracked") for name in read)


def test_other_networks_are_refused(tmp_path):
    path = originals.saved(biggan_pytorch.Generator(), tmp_path / "G.pth")
    with pytest.raises(UserError, match=r"G\.pth is no generator big_resnet of StudioGAN"):
        convert.load("biggan_studiogan", path)
    generator = checkpoint(Generator(), tmp_path / "G.pth")
    with pytest.raises(UserError, match=r"no tensor embedding\.weight_orig"):
        convert.load("biggan_studiogan", generator, generator)
    other = checkpoint(Discriminator(width=12), tmp_path / "D.pth")
    with pytest.raises(UserError, match="multiples of the generator's 8 channels"):
        convert.load("biggan_studiogan", generator, other)
