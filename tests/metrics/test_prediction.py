import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.metrics.evaluate import compared
from jaxgan.metrics.prediction import EPE, MSE, constant_velocity, matched_flow, moved


def test_a_shift_is_matched_and_goes_on(rng):
    wide = rng.integers(0, 256, (2, 40, 40, 3), np.uint8)
    steps = [wide[:, 8 - 2 * t : 32 - 2 * t, 8 + 3 * t : 32 + 3 * t] for t in range(3)]
    flow = matched_flow(steps[0], steps[1])
    inner = np.s_[:, 7:-7, 7:-7]
    assert (flow[inner] == (3, -2)).all()
    made = constant_velocity(np.stack(steps[:2], 1), 1)[:, 0]
    np.testing.assert_array_equal(made[inner], steps[2][inner])


def test_a_thing_of_constant_velocity_is_foretold_frame_by_frame(rng):
    thing = rng.integers(1, 256, (14, 14, 1), np.uint8)
    clip = np.zeros((1, 6, 48, 48, 1), np.uint8)
    for time in range(6):
        clip[0, time, 4 + 3 * time : 18 + 3 * time, 10 + 2 * time : 24 + 2 * time] = thing
    made = constant_velocity(clip[:, :2], 4)
    np.testing.assert_array_equal(made, clip[:, 2:])


def test_what_does_not_move_has_no_flow_and_edges_are_repeated():
    still = np.full((1, 12, 12, 1), 7, np.uint8)
    assert not matched_flow(still, still).any()
    x = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1)
    right = np.broadcast_to((2, 0), (1, 3, 3, 2))
    np.testing.assert_array_equal(moved(x, right)[0, :, :, 0], [[2] * 3, [5] * 3, [8] * 3])
    with pytest.raises(UserError, match="two frames at least"):
        constant_velocity(still[:, None], 1)


def test_constant_velocity_beats_copying_on_digits():
    source = data.open_source("moving_digits:1x32:test")
    clips = np.stack([source[i]["clip"][:6] for i in range(20)])
    score = MSE()
    for part in (clips[:15], clips[15:]):
        score.add({"clip": part[:, 4:]}, {"clip": part[:, 4:], "seen": part[:, :4]})
    found = {name: value for name, (value, _) in score.result().items()}
    assert set(found) == set(MSE.gives)
    assert found["mse"] == found["next_mse"] == 0
    assert 0 < found["mse_velocity"] < found["mse_copy"]
    assert found["next_mse_copy"] < found["mse_copy"]
    errors = ((clips[:, 4] / 255 - clips[:, 3] / 255) ** 2).mean((1, 2, 3))
    assert score.result()["next_mse_copy"] == pytest.approx((errors.mean(), errors.std()))


def test_baselines_are_of_as_many_frames_as_are_seen():
    clip, score = np.zeros((2, 3, 16, 16, 1), np.uint8), MSE()
    score.add({"clip": clip + np.uint8(51)}, {"clip": clip, "seen": clip[:, :1]})
    assert score.result() == {
        "mse": pytest.approx((0.04, 0)),
        "mse_copy": (0, 0),
        "next_mse": pytest.approx((0.04, 0)),
        "next_mse_copy": (0, 0),
    }


def test_end_point_errors_are_of_pixels_whose_flow_is_known():
    true = np.full((3, 1, 2, 2, 2), np.nan)
    true[0, 0, 0, 0], true[0, 0, 1, 1], true[1, 0, 0, 1] = (3, 4), (0, 0), (1, 0)
    made = np.zeros(true.shape)
    made[0, 0, 1, 1] = (0, 2)
    score = EPE()
    score.add({"flow": made}, {"flow": true})
    assert score.result()["epe"][0] == pytest.approx((3.5 + 1) / 2)
    assert score.result()["epe_still"][0] == pytest.approx((2.5 + 1) / 2)
    nothing = EPE()
    nothing.add({"flow": made[2:]}, {"flow": true[2:]})
    with pytest.raises(UserError, match="know none of these"):
        nothing.result()


def test_scores_of_clips_are_asked_for_alone():
    assert compared("mse,epe") == ("clip",)
    assert compared("psnr,lpips,bpp") == ("image", "clip")
    assert compared("psnr,mse") == ("clip",)
    with pytest.raises(UserError, match="mse compares clips, fid compares images"):
        compared("mse,fid")
