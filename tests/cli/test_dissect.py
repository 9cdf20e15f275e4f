"""jaxgan dissect and paint: a tiny RGBA generator with styles, and what a user gets wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan.cli import main
from jaxgan.latent.dissection import Dissection
from jaxgan.latent.painting import paint

CONFIG = """
from jaxgan import Data, Experiment, Log, Mesh
from jaxgan.systems.stylegan2 import StyleGAN2
config = Experiment(
    system=StyleGAN2(shape=(16, 16, 4), latent=8, width=32, max_channels=6, mapping_layers=1,
                     group=2, mixing=0.0, path_weight=0.0),
    data=Data(source="image:photo.png", resize=True), batch=2, steps=1, mesh=Mesh(data=1),
    log=Log(grid=2))
"""
LAYER = ["--layer", "synthesis/conv2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dissect")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 20, 4), np.uint8)).save(folder / "photo.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[:8, :8] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "rgba.py").write_text(CONFIG)
    (folder / "points.py").write_text(
        "from tests.toys import TinyGAN\nfrom jaxgan import *\n"
        "config = Experiment(system=TinyGAN(), data=Data(source='ring'), steps=1, "
        "mesh=Mesh(data=1))"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("rgba", "points"):
            assert main(["train", f"{name}.py", "--out", name]) == 0
        dissect = ["dissect", "rgba", *LAYER, "--num", "30", "--concepts"]
        assert main([*dissect, "alpha", "--effect", "--steps", "2", "--out", "units"]) == 0
        run = jaxgan.open("rgba")
        np.savez("codes.npz", **run.apply("style", numbers=1).made)
    return folder


@pytest.fixture(autouse=True)
def at(folder, monkeypatch):
    monkeypatch.chdir(folder)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_dissection_is_written(capsys):
    found = Dissection.load(Path("units"))
    assert found.about.layer == "generator/synthesis/conv2"
    assert found.iou.shape == (4, 1)
    assert found.strength.shape == (1, 4)
    assert pixels("units/alpha.png").shape[2] == 3
    command = ["dissect", "rgba", *LAYER, "--num", "20", "--psi", "0.5"]
    assert main([*command, "--concepts", "colours:2", "--out", "colours"]) == 0
    out = capsys.readouterr().out
    assert "colour2 #" in out
    assert main(["paint", "rgba", "--units", "colours", "--draw", "colour2", "--out", "c.png"]) == 0


def test_paint_is_the_function(capsys):
    command = ["paint", "rgba", "--units", "units", "--at", "mask.png", "--seed", "7", "--top", "2"]
    assert main([*command, "--erase", "alpha", "--out", "erased.png"]) == 0
    assert "alpha: " in capsys.readouterr().out
    run, units = jaxgan.open("rgba"), Dissection.load(Path("units"))
    mask = pixels("mask.png")[..., None]
    made = paint(run, units, erase=["alpha"], at=mask, seed=7, top=2)
    np.testing.assert_array_equal(pixels("erased.png"), made.after[0])
    assert (made.after != made.before).any()
    np.testing.assert_array_equal(made.before[0], run.sample(1, seed=7)[0])
    assert main([*command, "--draw", "alpha", "--ranking", "effect", "--out", "drawn.png"]) == 0


def test_a_photograph_is_edited(capsys):
    command = ["paint", "rgba", "--units", "units", "--at", "mask.png", "--photo", "photo.png"]
    command += ["--erase", "alpha", "--out", "photographed.png", "--perceptual", "none"]
    assert main([*command, "--code", "codes.npz", "--steps", "60"]) == 0
    assert pixels("photographed.png").shape == (16, 4 * 16 + 3 * 2, 4)
    words = capsys.readouterr().out.split("outside of the edit: ")[1].split()
    assert float(words[4]) < float(words[0])
    assert main([*command, "--code-steps", "30", "--steps", "20"]) == 0
    assert "codes 30/30: loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dissect rgba --layer conv2 --concepts alpha --out x", "it has synthesis/conv0"),
        ("dissect rgba --layer synthesis/conv2 --concepts x --out x", "give alpha, colours:K"),
        (
            "dissect rgba --layer synthesis/conv2 --concepts alpha --out units",
            "holds files already",
        ),
        ("dissect rgba --layer synthesis/conv2 --concepts alpha --out x.png", "give a new folder"),
        (
            "dissect rgba --layer synthesis/conv2 --concepts alpha --steps 9 --out x",
            "--steps is for --effect: leave it out",
        ),
        ("dissect points --layer out --concepts alpha --out x", "give a run that draws images"),
        ("paint rgba --units . --erase alpha --out x.png", "holds no dissection.json"),
        ("paint rgba --units units --out x.png", "nothing to paint"),
        ("paint rgba --units units --erase hat --out x.png", "no concept 'hat'"),
        ("paint rgba --units units --erase alpha --out x.npz", "give a .png"),
        ("paint rgba --units units --erase alpha --at no.png --out x.png", "no.png is no file"),
        ("paint rgba --units units --erase alpha --photo no.png --out x.png", "no.png is no file"),
        ("paint rgba --units units --erase alpha --photo photo.png --out x.png", "needs --at"),
        ("paint rgba --units units --erase alpha --adapt x --out x.png", "--adapt is for --photo"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(line, said, capsys):
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
