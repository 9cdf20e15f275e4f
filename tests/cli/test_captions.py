"""A system that draws images of sentences: from a folder with captions to what is typed."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan import data
from jaxgan.cli import main
from jaxgan.errors import UserError
from jaxgan.metrics import regressor
from jaxgan.metrics.base import warn
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.features import from_function
from jaxgan.metrics.images import Stored
from jaxgan.metrics.records import read_records
from jaxgan.run.scored import captioned

TOY = '''
"""Colours of sentences, a toy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxgan import Data, Experiment, Log, Mesh, Player, Stage, System, Use, losses
from jaxgan.fields import FromData, Image, Normal, Text

KNOWN = ("red", "blue", "cat", "cube")


@dataclasses.dataclass(frozen=True)
class Words:
    name: str = "words"

    def __call__(self, sentences):
        found = [[word in each.split() for word in KNOWN] for each in sentences]
        vectors = np.array(found, np.float32) + 0.01
        for vector, sentence in zip(vectors, sentences):
            vector[0] += sum(int(word) for word in sentence.split() if word.isdigit())
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def identity(self):
        return f"{self.name} 1"


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, caption, *, train):
        h = nn.relu(nn.Dense(16)(jnp.concatenate([z, caption], -1)))
        return nn.tanh(nn.Dense(16 * 16 * 3)(h)).reshape(-1, 16, 16, 3)


class Judge(nn.Module):
    @nn.compact
    def __call__(self, image, caption, *, train):
        h = nn.Dense(16)(image.reshape(len(image), -1)) + nn.Dense(16)(caption)
        return nn.Dense(1)(nn.relu(h))[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(System):
    encoder: str = "words"

    def caption(self):
        return Text((4,), encode=Words(self.encoder))

    def data(self):
        return ({"image": Image((16, 16, 3)), "caption": self.caption()},)

    def networks(self):
        return {"generator": Generator(), "judge": Judge()}

    def inputs(self):
        image, caption = Image((16, 16, 3)).zeros(), self.caption().zeros()
        return {"generator": (jnp.zeros((1, 4)), caption), "judge": (image, caption)}

    def fake(self, view, batch, key):
        z = view.draw({"z": Normal((4,))}, key, len(batch["caption"]))["z"]
        return view("judge", view("generator", z, batch["caption"]), batch["caption"])

    def stages(self):
        adam = optax.adam(0.01)

        def tell(view, batch, key):
            real = view("judge", batch["image"], batch["caption"])
            return losses.hinge.discriminator(real, self.fake(view, batch, key)), {}

        def fool(view, batch, key):
            return losses.hinge.generator(self.fake(view, batch, key)), {}

        judge = Player(name="judge", owns=("judge",), loss=tell, optimizer=adam)
        generator = Player(
            name="generator", owns=("generator",), loss=fool, optimizer=adam, reuse=True
        )
        return (Stage(players=(judge, generator)),)

    def uses(self):
        def generate(view, taken, keys, options):
            return {"image": view("generator", taken["z"], taken["caption"])}

        return {
            "generate": Use(
                call=generate,
                takes={"z": Normal((4,)), "caption": FromData(column="caption")},
                gives={"image": Image((16, 16, 3))},
            )
        }


config = Experiment(
    system=Toy(), data=Data(source="photos"), batch=4, steps=2, mesh=Mesh(data=1), log=Log(grid=4)
)
'''

ENTRIES = [
    ("0.png", "a red cat"),
    ("1.png", ["a blue cube", "something blue", " "]),
    ("2.png", ("ein roter Würfel", "赤い 立方体")),
    ("3.png", ""),
]


def photos(folder, entries=ENTRIES):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name in range(len(entries)):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{name}.png")
    lines = (json.dumps({"file_name": name, "text": text}) + "\n" for name, text in entries)
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.py").write_text(TOY)
    photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "toy.py", "--out", "run"]) == 0
    return folder


@pytest.fixture(autouse=True)
def at(toy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "toy.py", "photos"):
        (tmp_path / name).symlink_to(toy / name)


def images(place):
    with np.load(place) as file:
        return file["images"]


def test_a_run_knows_its_captions_and_their_encoder(toy, capsys):
    about = json.loads((toy / "run" / "data.json").read_text())["fields"]
    assert about == {"image": {}, "caption": {"encoder": "words 1"}}
    assert main(["train", "toy.py", "--out", "again", "--steps", "1"]) == 0
    out = _err(capsys)
    assert "4 images, 16x16x3, each with its text, 6 sentences" in out
    assert "'text': 1 of 4 have an empty sentence (first: entry 4)" in out


def test_typed_sentences_are_encoded_on_the_spot():
    assert main(["sample", "run", "--caption", "a red cat", "--num", "3", "--out", "a.npz"]) == 0
    assert main(["apply", "run", "generate", "--caption", "a red cat", "--out", "b.npz"]) == 0
    run = jaxgan.open("run")
    made = run.use("generate", n=3, caption="a red cat")["image"]
    np.testing.assert_array_equal(images("a.npz"), made)
    np.testing.assert_array_equal(run.sample(3, caption="a red cat"), made)
    assert (made != run.use("generate", n=3, caption="a blue cube")["image"]).any()
    several = run.use("generate", caption=["a red cat", "a blue cube"])["image"]
    np.testing.assert_array_equal(several[0], made[0])


def test_a_file_of_captions(tmp_path):
    (tmp_path / "lines.txt").write_text("a red cat\n\na blue cube!\n赤い\n", encoding="utf-8")
    assert main(["sample", "run", "--captions", "lines.txt", "--num", "4", "--out", "made"]) == 0
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == [
        "000000_a-red-cat.png",
        "000001_a-blue-cube.png",
        "000002_赤い.png",
        "000003_a-red-cat.png",
    ]
    assert main(["sample", "run", "--captions", "lines.txt", "--num", "6", "--out", "g.png"]) == 0
    with Image.open("g.png") as grid:
        assert grid.size == (3 * 16 + 2 * 2, 2 * 16 + 2)  # a column each
    assert main(["apply", "run", "generate", "--captions", "lines.txt", "--out", "rows"]) == 0
    assert len(list((tmp_path / "rows").iterdir())) == 3
    (tmp_path / "many.txt").write_text("\n".join(f"cat {i}" for i in range(70)))
    assert main(["sample", "run", "--captions", "many.txt", "--out", "many.npz"]) == 0
    assert len(images("many.npz")) == 70


def test_a_walk_between_sentences():
    walk = ["sample", "run", "--caption", "a red cat", "a blue cube", "--interpolate", "8"]
    assert main([*walk, "--num", "2", "--out", "walk.gif"]) == 0
    from jaxgan.latent.walk import walk as frames

    run = jaxgan.open("run")
    made = frames(run, 8, num=2, caption=["a red cat", "a blue cube"])
    ends = [
        run.use("generate", n=2, caption=each)["image"] for each in ("a red cat", "a blue cube")
    ]
    np.testing.assert_array_equal(made[0], ends[0])  # of the same latents
    np.testing.assert_array_equal(made[4], ends[1])
    assert (made[2] != made[0]).any()
    assert (made[2] != made[4]).any()
    np.testing.assert_array_equal(made[2], made[6])  # and back


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--caption", " "], "caption: a sentence is empty: type one"),
        (["--caption", "~ " + "cat " * 3000, ""], "caption: a sentence is empty: type one"),
        (
            ["--captions", "none.txt"],
            "--captions is 'none.txt', which cannot be read (No such file",
        ),
        (["--captions", "empty.txt"], "empty.txt, which has no lines: give one caption a line"),
        (["--captions", "photos/0.png"], "which is no UTF-8 text"),
        (["--captions", "empty.txt", "--caption", "x"], "--caption and --captions exclude"),
        (["--caption", "a", "b", "--interpolate", "1"], "a walk by 2 stops in 1 frames"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("\n \n")
    out = "walk.gif" if "--interpolate" in arguments else "x.npz"
    assert main(["sample", "run", *arguments, "--out", out]) == 2
    error = capsys.readouterr().err.strip()
    assert message in " ".join(error.split())


def test_broken_captions_are_named(tmp_path, capsys):
    photos(tmp_path / "more", [*ENTRIES, ("gone.png", "a cat")])
    assert main(["train", "toy.py", "--data", "more", "--out", "x"]) == 2
    assert "names 1 files of 5 that are not there (first: 'gone.png')" in _err(capsys)
    photos(tmp_path / "more", [*ENTRIES[:3], ("3.png", [])])
    assert main(["train", "toy.py", "--data", "more", "--out", "x"]) == 2
    error = _err(capsys)
    assert "more has no text, the system takes text 4" in error
    assert "'text' is not read, for 1 have none (first: entry 4)" in error


def _err(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_another_encoder_is_refused(toy, capsys):
    run = jaxgan.open("run")
    field = run.takes("generate")["caption"]
    assert field.encoder == "words 1"
    other = field.bind({"encoder": "words 2"})
    with pytest.raises(UserError, match="encoded by words 2, and this is words 1: restore that"):
        other.read("a cat")
    run.data.items("caption", [0])  # of this encoder, and kept
    run.about["caption"] = {"encoder": "words 2"}
    for look in (
        lambda: run.drawn(4, captions=run.source()),
        lambda: captioned(run.experiment, run.source(), (16, 16, 3), run.about),
        lambda: vars(run).pop("data") and run.data,
    ):
        with pytest.raises(UserError, match="encoded by words 2, and this is words 1: restore"):
            look()
    assert main(["train", "toy.py", "--out", "other"]) == 0
    place = Path("other", "data.json")
    place.write_text(place.read_text().replace("words 1", "words 2"))
    assert main(["train", "other", "--steps", "3"]) == 2
    assert "other was trained with caption encoded by words 2, this is words 1" in _err(capsys)


def test_images_of_held_out_captions_are_scored(toy, monkeypatch, capsys):
    monkeypatch.setattr(regressor, "of_data", partial(regressor.of_data, steps=2))
    photos(Path("few"))
    command = ["evaluate", "run", "--metrics", "r_precision", "--num", "120", "--against"]
    assert main([*command, "few"]) == 2
    assert "among 99 others, and there are 3 different ones" in _err(capsys)
    photos(Path("many"), [(f"{n}.png", f"a cat {n}") for n in range(120)])
    assert main([*command, "many"]) == 0
    found = {}
    for line in (toy / "run" / "evaluations.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[record["metric"]] = record["value"]
    assert set(found) == {"r_precision", "r_precision_real"}
    assert all(0 <= value < 0.2 for value in found.values())  # two steps teach next to nothing
    assert len(list((toy / "run").glob("regressor-*"))) == 1


def test_captions_that_were_learned_from_are_told(monkeypatch, capsys, caplog):
    monkeypatch.setattr(regressor, "of_data", partial(regressor.of_data, steps=2))
    told = "learned from these very captions: give --against held-out data"
    for against in ([], ["--against", "photos"]):
        warn.cache_clear()
        caplog.clear()
        assert main(["evaluate", "run", "--metrics", "r_precision", "--num", "8", *against]) == 2
        assert told in caplog.text
    assert "among 99 others, and there are 3 different ones" in _err(capsys)


def test_images_go_round_the_first_sentences_of_the_data():
    run = jaxgan.open("run")
    drawn = run.drawn(9, captions=run.source())
    (batch,) = drawn.batches(9)
    order = np.random.default_rng(0).permutation(4)
    field = run.takes("generate")["caption"]
    firsts = field.accept(["a red cat", "a blue cube", "ein roter Würfel"])
    firsts = [*firsts, run.data.items("caption", [3])[0]]
    expected = np.array(firsts)[[*order, *order, order[0]]]
    np.testing.assert_allclose(batch["text"], expected, rtol=1e-6)
    found = np.asarray(drawn.walk.latents(jax.random.key(0), 50)["caption"])
    assert {tuple(row) for row in found} == {tuple(row) for row in expected}


def test_paths_between_latents_and_captions_have_a_length(toy):
    run = jaxgan.open("run")
    pixels = from_function("means", lambda _, x: x.mean((1, 2)), size=3)
    real = Stored(data.Arrays(np.zeros((4, 16, 16, 3), np.uint8)))
    drawn = run.drawn(4, captions=run.source())
    (record,) = evaluate(drawn, real, "ppl", extractor=pixels)
    assert record.value > 0


def test_a_run_of_captions_is_scored_while_it_trains(monkeypatch, capsys):
    pixels = from_function("means", lambda _, x: x.mean((1, 2)), size=3)
    monkeypatch.setattr("jaxgan.metrics.evaluate.extractor", lambda name, weights: pixels)
    command = ["train", "toy.py", "--out", "scored", "--evaluate.every", "2", "--evaluate.num", "8"]
    assert main([*command, "--evaluate.metrics", "r_precision"]) == 2
    error = _err(capsys)
    assert "but r_precision needs a network that learns to read captions off images" in error
    assert not Path("scored").exists()
    assert main(command) == 0
    (record,) = read_records(Path("scored"))
    assert (record.metric, record.step, record.images) == ("fid", 2, 8)
