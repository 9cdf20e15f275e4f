import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.fields import Mask
from jaxgan.metrics import SCORES
from jaxgan.metrics.evaluate import compared, evaluate
from jaxgan.metrics.features import pixels
from jaxgan.metrics.images import Stored
from jaxgan.metrics.segmentation import accuracy, counts, dice, iou

SIDE = 64


def discs(*radii):
    """Bytes, concentric."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.stack([255 * (x**2 + y**2 <= r**2) for r in radii]).astype(np.uint8)[..., None]


def values(made, true):
    def stored(masks):
        field = Mask((*masks.shape[1:3], 1))
        return Stored(data.Columns({"mask": masks}, {"mask": field}, name="masks"))

    records = evaluate(
        stored(made), stored(true), "iou,dice,accuracy", extractor=pixels(made.shape[1:])
    )
    return {record.metric: record.value for record in records}


def test_a_disc_in_a_disc_has_the_quotient_of_the_areas():
    small, large = discs(8, 12), discs(16, 24)
    found = counts(small, large)
    np.testing.assert_allclose(iou(found), [0.25, 0.25], atol=0.01)
    np.testing.assert_allclose(dice(found), [2 / 5, 2 / 5], atol=0.01)
    np.testing.assert_allclose(
        accuracy(found), 1 - np.pi * np.array([192, 432]) / SIDE**2, atol=0.005
    )


def test_scores_are_those_of_scikit_learn(rng):
    made, true = rng.integers(0, 256, (2, 5, 9, 7, 1), np.uint8)
    pairs = [((a > 127).ravel(), (b > 127).ravel()) for a, b in zip(made, true, strict=True)]
    found = counts(made, true)
    for ours, theirs in ((iou, jaccard_score), (dice, f1_score), (accuracy, accuracy_score)):
        np.testing.assert_allclose(ours(found), [theirs(b, a) for a, b in pairs], atol=1e-6)


def test_empty_masks_agree():
    nothing, something = discs(0), discs(9)
    assert iou(counts(nothing, nothing)) == dice(counts(nothing, nothing)) == 1
    assert iou(counts(nothing, something)) == 0
    assert dice(counts(nothing, something)) < 1e-6


def test_one_half_is_marked():
    at = np.array([127, 128], np.uint8).reshape(1, 2, 1, 1)
    assert counts(at, at).made == 1


def test_a_right_mask_scores_1_and_so_does_its_complement(caplog):
    true = discs(8, 12, 20)
    whole = {"iou": 1, "iou_best": 1, "dice": 1, "accuracy": 1}
    assert values(true, true) == whole
    assert not caplog.records
    assert values(255 - true, true) == whole
    assert "masks are scored inverted" in caplog.text


def test_one_polarity_for_all_and_the_best_of_each_image():
    """Of three masks one is inverted: the best of each is right, one choice for all is not."""
    true = discs(8, 12, 20)
    made = np.concatenate([true[:2], 255 - true[2:]])
    found = values(made, true)
    assert found["iou_best"] == 1
    assert found["iou"] == pytest.approx(2 / 3)
    assert found["dice"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_all_marked_has_the_foregrounds_share():
    """The baseline of unsupervised segmentation: 0.54 for emoji."""
    true = discs(10, 25)
    found = values(np.full_like(true, 255), true)
    assert found["iou"] == pytest.approx((true > 0).mean())


def test_masks_and_images_are_scored_one_after_the_other():
    assert compared("iou,dice") == ("mask",)
    assert compared("fid,swd") == ("image",)
    with pytest.raises(UserError, match="fid compares images, iou compares masks: ask for them"):
        compared("fid,iou")
    assert SCORES["iou"].improves(0.9, 0.8)
