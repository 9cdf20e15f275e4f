import numpy as np
import pytest

from jaxgan.data.base import Columns
from jaxgan.errors import UserError
from jaxgan.fields import Image, Text
from jaxgan.metrics import regressor
from jaxgan.metrics.evaluate import evaluate, refer
from jaxgan.metrics.images import Stored
from jaxgan.metrics.r_precision import nearest_of


def units(rng, count, size=16):
    vectors = rng.standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_what_is_read_perfectly_is_always_found_and_what_is_not_by_chance(rng):
    vectors = units(rng, 3000)
    assert nearest_of(vectors, vectors).all()
    share = nearest_of(units(rng, 3000), vectors).mean()
    assert 0.002 < share < 0.02  # 1 of 100
    assert not nearest_of(-vectors, vectors).any()


def test_equal_captions_are_no_others(rng):
    vectors = np.repeat(units(rng, 100), 5, 0)
    assert nearest_of(vectors, vectors).all()
    with pytest.raises(UserError, match="among 99 others, and there are 99 different ones"):
        nearest_of(vectors[:495], vectors[:495])


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
    plain = Stored(Columns({"image": right.source.items["image"]}, {"image": Image((16, 16, 3))}))
    with pytest.raises(UserError, match="r_precision needs captions on both sides"):
        refer(plain, "r_precision", extractor=network)
