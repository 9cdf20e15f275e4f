"""Systems of one's own on the command line: whatever fields they have, no command knows them."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan.cli import main
from jaxgan.fields.video import read_clip
from jaxgan.latent.table import table

TOY = '''
"""Moves a red ball or a blue cube as a sentence says, and marks where it is."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxgan import Data, Experiment, Log, Mesh, Player, Stage, System, Use, losses
from jaxgan.fields import Clip, FromData, Mask, Normal, Text, Uniform


def encode(sentences):
    """Which of four words each sentence has."""
    known = ("red", "blue", "ball", "cube")
    return np.array([[w in each.split() for w in known] for each in sentences], np.float32)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, text, *, train):
        h = nn.relu(nn.Dense(32)(jnp.concatenate([z, text], -1)))
        clip = nn.tanh(nn.Dense(3 * 8 * 8 * 3)(h)).reshape(-1, 3, 8, 8, 3)
        return clip, nn.softmax(nn.Dense(8 * 8 * 2)(h).reshape(-1, 8, 8, 2))


class Judge(nn.Module):
    @nn.compact
    def __call__(self, clip, mask, text, *, train):
        seen = [x.reshape(len(text), -1) for x in (clip, mask, text)]
        return nn.Dense(1)(nn.relu(nn.Dense(16)(jnp.concatenate(seen, -1))))[:, 0]


@dataclasses.dataclass(frozen=True)
class Speed:
    speed: int = 1
    """How many frames are passed over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(System):
    learning_rate: float = 0.01

    def made(self):
        return {"clip": Clip((3, 8, 8, 3)), "mask": Mask((8, 8, 2))}

    def told(self):
        return {"text": Text((4,), encode=encode)}

    def data(self):
        return ({**self.made(), **self.told()},)

    def networks(self):
        return {"generator": Generator(), "judge": Judge()}

    def inputs(self):
        fields = {**self.made(), **self.told()}
        text = fields["text"].zeros()
        return {
            "generator": (jnp.zeros((1, 4)), text),
            "judge": tuple(field.zeros() for field in fields.values()),
        }

    def fake(self, view, batch, key):
        z = view.draw({"z": Normal((4,))}, key, len(batch["text"]))["z"]
        return view("judge", *view("generator", z, batch["text"]), batch["text"])

    def judge_loss(self, view, batch, key):
        real = view("judge", batch["clip"], batch["mask"], batch["text"])
        return losses.hinge.discriminator(real, self.fake(view, batch, key)), {}

    def stages(self):
        adam = optax.adam(self.learning_rate)

        def fool(view, batch, key):
            return losses.hinge.generator(self.fake(view, batch, key)), {}

        judge = Player(name="judge", owns=("judge",), loss=self.judge_loss, optimizer=adam)
        generator = Player(
            name="generator", owns=("generator",), loss=fool, optimizer=adam, reuse=True
        )
        return (Stage(players=(judge, generator)),)

    def uses(self):
        def generate(view, taken, keys, options):
            clip, mask = view("generator", taken["z"], taken["text"])
            return {"clip": clip[:, :: options.speed], "mask": mask}

        def shift(view, taken, keys, options):
            return {"mask": jnp.roll(taken["mask"], 1, 1)}

        return {
            "generate": Use(
                call=generate,
                takes={"z": Normal((4,)), "text": FromData(column="text")},
                gives=lambda options, resolution: {
                    "clip": Clip((-(-3 // options.speed), 8, 8, 3)),
                    "mask": Mask((8, 8, 2)),
                },
                options=Speed(),
                summary="moves what a sentence says",
            ),
            "shift": Use(
                call=shift,
                takes={"mask": Mask((8, 8, 2)), "seed": Uniform((2,))},
                gives={"mask": Mask((8, 8, 2))},
            ),
        }


rng = np.random.default_rng(0)
sentences = ["a red ball", "a blue cube"] * 8
config = Experiment(
    system=Toy(),
    data=Data(
        source={
            "clip": rng.integers(0, 256, (16, 3, 8, 8, 3), np.uint8),
            "mask": rng.integers(0, 2, (16, 8, 8, 1), np.uint8),
            "text": sentences,
        }
    ),
    batch=8,
    steps=2,
    mesh=Mesh(data=1),
    log=Log(grid=16),
)
'''


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.py").write_text(TOY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "toy.py", "--out", "run"]) == 0
    return folder


@pytest.fixture(autouse=True)
def at(request, monkeypatch, tmp_path):
    if "toy" in request.fixturenames:
        folder = request.getfixturevalue("toy")
        monkeypatch.chdir(tmp_path)
        for name in ("run", "toy.py"):
            (tmp_path / name).symlink_to(folder / name)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_training_shows_clips_beside_masks(toy):
    film, sample = sorted((toy / "run" / "samples").iterdir())
    with Image.open(film) as clips:  # two clips side by side
        assert (film.suffix, clips.n_frames, clips.size) == (".gif", 3, (8 + 2 + 8, 8))
    events = b"".join(path.read_bytes() for path in (toy / "run").glob("events*"))
    assert events.count(b"GIF89a") == 1
    # Two examples: three frames, and a mask; then the same of the data; before them the batch.
    batch = 24 + 2 + 8 + 16
    assert pixels(sample).shape == (8 + 2 + 8, batch + 24 + 2 + 8 + 2 + 24 + 2 + 8, 3)


def test_info_says_what_it_takes_and_gives(toy, capsys):
    assert main(["info", "run", "--json"]) == 0
    uses = json.loads(capsys.readouterr().out)["uses"]
    assert uses["generate"] == {
        "summary": "moves what a sentence says",
        "takes": {
            "z": {"field": "normal 4", "from": "random"},
            "text": {"field": "text 4", "from": "data"},
        },
        "gives": {"clip": "clip 3x8x8x3", "mask": "mask 8x8x2"},
        "options": {"speed": {"default": 1, "help": "How many frames are passed over."}},
    }
    assert main(["info", "toy.py"]) == 0
    assert "How many frames are passed over." in capsys.readouterr().out


def test_help_lists_what_a_use_takes(toy, capsys):
    for command in (["sample", "run"], ["apply", "run", "generate"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        out = " ".join(capsys.readouterr().out.split())
        assert "--text" in out
        assert "text 4; drawn from the data" in out
        assert "normal 4; drawn at random" in out
        assert "How many frames are passed over." in out
        assert "--truncation" in out
    with pytest.raises(SystemExit):
        main(["apply", "run", "shift", "--help"])
    out = capsys.readouterr().out
    assert "mask 8x8x2; must be given" in out
    assert "--take-seed" in out
    assert "--truncation" not in out


def test_samples_of_a_sentence(toy, tmp_path, capsys):
    sample = ["sample", "run", "--text", "a red ball", "--num", "3", "--out"]
    assert main([*sample, "made"]) == 0
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == [f"{row:06d}_{field}" for row in range(3) for field in ("clip.gif", "mask.png")]
    with Image.open(tmp_path / "made" / "000000_clip.gif") as clip:
        assert (clip.n_frames, clip.size) == (3, (8, 8))
    assert main([*sample, "made.npz"]) == 0
    with np.load("made.npz") as file:
        assert {name: (x.shape, x.dtype) for name, x in file.items()} == {
            "clip": ((3, 3, 8, 8, 3), np.uint8),
            "mask": ((3, 8, 8, 1), np.uint8),
        }
        assert set(np.unique(file["mask"])) <= {0, 1}
        np.testing.assert_array_equal(
            pixels(tmp_path / "made" / "000001_mask.png"), file["mask"][1, ..., 0] * 255
        )
        made = jaxgan.open("run").use("generate", n=3, text="a red ball")
        np.testing.assert_array_equal(made["clip"], file["clip"])
    assert main([*sample, "made.png"]) == 0
    assert pixels("made.png").shape == (3 * 8 + 2 * 2, 24 + 2 + 8, 3)
    assert main([*sample, "fast.gif", "--speed", "2"]) == 0
    with Image.open("fast.gif") as clips:
        assert (clips.n_frames, clips.size) == (2, (2 * 8 + 2, 2 * 8 + 2))
    assert main([*sample, "made.webp"]) == 0
    assert main([*sample, "made.mp4"]) == 0
    np.testing.assert_array_equal(  # without loss
        read_clip("made.webp")[:, :8, 10:18], made["clip"][1]
    )
    assert read_clip("made.mp4").shape == (3, 18, 18, 3)
    assert "3 samples of run" in capsys.readouterr().out
    assert main([*sample, "walk.gif", "--interpolate", "4"]) == 2
    assert "draws clips, of which there are no walks" in capsys.readouterr().err


def test_several_sentences_are_rows(toy):
    both = ["--text", "a red ball", "a blue cube", "--out"]
    assert main(["apply", "run", "generate", *both, "both.npz"]) == 0
    assert main(["sample", "run", "--num", "4", *both, "turns.npz"]) == 0
    run = jaxgan.open("run")
    with np.load("both.npz") as file, np.load("turns.npz") as turns:
        assert len(file["clip"]) == 2
        made = run.use("generate", n=2, text=["a red ball", "a blue cube"])
        np.testing.assert_array_equal(file["clip"], made["clip"])
        np.testing.assert_array_equal(turns["clip"][:2], made["clip"])
        assert len(turns["clip"]) == 4


def test_arrays_and_numbers_are_given_too(toy, tmp_path):
    z = np.arange(8, dtype=np.float32).reshape(2, 4) / 8
    np.savez(tmp_path / "z.npz", z=z)
    apply = ["apply", "run", "generate", "--text", "a red ball", "--out"]
    assert main([*apply, "a.npz", "--z", "z.npz"]) == 0
    assert main([*apply, "b.npz", "--z", "0,0.125,0.25,0.375", "0.5 0.625 0.75 0.875"]) == 0
    assert main([*apply, "c.npz", "--z=-1,0,1,0"]) == 0
    assert main([*apply, "d.npz", "--num", "2", "--truncation", "0.1"]) == 0
    with np.load("a.npz") as a, np.load("b.npz") as b:
        np.testing.assert_array_equal(a["clip"], b["clip"])
        made = jaxgan.open("run").use("generate", n=2, z=z, text="a red ball")
        np.testing.assert_array_equal(a["clip"], made["clip"])


def test_files_of_a_folder_keep_their_names(toy, tmp_path):
    sample = ["sample", "run", "--text", "a red ball", "--num", "3"]
    assert main([*sample, "--out", "made"]) == 0
    (tmp_path / "masks").mkdir()
    for row, name in enumerate(("b", "a", "c")):
        (tmp_path / "made" / f"{row:06d}_mask.png").rename(tmp_path / "masks" / f"{name}.png")
    shift = ["apply", "run", "shift", "--mask"]
    assert main([*shift, "masks", "--out", "shifted"]) == 0
    assert main([*shift, "masks/b.png", "--take-seed", "0,1", "--out", "one.png"]) == 0
    assert sorted(path.name for path in (tmp_path / "shifted").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
    ]
    for name in ("a", "b", "c"):
        before, after = pixels(f"masks/{name}.png"), pixels(f"shifted/{name}.png")
        np.testing.assert_array_equal(np.roll(before, 1, 0), after)
    both = [pixels("masks/b.png"), np.full((8, 2), 255), pixels("shifted/b.png")]
    np.testing.assert_array_equal(pixels("one.png"), np.concatenate(both, 1))


def test_an_exported_use_needs_no_jaxgan(toy):
    assert main(["export", "run", "--use", "generate", "--out", "toy.stablehlo"]) == 0
    with open("toy.stablehlo", "rb") as file:
        program = jax.export.deserialize(bytearray(file.read()))
    run = jaxgan.open("run")
    taken = run.draw("generate", {"text": np.eye(4, dtype=np.float32)[:2]}, numbers=2)
    made = program.call(taken, np.arange(2, dtype=np.uint32))
    expected = run.apply("generate", taken, numbers=2).made
    assert set(made) == {"clip", "mask"}
    for name, each in made.items():
        np.testing.assert_allclose(each, expected[name], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["apply"], "no RUN USE given"),
        (["apply", "run"], "no USE given: run has generate, shift"),
        (["apply", "nothing", "generate"], "nothing does not exist"),
        (["apply", "run", "generat", "--out", "x.png"], "did you mean generate?"),
        (["apply", "run", "generate"], "--out"),
        (
            ["apply", "run", "generate", "--out", "x.png"],
            "generate needs text: give it, for the data: they were given in Python (dict), and a",
        ),
        (["sample", "run", "--out", "x.png"], "generate needs text"),
        (["apply", "run", "shift", "--out", "x.png"], "shift needs mask (mask 8x8x2): give it"),
        (
            ["apply", "run", "shift", "--mask", "no.png", "--out", "x.png"],
            "mask: no.png is no file",
        ),
        (["apply", "run", "shift", "--mask", "run", "--out", "x.png"], "holds no files in .png"),
        (["apply", "run", "shift", "--mask", "toy.py", "--out", "x.gif"], "give a .png, an .npz"),
        (["apply", "run", "generate", "--texd", "a", "--out", "x.png"], "did you mean --text?"),
        (
            ["apply", "run", "generate", "--text", "a", "b", "--num", "3", "--out", "x.png"],
            "--text has 2 items for 3",
        ),
        (
            ["apply", "run", "generate", "--text", "a", "--z", "1,2", "--out", "x.png"],
            "z: '1,2' is no normal 4: give its numbers with commas",
        ),
        (
            ["apply", "run", "generate", "--text", "a", "--z", "toy.npz", "--out", "x.png"],
            "toy.npz: no such file",
        ),
        (
            ["apply", "run", "generate", "--text", "a", "--speed", "fast", "--out", "x.png"],
            "--speed",
        ),
        (["apply", "run", "generate", "--text", "a", "--num", "0", "--out", "x.png"], "at least 1"),
        (
            ["apply", "run", "generate", "--text", "--out", "x.png"],
            "--text has no value",
        ),
        (
            ["apply", "run", "generate", "--text", "a", "--num", "nan", "--out", "x.png"],
            "--num is nan",
        ),
        (["sample", "run", "--text", "a", "--table", "z", "z", "--out", "x.png"], "name two"),
        (["sample", "run", "--table", "z", "text", "--out", "x.png"], "draws z, not text"),
    ],
)
def test_mistakes_are_told_in_one_line(toy, tmp_path, capsys, arguments, expected):
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err
    assert sorted(tmp_path.rglob("*")) == before


CODES = """
import dataclasses
from jaxgan import Data, Experiment, Mesh
from jaxgan.fields import Label, Uniform
from jaxgan.systems.gan import GAN

@dataclasses.dataclass(frozen=True, kw_only=True)
class Codes(GAN):
    def latents(self):
        return {**super().latents(), "category": Label(classes=3), "code": Uniform((2,))}

    def inputs(self):
        inputs = super().inputs()
        return {**inputs, "generator": inputs["generator"][:1]}

    def make(self, view, taken):
        shade = taken["category"] / 2 - 0.5 + taken["code"][:, 0] / 4 + taken["code"][:, 1] / 8
        return super().make(view, taken) * 0 + shade[:, None, None, None]

config = Experiment(system=Codes(shape=(8, 8, 1), generator_hidden=(8, 8)),
    data=Data(source="digits"), batch=8, steps=1, mesh=Mesh(data=1))
"""


def test_tables_of_codes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "codes.py").write_text(CODES)
    assert main(["train", "codes.py", "--out", "run"]) == 0
    assert "jaxgan sample run --out samples.png" in capsys.readouterr().out
    sample = ["sample", "run", "--out", "x.png", "--table"]
    assert main([*sample, "category", "code", "--num", "5"]) == 0
    assert "category by code of run" in capsys.readouterr().out
    assert pixels("x.png").shape == (3 * 8 + 4, 5 * 8 + 8)
    run = jaxgan.open("run")
    second = run.draw("generate", numbers=1)["code"][0, 1]
    cells = table(run, "category", "code", num=5)
    assert cells.shape == (3, 5, 8, 8, 1)
    shades = (np.arange(3) / 2 - 0.5)[:, None] + np.linspace(-1, 1, 5) / 4 + second / 8
    expected = np.rint((shades + 1) * 127.5).clip(0, 255)
    np.testing.assert_allclose(cells[:, :, 0, 0, 0].astype(float), expected, atol=1)
    np.testing.assert_array_equal(pixels("x.png")[0, :8], cells[0, 0, 0, :, 0])
    # Both numbers of one code, and another sweep of the columns.
    assert main([*sample, "code.0", "code.1", "--sweep", "-2", "2", "--num", "3"]) == 0
    category = run.draw("generate", numbers=1)["category"][0]
    shades = (np.linspace(-1, 1, 3)[:, None] / 4) + np.linspace(-2, 2, 3) / 8 + category / 2 - 0.5
    expected = np.rint((shades + 1) * 127.5).clip(0, 255)
    found = pixels("x.png")[::10, ::10].astype(float)
    np.testing.assert_allclose(found, expected, atol=1)
    for options, message in (
        (["category", "cold"], "did you mean code?"),
        (["category", "code.2"], "they count from 0 to 1"),
        (["category", "code", "--interpolate", "8"], "writes a .gif"),
        (["category", "code", "--mix", "1"], "exclude each other"),
    ):
        assert main([*sample, *options]) == 2
        assert message in capsys.readouterr().err
    assert main(["sample", "run", "--category", "2", "--code", "0,0", "--out", "y.png"]) == 0
    assert set(np.unique(pixels("y.png"))) == {191, 255}
