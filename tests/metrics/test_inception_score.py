"""Inception score against closed forms and torch-fidelity."""

import logging

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import base
from jaxgan.metrics.inception_score import InceptionScore, inception_score, shortfall
from tests.reference.recorded import logits as recorded_logits
from tests.reference.recorded import recorded


def test_uniform_predictions_score_1(rng):
    logits = np.full((50, 7), 3.0, np.float32)
    np.testing.assert_allclose(inception_score(logits), (1, 0), atol=1e-14)
    # So does any one prediction that is the same for all, however sure.
    logits = np.tile(rng.normal(size=7) * 100, (50, 1))
    np.testing.assert_allclose(inception_score(logits), (1, 0), atol=1e-13)


def test_sure_and_balanced_predictions_score_the_number_of_classes():
    with np.errstate(divide="ignore"):
        logits = np.log(np.tile(np.eye(5), (4, 1)))  # probabilities of 0 and 1
    np.testing.assert_allclose(inception_score(logits, splits=1), (5, 0), atol=1e-13)
    logits = 1e4 * np.tile(np.eye(5, dtype=np.float32), (4, 1))
    np.testing.assert_allclose(inception_score(logits, splits=1), (5, 0), atol=1e-13)


def test_two_kinds_of_predictions():
    # p = (q, 1-q) and (1-q, q) in equal numbers: the mean is 1/2, the score 2 exp(-entropy of p).
    q = 0.9
    p = np.array([[q, 1 - q], [1 - q, q]] * 10)
    expected = 2 * np.exp(q * np.log(q) + (1 - q) * np.log(1 - q))
    np.testing.assert_allclose(inception_score(np.log(p), splits=1), (expected, 0), rtol=1e-13)


@pytest.mark.parametrize("splits", [10, 7, 1])
def test_agrees_with_torch_fidelity(splits):
    mean, deviation = inception_score(recorded_logits(), splits=splits, seed=5)
    expected = recorded()[f"inception_score {splits}"]
    np.testing.assert_allclose(mean, expected[0], rtol=1e-12)
    np.testing.assert_allclose(deviation, expected[1], rtol=1e-9, atol=1e-12)


def test_sets_sorted_by_class_are_shuffled():
    logits = 1e3 * np.eye(10).repeat(100, 0)
    mean, _ = inception_score(logits)  # unshuffled, each split would have one class and score 1
    assert 9.3 < mean < 10
    assert inception_score(logits) == inception_score(logits)
    assert inception_score(logits) != inception_score(logits, seed=1)


def test_mistakes():
    with pytest.raises(UserError, match="9 samples in 10 splits"):
        inception_score(np.zeros((9, 3)))
    with pytest.raises(UserError, match="9 samples in 0 splits"):
        inception_score(np.zeros((9, 3)), splits=0)


@pytest.mark.parametrize(("count", "spread"), [(1000, 2.0), (400, 4.0)])
def test_the_shortfall_of_few_samples_is_what_is_measured(rng, count, spread):
    logits = spread * rng.normal(size=(200_000, 12))
    endless = inception_score(logits, splits=1)[0]
    parts = [logits[start : start + count] for start in range(0, len(logits), count)]
    measured = 1 - np.mean([inception_score(part)[0] for part in parts]) / endless
    expected = np.mean([shortfall(part) for part in parts])
    assert expected == pytest.approx(measured, rel=0.15)


def test_too_few_images_are_told(rng, caplog):
    base.warn.cache_clear()
    with caplog.at_level(logging.WARNING, "jaxgan"):
        for count in (50_000, 200):
            score = InceptionScore()
            score.add({"logits": 4 * rng.normal(size=(count, 10))})
            score.result()
    (message,) = caplog.messages
    assert message.startswith("is of 200 images in 10 splits: with so few it is expected about ")
