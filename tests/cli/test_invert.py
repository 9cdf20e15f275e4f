import json

import numpy as np
import pytest
from PIL import Image

from jaxgan.cli import main
from tests.latent.runs import STYLED, trained

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run = trained(STYLED, folder / "styled")
    for seed, image in enumerate(run.sample(2, seed=3)):
        Image.fromarray(image[..., 0]).save(folder / f"{seed}.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[4:9, 4:9] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(folder / "photo.jpg")
    return folder


@pytest.fixture
def place(folder, monkeypatch):
    monkeypatch.chdir(folder)


def pixels(name):
    with Image.open(name) as image:
        return np.asarray(image)


QUICK = ["--steps", "2", "--perceptual", "none"]


def test_photos_to_codes_and_back(folder, capsys):
    given = ["invert", "styled", "0.png", "photo.jpg", *QUICK, "--noise", "2", "--out", "found"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "photo.jpg: 40x30, fitted to 16x16" in out
    assert "codes 2/2: loss" in out
    assert "noise 2/2: loss" in out
    assert "2 photos in w+ of styled, PSNR" in out
    names = {path.name for path in (folder / "found").iterdir()}
    pictures = {"000_0.png", "001_photo.png", "curve.png"}
    assert names == pictures | {"codes.npz", "curve.jsonl", "inversion.json"}
    with np.load(folder / "found" / "codes.npz") as codes:
        assert codes["style"].shape == (2, 6, 8)
        assert codes["noise4"].shape == (2, 16, 16, 1)
    lines = map(json.loads, (folder / "found" / "curve.jsonl").read_text().splitlines())
    assert [line["moves"] for line in lines] == ["codes"] * 2 + ["noise"] * 2
    about = json.loads((folder / "found" / "inversion.json").read_text())
    assert about["recipe"]["steps"] == 2
    assert [photo["photo"] for photo in about["photos"]] == ["0.png", "photo.jpg"]
    drawn = ["apply", "styled", "synthesize", "--style", "found/codes.npz", "--out", "again.png"]
    assert main(drawn) == 0
    # From codes and from photographs.
    latent = ["latent", "styled"]
    assert main([*latent, "morph", "found/codes.npz:1", "found/codes.npz:2", "--out", "m.gif"]) == 0
    assert main([*latent, "transfer", "found/codes.npz:1", "1.png", *QUICK, "--out", "t.png"]) == 0
    assert pixels("t.png").shape == (16, 3 * 16 + 4)
    mask = ["--mask", "mask.png"]
    # Of a code with its maps of noise, that is what is drawn at a morph's end.
    assert main([*latent, "morph", "found/codes.npz:1", "found/codes.npz:2", "--out", "m.npz"]) == 0
    with np.load("m.npz") as made, np.load("found/codes.npz") as ends:
        for name in ("style", "noise4"):
            np.testing.assert_allclose(made[name][[0, -1]], ends[name], atol=1e-6)
    blend = ["blend", "found/codes.npz:1", "found/codes.npz:2", *mask, "--layer", "synthesis/conv2"]
    assert main([*latent, *blend, "--out", "b.png"]) == 0
    assert main([*latent, "inpaint", "0.png", *mask, *QUICK, "--out", "i.png"]) == 0
    before, after = np.split(np.delete(pixels("i.png"), [16, 17], 1), 2, 1)
    outside = pixels("mask.png") == 0
    np.testing.assert_array_equal(after[outside], before[outside])
    assert main([*latent, "scribble", "found/codes.npz:1", "1.png", *QUICK, "--out", "s.png"]) == 0
    assert pixels("s.png").shape == (16, 3 * 16 + 4)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("invert styled --out x", "no PHOTO... given"),
        ("invert styled none.png --out x", "PHOTO is none.png, which does not exist"),
        ("invert styled 0.png --out x.png", "--out is x.png: give a folder"),
        ("invert styled 0.png --label 1 --out x", "takes style"),
        ("invert styled 0.png --space v --out x", "--space is v: give one of"),
        ("latent styled swap 0.png --out x.png", "no task 'swap': give one of morph"),
        ("latent styled morph 0.png --out x.png", "morph takes FIRST SECOND, not 1 inputs"),
        ("latent styled morph 0.png 1.png --out x.jpg", "morph writes a .gif or .png or .npz"),
        ("latent styled blend 0.png 1.png --out x.png", "blend needs --mask"),
        ("latent styled blend 0.png 1.png --frames 3 --out x.png", "--frames is for morph"),
        ("invert styled 0.png --noise-rate 0.1 --out x", "--noise-rate is for --noise"),
        ("latent styled inpaint 0.png --out x.png", "inpaint needs --mask"),
        ("latent styled inpaint a.npz --mask mask.png --out x.png", "a.npz is no image"),
        ("latent styled transfer 0.png no.npz:1 --out x.png", "no.npz: no such file"),
    ],
)
def test_mistakes(argv, message, capsys):
    assert main(argv.split()) == 2
    assert message in capsys.readouterr().err
