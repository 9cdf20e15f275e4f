"""A run and its data: what it keeps of them, and what it says of others."""

import io
import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jaxgan import Data, Experiment, Log, Mesh, UserError
from jaxgan.cli import main
from jaxgan.metrics.base import warn
from jaxgan.run import Run, train
from jaxgan.systems.cgan import CGAN

QUIET = Console(file=io.StringIO())
NAMES = tuple(sorted(map(str, range(1, 13))))  # "1", "10", "11", "12", "2", ...


def draw(folder, seed: int) -> None:
    """Twelve classes, each a colour of its own: bitmaps, so all files are of one size."""
    rng = np.random.default_rng(seed)
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        for i in range(2):
            colour = np.full((8, 8, 3), rng.integers(0, 256, 3), np.uint8)
            Image.fromarray(colour).save(folder / name / f"{i}.bmp")


def experiment(steps: int = 1) -> Experiment:
    system = CGAN(shape=(8, 8, 3), classes=12, latent=2, width=2)
    log = Log(grid=2)
    data = Data(source="classes")
    return Experiment(system=system, data=data, batch=4, steps=steps, mesh=Mesh(data=1), log=log)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    draw(folder / "classes", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(experiment(), folder / "run", console=QUIET)
    return folder


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """A copy, whose data may be changed."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    warn.cache_clear()
    return tmp_path / "run"


def test_names_of_classes_are_those_of_the_folders(run):
    """The class "2" is the fifth folder, not number 2, which is the folder "11"."""
    assert tuple(json.loads((run / "data.json").read_text())["fields"]["label"]["names"]) == NAMES
    assert Run(run).takes("generate")["label"].names == NAMES
    for name in ("2", "11"):
        assert main(["sample", "run", "--label", name, "--num", "2", "--out", "x.npz"]) == 0
        with np.load("x.npz") as made:
            assert made["labels"].tolist() == [NAMES.index(name)] * 2


def test_other_data_of_equal_names_and_sizes_are_refused(run, caplog):
    sizes = [path.stat().st_size for path in sorted(run.parent.glob("classes/*/*.bmp"))]
    shutil.rmtree("classes")
    draw(run.parent / "classes", 1)
    assert sizes == [path.stat().st_size for path in sorted(run.parent.glob("classes/*/*.bmp"))]
    with pytest.raises(UserError, match=r"data has changed since .*run was started: restore"):
        train(experiment(2), run, console=QUIET)
    with caplog.at_level(logging.WARNING, "jaxgan"):
        assert Run(run).data.count("image") == 24
    (line,) = caplog.messages
    assert line.startswith(f"classes is not what {run} was trained on: its content has changed")


def test_the_same_data_elsewhere_are_the_same(run, caplog):
    shutil.move("classes", "moved")
    shutil.copytree("moved", "classes")
    with caplog.at_level(logging.WARNING, "jaxgan"):
        Run(run).source()
    assert not caplog.messages


def test_a_run_that_knew_its_data_by_names_is_told_so(run, caplog):
    path = run / "data.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "0123456789abcdef"}))
    with pytest.raises(
        UserError, match=r"identified data by names and sizes.*remove its data.json"
    ):
        train(experiment(2), run, console=QUIET)
    with caplog.at_level(logging.WARNING, "jaxgan"):
        Run(run).source()
    (line,) = caplog.messages
    assert line.startswith(f"whether classes is what {run} was trained on is not known")
