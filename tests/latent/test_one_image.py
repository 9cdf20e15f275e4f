import numpy as np
import pytest

from jaxgan.latent.one_image import default_scale, soften, walk


def test_a_mask_is_widened_by_a_disk_and_softened():
    mask = np.zeros((250, 250), bool)
    mask[125, 125] = True
    weights = soften(mask, "harmonise")[..., 0]
    assert (weights.min(), weights.max()) == (0, 1)
    rows, columns = np.indices(mask.shape) - 125
    distance = np.hypot(rows, columns)
    # A disk of radius 7, blurred by 5.
    assert weights[distance < 3].min() > 0.8
    assert 0.2 < weights[125, 132] < 0.8
    assert weights[distance > 25].max() == 0
    wide = soften(mask, "edit")[..., 0]
    assert wide[125, 140] > 0.7 > weights[125, 140]
    small = soften(mask[100:150, 100:150], "harmonise")[..., 0]  # a fifth of the size
    assert small[25, 31] < 0.01
    assert soften(np.ones((20, 30), bool), "edit").min() == 1
    assert soften(np.zeros((20, 30), bool), "edit").max() == 0


def test_walks_stay_about_their_anchor():
    anchor = np.random.default_rng(3).standard_normal(2000).astype(np.float32)
    frames = np.stack(list(walk(anchor, 60, alpha=0.1, beta=0.9, seed=1)))
    assert frames.shape == (60, 2000)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames[:5], list(walk(anchor, 5, alpha=0.1, beta=0.9, seed=1)))
    away = (frames - anchor).std(1)
    assert away[0] < 0.2
    assert 0.1 < away[30:].mean() < 2
    step = np.diff(frames, axis=0).std()
    rough = np.diff(list(walk(anchor, 60, alpha=0.1, beta=0.0, seed=1)), axis=0).std()
    assert step < rough
    # Drawn back entirely, it does not move.
    np.testing.assert_array_equal(next(walk(anchor, 1, alpha=1.0, beta=0.9, seed=1)), anchor)


@pytest.mark.parametrize(
    ("task", "few", "many"),
    [("paint", 1, 2), ("harmonise", 2, 5), ("edit", 2, 5), ("animate", 2, 2)],
)
def test_scales_that_suit_a_task(task, few, many):
    assert (default_scale(task, 4), default_scale(task, 10)) == (few, many)
    assert default_scale(task, 2) == 1
