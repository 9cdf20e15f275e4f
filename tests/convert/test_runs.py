"""`jaxgan import`: what it writes is a run like any other."""

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

import jaxgan
from jaxgan.cli import main
from jaxgan.parallel.mesh import make_mesh
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.step import state_shapes, undrawn
from tests.reference import originals
from tests.reference.biggan_pytorch import Generator
from tests.reference.dcgan_pytorch import Discriminator
from tests.reference.dcgan_pytorch import Generator as DCGenerator
from tests.using import call


@pytest.fixture(scope="module")
def biggan(tmp_path_factory):
    """(PyTorch's generator, its file, the run imported from it, what was printed)."""
    folder = tmp_path_factory.mktemp("biggan")
    generator = originals.scattered(Generator(latent=20, shared=6, attention=(16,)))
    file = originals.saved(generator, folder / "G_ema.pth")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["import", "biggan_pytorch", file, "--out", str(folder / "run")]) == 0
    return generator, file, folder / "run", out.getvalue()


def test_draws_what_pytorch_draws(biggan, rng):
    generator, _, folder, _ = biggan
    run = jaxgan.open(folder)
    z, _, y = originals.inputs(rng, run.system)
    view = run.view
    ours = jax.jit(lambda z, y: call(run.system, view, z=z, label=y)["image"])(z, y)
    np.testing.assert_allclose(ours, originals.torch_draw(generator, z, y), atol=1e-4)


def test_averages_are_the_imported_weights(biggan):
    state = jaxgan.open(biggan[2]).state
    assert int(state.step) == 0
    average = state.ema["generator"]
    jax.tree.map(np.testing.assert_array_equal, average["params"], state.params["generator"])
    stats = state.stats["generator"]["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, average["batch_stats"], stats)


def test_what_no_file_holds_is_drawn_when_it_is_needed(tmp_path, capsys):
    """It is stored as zeros; training, and a State in Python, have what `init` gives."""
    file = originals.saved(DCGenerator(colours=1, layers=1), tmp_path / "G.pth")
    folder = tmp_path / "run"
    assert main(["import", "dcgan_pytorch", file, "--out", str(folder)]) == 0
    assert "the discriminator starts anew when it is trained" in capsys.readouterr().out
    run = jaxgan.open(folder)
    fresh = jaxgan.init(run.system, run.experiment.seed)
    with Checkpoints(folder / "checkpoints") as reader:
        stored = reader.restore(state_shapes(run.system, make_mesh()))
    assert undrawn(stored) == ("discriminator",)
    assert undrawn(fresh) == ()
    for found in (run.state, jaxgan.restore(run.system, folder / "checkpoints")):
        ours, theirs = (state.params["generator"] for state in (found, stored))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        for part in ("params", "stats"):
            ours, expected = (getattr(state, part)["discriminator"] for state in (found, fresh))
            jax.tree.map(np.testing.assert_array_equal, ours, expected)
        jax.tree.map(np.testing.assert_array_equal, found.opt, fresh.opt)


def test_tells_where_it_came_from(biggan, capsys):
    _, file, run, out = biggan
    assert "the discriminator starts anew" in out
    assert "tensors left out" in out
    facts = json.loads((run / "import.json").read_text())
    assert facts["files"] == {file: hashlib.sha256(Path(file).read_bytes()).hexdigest()}
    assert facts["anew"] == ["discriminator"]
    assert all(".sv0" in name for name in facts["left_out"])

    assert main(["info", str(run), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["system"], info["step"]) == ("BigGAN", 0)


def test_samples_and_trains_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = originals.saved(DCGenerator(colours=1, layers=1), tmp_path / "G.pth")
    discriminator = originals.saved(Discriminator(colours=1, layers=1), tmp_path / "D.pth")
    options = ["--discriminator", discriminator]
    assert main(["import", "dcgan_pytorch", generator, *options, "--out", "run"]) == 0
    assert main(["sample", "run", "--num", "3", "--out", "a.npz"]) == 0
    with np.load("a.npz") as file:
        assert file["images"].shape == (3, 8, 8, 1)
    before = jaxgan.open("run").state
    settings = ["--data", "digits", "--batch", "8"]
    assert main(["train", "run", *settings, "--steps", "1"]) == 0
    assert main(["train", "run", "--steps", "2", "--batch", "4"]) == 2  # now it has seen data
    run = jaxgan.open("run")
    assert run.step == 1
    for network in ("generator", "discriminator"):
        pairs = zip(
            *(jax.tree.leaves(state.params[network]) for state in (before, run.state)), strict=True
        )
        largest = max(float(np.abs(a - b).max()) for a, b in pairs)
        assert 0 < largest < 1e-3  # Adam's first step is 2e-4


class Runs:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_mistakes_are_told_in_one_line_and_nothing_is_written(biggan, tmp_path, capsys):
    _, file, _, _ = biggan
    proof = tmp_path / "it ran"
    torch.save({"w": Runs(f"touch '{proof}'")}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "cat.png").write_text("precious")
    out = ["--out", str(tmp_path / "run")]
    big = ["import", "biggan_pytorch"]
    capsys.readouterr()
    for arguments, expected in [
        ([*big, str(tmp_path / "evil.pth"), *out], "posix.system"),
        ([*big, str(tmp_path / "text.pth"), *out], "no checkpoint of PyTorch"),
        ([*big, str(tmp_path / "none.pth"), *out], "no file"),
        ([*big, file, "--discriminator", file, *out], "has no tensor embed.weight"),
        (["import", "sagan_heykeetae", file, *out], "has no layers"),
        (["import", "bigan_pytorch", file, *out], "did you mean biggan_pytorch?"),
        ([*big, file, "--out", str(tmp_path / "full")], "no empty folder"),
        ([*big, file], "--out"),
        (big, "no FILE given"),
    ]:
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert expected in err
    assert not proof.exists()
    assert not (tmp_path / "run").exists()


def test_help_names_the_formats(capsys):
    assert main(["import", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: jaxgan import")
    assert "dcgan_pytorch" in out
