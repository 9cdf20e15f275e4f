"""What every score says of itself, and that a new one is a class and a row of the table."""

import dataclasses
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.metrics import SCORES, giving
from jaxgan.metrics.base import Score, joined
from jaxgan.metrics.evaluate import evaluate, refer
from jaxgan.metrics.features import EXTRACTORS, from_function
from jaxgan.metrics.frechet import Moments
from jaxgan.metrics.images import Drawn, Stored

PIXELS = from_function("means", lambda _, x: x.astype(jnp.float32).mean((1, 2)), size=1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def stored(count, seed, num=None):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 8, 8, 1), np.uint8)
    labels = rng.integers(0, 3, count).astype(np.int32)
    return Stored(data.Arrays(pixels, labels, ("a", "b", "c"), name=f"images{seed}"), num)


class Difference(Score):
    """Mean absolute difference of pairs, and how many of their labels agree."""

    name = "difference"
    gives = ("difference", "agreement")
    needs = needs_real = frozenset({"image", "label"})
    paired = True
    better = "lower"
    of = "pixels"
    summary = "a toy"
    published_as = "nowhere"
    published_with = "pixels"

    def add(self, generated=None, real=None):
        apart = np.abs(generated["image"].astype(float) - real["image"]).mean((1, 2, 3))
        alike = generated["label"] == real["label"]
        self.generated = [*(self.generated or []), np.stack([apart, alike])]

    def result(self):
        apart, alike = np.concatenate(self.generated, axis=1)
        return {"difference": (apart.mean(), apart.std()), "agreement": alike.mean()}


@pytest.fixture
def difference(monkeypatch):
    monkeypatch.setitem(SCORES, "difference", Difference)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_says_what_it_is(name):
    score = SCORES[name]
    assert score.name == name
    known = {"image", "mask", "label", "text", "features", "logits", "generator", "bpp"}
    known |= {"clip", "frame_features", "frame_logits", "seen", "flow"}
    assert score.needs
    assert score.needs | score.needs_real <= known
    assert score.better in ("lower", "higher")
    assert score.of in ("features", "pixels", "distance", "captions")
    assert re.search(r"\(.+ \d{4}\)$", score.published_as)
    networks = {network.name for network in EXTRACTORS.values()}
    assert score.published_with in networks | {
        "pixels",
        "lpips-vgg16",
        "lpips-alexnet",
        "resnet-50",
        "damsm",
        "i3d",
        "openface",
    }
    assert score.improves(1, 2) == (score.better == "lower")
    assert not score.improves(1, 1)
    for value in score.gives or (name,):
        assert giving(value) is score


def test_the_readme_has_a_row_for_every_score():
    readme = Path("jaxgan/metrics/README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` .*$", readme, re.MULTILINE)
    assert rows[: len(SCORES)] == list(SCORES)
    for name, score in SCORES.items():
        (row,) = re.findall(rf"^\| `{name}` .*$", readme, re.MULTILINE)
        for word in (score.summary, score.published_as, score.better):
            assert word in row


def test_the_readmes_scores_work(monkeypatch):
    names = {"Score": Score, "joined": joined, "np": np}
    for code in re.findall(
        r"```python\n(.*?)```", Path("jaxgan/metrics/README.md").read_text(), re.S
    ):
        exec(code, names)
    monkeypatch.setitem(SCORES, "brightness", names["Brightness"])
    monkeypatch.setitem(SCORES, "mse", names["Error"])
    made, real = stored(30, 0), stored(30, 1)
    brightness, error = evaluate(made, real, "brightness,mse", extractor=PIXELS)
    a, b = (side.source.images.astype(float) for side in (made, real))
    assert brightness.value == pytest.approx(abs(a.mean() - b.mean()))
    assert error.value == pytest.approx(np.square(a - b).mean())


def test_a_value_that_no_score_gives():
    with pytest.raises(UserError, match="no score gives 'fdi': there are fid, kid"):
        giving("fdi")


def test_a_score_of_pairs_is_a_class_and_a_row(difference):
    made, real = stored(250, 0), stored(250, 1)
    records = {
        r.metric: r for r in evaluate(made, real, "fid,difference", extractor=PIXELS, seed=3)
    }
    a, b = made.source, real.source
    apart = np.abs(a.images.astype(float) - b.images).mean((1, 2, 3))
    record = records["difference"]
    assert (record.value, record.deviation) == pytest.approx((apart.mean(), apart.std()))
    assert records["agreement"].value == (a.labels == b.labels).mean()
    assert (record.images, record.real_images, record.extractor) == (250, 250, "pixels")
    assert record.label == "difference"
    assert {"fid", "difference", "agreement"} == records.keys()
    reference = refer(real, "difference", extractor=PIXELS)
    assert not reference.gathered  # nothing is kept: the pass is made beside the other
    (again, _) = evaluate(made, reference, "difference", extractor=PIXELS, seed=3)
    assert again == record
    (some, _) = evaluate(stored(250, 0, 40), stored(250, 1, 40), "difference", extractor=PIXELS)
    order = np.random.default_rng(0).permutation(250)[:40]
    assert some.value == pytest.approx(apart[order].mean())


def drawn_from(real, **settings):
    """Images that a use makes of real ones, in their order: here, each a level brighter."""
    (columns,) = real.batches(len(real))
    given = columns["image"].clip(0, 254)

    def sample(count, start):
        rows = slice(start, start + count)
        return {"image": given[rows] + 1, "label": columns["label"][rows]}

    return Drawn(
        sample=sample,
        num=len(real),
        name="made",
        shape=real.shape,
        step=0,
        ema=False,
        truncation=None,
        seed=0,
        **settings,
    )


def test_pairs_are_compared_only_where_they_belong_together(difference, tmp_path):
    real = stored(130, 1)

    def score(images, against):
        return evaluate(images, against, "difference", extractor=PIXELS)

    (record, agreement) = score(drawn_from(real, paired=True), real)
    assert record.value == pytest.approx(1, abs=0.01)
    assert agreement.value == 1
    for images in (drawn_from(real), stored(129, 0), stored(150, 0, 130)):
        with pytest.raises(UserError, match="give as many of both, made one from the other"):
            score(images, real)
    Moments.of(np.eye(3)).save(tmp_path / "real.npz")
    with pytest.raises(UserError, match="serve fid, clip_fid alone"):
        score(real, tmp_path / "real.npz")


def test_what_a_score_needs_is_named(difference):
    real = stored(20, 0)
    bare = Stored(data.Arrays(real.source.images, name="bare"))
    for metrics in ("intra_fid", "cas", "difference"):
        for sides in ((bare, real), (real, bare)):
            with pytest.raises(UserError, match=f"{metrics} needs classes on both sides"):
                evaluate(*sides, metrics, extractor=PIXELS)
    with pytest.raises(UserError, match="images0 was not looked at for kid"):
        evaluate(real, refer(real, "fid", extractor=PIXELS), "kid", extractor=PIXELS)


def test_a_need_that_only_some_data_have_is_named(monkeypatch):
    class Masks(Difference):
        name = "masks"
        needs = needs_real = frozenset({"mask"})

    monkeypatch.setitem(SCORES, "masks", Masks)
    real = stored(20, 0)
    with pytest.raises(UserError, match="masks needs 'mask', which generated items lack"):
        evaluate(real, real, "masks", extractor=PIXELS)


def test_records_of_a_new_score_are_labelled_by_its_network(difference):
    (record, _) = evaluate(stored(9, 0), stored(9, 1), "difference", extractor=PIXELS)
    assert dataclasses.replace(record, extractor="another").label == "difference-like"
