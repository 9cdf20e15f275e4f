import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.metrics.clips import consistency, moments_of_clips, score_clips, speed
from jaxgan.metrics.features import Extractor


def brightness(params, images):
    """The mean of an image, and whether it is dark or bright."""
    mean = images.astype("float32").mean((1, 2))
    return mean[:, :1], (mean[:, :1] - 100) * np.array([-1.0, 1.0])


LOOK = Extractor(
    name="brightness", weights="none", resize="none", size=1, classes=2, params={}, apply=brightness
)


def clips(values):
    """Clips of flat frames of these values, [n, t]."""
    return np.broadcast_to(
        np.asarray(values, np.uint8)[..., None, None, None], (*np.shape(values), 4, 4, 1)
    ).copy()


def test_distance_is_that_of_frames_and_of_their_differences():
    still, moving = clips([[10, 10, 10], [30, 30, 30]]), clips([[10, 20, 10], [30, 40, 30]])
    moments = moments_of_clips(moving, LOOK)
    np.testing.assert_allclose(moments.mean, [25, 0], atol=1e-5)
    assert moments.covariance[1, 1] == pytest.approx(400 / 3)
    (found, same) = (
        {r.metric: r for r in score_clips(made, still, LOOK, source="x", data="d")}
        for made in (moving, still)
    )
    assert same["clip_fid"].value == pytest.approx(0, abs=1e-6)
    # The same frames in another order: only the differences tell.
    swapped = clips([[10, 30, 10], [30, 10, 30]])
    paused = clips([[10, 10, 30], [30, 30, 10]])
    (one, *_) = score_clips(swapped, paused, LOOK, source="x", data="d")
    assert one.value > 10
    record = found["clip_fid"]
    assert (record.extractor, record.images, record.shape) == ("brightness", 2, "3x4x4x1")


def test_consistency_counts_frames_and_clips():
    frames, whole = consistency(clips([[10, 10, 200, 10], [150, 150, 150, 150]]), LOOK)
    assert (frames, whole) == ((0.75 + 1) / 2, 0.5)


def test_speed_is_what_a_point_moves():
    moved = np.zeros((1, 5, 16, 16, 1), np.uint8)
    for t in range(5):
        moved[0, t, 2 + 3 * t, 1 + 2 * t] = 255
    np.testing.assert_allclose(speed(moved), [np.hypot(3, 2)])


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match="clips of 2x4x4x1 are compared with clips of 3x4x4x1"):
        score_clips(clips([[1, 2]]), clips([[1, 2, 3]]), LOOK, source="x", data="d")
    with pytest.raises(UserError, match="give at least one, of two frames or more"):
        moments_of_clips(clips([[1]]), LOOK)


def test_stills_are_frames_of_clips_with_their_labels():
    source = data.open_source("stills:moving_digits:1x32")
    clip = data.open_source("moving_digits:1x32")
    assert (len(source), set(source.columns)) == (10_000, {"image", "label"})
    seen = set()
    for index in range(6):
        item, whole = source[index], clip[index]
        (found,) = np.flatnonzero((whole["clip"] == item["image"]).all((1, 2, 3)))[:1]
        seen.add(int(found))
        assert item["label"] == whole["label"]
    assert len(seen) > 1
    with pytest.raises(UserError, match="stills:mnist5k: mnist5k holds no clips"):
        data.open_source("stills:mnist5k")
