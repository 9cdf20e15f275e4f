import numpy as np
import pytest
import torch

from jaxgan import convert
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.sagan_heykeetae import Discriminator, Generator


def test_equals_pytorch_attention_maps_included(tmp_path, rng):
    generator = originals.scattered(Generator())
    discriminator = originals.scattered(Discriminator())
    converted = convert.load(
        "sagan_heykeetae",
        originals.saved(generator, tmp_path / "1_G.pth"),
        originals.saved(discriminator, tmp_path / "1_D.pth"),
    )
    system = converted.system
    assert (system.shape, system.latent, system.width) == ((64, 64, 3), 12, 8)
    z, x, _ = originals.inputs(rng, system)
    images, maps = originals.view_of(converted)("generator", z)
    with torch.no_grad():
        expected, *attention = generator(torch.from_numpy(z))
    np.testing.assert_allclose(images, expected.permute(0, 2, 3, 1), atol=1e-4)
    assert [m.shape for m in maps] == [(3, 256, 256), (3, 1024, 1024)]
    for ours, theirs in zip(maps, attention, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    logits = originals.torch_judge(discriminator, x)
    np.testing.assert_allclose(originals.judge(converted, x), logits, atol=1e-4)


def test_names_of_the_original():
    attention = {
        f"attn{k}.{name}"
        for k in (1, 2)
        for name in (
            *(f"{part}_conv.{w}" for part in ("query", "key", "value") for w in ("weight", "bias")),
            "gamma",
        )
    }
    convs = {
        f"l{k}.0.module.{name}"
        for k in (1, 2, 3, 4)
        for name in ("bias", "weight_u", "weight_v", "weight_bar")
    }
    last = {"last.0.weight", "last.0.bias"}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    norms = {f"l{k}.1.{name}" for k in (1, 2, 3, 4) for name in norm}
    assert set(Generator().state_dict()) == attention | convs | last | norms
    assert set(Discriminator().state_dict()) == attention | convs | last


def test_a_file_of_another_network_is_refused(tmp_path):
    path = originals.saved(Discriminator(), tmp_path / "1_D.pth")
    with pytest.raises(UserError, match=r"1_D\.pth"):
        convert.load("sagan_heykeetae", path)
