"""`jaxgan export --format onnx`, where jax2onnx is installed, and what is said where it is not."""

import importlib.util
import sys

import numpy as np
import pytest

from jaxgan.cli import main
from jaxgan.systems.dcgan import DCGAN
from jaxgan.systems.mimicry import MimicrySNGAN
from jaxgan.systems.stylegan2 import StyleGAN2
from tests.convert.test_peers import saved

needed = pytest.mark.skipif(
    importlib.util.find_spec("jax2onnx") is None,
    reason="pip install 'jaxgan[onnx]' && pip install --no-deps jax2onnx",
)


def command(run, out):
    return ["export", str(run.folder), "--format", "onnx", "--out", str(out)]


@needed
@pytest.mark.parametrize("name", ["dcgan", "one row"])
def test_a_runtime_draws_the_same(tmp_path, rng, capsys, name):
    runtime = pytest.importorskip("onnxruntime")
    small = {"generator_channels": (4, 4), "discriminator_channels": (4, 4), "halvings": 1}
    system = {
        "dcgan": DCGAN(shape=(8, 8, 1), width=4, latent=6),
        "one row": MimicrySNGAN(shape=(8, 8, 3), latent=6, classes=3, **small),
    }[name]
    run = saved(system, tmp_path)
    assert main(command(run, tmp_path / "a.onnx")) == 0
    out = capsys.readouterr().out
    assert "checked by onnxruntime: the largest difference is" in out
    count = 1 if name == "one row" else 4
    assert ("takes one row at a time" if count == 1 else "takes any number of rows") in out
    session = runtime.InferenceSession(
        (tmp_path / "a.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    given = {"z": rng.normal(size=(count, system.latent)).astype(np.float32)}
    if name != "dcgan":
        given["label"] = rng.integers(0, 3, count).astype(np.int32)
    (images,) = session.run(["image"], given)
    np.testing.assert_allclose(images, run.apply("generate", given).made["image"], atol=1e-4)


@needed
def test_what_it_lacks_is_told_in_one_line(tmp_path, capsys):
    system = StyleGAN2(shape=(8, 8, 3), latent=8, width=32, max_channels=8, mapping_layers=1)
    assert main(command(saved(system, tmp_path), tmp_path / "a.onnx")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "cannot convert generate of StyleGAN2 (" in err
    assert "interior padding" in err
    assert not (tmp_path / "a.onnx").exists()


def test_without_jax2onnx_it_says_how_to_install_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    run = saved(DCGAN(shape=(8, 8, 1), width=2, latent=4), tmp_path)
    assert main(command(run, tmp_path / "a.onnx")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "pip install --no-deps jax2onnx" in err
