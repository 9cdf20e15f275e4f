import numpy as np
import pytest

from jaxgan.data.base import Columns
from jaxgan.errors import UserError
from jaxgan.fields import Image, Text
from jaxgan.metrics import classifier, regressor
from jaxgan.metrics.base import warn
from jaxgan.metrics.evaluate import evaluate, refer
from jaxgan.metrics.features import from_function
from jaxgan.metrics.images import Stored
from jaxgan.metrics.r_precision import RPrecision, nearest_of


def units(rng, count, size=16):
    vectors = rng.standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_what_is_read_perfectly_is_always_found_and_what_is_not_by_chance(rng):
    vectors, own = units(rng, 3000), np.arange(3000)
    assert nearest_of(vectors, own, vectors).all()
    share = nearest_of(units(rng, 3000), own, vectors).mean()
    assert 0.002 < share < 0.02  # 1 of 100
    assert not nearest_of(-vectors, own, vectors).any()


def scored(monkeypatch, generated, real):
    """Shares of sides (what is read, captions), batch by batch, and what was kept of them."""
    monkeypatch.setattr(regressor, "read", lambda network, images: images)
    network = from_function("none", lambda _, x: x, size=1)
    score = RPrecision(network=network)
    for side, name in ((generated, "generated"), (real, "real")):
        for start in range(0, len(side[0]), 70):
            image, text = (each[start : start + 70] for each in side)
            score.add(**{name: {"image": image, "text": text, "label": np.zeros(len(text))}})
    assert all(batch.keys() == {"read", "text"} for batch in (*score.generated, *score.real))
    return score.result()


def test_equal_captions_are_no_others(rng, monkeypatch):
    vectors = np.repeat(units(rng, 100), 5, 0)
    found = scored(monkeypatch, (vectors, vectors), (vectors, vectors))
    assert found == {"r_precision": 1, "r_precision_real": 1}
    few = vectors[:495]
    with pytest.raises(UserError, match="among 99 others, and there are 99 different ones"):
        scored(monkeypatch, (few, few), (few, few))


def test_both_sides_are_of_the_captions_that_were_drawn_among_all(rng, monkeypatch):
    vectors = units(rng, 300)
    drawn, read = vectors[:40], vectors.copy()
    read[:10] *= -1  # real images that do not show their captions
    found = scored(monkeypatch, (drawn, drawn), (read, vectors))
    assert found == {"r_precision": 1, "r_precision_real": 0.75}
    whole = scored(monkeypatch, (vectors, vectors), (read, vectors))
    assert whole["r_precision_real"] == pytest.approx(290 / 300)
    # Round and round: those of each caption count alike.
    rounds = scored(monkeypatch, (np.tile(read, (3, 1)), np.tile(vectors, (3, 1))), (read, vectors))
    assert rounds["r_precision"] == rounds["r_precision_real"] == whole["r_precision_real"]
    others = units(rng, 40)
    with pytest.raises(UserError, match="captions that no real image has"):
        scored(monkeypatch, (others, others), (read, vectors))


def test_the_loss_is_the_cross_entropy_of_finding_ones_own(rng):
    made, wanted = units(rng, 6), units(rng, 6)
    wanted[1] = wanted[0]
    cosines = made @ wanted.T / 0.1
    expected = []
    for row in range(6):
        others = [k for k in range(6) if k == row or not (row < 2 and k < 2)]
        expected.append(np.log(np.exp(cosines[row, others]).sum()) - cosines[row, row])
    np.testing.assert_allclose(regressor.loss(made, wanted), np.mean(expected), rtol=1e-4)


@pytest.fixture(scope="module")
def sides():
    """Flat images, whose captions are their colours."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (240, 3), np.uint8)
    vectors = (colours / 127.5 - 1).astype(np.float32)
    images = np.broadcast_to(colours[:, None, None], (240, 16, 16, 3)).copy()
    fields = {"image": Image((16, 16, 3)), "text": Text((3,))}
    right = Columns({"image": images, "text": vectors}, fields)
    wrong = Columns({"image": images[::-1].copy(), "text": vectors}, fields)
    return Stored(right), Stored(wrong)


def test_images_of_other_captions_are_found_out_and_the_network_is_kept(sides, tmp_path):
    right, wrong = sides
    network = regressor.of_data(right.source, tmp_path, steps=200)
    again = regressor.of_data(right.source, tmp_path, steps=200)
    assert again.weights == network.weights
    assert [path.name[:10] for path in tmp_path.iterdir()] == ["regressor-"]
    scores = {}
    for name, side in (("right", right), ("wrong", wrong)):
        records = evaluate(side, right, "r_precision", extractor=network, regressor=network)
        scores[name] = {record.metric: record.value for record in records}
    assert scores["right"]["r_precision"] > 0.3
    assert scores["right"]["r_precision_real"] == scores["right"]["r_precision"]
    assert scores["wrong"]["r_precision"] < 0.1
    assert records[0].label == "r_precision-like"


def test_it_is_for_runs_of_captions_alone(sides):
    right, _ = sides
    network = regressor.train(right.source.items["image"], right.source.items["text"], steps=1)
    with pytest.raises(UserError, match="a run that draws images of sentences"):
        evaluate(right, right, "r_precision", extractor=network)
    with pytest.raises(UserError, match="a run that draws images of sentences"):
        refer(right, "r_precision", extractor=network)
    plain = Stored(Columns({"image": right.source.items["image"]}, {"image": Image((16, 16, 3))}))
    with pytest.raises(UserError, match="r_precision needs captions on both sides"):
        refer(plain, "r_precision", extractor=network, regressor=network)


def test_only_so_many_bytes_of_images_are_learned_from_and_that_is_said(sides, monkeypatch, caplog):
    right, _ = sides
    assert len(classifier.chosen(right.source, "regressor")) == 240
    assert not caplog.records
    warn.cache_clear()
    monkeypatch.setattr(classifier, "_BYTES", 100 * 16 * 16 * 3)
    assert len(set(classifier.chosen(right.source, "regressor"))) == 100
    (record,) = caplog.records
    assert "the regressor learns from 100 of 240 images" in record.getMessage()
