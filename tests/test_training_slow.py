"""Minutes of training: what a GAN draws, not what its losses say. Run with `pytest -m slow`."""

import dataclasses
import functools
import io

import numpy as np
import pytest
from rich.console import Console
from sklearn.svm import SVC

from jaxgan import Mesh, config, data, init
from jaxgan.fields import Framing, Image
from jaxgan.metrics import classifier
from jaxgan.metrics.evaluate import choose_extractor, evaluate, refer
from jaxgan.metrics.images import of_source
from jaxgan.run import train
from jaxgan.run.scored import images_of

pytestmark = pytest.mark.slow


def trained(name, folder, **system):
    experiment = config.load(f"configs/{name}.py")
    experiment = dataclasses.replace(
        experiment,
        mesh=Mesh(data=1),
        system=dataclasses.replace(experiment.system, **system),
    )
    return train(experiment, folder, console=Console(file=io.StringIO()))


def fitted(name, shape):
    """A data set whose images are of one shape."""
    source, image = data.open_source(name), Image(shape)
    columns = {n: image if isinstance(f, Image) else f for n, f in source.columns.items()}
    fit = functools.partial(image.fit, framing=Framing(resize=True))
    transforms = {n: fit if isinstance(f, Image) else None for n, f in columns.items()}
    return source.fitted(transforms, columns)


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.97), ("bfloat16", 0.94)])
def test_quickstart_digits_are_recognised_and_vary(tmp_path, dtype, least):
    run = trained("quickstart", tmp_path / "run", dtype=dtype)
    digits = data.open_source("mnist5k").take(np.arange(5000))
    real, label = digits["image"].reshape(5000, -1).astype(np.float32), digits["label"]
    judge = SVC(C=5, gamma="scale").fit(real, label)
    asked = np.repeat(np.arange(10), 50)
    images = run.sample(500, label=asked).reshape(500, -1).astype(np.float32)
    assert (judge.predict(images) == asked).mean() >= least
    for k in range(10):
        assert images[asked == k].var(0).mean() >= 0.7 * real[label == k].var(0).mean()


def test_biggan_tiny_draws_digits_and_truncation_trades_variety_for_them(tmp_path):
    run = trained("biggan_tiny", tmp_path / "run")
    digits = fitted("mnist5k", (32, 32, 1)).take(np.arange(5000))
    real, label = digits["image"].reshape(5000, -1).astype(np.float32), digits["label"]
    judge = SVC(C=5, gamma="scale").fit(real, label)
    asked = np.repeat(np.arange(10), 50)
    right, variances = [], []
    for truncation in (None, 0.5):
        images = run.sample(500, label=asked, truncation=truncation)
        images = images.reshape(500, -1).astype(np.float32)
        right.append((judge.predict(images) == asked).mean())
        variances.append(np.mean([images[asked == k].var(0).mean() for k in range(10)]))
    assert 0.97 <= right[0] <= right[1]
    assert variances[1] < 0.5 * variances[0]
    assert variances[0] >= 0.4 * np.mean([real[label == k].var(0).mean() for k in range(10)])


def judged(images, labels):
    """The share of digits that a classifier of the real ones takes for what they are."""
    shape = images.shape[1:]
    real = fitted("mnist5k", shape).take(np.arange(5000))
    judge = classifier.train(real["image"], real["label"], classes=10)
    return classifier.accuracy(judge, images, labels)


def test_edges_become_digits(tmp_path):
    run = trained("pix2pix_digits", tmp_path / "run")
    some = fitted("edges:mnist5k", (32, 32, 1)).take(np.arange(0, 5000, 10))
    made = run.translate(some["input"], samples=2)
    wrong = abs(made[:, 0].astype(float) - some["image"]).mean()
    # An untrained network's images are grey.
    assert wrong < abs(127.5 - some["image"]).mean() / 4
    assert judged(made[:, 0], some["label"]) >= 0.93
    assert (made[:, 0] != made[:, 1]).any((1, 2, 3)).all()


def test_digits_become_their_negatives_without_pairs(tmp_path):
    run = trained("cyclegan_digits", tmp_path / "run")
    some = data.open_source("mnist5k").take(np.arange(0, 5000, 10))
    there = run.translate(some["image"])[:, 0]
    back = run.translate(255 - some["image"], direction="BtoA")[:, 0]
    assert there.mean() > 170
    assert judged(255 - there, some["label"]) >= 0.85
    assert judged(back, some["label"]) >= 0.85


@pytest.mark.parametrize("name", ["progan_mnist5k", "stylegan_mnist5k", "stylegan2_mnist5k"])
def test_features_come_five_times_as_near_to_those_of_digits(tmp_path, name):
    run = trained(name, tmp_path / "run")
    untrained = dataclasses.replace(init(run.system), step=run.state.step)
    against = of_source(data.open_source("mnist5k"), run.system.shape)
    extractor = choose_extractor("classifier", None, against, tmp_path)
    real = refer(against, "fid", extractor=extractor)
    trained_score, untrained_score = (
        evaluate(
            images_of(run.system, state, 1000, name=name),
            real,
            "fid",
            extractor=extractor,
        )[0].value
        for state in (run.state, untrained)
    )
    assert trained_score < untrained_score / 5


@pytest.mark.parametrize("name", ["gan_ring", "wgangp_ring"])
def test_rings_are_covered(tmp_path, name):
    points = trained(name, tmp_path / "run").sample(2000)
    centres, std = data.modes("ring")
    distance = np.linalg.norm(points[:, None] - centres, axis=-1)
    near = distance.min(1) <= 3 * std
    assert near.mean() >= 0.9
    assert len(set(distance.argmin(1)[near])) == 8
