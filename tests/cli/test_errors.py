"""What a user gets wrong is answered in one line, with status 2, and nothing is written."""

import fcntl
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.table import Table

from jaxgan.cli import main
from jaxgan.console import Plain, bold

CONFIG = """
from jaxgan import Data, Experiment, Mesh
from jaxgan.systems.sngan import SNGAN
config = Experiment(
    system=SNGAN(shape=(8, 8, 1), classes={classes}, generator_channels=(8, 8), halvings=1,
                 discriminator_channels=(8, 8), latent=4),
    data=Data(source="digits"), batch=8, steps=1, mesh=Mesh(data=1))
"""


@pytest.fixture
def place(tmp_path):
    """A folder with configs and data sets, good and bad."""
    (tmp_path / "tiny.py").write_text(CONFIG.format(classes=10))
    (tmp_path / "plain.py").write_text(CONFIG.format(classes=0))

    def images(folder, sizes):
        (tmp_path / folder).mkdir(parents=True)
        for index, size in enumerate(sizes):
            pixels = np.random.default_rng(index).integers(0, 255, (size, size), np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")

    images("good", [8] * 8)
    images("mixed", [8, 9, 8])
    images("classes/only", [8] * 4)
    images("truncated", [8] * 3)
    whole = (tmp_path / "truncated" / "1.png").read_bytes()
    (tmp_path / "truncated" / "1.png").write_bytes(whole[: len(whole) // 2])
    images("text", [8] * 3)
    (tmp_path / "text" / "2.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").write_text("a file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train"], "no CONFIG|RUN given"),
        (["train", "tinny.py"], "did you mean tiny.py?"),
        (["train", "notes"], "config"),
        (["train", "tiny.py", "--bacth", "4"], "unknown option --bacth; did you mean --batch?"),
        (["train", "tiny.py", "--system.latnt", "4"], "did you mean --system.latent?"),
        (["train", "tiny.py", "--lr", "1"], "did you mean --system.learning-rate?"),
        (["train", "tiny.py", "--epochs=9"], "unknown option --epochs; did you mean --steps?"),
        (["train", "tiny.py", "--image_size", "9"], "did you mean --system.shape?"),
        (["train", "tiny.py", "--gpus", "2"], "did you mean --mesh.data?"),
        (["train", "tiny.py", "--batch", "many"], "--batch"),
        (["train", "tiny.py", "--batch"], "--batch has no value: give one"),
        (["train", "tiny.py", "--batch", "9", "--micro", "2"], "not divisible by 1 devices x 2"),
        (["train", "tiny.py", "--batch", "12", "--mesh.data", "8"], "choose a multiple of 8"),
        (["train", "tiny.py", "--mesh.data", "9"], "there are 8 devices"),
        (["train", "tiny.py", "--system.dtype", "float16"], "float16"),
        (["train", "tiny.py", "stray"], "unexpected argument 'stray'"),
        (["train", "tiny.py", "--data", "missing"], "missing"),
        (["train", "tiny.py", "--data", "mnist5"], "mnist5k"),
        (["train", "plain.py", "--data", "empty"], "empty"),
        (["train", "plain.py", "--data", "truncated"], "1.png"),
        (["train", "plain.py", "--data", "text"], "2.png"),
        (["train", "plain.py", "--data", "mixed"], "--resize"),
        (["train", "tiny.py", "--data", "good"], "good"),
        (["train", "tiny.py", "--data", "classes"], "class"),
        (["train", "tiny.py", "--data", "tfds:mnisst"], "mnist"),
        (["train", "tiny.py", "--data", "mnist5k"], "28x28x1"),
        (["train", "tiny.py", "--system.classes", "7"], "--system.classes 10"),
        (["train", "tiny.py", "--data.workers", "-1"], "at least 0"),
        (
            ["train", "tiny.py", "--system.latent", "0"],
            "--system.latent is 0: it must be at least 1",
        ),
        (["train", "tiny.py", "--system.generator_batch", "0"], "generator_batch is 0: it"),
        (["train", "plain.py", "--data", "good", "--crop", "9"], "--crop None"),
        (["train", "tiny.py", "--out", "other"], "holds no run"),
        (["train", "tiny.py", "--out", "notes/run"], "may write"),
        (["sample", "other", "--out", "x.png"], "holds no run"),
        (["sample", "nothing", "--out", "x.png"], "does not exist"),
        (["sample"], "no RUN given"),
        (["info", "nothing"], "does not exist"),
        (["info", "tinny.py"], "did you mean tiny.py?"),
        (["trian", "tiny.py"], "no command 'trian'; did you mean train?"),
        (["configs", "--folder", "empty"], "no configs"),
        (["configs", "--folder", ""], "--folder is empty: give a file or folder"),
        (["sample", "", "--out", "a.png"], "RUN is empty; usage: jaxgan sample RUN [options]"),
        (["sample", "notes", "--out", "a.png"], "notes is a file: give the folder that"),
        (["export", "notes", "--out", "gs://b/file"], "notes is a file"),
        (["train", "tiny.py", "--out", ""], "--out is empty: give a file or folder"),
        (["train", "tiny.py", "--steps", ""], "--steps is empty: give a number"),
        (["train", "tiny.py", "--data", "x" * 300], f"{'x' * 60}... is longer than names of files"),
        (["train", "tiny.py", "--data.workers", "99999"], "--data.workers is 99,999, and this"),
        (["train", "tiny.py", "--evaluate.metrics", "fdi"], "no metric 'fdi': there are fid"),
        (
            ["train", "tiny.py", "--evaluate.every", "1", "--evaluate.metrics", "lpips"],
            "lpips compares pairs of images: write what the run makes to a folder",
        ),
        (["train", "tiny.py", "--system.latent", "1e9"], "GB of memory: give smaller sizes"),
        (["train", "gan_mnist", "--system.shape", "8,8"], "shape is 8,8: give height x width x"),
        (["train", "gan_mnist", "--system.shape", "8,8,1,1"], "shape is 8,8,1,1: give height x"),
        (["data", "pack", "good", "gs://b/out"], "OUT is gs://b/out: only `jaxgan train` writes"),
        (
            ["data", "pack", "good", "out", "--size", "1e9"],
            "--size is 1000000000: it must be from 1 to",
        ),
        (["evaluate", "good", "--against", "good", "--num", "9"], "--num is 9, and good has 8"),
        (
            ["evaluate", "good", "--against", "good", "--extractor=classifier", "--weights=notes"],
            "--weights: the classifier learns its own",
        ),
        (["compare", "good", "--metric", "fdi"], "no score gives 'fdi': there are fid"),
    ],
)
def test_mistakes_are_told_in_one_line(place, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("jaxgan: error: ")
    assert expected in err
    assert [p for p in sorted(place.rglob("*")) if "__pycache__" not in str(p)] == before


def test_too_little_memory_is_told_in_one_line(monkeypatch, capsys):
    def greedy(argv):
        raise MemoryError

    monkeypatch.setattr("jaxgan.cli.info.main", greedy)
    assert main(["info", "quickstart"]) == 2
    assert capsys.readouterr().err.startswith("jaxgan: error: not enough memory for what was asked")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.py").write_text(CONFIG.format(classes=10))
    assert main(["train", str(folder / "tiny.py"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--label", "10", "--out", "x.png"], "10 classes, 0 to 9"),
        (["--labels", "1,b", "--out", "x.png"], "10 classes, 0 to 9"),
        (["--label", "1", "--each-label", "--out", "x.png"], "exclude each other"),
        (["--truncation", "-1", "--out", "x.png"], "above 0"),
        (["--num", "0", "--out", "x.png"], "at least 1"),
        (["--seed", "-1", "--out", "x.png"], "0 to 2^32 - 1"),
        (["--each-label", "--num", "-1", "--out", "x.png"], "--num is -1: it must be at least 1"),
        (["--interpolate", "8", "--seed", "-1", "--out", "x.gif"], "0 to 2^32 - 1"),
        (["--out", ""], "--out is empty"),
        (["--out", "x.gif"], ".png"),
        (["--out", "nowhere/x.png"], "no folder nowhere"),
        (["--num", "4"], "--out"),
        (["--out", "x.png", "--n", "4"], "did you mean --num?"),
        (["--out", "x.png", "--class", "4"], "did you mean --label?"),
        (["--attention", "--out", "x.png"], "no attention maps"),
        (["--psi", "0.7", "--out", "x.png"], "takes z, label, not psi"),
        (["--mix", "1", "--out", "x.png"], "has no styles to mix"),
        (["--mix", "1", "--out", "x.npz"], "drawn as a .png"),
        (["--mix", "1", "--label", "1", "--out", "x.png"], "leave these out"),
        (["--interpolate", "8", "--out", "x.png"], "writes a .gif"),
        (["--interpolate", "2", "--out", "x.gif"], "give at least 4"),
        (["--interpolate", "8", "--truncation", "1", "--out", "x.gif"], "without --truncation"),
    ],
)
def test_mistakes_in_sampling(run, tmp_path, monkeypatch, capsys, options, expected):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", str(run), *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert expected in err
    assert not list(tmp_path.iterdir())


def test_samples_go_into_no_folder_that_holds_something(run, tmp_path, capsys):
    (tmp_path / "cat.png").write_text("precious")
    assert main(["sample", str(run), "--num", "2", "--out", str(tmp_path)]) == 2
    assert "holds files already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


def test_a_run_that_never_began_does_not_hold_its_folder(run, tmp_path):
    shutil.copy(run / "config.json", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    config = str(run.parent / "tiny.py")
    assert main(["train", config, "--seed", "3", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 3


def test_a_run_is_trained_by_one_process_and_not_back(run, capsys):
    config = str(run.parent / "tiny.py")
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["train", config, "--out", str(run)]) == 2
    assert "another process" in capsys.readouterr().err
    longer = (run / "checkpoints" / "1").rename(run / "checkpoints" / "9")
    try:
        assert main(["train", config, "--out", str(run)]) == 2
    finally:
        longer.rename(run / "checkpoints" / "1")
    assert "is at step 9 already" in capsys.readouterr().err


def test_a_run_of_another_system_is_refused(run, tmp_path, capsys):
    (tmp_path / "ring.py").write_text(
        "from tests.toys import TinyGAN\nfrom jaxgan import *\n"
        "config = Experiment(system=TinyGAN(), data=Data(source='ring'), mesh=Mesh(data=1))"
    )
    assert main(["train", str(tmp_path / "ring.py"), "--out", str(run)]) == 2
    assert "holds a run of SNGAN, not of TinyGAN" in capsys.readouterr().err


def test_info_of_a_run_and_of_its_config_agree(run, capsys):
    assert main(["info", str(run), "--json"]) == 0
    of_run = json.loads(capsys.readouterr().out)
    assert main(["info", str(run.parent / "tiny.py"), "--json"]) == 0
    of_config = json.loads(capsys.readouterr().out)
    assert of_run.pop("step") == 1
    assert len(of_run.pop("state_sha256")) == 64
    assert of_run == of_config
    assert set(of_run) >= {"system", "networks", "players", "stages"}
    assert main(["info", str(run)]) == 0
    assert "discriminator" in capsys.readouterr().out


def test_samples_of_every_form(run, tmp_path, capsys):
    def sample(*options):
        assert main(["sample", str(run), *options]) == 0

    sample("--num", "5", "--label", "3", "--out", str(tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as file:
        assert file["images"].shape == (5, 8, 8, 1)
        assert file["images"].dtype == np.uint8
        assert list(file["labels"]) == [3] * 5
    sample("--num", "5", "--labels", "1,2", "--out", str(tmp_path / "b.npz"))
    with np.load(tmp_path / "b.npz") as file:
        assert list(file["labels"]) == [1, 2, 1, 2, 1]
    sample("--num", "2", "--each-label", "--out", str(tmp_path / "c.png"))
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (2 * 8 + 2, 10 * 8 + 9 * 2)
    sample("--num", "3", "--seed", "1", "--truncation", "0.5", "--out", str(tmp_path / "folder"))
    assert len(list((tmp_path / "folder").glob("*.png"))) == 3
    sample("--num", "3", "--standing-statistics", "1", "--out", str(tmp_path / "d.npz"))
    sample("--interpolate", "6", "--num", "4", "--out", str(tmp_path / "e.gif"))
    with Image.open(tmp_path / "e.gif") as walk:
        assert (walk.n_frames, walk.size) == (6, (2 * 8 + 2, 2 * 8 + 2))
    assert "3 samples" in capsys.readouterr().out


def test_names_are_printed_with_control_characters_escaped(tmp_path, capsys):
    name = "a\x1b[31m\nb\u202e\udcff"
    assert main(["info", f"{tmp_path}/{name}.py"]) == 2
    told = capsys.readouterr().err
    assert told.splitlines() == [told.rstrip("\n")]
    assert r"a\x1b[31m\nb\u202e\udcff.py" in told


def test_a_console_takes_no_name_for_markup(capsys):
    table = Table("[red]run[/red]", box=None)
    table.add_row("[bold]x[/bold] \x1b[1m :smile:")
    Plain(width=80).print(table)
    Plain(width=80).print("[link=x]", bold("[y]"))
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "[red]run[/red]",
        r"[bold]x[/bold] \x1b[1m :smile:",
        "[link=x] [y]",
    ]
