"""jaxgan edit, and sample --size: a tiny run of one image, and what a user gets wrong."""

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan.cli import main
from jaxgan.latent.one_image import edit, reconstruct

CONFIG = """
from jaxgan import Data, Experiment, Log, Mesh
from jaxgan.systems.singan import SinGAN
config = Experiment(
    system=SinGAN(shape=(18, 22, 3), shortest=12, factor=0.5, width=4, iterations=2, updates=1,
                  learning_rate=0.05),
    data=Data(source="image:photo.png", resize=True), batch=1, steps=6, mesh=Mesh(data=1),
    log=Log(samples=6, grid=2))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edit")
    rng = np.random.default_rng(0)
    for name in ("photo", "pasted"):
        Image.fromarray(rng.integers(0, 256, (36, 44, 3), np.uint8)).save(folder / f"{name}.png")
    mask = np.zeros((36, 44), np.uint8)
    mask[2:8, 2:8] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "notes.png").write_text("text")
    (folder / "singan.py").write_text(CONFIG)
    (folder / "points.py").write_text(
        "from tests.toys import TinyGAN\nfrom jaxgan import *\n"
        "config = Experiment(system=TinyGAN(), data=Data(source='ring'), steps=1, "
        "mesh=Mesh(data=1))"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("singan", "points"):
            assert main(["train", f"{name}.py", "--out", name]) == 0
    return folder


@pytest.fixture(autouse=True)
def at(folder, monkeypatch):
    monkeypatch.chdir(folder)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_of_other_sizes(capsys):
    sample = ["sample", "singan", "--num", "2"]
    assert main([*sample, "--size", "24x50", "--out", "wide.png"]) == 0
    assert pixels("wide.png").shape == (24, 2 * 50 + 2, 3)
    run = jaxgan.open("singan")
    images = run.sample(3, size=(24, 50))
    np.testing.assert_array_equal(pixels("wide.png")[:, :50], images[0])
    assert (images[0] != images[1]).any()
    assert main([*sample, "--out", "plain.png"]) == 0
    assert pixels("plain.png").shape == (18, 2 * 22 + 2, 3)
    # Of the trained size, it is what there is without.
    np.testing.assert_array_equal(run.sample(2, size=(18, 22)), run.sample(2))


@pytest.mark.parametrize("task", ["harmonise", "edit", "paint"])
def test_an_image_is_injected(task, capsys):
    assert main(["edit", "singan", "pasted.png", "out.png", "--task", task]) == 0
    assert capsys.readouterr().out == f"out.png: {task} of pasted.png by singan\n"
    run, image = jaxgan.open("singan"), pixels("pasted.png")
    assert pixels("out.png").shape == (18, 22, 3)
    np.testing.assert_array_equal(pixels("out.png"), edit(run, image, task))
    at_1, at_2 = (edit(run, image, task, scale=scale) for scale in (1, 2))
    assert (at_1 != at_2).any()
    assert (edit(run, image, task, scale=1, seed=1) != at_1).any()
    assert (edit(run, 255 - image, task, scale=1) != at_1).any()


def test_outside_of_a_mask_an_image_stays():
    command = ["edit", "singan", "pasted.png", "masked.png", "--task", "harmonise"]
    assert main([*command, "--mask", "mask.png"]) == 0
    given = jaxgan.data.Fit(shape=(18, 22, 3), resize=True)(pixels("pasted.png"))
    made = pixels("masked.png")
    np.testing.assert_array_equal(made[8:, 8:], given[8:, 8:])
    assert (made[1:4, 1:4] != given[1:4, 1:4]).any()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_where_a_mask_is_transparent_an_image_stays(mode):
    """White strokes on a transparent layer are the mask that they are on black."""
    with Image.open("mask.png") as opaque:
        layer = Image.new(mode, opaque.size, (0,) * len(mode))
        layer.paste((255,) * len(mode), mask=opaque)
    layer.save("layer.png")
    command = ["edit", "singan", "pasted.png"]
    for name in ("mask", "layer"):
        how = ["--task", "harmonise", "--mask", f"{name}.png"]
        assert main([*command, f"of_{name}.png", *how]) == 0
    np.testing.assert_array_equal(pixels("of_layer.png"), pixels("of_mask.png"))


def test_a_mask_that_marks_nothing_is_refused(capsys):
    Image.new("RGBA", (44, 36), (255, 255, 255, 0)).save("unmarked.png")
    command = ["edit", "singan", "pasted.png", "x.png", "--task", "edit", "--mask", "unmarked.png"]
    assert main(command) == 2
    assert "the mask marks nothing" in capsys.readouterr().err


def test_an_image_gets_larger():
    command = ["edit", "singan", "photo.png", "large.png", "--task", "superres"]
    assert main([*command, "--factor", "1.5"]) == 0
    assert pixels("large.png").shape == (54, 66, 3)  # of its own size


def test_an_animation():
    command = ["edit", "singan", "photo.png", "moving.gif", "--task", "animate", "--frames", "4"]
    assert main(command) == 0
    with Image.open("moving.gif") as gif:
        assert (gif.n_frames, gif.size) == (4, (22, 18))
    run = jaxgan.open("singan")
    frames = edit(run, pixels("photo.png"), "animate", scale=0, frames=2, alpha=1.0)
    np.testing.assert_array_equal(frames[0], reconstruct(run))
    np.testing.assert_array_equal(frames[0], frames[1])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["edit"], "no RUN IMAGE OUT given"),
        (["edit", "singan", "photo.png", "x.png"], "--task"),
        (["edit", "singan", "photo.png", "x.png", "--task", "melt"], "melt"),
        (["edit", "singan", "photo.png", "x.gif", "--task", "paint"], "paint writes a .png"),
        (["edit", "singan", "photo.png", "x.png", "--task", "animate"], "writes a .gif"),
        (["edit", "singan", "nothing.png", "x.png", "--task", "paint"], "nothing.png is no file"),
        (["edit", "singan", "notes.png", "x.png", "--task", "paint"], "found no image"),
        (["edit", "singan", "photo.png", "far/x.png", "--task", "paint"], "no folder far"),
        (["edit", "points", "photo.png", "x.png", "--task", "paint"], "TinyGAN in points did not"),
        (["edit", "nothing", "photo.png", "x.png", "--task", "paint"], "nothing does not exist"),
        (
            ["edit", "singan", "photo.png", "x.png", "--task", "paint", "--scale", "3"],
            "paint has 1 to 2 in this run",
        ),
        (
            ["edit", "singan", "photo.png", "x.png", "--task", "edit", "--scale", "0"],
            "edit has 1 to 2",
        ),
        (
            ["edit", "singan", "photo.png", "x.png", "--task", "paint", "--mask", "mask.png"],
            "paint takes no mask",
        ),
        (
            ["edit", "singan", "photo.png", "x.png", "--task", "superres", "--factor", "1"],
            "--factor is 1: it must be above 1 and at most 16",
        ),
        (
            ["edit", "singan", "photo.png", "x.png", "--task", "superres", "--scale", "1"],
            "superres takes no scale",
        ),
        (["sample", "singan", "--size", "wide", "--out", "x.png"], "such as 64x192"),
        (["sample", "singan", "--size", "2x2", "--out", "x.png"], "too small"),
        (
            ["sample", "points", "--size", "64x64", "--out", "x.png"],
            "generate of TinyGAN in points takes z, not size",
        ),
        (["sample", "singan", "--size", "20x20", "--psi", "1", "--out", "x.png"], "size, not psi"),
        (
            ["sample", "singan", "--interpolate", "8", "--size", "20x20", "--out", "x.gif"],
            "without --truncation",
        ),
        (
            ["export", "singan", "--use", "enlarge", "--out", "x"],
            "takes image of any size",
        ),
        (["translate", "singan", "photo.png", "x.png"], "translates no images"),
    ],
)
def test_mistakes_are_told_in_one_line(folder, capsys, arguments, expected):
    before = sorted(folder.rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err
    assert sorted(folder.rglob("*")) == before
