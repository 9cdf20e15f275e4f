import dataclasses
import io
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import jaxgan
from jaxgan import data
from jaxgan.cli import main
from jaxgan.config import Checkpoint, Data, Experiment, Log, Mesh
from jaxgan.errors import UserError
from jaxgan.metrics import classifier
from jaxgan.metrics.base import joined
from jaxgan.metrics.evaluate import evaluate, refer
from jaxgan.metrics.features import from_function
from jaxgan.metrics.frechet import FID, Moments, frechet_distance
from jaxgan.metrics.images import BATCH, Stored, of_source, pass_over
from jaxgan.metrics.kernel import KID, kernel_distance
from jaxgan.metrics.records import Record, append, differing, read_records
from jaxgan.parallel.mesh import make_mesh
from jaxgan.systems.sngan import SNGAN

WEIGHTS = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32) / 8


def project(params, images):
    """Random projections of 8x8 images, and three of them as logits."""
    flat = images.reshape(len(images), -1).astype(jnp.float32) / 255
    found = jnp.tanh(flat @ params)
    return found, found[:, :3]


EXTRACTOR = from_function("projections", project, WEIGHTS, size=12, classes=3)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def images(count, seed, spread=60):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, spread, (count, 8, 8, 1)).clip(0, 255).astype(np.uint8)
    labels = rng.integers(0, 3, count).astype(np.int32)
    return data.Arrays(pixels, labels, ("a", "b", "c"), name=f"images{seed}")


def features(source):
    found, _ = jax.device_get(project(WEIGHTS, source.images))
    return found


def test_scores_are_those_of_all_features_at_once():
    real, fake = images(1500, 0), images(1300, 1, spread=40)
    records = {
        r.metric: r
        for r in evaluate(
            Stored(fake),
            Stored(real),
            "fid,kid,is,precision_recall,density_coverage,intra_fid",
            extractor=EXTRACTOR,
        )
    }
    a, b = features(fake), features(real)
    want = frechet_distance(Moments.of(a), Moments.of(b))
    assert records["fid"].value == pytest.approx(want, rel=1e-5)
    assert records["kid"].value == pytest.approx(kernel_distance(a, b)[0], abs=2e-3)
    by_class = [
        frechet_distance(Moments.of(a[fake.labels == k]), Moments.of(b[real.labels == k]))
        for k in range(3)
    ]
    assert records["intra_fid"].value == pytest.approx(np.mean(by_class), rel=1e-5)
    assert 1 < records["is"].value < 3
    assert {"precision", "recall", "density", "coverage"} < records.keys()
    record = records["fid"]
    assert (record.images, record.real_images, record.shape) == (1300, 1500, "8x8x1")
    assert (record.extractor, record.weights) == ("projections", EXTRACTOR.weights)
    assert record.data == data.fingerprint(real)
    assert records["is"].real_images == 0


@pytest.mark.parametrize("deep", [False, True])
def test_eight_devices_equal_one(deep):
    source, extractor = images(1000, 2), dataclasses.replace(EXTRACTOR, deep=deep)
    found = []
    for mesh in (make_mesh(1), make_mesh(8)):
        scores = FID(), KID()
        for batch in pass_over(Stored(source), extractor, FID.needs, mesh=mesh):
            for score in scores:
                score.add(batch)
        found.append((scores[0].generated, joined(scores[1].generated, "features")))
    (one, one_features), (eight, eight_features) = found
    np.testing.assert_allclose(one.mean, eight.mean, atol=1e-6)
    np.testing.assert_allclose(one.covariance, eight.covariance, atol=1e-6)
    np.testing.assert_allclose(one_features, eight_features, atol=1e-6)
    assert one.count == eight.count == len(one_features) == 1000


def test_cpus_give_deep_networks_few_images_at_a_time(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    sizes = []

    def looked_at(params, pixels):
        sizes.append(len(pixels))
        return project(params, pixels)

    whole = from_function("looked at", looked_at, WEIGHTS, size=12, classes=3)
    source, found = images(130, 4), []
    for extractor in (whole, dataclasses.replace(whole, deep=True)):
        passed = pass_over(Stored(source), extractor, {"features", "logits"}, mesh=make_mesh(1))
        found.append([(batch["features"], batch["logits"]) for batch in passed])
    assert (sizes[0], sizes[-1]) == (BATCH, 5)
    assert [len(features) for features, _ in found[1]] == [130]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *found)


def test_worse_images_score_worse():
    """Between halves of one set nearly nothing, then more with every strength of noise."""
    real = images(2000, 3)
    noise = np.random.default_rng(4).normal(0, 1, (1000, 8, 8, 1))
    distances = []
    for strength in (0, 20, 40, 80):
        pixels = (images(1000, 5).images + strength * noise).clip(0, 255).astype(np.uint8)
        side = Stored(data.Arrays(pixels, name="noisy"))
        (record,) = evaluate(side, Stored(real), extractor=EXTRACTOR)
        distances.append(record.value)
    assert distances[0] < 0.01
    assert distances == sorted(distances)
    assert distances[-1] > 10 * distances[0]


def test_statistics_are_remembered_and_serve_as_a_file(tmp_path):
    calls = []

    def counted(params, pixels):
        jax.debug.callback(lambda: calls.append(1))
        return project(params, pixels)

    own = from_function("counted", counted, WEIGHTS, size=12, classes=3)
    extractor = dataclasses.replace(own, known=True)
    real, fake = Stored(images(100, 6)), Stored(images(100, 7))
    (first,) = evaluate(fake, real, extractor=extractor)
    jax.effects_barrier()
    before = len(calls)
    (second,) = evaluate(fake, real, extractor=extractor)
    jax.effects_barrier()
    assert first == second
    assert len(calls) - before < before
    Moments.of(features(real.source)).save(tmp_path / "real.npz")
    (third,) = evaluate(fake, tmp_path / "real.npz", extractor=extractor)
    assert third.value == pytest.approx(first.value, rel=1e-4)
    assert third.data != first.data
    with pytest.raises(UserError, match="serve fid, clip_fid alone"):
        evaluate(fake, tmp_path / "real.npz", "kid", extractor=extractor)


def test_statistics_of_a_function_that_was_edited_are_not_remembered():
    """Its name and weights say nothing of its code."""
    found = []
    for scale in (1, 2):

        def scaled(params, pixels, scale=scale):
            return scale * project(params, pixels)[0]

        extractor = from_function("mine", scaled, WEIGHTS, size=12)
        real, fake = Stored(images(100, 6)), Stored(images(100, 7))
        found.append(evaluate(fake, real, extractor=extractor)[0].value)
    assert found[1] == pytest.approx(4 * found[0], rel=1e-4)


def test_statistics_are_those_of_the_content(tmp_path):
    """Of folders of bitmaps, whose names and sizes are equal; of crops; of two columns of a set."""
    extractor = dataclasses.replace(EXTRACTOR, known=True)

    def draw(name, base, seed):
        (tmp_path / name).mkdir(parents=True)
        pixels = np.random.default_rng(seed).normal(base, 30, (60, 12, 12)).clip(0, 255)
        for i, each in enumerate(pixels.astype(np.uint8)):
            Image.fromarray(each).save(tmp_path / name / f"{i:03d}.bmp")

    def score(generated, real, **how):
        sides = []
        for name in (generated, real):
            source = data.open_source(f"{tmp_path}/{name}" if "/" not in name else name)
            sides.append(of_source(source, (8, 8, 1), **how))
        return evaluate(*sides, extractor=extractor)[0]

    draw("a", 40, 0)
    draw("b", 200, 1)
    apart = score("a", "b").value
    assert score("a", "a").value == pytest.approx(0, abs=1e-6)
    assert score("b", "b").value == pytest.approx(0, abs=1e-6)
    assert score("a", "b").value == apart > 0.1
    whole, cropped = score("a", "a"), score("a", "a", crop=8)
    assert cropped.value == pytest.approx(0, abs=1e-6)
    assert differing([whole, cropped])[0] == "data"
    draw("pairs/A", 40, 0)
    draw("pairs/B", 200, 1)
    pairs = f"pairs:{tmp_path}/pairs"
    score(pairs, pairs)  # what is remembered of the outputs
    inputs = score(pairs, pairs, columns={"image": "input"})
    assert inputs.value == pytest.approx(0, abs=1e-6)
    assert inputs.data != score(pairs, pairs).data


def test_statistics_that_are_broken_or_cannot_be_kept_are_made_anew(tmp_path):
    extractor = dataclasses.replace(EXTRACTOR, known=True)
    real, fake = Stored(images(100, 6)), Stored(images(100, 7))
    first = evaluate(fake, real, extractor=extractor)
    (kept,) = (tmp_path / "cache/jaxgan/statistics").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert evaluate(fake, real, extractor=extractor) == first
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("a file where the folder was")
    assert evaluate(fake, real, extractor=extractor) == first


def test_what_cannot_be_scored_is_refused():
    real, fake = Stored(images(20, 8)), Stored(images(20, 9))
    with pytest.raises(UserError, match="there are fid, kid"):
        evaluate(fake, real, "fidd", extractor=EXTRACTOR)
    without = from_function("bare", lambda p, x: project(p, x)[0], WEIGHTS, size=12)
    with pytest.raises(UserError, match="class logits"):
        evaluate(fake, real, "is", extractor=without)
    larger = Stored(data.Arrays(np.zeros((20, 9, 9, 1), np.uint8)))
    with pytest.raises(UserError, match="9x9x1 and images9 of 8x8x1"):
        evaluate(fake, larger, extractor=EXTRACTOR)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    system = SNGAN(
        shape=(8, 8, 1),
        classes=10,
        generator_channels=(8, 8),
        discriminator_channels=(8, 8),
        halvings=1,
        latent=4,
        discriminator_updates=1,
        generator_batch=1,
    )
    experiment = Experiment(
        system=system,
        data=Data(source="digits"),
        batch=8,
        steps=1,
        mesh=Mesh(data=1),
        checkpoint=Checkpoint(every=1),
        log=Log(every=1, samples=10**6, grid=4),
    )
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    return jaxgan.train(experiment, folder, console=Console(file=io.StringIO()))


def test_a_run_is_scored_in_the_images_that_it_samples(run):
    drawn = run.drawn(70, truncation=0.5, seed=3)
    parts = [batch["image"] for batch in drawn.batches(32)]
    assert [len(part) for part in parts] == [32, 32, 6]
    whole = run.sample(70, truncation=0.5, seed=3)
    assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1  # rounding
    (record,) = evaluate(drawn, Stored(data.open_source("digits")), extractor=EXTRACTOR)
    assert (record.step, record.ema, record.truncation, record.seed) == (1, False, 0.5, 3)


@pytest.fixture
def projections(monkeypatch):
    monkeypatch.setattr("jaxgan.metrics.evaluate.extractor", lambda name, weights: EXTRACTOR)


def test_a_path_length_of_features_is_that_of_its_own_loop(run, monkeypatch):
    """By hand: draws as the score's, features of floats, squares; labels stay as they begin."""
    monkeypatch.setattr("jaxgan.metrics.lpips.find_weights", lambda published: None)
    drawn = run.drawn(100, seed=2)
    (record,) = evaluate(drawn, Stored(data.open_source("digits")), "ppl", extractor=EXTRACTOR)
    assert (record.images, record.real_images, record.extractor) == (
        100,
        0,
        "squared differences of projections's features",
    )
    lengths = []
    for index in range(2):
        key = jax.random.fold_in(jax.random.key(2), index)
        a_key, b_key, t_key = jax.random.split(key, 3)
        start, end = drawn.walk.latents(a_key, 50), drawn.walk.latents(b_key, 50)
        a, b = (np.asarray(taken["z"], np.float64) for taken in (start, end))
        t = np.asarray(jax.random.uniform(t_key, (50,)), np.float64)
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        angle = np.arccos(cosine)
        seen = []
        for at in (t, t + 1e-4):
            z = (np.sin((1 - at) * angle)[:, None] * a + np.sin(at * angle)[:, None] * b) / np.sin(
                angle
            )[:, None]
            pixels = drawn.walk.generate({**start, "z": jnp.asarray(z, jnp.float32)})
            seen.append(np.asarray(project(WEIGHTS, (pixels + 1) * 127.5)[0], np.float64))
        lengths.append(((seen[1] - seen[0]) ** 2).sum(1) / 1e-8)
    # Of so few none is cut off; float32 in steps of 1e-4.
    assert record.value == pytest.approx(np.mean(lengths), rel=0.03)
    with pytest.raises(UserError, match="give a run"):
        evaluate(Stored(images(20, 1)), Stored(images(20, 2)), "ppl", extractor=EXTRACTOR)


def test_real_images_are_looked_at_once_for_many_evaluations(run):
    calls = []

    def counted(params, pixels):
        jax.debug.callback(lambda: calls.append(1))
        return project(params, pixels)[0]

    extractor = from_function("counted", counted, WEIGHTS, size=12)
    real = refer(Stored(data.open_source("digits")), "kid", extractor=extractor)
    jax.effects_barrier()
    before = len(calls)
    first, second = (evaluate(run.drawn(60), real, "kid", extractor=extractor)[0] for _ in range(2))
    jax.effects_barrier()
    assert len(calls) - before < before
    assert first == second
    with pytest.raises(UserError, match="bring them to one size"):
        evaluate(Stored(data.Arrays(np.zeros((9, 9, 9, 1), np.uint8))), real, extractor=extractor)


def test_the_classifier_learns_the_real_images_once(run, tmp_path, monkeypatch):
    learn = classifier.train
    taught = []

    def quickly(*arguments, **settings):
        taught.append(1)
        return learn(*arguments, **{**settings, "steps": 3})

    monkeypatch.setattr(classifier, "train", quickly)
    arguments = ["evaluate", str(run.folder), "--num", "50", "--extractor", "classifier"]
    assert main(arguments) == main(arguments) == 0
    assert len(taught) == 1
    assert len(list(run.folder.glob("classifier-*.npz"))) == 1
    with pytest.raises(UserError, match="no classes to learn"):
        classifier.of_data(data.Arrays(np.zeros((9, 9, 9, 1), np.uint8)), tmp_path)


def test_a_sweep_of_truncations_is_drawn(run, projections, capsys):
    arguments = ["evaluate", str(run.folder), "--num", "50", "--truncation", "0.3,1,none"]
    for metrics in ("precision_recall", "fid"):
        assert main([*arguments, "--metrics", metrics]) == 0
        with Image.open(run.folder / "truncation.png") as picture:
            assert np.asarray(picture).std() > 5
        assert "truncation.png" in capsys.readouterr().out


def test_commands_score_and_compare(run, projections, capsys, tmp_path, caplog):
    arguments = ["evaluate", str(run.folder), "--num", "50", "--metrics", "fid,precision_recall"]
    assert main([*arguments, "--truncation", "0.5,none", "--json"]) == 0
    records = [Record(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    assert [r.metric for r in records] == ["fid", "precision", "recall"] * 2
    assert [r.metric for r in read_records(run.folder)[-6:]] == [r.metric for r in records]
    assert main(["compare", str(run.folder)]) == 0
    out = capsys.readouterr().out
    assert "truncation" in out
    assert "50 images against 1,797" in out
    assert main([*arguments, "--num", "40"]) == 0
    assert main(["compare", str(run.folder)]) == 2
    out, err = capsys.readouterr()
    assert "for images differs (" in err
    assert err.count("\n") == 1
    assert "images" in out  # a column of the table, which is not ranked
    npz = tmp_path / "drawn.npz"
    assert main(["sample", str(run.folder), "--out", str(npz), "--num", "60"]) == 0
    assert main(["evaluate", str(npz), "--against", "digits"]) == 0
    assert "fid" in capsys.readouterr().out
    # Images in an .npz are compared with, too, and what is left out of a folder is told.
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(np.load(npz)["images"]):
        Image.fromarray(pixels[:, :, 0]).save(tmp_path / "in" / f"{number:02}.png")
    (tmp_path / "in" / "x.psd").touch()
    assert main(["evaluate", str(tmp_path / "in"), "--against", str(npz), "--json"]) == 0
    out = capsys.readouterr().out
    assert abs(json.loads(out.splitlines()[-1])["value"]) < 1e-3
    assert f"{tmp_path}/in: skipped 1 .psd (convert them to PNG)" in caplog.text


def test_protocols_that_differ_are_named(run):
    (record,) = evaluate(run.drawn(20), Stored(data.open_source("digits")), extractor=EXTRACTOR)
    assert differing([record, dataclasses.replace(record, value=1.0, step=7)]) is None
    other = dataclasses.replace(record, weights="another")
    assert differing([record, other]) == ("weights", [EXTRACTOR.weights, "another"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "no RUN|FOLDER|NPZ given"),
        (["evaluate", "RUN", "--metrics", "fdi"], "no metric 'fdi'"),
        (["evaluate", "RUN", "--truncation", "half"], "give numbers"),
        (["evaluate", "nowhere.npz"], "nowhere.npz"),
        (["evaluate", "nowhere", "--against", "digits"], "no data set 'nowhere'"),
        (["compare"], "no RUN given"),
        (["compare", "RUN", "--metric", "swd"], "has no swd"),
    ],
)
def test_mistakes_are_one_line(run, projections, arguments, message, capsys):
    words = [str(run.folder) if word == "RUN" else word for word in arguments]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_scores_of_versions_that_knew_data_by_names_are_not_ranked(run, tmp_path, capsys):
    record = Record(
        metric="fid", value=1.0, images=9, real_images=9, extractor="x", weights="", resize="none",
        data="0123456789abcdef", shape="8x8x1", source="old", step=1, ema=True, truncation=None,
        seed=0,
    )  # fmt: skip
    (tmp_path / "old").mkdir()
    shutil.copy(run.folder / "config.json", tmp_path / "old")
    append(tmp_path / "old", [record])
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "old")]) == 2
    assert "names and sizes of their files: evaluate it again" in capsys.readouterr().err
