"""Scores while training: what is written, which checkpoint is kept, and resuming."""

import dataclasses
import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import jaxgan
from jaxgan import data
from jaxgan.cli import main
from jaxgan.config import Checkpoint, Data, Evaluate, Experiment, Log, Mesh
from jaxgan.errors import UserError
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.evaluator import Evaluator
from jaxgan.metrics.features import from_function
from jaxgan.metrics.images import Stored
from jaxgan.metrics.records import read_records
from jaxgan.parallel.mesh import make_mesh
from jaxgan.systems.sngan import SNGAN
from jaxgan.training.digest import state_sha256

QUIET = Console(file=io.StringIO())
WEIGHTS = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32) / 8


def project(params, images):
    return jnp.tanh(images.reshape(len(images), -1).astype(jnp.float32) / 255 @ params)


PROJECTIONS = from_function("projections", project, WEIGHTS, size=12)


@pytest.fixture(autouse=True)
def _projections(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxgan.metrics.evaluate.extractor", lambda name, weights: PROJECTIONS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


EXPERIMENT = Experiment(
    system=SNGAN(
        shape=(8, 8, 1),
        classes=10,
        generator_channels=(8, 8),
        discriminator_channels=(8, 8),
        halvings=1,
        latent=4,
        discriminator_updates=1,
        generator_batch=1,
    ),
    data=Data(source="digits"),
    batch=8,
    steps=4,
    mesh=Mesh(data=1),
    checkpoint=Checkpoint(every=2, keep=1),
    log=Log(every=10, samples=10**6, grid=4),
    evaluate=Evaluate(every=1, metrics="fid,precision_recall", num=40),
)


def without(experiment):
    return dataclasses.replace(experiment, evaluate=Evaluate())


def test_scores_are_kept_with_the_best_state_and_change_no_number(tmp_path):
    run = jaxgan.train(EXPERIMENT, tmp_path / "scored", console=QUIET)
    records = read_records(run.folder)
    assert [r.metric for r in records] == ["fid", "precision", "recall"] * 4
    assert [r.step for r in records[::3]] == [1, 2, 3, 4]
    best = min(records[::3], key=lambda record: record.value)
    opened = jaxgan.open(run.folder, best=True)
    assert opened.step == best.step
    real = Stored(data.open_source("digits"))
    (again,) = evaluate(opened.drawn(40), real, extractor=PROJECTIONS)
    assert again.value == pytest.approx(best.value, rel=1e-3)
    with Image.open(run.folder / "scores.png") as picture:
        assert np.asarray(picture).std() > 5
    with pytest.raises(UserError, match="holds one image"):
        Evaluator(
            tmp_path,
            lambda shape: Stored(data.Arrays(np.zeros((1, *shape), np.uint8), name="photo")),
            "fid",
            extractor=None,
            shape=(8, 8, 1),
            classes=0,
            mesh=make_mesh(1),
        )
    plain = jaxgan.train(without(EXPERIMENT), tmp_path / "plain", console=QUIET)
    assert state_sha256(plain.state) == state_sha256(run.state)
    arguments = ["sample", str(run.folder), "--num", "4", "--out", str(tmp_path / "best.png")]
    assert main([*arguments, "--best"]) == 0


def test_a_resumed_run_keeps_the_scores_up_to_where_it_stopped(tmp_path):
    whole = jaxgan.train(EXPERIMENT, tmp_path / "whole", console=QUIET)
    half = dataclasses.replace(EXPERIMENT, steps=2)
    jaxgan.train(half, tmp_path / "resumed", console=QUIET)
    lost = dataclasses.replace(read_records(tmp_path / "resumed")[0], step=3, value=-1.0)
    with (tmp_path / "resumed" / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps(dataclasses.asdict(lost)) + "\n")
    resumed = jaxgan.train(EXPERIMENT, tmp_path / "resumed", console=QUIET)
    values = [
        [(r.step, r.metric, r.value) for r in read_records(run.folder)] for run in (whole, resumed)
    ]
    assert values[0] == values[1]
    assert jaxgan.open(whole.folder, best=True).step == jaxgan.open(resumed.folder, best=True).step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": "fdi"}, "no metric 'fdi'"),
        ({"metrics": "is"}, "class logits"),
        ({"every": -1}, "at least 0"),
    ],
)
def test_mistakes_are_found_before_training(tmp_path, changes, message):
    settings = {**dataclasses.asdict(EXPERIMENT.evaluate), **changes}
    with pytest.raises(UserError, match=message):
        jaxgan.train(
            dataclasses.replace(EXPERIMENT, evaluate=Evaluate(**settings)),
            tmp_path / "run",
            console=QUIET,
        )
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_scored_is_refused(tmp_path):
    system = dataclasses.replace(EXPERIMENT.system, classes=0)
    evaluate = Evaluate(every=1, metrics="intra_fid")
    experiment = dataclasses.replace(EXPERIMENT, system=system, evaluate=evaluate)
    with pytest.raises(UserError, match="no classes to score"):
        jaxgan.train(experiment, tmp_path / "run", console=QUIET)
    with pytest.raises(UserError, match="holds one image"):
        Evaluator(
            tmp_path,
            lambda shape: Stored(data.Arrays(np.zeros((1, *shape), np.uint8), name="photo")),
            "fid",
            extractor=None,
            shape=(8, 8, 1),
            classes=0,
            mesh=make_mesh(1),
        )
    plain = jaxgan.train(without(EXPERIMENT), tmp_path / "plain", console=QUIET)
    with pytest.raises(UserError, match="no best checkpoint"):
        jaxgan.open(plain.folder, best=True)
