"""jaxgan translate: files and folders through tiny runs, and what a user gets wrong."""

import json

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan.cli import main

CONFIG = """
from jaxgan import Data, Experiment, Log, Mesh
from jaxgan.systems.{module} import {system}
config = Experiment(
    system={system}(shape=(8, 8, 1), width=4, patch_halvings=1{more}),
    data=Data(source="{data}"), batch=4, steps=1, mesh=Mesh(data=1), log=Log(grid=16))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    pix = CONFIG.format(
        module="pix2pix", system="Pix2Pix", data="edges:digits", more=", input_channels=1"
    )
    cycle = CONFIG.format(
        module="cyclegan",
        system="CycleGAN",
        data="unpaired:digits,inverted:digits",
        more=", blocks=1, pool=4",
    )
    for name, text in (("pix", pix), ("cycle", cycle)):
        (folder / f"{name}.py").write_text(text)
        assert main(["train", str(folder / f"{name}.py"), "--out", str(folder / name)]) == 0
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name, size in (("a.png", (8, 8)), ("b.jpg", (20, 16)), ("c.png", (8, 8))):
        pixels = rng.integers(0, 256, (*size[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.png").write_text("text")
    return tmp_path


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_training_shows_input_output_and_target(runs):
    batch = 2 * 8 + 2 + 16  # two real images a row, and a gap
    pix, cycle = (pixels(runs / n / "samples" / "00000001.png").shape for n in ("pix", "cycle"))
    assert pix == (2 * 8 + 2, batch + 3 * 8 + 4)
    assert cycle == (2 * 8 + 2, batch + 6 * 8 + 10)


def test_files_and_folders(runs, place, capsys):
    run = str(runs / "pix")
    assert main(["translate", run, "photos/a.png", "out.png"]) == 0
    assert main(["translate", run, "photos", "out"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"out.png: 1 image translated by {run}",
        f"out: 3 images translated by {run}",
    ]
    assert sorted(path.name for path in (place / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    # A file's output does not depend on its neighbours.
    np.testing.assert_array_equal(pixels("out.png"), pixels("out/a.png"))
    assert pixels("out/b.png").shape == (8, 8)


def test_samples_are_a_row_of_different_outputs(runs, place):
    run = str(runs / "pix")
    assert main(["translate", run, "photos/a.png", "row.png", "--samples", "3"]) == 0
    assert pixels("row.png").shape == (8, 3 * 8 + 4)
    image = pixels("photos/a.png")[None]
    made = jaxgan.open(run).translate(image, samples=3)
    assert made.shape == (1, 3, 8, 8, 1)
    np.testing.assert_array_equal(pixels("row.png")[:, :8], made[0, 0, :, :, 0])
    assert (made[0, 0] != made[0, 1]).any()
    np.testing.assert_array_equal(jaxgan.open(run).translate(image, samples=2), made[:, :2])
    assert (jaxgan.open(run).translate(image, samples=3, seed=1) != made).any()


def test_directions(runs, place):
    run = jaxgan.open(runs / "cycle")
    image = pixels("photos/a.png")[None]
    there, back = (run.translate(image, direction=way) for way in ("AtoB", "BtoA"))
    assert (there != back).any()
    np.testing.assert_array_equal(there, run.translate(image))
    assert (
        main(["translate", str(runs / "cycle"), "photos/a.png", "x.png", "--direction", "BtoA"])
        == 0
    )
    np.testing.assert_array_equal(pixels("x.png"), back[0, 0, :, :, 0])


def test_uses_draw_from_the_data_what_they_are_not_given(runs, place, capsys):
    cycle = ["apply", str(runs / "cycle"), "cycle", "--num", "3"]
    assert main([*cycle, "--out", "all.png"]) == 0
    assert pixels("all.png").shape == (3 * 8 + 4, 6 * 8 + 10)
    assert main([*cycle, "--input", "photos", "--out", "mine"]) == 0
    names = sorted(path.name for path in (place / "mine").iterdir())
    assert names[::4] == ["a_back_a.png", "b_back_a.png", "c_back_a.png"]
    assert main(["apply", str(runs / "cycle"), "AtoB", "--input", "photos", "--out", "b"]) == 0
    assert main(["translate", str(runs / "cycle"), "photos", "out"]) == 0
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(pixels(f"b/{name}.png"), pixels(f"out/{name}.png"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["translate"], "no RUN INPUT OUT given"),
        (["translate", "pix"], "no INPUT OUT given"),
        (["translate", "pix", "photos"], "no OUT given"),
        (["translate", "nothing", "photos", "x"], "nothing does not exist"),
        (["translate", "pix", "nothing", "x"], "INPUT is nothing, which does not exist"),
        (["translate", "pix", "empty", "x"], "holds no images in .png"),
        (["translate", "pix", "notes.png", "x.png"], "found no image but b'text'"),
        (["translate", "pix", "photos", "x.png"], "give a folder, as INPUT is one"),
        (["translate", "pix", "photos", "photos"], "exists already"),
        (["translate", "pix", "photos/a.png", "x.gif"], "give a .png"),
        (["translate", "pix", "photos/a.png", "far/x.png"], "there is no folder far"),
        (["translate", "pix", "photos/a.png", "photos/a.png"], "which is INPUT"),
        (["translate", "pix", "photos/a.png", "x.png", "--samples", "0"], "at least 1"),
        (["translate", "pix", "photos/a.png", "x.png", "--seed", "-1"], "0 to 2^32 - 1"),
        (["translate", "pix", "photos/a.png", "x.png", "--direction", "BtoA"], "AtoB only"),
        (["translate", "pix", "photos/a.png", "x.png", "--direction", "AB"], "AtoB only, not 'AB'"),
        (["sample", "pix", "--out", "x.png"], "use `jaxgan translate`"),
        (["sample", "pix", "--interpolate", "8", "--out", "x.gif"], "use `jaxgan translate`"),
        (["sample", "pix", "--attention", "--out", "x.png"], "use `jaxgan translate`"),
        (["export", "pix", "--out", "x"], "cannot 'generate': it has AtoB"),
        (["train", "pix.py", "--data", "digits"], "digits holds images alone"),
        (["train", "pix.py", "--data", "unpaired:digits,digits"], "which images belong together"),
        (["train", "pix.py", "--data", "pairs:photos"], "8x8x1"),
        (["train", "pix.py", "--evaluate.every", "1"], "not scored while it trains"),
        (["train", "pix.py", "--jitter", "4"], "--jitter 4: expected the height"),
        (["train", "cycle.py", "--data", "digits"], "or unpaired:DATA,DATA"),
        (["train", "cycle.py", "--data", "unpaired:digits"], "two data sets with a comma"),
    ],
)
def test_mistakes_are_told_in_one_line(runs, place, capsys, arguments, expected):
    for name in ("pix", "cycle", "pix.py", "cycle.py"):
        (place / name).symlink_to(runs / name)
    before = sorted(place.rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err
    assert [p for p in sorted(place.rglob("*")) if "__pycache__" not in str(p)] == before


def test_info_tells_what_goes_in(runs, capsys):
    assert main(["info", str(runs / "cycle")]) == 0
    out = capsys.readouterr().out
    assert "generator_ab" in out
    assert "learns from input (image 8x8x1)" in out
    assert main(["info", str(runs / "cycle"), "--json"]) == 0
    uses = json.loads(capsys.readouterr().out)["uses"]
    assert list(uses) == ["cycle", "AtoB", "BtoA"]
    assert uses["AtoB"]["takes"] == {"input": {"field": "image 8x8x1", "from": "data"}}
    assert uses["AtoB"]["gives"] == {"image": "image 8x8x1"}
