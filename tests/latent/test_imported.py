"""Tools on runs that were imported from the files of others, by command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from jaxgan.cli import main
from tests.reference import biggan_pytorch, originals, stylegan2_ada

NAMES = ("stylegan2_ada", "biggan_pytorch")


def _network(name):
    torch.manual_seed(0)
    if name == "stylegan2_ada":
        return {"G_ema": stylegan2_ada.Generator(widths=(8, 6)).state_dict()}
    generator = biggan_pytorch.Generator(latent=20, shared=6, attention=(16,))
    return originals.scattered(generator).state_dict()


@pytest.fixture(scope="module", params=NAMES)
def imported(request, tmp_path_factory):
    """A folder with a run of others' weights, and a photograph."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.save(_network(request.param), folder / "G_ema.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["import", request.param, "G_ema.pth", "--out", "run"]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    Image.fromarray(np.tri(16, dtype=np.uint8) * 255).save(folder / "mask.png")
    return folder, request.param


@pytest.mark.slow
def test_tools_take_imported_runs(imported, monkeypatch):
    folder, name = imported
    monkeypatch.chdir(folder)
    styled = name == "stylegan2_ada"
    label = [] if styled else ["--label", "2"]
    layer = ["--layer", "synthesis/conv1" if styled else "block1"]
    space = ["--space", "w+" if styled else "z"]
    none = ["--perceptual", "none"]
    units = ["--units", "units", "--erase", "colour1", "--steps", "2"]
    found = ["--code", "found/codes.npz", "--at", "mask.png"]
    lines = [
        ["invert", "run", "photo.png", *space, *none, *label, "--steps", "3", "--out", "found"],
        ["directions", "run", "--method", "sefa", "--count", "2", "--num", "20", "--out", "sefa"],
        ["sample", "run", "--move", "sefa:1:+2", "--num", "2", "--out", "moved.png"],
        ["dissect", "run", *layer, "--concepts", "colours:2", "--num", "10", "--out", "units"],
        ["paint", "run", *units, "--photo", "photo.png", *found, *none, "--out", "edited.png"],
    ]
    for line in lines:
        assert main(line) == 0, line
    system = {"stylegan2_ada": "StyleGAN2", "biggan_pytorch": "BigGAN"}[name]
    assert json.loads((folder / "found/inversion.json").read_text())["system"] == system
    for picture in ("moved.png", "edited.png", "sefa/01.png"):
        assert np.ptp(np.asarray(Image.open(folder / picture))) > 10
