"""jaxgan sample: classes by name, styles, attention; mistakes are tested in test_errors.py, too."""

import json

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan.cli import main, sample
from jaxgan.latent.mixing import mix

PETS = """
from jaxgan import Data, Experiment, Mesh
from jaxgan.systems.sngan import SNGAN
config = Experiment(
    system=SNGAN(shape=(8, 8, 3), classes=2, generator_channels=(8, 8), halvings=1,
                 discriminator_channels=(8, 8), latent=4),
    data=Data(source="pets"), batch=4, steps=1, mesh=Mesh(data=1))
"""

STYLES = """
from jaxgan import Data, Experiment, Mesh
from jaxgan.systems.stylegan2 import StyleGAN2
config = Experiment(
    system=StyleGAN2(shape=(8, 8, 1), latent=6, width=64, max_channels=8, mapping_layers=2,
                     ema_decay=0.9),
    data=Data(source="digits"), batch=4, steps=1, mesh=Mesh(data=1))
"""

ATTENTION = """
from jaxgan import Data, Experiment, Mesh
from jaxgan.systems.sagan import SAGAN
config = Experiment(
    system=SAGAN(shape=(16, 16, 3), width=8, latent=4),
    data=Data(source="digits", resize=True), batch=4, steps=1, mesh=Mesh(data=1))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "pets" / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "pets" / name / f"{index}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in (("pet", PETS), ("style", STYLES), ("look", ATTENTION)):
            (folder / f"{name}.py").write_text(text)
            assert main(["train", f"{name}.py", "--out", name]) == 0
    return folder


@pytest.fixture(autouse=True)
def at(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pet", "style", "look"):
        (tmp_path / name).symlink_to(runs / name)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_classes_have_names(tmp_path, capsys):
    (tmp_path / "dog").mkdir()  # no folder is meant
    assert main(["sample", "pet", "--label", "dog", "--num", "3", "--out", "dogs.npz"]) == 0
    assert main(["sample", "pet", "--labels", "dog,0", "--num", "3", "--out", "both.npz"]) == 0
    assert main(["apply", "pet", "generate", "--label", "dog", "cat", "--out", "two.npz"]) == 0
    assert main(["sample", "pet", "--label", "dog", "--num", "2", "--out", "files"]) == 0
    run = jaxgan.open("pet")
    with np.load("dogs.npz") as dogs, np.load("both.npz") as both, np.load("two.npz") as two:
        assert list(dogs["labels"]) == [1, 1, 1]
        assert list(both["labels"]) == [1, 0, 1]
        assert list(two["label"]) == [1, 0]
        np.testing.assert_array_equal(dogs["images"], run.sample(3, label="dog"))
        np.testing.assert_array_equal(dogs["images"], run.sample(3, label=1))
        np.testing.assert_array_equal(both["images"], run.sample(3, labels=["dog", "cat", 1]))
        np.testing.assert_array_equal(two["image"], both["images"][:2])
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [
        "000000_label1.png",
        "000001_label1.png",
    ]
    assert main(["sample", "pet", "--label", "dogg", "--out", "x.png"]) == 2
    assert "2 classes, 0 to 1 (cat, dog); did you mean dog?" in capsys.readouterr().err
    with pytest.raises(jaxgan.UserError, match="label: no class 2: there are 2 classes"):
        run.sample(3, label=2)
    assert main(["info", "pet"]) == 0
    assert "label: 0 cat, 1 dog" in capsys.readouterr().out
    assert main(["info", "pet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"label": ["cat", "dog"]}


def test_numbers_of_one_item_may_stand_apart(tmp_path):
    given = ["sample", "pet", "--num", "3", "--out"]
    assert main([*given, "a.npz", "--z", "0.5", "-1", "2", "0"]) == 0
    assert main([*given, "b.npz", "--z", "0.5,-1,2,0"]) == 0
    assert main([*given, "c.npz", "--z", "0.5,-1,2,0", "0,0,0,0", "1,1,1,1"]) == 0
    one, same, three = (np.load(tmp_path / f"{name}.npz")["images"] for name in "abc")
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(three[0], one[0])  # equal labels: they are drawn by number
    assert (three[1] != one[1]).any()


def test_styles_are_mixed_and_brought_nearer_to_their_average(capsys):
    assert (
        main(["sample", "style", "--mix", "3", "--num", "2", "--psi", "0.5", "--out", "m.png"]) == 0
    )
    run = jaxgan.open("style")
    table = mix(run, 2, other=3, psi=0.5)
    assert pixels("m.png").shape == (7 * 8 + 12, 3 * 8 + 4)
    np.testing.assert_array_equal(pixels("m.png")[10:18, :8], table[1, 0, :, :, 0])
    assert main(["sample", "style", "--num", "2", "--psi", "0.5", "--out", "p.npz"]) == 0
    # Styles are kept, and images made of them.
    assert main(["apply", "style", "style", "--num", "2", "--psi", "0.5", "--out", "w.npz"]) == 0
    assert main(["apply", "style", "synthesize", "--style", "w.npz", "--out", "i.npz"]) == 0
    with np.load("p.npz") as sampled, np.load("i.npz") as made:
        np.testing.assert_allclose(sampled["images"].astype(int), made["image"].astype(int), atol=1)
    assert main(["sample", "style", "--psi", "3", "--out", "x.png"]) == 2
    assert "psi: 3 is too far: it goes from 0 to 2" in capsys.readouterr().err
    assert main(["apply", "style", "style", "--out", "x.png"]) == 2
    assert "style cannot be seen; give an .npz" in capsys.readouterr().err
    table = ["sample", "style", "--table", "z", "psi", "--sweep", "0", "1", "--num", "3"]
    assert main([*table, "--out", "t.png"]) == 0
    # At psi 0 all rows are the average.
    np.testing.assert_array_equal(pixels("t.png")[:8, :8], pixels("t.png")[10:18, :8])


def test_attention_stands_beside_images():
    sample = ["sample", "look", "--num", "2", "--out"]
    assert main([*sample, "look.png", "--attention"]) == 0
    assert pixels("look.png").shape == (2 * 16 + 2, 16 + 2 + 5 * 16, 3)
    assert main([*sample, "plain.npz"]) == 0
    with np.load("plain.npz") as plain:
        np.testing.assert_array_equal(pixels("look.png")[:16, :16], plain["images"][0])


def test_a_folder_is_drawn_in_portions(tmp_path, monkeypatch):
    assert main(["sample", "pet", "--num", "7", "--labels", "cat,dog", "--out", "all.npz"]) == 0
    monkeypatch.setattr(sample, "_PORTION", 3)
    assert main(["sample", "pet", "--num", "7", "--labels", "cat,dog", "--out", "each"]) == 0
    whole = np.load("all.npz")
    assert whole["classes"].tolist() == ["cat", "dog"]
    files = sorted((tmp_path / "each").iterdir())
    assert [file.stem for file in files] == [f"{n:06d}_label{n % 2}" for n in range(7)]
    for image, file in zip(whole["images"], files, strict=True):
        np.testing.assert_array_equal(image, pixels(file))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num", "1e9", "--out", "x.npz"], "--num is 1,000,000,000: x.npz of so many would be"),
        (["--num", "nan", "--out", "x.png"], "--num is nan: it must be a whole number"),
        (["--seed", "1.5", "--out", "x.png"], "--seed is 1.5: it must be a whole number"),
        (["--truncation", "nan", "--out", "x.png"], "--truncation is nan: it must be finite"),
        (["--truncation", "-1", "--out", "x.png"], "--truncation is -1: it must be above 0"),
        (["--interpolate", "-5", "--out", "x.gif"], "--interpolate is -5: it must be at least 1"),
        (["--table", "z", "--out", "x.png"], "--table has too few values: give 2"),
        (["--z", "--out", "x.png"], "--z has no value: give normal 4"),
    ],
)
def test_numbers_that_cannot_be_are_told_in_one_line(capsys, options, said):
    assert main(["sample", "pet", *options]) == 2
    assert capsys.readouterr().err.startswith(f"jaxgan: error: {said}")
