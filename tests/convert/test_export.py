"""Exported generators, loaded by programs that know nothing of jaxgan."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from jaxgan import Data, Experiment, Run, evaluation_view, init, pictures
from jaxgan.backend import target
from jaxgan.cli import main
from jaxgan.config import to_json
from jaxgan.metrics.records import Record, append
from jaxgan.systems.sagan import SAGAN
from jaxgan.systems.sngan import SNGAN
from jaxgan.training.checkpoint import Checkpoints
from tests.using import call

SYSTEMS = {
    "conditional, averaged": SNGAN(
        shape=(8, 8, 3),
        classes=3,
        generator_channels=(8, 8),
        discriminator_channels=(8, 8),
        halvings=1,
        latent=5,
        ema_decay=0.9,
    ),
    "unconditional": SAGAN(shape=(16, 16, 3), width=8, latent=6),
}

LOAD = """\
import sys
sys.modules["jaxgan"] = None  # an import of it fails
import jax, numpy as np
inputs = np.load(sys.argv[2])
with open(sys.argv[1], "rb") as file:
    draw = jax.export.deserialize(bytearray(file.read())).call
numbers = np.arange(len(inputs["z"]), dtype=np.uint32)
np.save(sys.argv[3], draw({name: inputs[name] for name in inputs}, numbers)["image"])
"""


@pytest.fixture(scope="module", params=SYSTEMS)
def run(request, tmp_path_factory):
    """A run whose average differs from its weights."""
    folder = tmp_path_factory.mktemp("run")
    system = SYSTEMS[request.param]
    state = init(system, 1)
    for average in state.ema.values():
        average["params"] = jax.tree.map(lambda x: 1.1 * x + 0.01, average["params"])
    with Checkpoints(folder / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(state)
    (folder / "config.json").write_text(
        to_json(Experiment(system=system, data=Data(source="digits")))
    )
    return Run(folder)


@pytest.fixture(scope="module")
def artefact(run, tmp_path_factory):
    file = tmp_path_factory.mktemp("out") / "generator.stablehlo"
    assert main(["export", str(run.folder), "--format", "stablehlo", "--out", str(file)]) == 0
    return file


def applied(run, count):
    """What `Run.sample` takes and makes: ({name: [n, ...]}, images in [-1, 1])."""
    found = run.apply("generate", numbers=count)
    return found.taken, found.made["image"]


def test_a_process_without_jaxgan_draws_the_same_bits(run, artefact, tmp_path):
    taken, images = applied(run, 5)
    np.savez(tmp_path / "inputs.npz", **taken)
    paths = [str(artefact), str(tmp_path / "inputs.npz"), str(tmp_path / "images.npy")]
    subprocess.run([sys.executable, "-c", LOAD, *paths], check=True, timeout=120)
    exported = np.load(tmp_path / "images.npy")
    assert exported.dtype == np.float32

    system, state = run.system, jax.tree.map(jnp.asarray, jax.device_get(run.state))

    def one(taken):
        rows = {name: x[None] for name, x in taken.items()}
        return call(system, evaluation_view(system, state), **rows)["image"][0]

    with target("gpu"):
        same = jax.jit(jax.vmap(one))(taken)
    np.testing.assert_array_equal(exported, same)
    np.testing.assert_allclose(exported, images, atol=1e-5)
    samples = run.sample(5).astype(int)
    assert np.abs(pictures.to_uint8(exported) - samples).max() <= 1


def test_any_batch_and_three_platforms(run, artefact):
    exported = jax.export.deserialize(bytearray(artefact.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    taken, _ = applied(run, 5)
    numbers = np.arange(5, dtype=np.uint32)
    assert [a.dtype for a in exported.in_avals] == [
        x.dtype for x in jax.tree.leaves((taken, numbers))
    ]
    whole = np.asarray(exported.call(taken, numbers)["image"])
    for count in (1, 3):
        part = exported.call({name: x[:count] for name, x in taken.items()}, numbers[:count])
        np.testing.assert_allclose(part["image"], whole[:count], atol=1e-5)


def test_safetensors_hold_the_evaluated_generator_and_its_card(run, tmp_path, capsys):
    record = Record(
        metric="fid",
        value=12.345678,
        images=10,
        real_images=10,
        extractor="x|y",
        weights="0",
        resize="none",
        data="0",
        shape="8x8x1",
        source=str(run.folder),
        step=0,
        ema=True,
        truncation=None,
        seed=0,
    )
    evaluations = run.folder / "evaluations.jsonl"
    append(run.folder, [record])
    file = tmp_path / "generator.safetensors"
    options = ["--format", "safetensors", "--licence", "cc-by-4.0", "--out", str(file)]
    assert main(["export", str(run.folder), *options]) == 0
    evaluations.unlink()
    assert str(file) in capsys.readouterr().out

    arrays = safetensors.numpy.load_file(file)
    network = run.system.networks()["generator"]
    tree = {}
    for path, array in arrays.items():
        node = tree
        *above, last = path.split("/")
        for name in above:
            node = node.setdefault(name, {})
        node[last] = array
    taken, images = applied(run, 2)
    inputs = [taken[name] for name in ("z", "label") if name in taken]
    tree = jax.tree.map(jnp.asarray, tree)
    out = jax.jit(lambda *x: network.apply(tree, *x, train=False))(*inputs)
    np.testing.assert_allclose(out[0] if isinstance(out, tuple) else out, images, atol=1e-5)
    with safetensors.safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    card = (tmp_path / "generator.safetensors.md").read_text()
    assert metadata["model_card"] == card
    assert json.loads(metadata["config"]) == json.loads((run.folder / "config.json").read_text())
    assert (metadata["step"], metadata["data"]) == ("0", "digits")
    assert metadata["license"] == "cc-by-4.0"
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert f"# {type(run.system).__name__}\n" in card
    assert "| fid | 12.35 | images: 10, real_images: 10, extractor: x/y, weights: 0, " in card


def test_mistakes_are_told_in_one_line(run, tmp_path, capsys):
    (tmp_path / "config.json").write_text((run.folder / "config.json").read_text())
    for arguments, expected in [
        ([str(run.folder)], "--out"),
        ([str(run.folder), "--out", str(tmp_path / "no" / "x")], "a folder that exists"),
        ([str(run.folder), "--format", "onxn", "--out", str(tmp_path / "x")], "onxn"),
        ([str(tmp_path / "none"), "--out", str(tmp_path / "x")], "does not exist"),
        ([str(tmp_path), "--out", str(tmp_path / "x")], "no checkpoint yet"),
    ]:
        assert main(["export", *arguments]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert expected in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json"]
