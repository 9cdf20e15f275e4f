import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.fields import Clip
from jaxgan.metrics.clips import ClipFID, Consistency, SpeedError, speed
from jaxgan.metrics.evaluate import compared, evaluate
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import of_source


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


def stored(values):
    return of_source(data.as_source({"clip": clips(values)}), (len(values[0]), 4, 4, 1), kind=Clip)


def score(made, real, metrics):
    records = evaluate(stored(made), stored(real), metrics, extractor=LOOK)
    return {record.metric: record for record in records}


def test_distance_is_that_of_frames_and_of_their_differences():
    still, moving = [[10, 10, 10], [30, 30, 30]], [[10, 20, 10], [30, 40, 30]]
    features = np.asarray(moving, np.float32)[..., None]
    moments = ClipFID().gather(None, {"frame_features": features})
    np.testing.assert_allclose(moments.mean, [25, 0], atol=1e-5)
    assert moments.covariance[1, 1] == pytest.approx(400 / 3)
    record = score(still, still, "clip_fid")["clip_fid"]
    assert record.value == pytest.approx(0, abs=1e-6)
    assert (record.extractor, record.images, record.shape) == ("brightness", 2, "3x4x4x1")
    # The same frames in another order: only the differences tell.
    swapped, paused = [[10, 30, 10], [30, 10, 30]], [[10, 10, 30], [30, 30, 10]]
    assert score(swapped, paused, "clip_fid")["clip_fid"].value > 10
    with pytest.raises(UserError, match="two frames or more"):
        ClipFID().gather(None, {"frame_features": features[:, :1]})


def test_consistency_counts_frames_and_clips():
    found = score([[10, 10, 200, 10], [150, 150, 150, 150]], [[1, 2, 3, 4]] * 2, "consistency")
    values = {name: record.value for name, record in found.items()}
    assert values == {
        "recognised": 1.0,
        "consistency": (0.75 + 1) / 2,
        "consistent_clips": 0.5,
    }
    unsure = np.zeros((1, 2, 2))
    unsure[0, 0, 1] = 3.0  # a chance of 0.95
    again = Consistency()
    again.add({"frame_logits": unsure})
    assert again.result()["recognised"] == 0.5


def test_speed_is_what_a_point_moves():
    moved = np.zeros((1, 5, 16, 16, 1), np.uint8)
    for t in range(5):
        moved[0, t, 2 + 3 * t, 1 + 2 * t] = 255
    np.testing.assert_allclose(speed(moved), [np.hypot(3, 2)])
    slower = np.zeros_like(moved)
    for t in range(5):
        slower[0, t, 2 + t, 1] = 255
    error = SpeedError()
    error.add({"clip": slower}, {"clip": moved})
    assert error.result()["speed_error"] == pytest.approx(1 - 1 / np.hypot(3, 2))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="has images of 3x4x4x1 and"):
        evaluate(stored([[1, 2]]), stored([[1, 2, 3]]), "clip_fid", extractor=LOOK)
    with pytest.raises(UserError, match="fid compares images, clip_fid compares clips"):
        compared("fid,clip_fid")


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
