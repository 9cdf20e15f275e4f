"""What trainers wrap a network in is entered, and what was beside it is told."""

import json

import numpy as np
import pytest
import torch

from jaxgan import convert
from jaxgan.cli import main
from jaxgan.errors import UserError
from tests.reference import originals
from tests.reference.dcgan_pytorch import Discriminator, Generator


def wrapped(tmp_path, tree):
    torch.save(tree, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


WRAPPERS = {
    "a trainer's": lambda g: {"state_dict": g, "optimizer": {"lr": torch.ones(1)}, "epoch": 3},
    "parallel, in a model": lambda g: {"model": {f"module.{k}": v for k, v in g.items()}},
    "an average": lambda g: {"G": {k: 2 * v for k, v in g.items()}, "G_ema": g},
    "both networks": lambda g: {"netG": g, "netD": Discriminator(layers=2).state_dict()},
    "deep": lambda g: {"a": {"b": [{"net": g}]}},
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_entered(tmp_path, name):
    state = originals.scattered(Generator(layers=2)).state_dict()
    converted = convert.load("dcgan_pytorch", wrapped(tmp_path, WRAPPERS[name](state)))
    kernel = converted.params["generator"]["conv1"]["kernel"]
    expected = state["main.0.weight"].numpy()[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(kernel, expected)
    left = [name for name in converted.left_out if not name.endswith("num_batches_tracked")]
    beside = {"a trainer's": ["optimizer.lr"], "an average": [f"G.{k}" for k in state]}
    beside["both networks"] = [f"netD.{k}" for k in Discriminator(layers=2).state_dict()]
    assert left == [k for k in beside.get(name, []) if not k.endswith("num_batches_tracked")]
    assert any("read below" in note for note in converted.notes)


def test_both_networks_of_one_file(tmp_path):
    states = [n.state_dict() for n in (Generator(layers=2), Discriminator(layers=2, width=8))]
    path = wrapped(tmp_path, dict(zip(("generator", "discriminator"), states, strict=True)))
    converted = convert.load("dcgan_pytorch", path, path)
    assert (converted.system.width, converted.system.discriminator_width) == (4, 8)
    assert set(converted.params) == {"generator", "discriminator"}


def test_two_networks_of_no_name_are_refused(tmp_path):
    state = Generator(layers=2).state_dict()
    with pytest.raises(UserError, match=r"2 such networks, one\., two\.: save the generator alone"):
        convert.load("dcgan_pytorch", wrapped(tmp_path, {"one": state, "two": state}))


def test_the_command_says_what_was_entered(tmp_path, capsys):
    path = wrapped(tmp_path, {"state_dict": Generator(layers=2).state_dict(), "b": torch.ones(2)})
    assert main(["import", "dcgan_pytorch", str(path), "--out", str(tmp_path / "run")]) == 0
    assert "read below state_dict" in capsys.readouterr().out
    facts = json.loads((tmp_path / "run" / "import.json").read_text())
    assert "b" in facts["left_out"]
