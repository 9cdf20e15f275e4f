"""A run on disk, opened: what its networks draw."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

import jaxgan
from jaxgan import Checkpoint, Data, Experiment, Log, UserError, data
from jaxgan.config import to_json
from jaxgan.run import train
from jaxgan.systems.sngan import SNGAN
from tests.toys import TinyGAN


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    experiment = Experiment(
        system=TinyGAN(),
        data=Data(source="ring"),
        batch=16,
        steps=4,
        checkpoint=Checkpoint(every=5),
        log=Log(every=4, samples=6, grid=16),
    )
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return train(experiment, folder, console=Console(file=io.StringIO()))


def test_sample_is_a_function_of_seed_and_position(finished):
    run = jaxgan.open(finished.folder)
    points = run.sample(150, seed=1)
    assert points.shape == (150, 2)
    np.testing.assert_array_equal(points[:7], run.sample(7, seed=1))
    np.testing.assert_array_equal(points, jaxgan.open(str(finished.folder)).sample(150, seed=1))
    assert (points != run.sample(150, seed=2)).any()
    assert np.abs(run.sample(150, truncation=0.1, seed=1)).std() < np.abs(points).std()
    standing = run.sample(150, seed=1, standing_statistics=2)
    assert (points != standing).any()
    np.testing.assert_array_equal(standing, run.sample(150, seed=1, standing_statistics=2))
    np.testing.assert_array_equal(points, run.sample(150, seed=1))


def test_sampling_mistakes_are_told(finished, tmp_path):
    with pytest.raises(UserError, match="takes z, not label"):
        finished.sample(4, label=1)
    with pytest.raises(
        UserError, match=r"cannot .generat.: it has generate, judge; did you mean generate"
    ):
        finished.use("generat")
    with pytest.raises(UserError, match=r"z: 'a' is no normal 4: give its numbers with commas"):
        finished.use("generate", z="a")
    with pytest.raises(UserError, match="at least 1"):
        finished.sample(0)
    with pytest.raises(UserError, match="standing_statistics is -1: it must be at least 0"):
        finished.sample(4, standing_statistics=-1)
    with pytest.raises(UserError, match=r"seed is 1\.5: it must be a whole number"):
        finished.sample(4, seed=1.5)
    with pytest.raises(UserError, match="truncation is nan: it must be finite"):
        finished.sample(4, truncation=float("nan"))
    with pytest.raises(UserError, match="n is -1: it must be at least 1"):
        finished.use("generate", -1)
    with pytest.raises(UserError, match="does not exist"):
        jaxgan.open(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no run"):
        jaxgan.open(tmp_path)


def test_data_whose_classes_have_other_names_are_refused(tmp_path, monkeypatch):
    names = ("cat", "dog")

    def source(order):
        images = np.zeros((4, 8, 8, 1), np.uint8)
        return data.Arrays(images, np.arange(4) % 2, order, name="pets")

    system = SNGAN(
        shape=(8, 8, 1),
        classes=2,
        generator_channels=(8, 8),
        discriminator_channels=(8, 8),
        halvings=1,
    )
    run = tmp_path / "run"
    run.mkdir()
    experiment = Experiment(system=system, data=Data(source=source(names)))
    (run / "config.json").write_text(to_json(experiment))
    (run / "data.json").write_text(json.dumps({"fields": {"label": {"names": list(names)}}}))
    opened = jaxgan.open(run)
    monkeypatch.setattr(opened, "source", lambda: source(names))
    assert opened.data is not None
    again = jaxgan.open(run)
    monkeypatch.setattr(again, "source", lambda: source(names[::-1]))
    with pytest.raises(UserError, match="in place of 'cat'"):
        _ = again.data
