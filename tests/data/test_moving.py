import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Flow, Framing
from jaxgan.fields.clip import window


def test_digits_are_those_of_mnist_and_bounce_off_the_edges():
    source = data.open_source("moving_digits")
    assert len(source) == 10_000
    assert source.columns == {"clip": Clip((20, 64, 64, 1))}
    one = data.open_source("moving_digits:1x64")
    known = {digit.tobytes() for digit in data.open_source("mnist5k").images}
    for index in range(4):
        item = one[index]
        places = []
        for frame in item["clip"]:
            rows, columns = np.nonzero(frame[..., 0])
            found = [
                (top, left)
                for top in range(max(0, rows.max() - 27), min(36, rows.min()) + 1)
                for left in range(max(0, columns.max() - 27), min(36, columns.min()) + 1)
                if frame[top : top + 28, left : left + 28].tobytes() in known
            ]
            places.append(found[0])
        steps = np.diff(places, axis=0)
        assert np.hypot(*steps.T).max() < 64 / 20 + 1.5  # rounding
        assert np.hypot(*steps.T).max() > 1


def test_clips_are_functions_of_their_number_alone():
    first, second = (data.open_source("moving_digits:1x32") for _ in range(2))
    for index in (0, 77):
        np.testing.assert_array_equal(first[index]["clip"], second[index]["clip"])
        assert first[index]["label"] == second[index]["label"]
    assert (first[0]["clip"] != first[1]["clip"]).any()
    assert data.fingerprint(first) == data.fingerprint(second)
    others = ("moving_digits", "moving_digits:1x32:test", "moving_digits:1x28", "moving_shapes")
    prints = {data.fingerprint(data.open_source(name)) for name in others}
    assert len(prints | {data.fingerprint(first)}) == 5


def test_held_out_digits_are_others():
    parts = [data.open_source(f"moving_digits:1x32{end}") for end in ("", ":test")]
    assert len(parts[1]) == 1000
    assert not set(parts[0].chosen) & set(parts[1].chosen)
    assert len(parts[0].chosen) + len(parts[1].chosen) == 5000


def test_shapes_move_across_or_down_as_their_label_says():
    source = data.open_source("moving_shapes:32")
    assert source.classes == ("across", "down")
    for index in range(8):
        item = source[index]
        centres = np.array([np.argwhere(frame.any(-1)).mean(0) for frame in item["clip"]])
        moved = np.ptp(centres, axis=0)  # down, across
        assert moved[1 - item["label"]] > 10
        assert moved[item["label"]] < 1
        assert source.labels[index] == item["label"]
    assert 0.4 < source.labels.mean() < 0.6
    held = data.open_source("moving_shapes:32:test")
    assert len(held) == len(held.labels) == 1000
    assert data.fingerprint(held) != data.fingerprint(source)
    seen = {source[index]["clip"][0].tobytes() for index in range(300)}
    assert held[0]["clip"][0].tobytes() not in seen
    assert held[7]["label"] == held.labels[7]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("moving_digits:3", "no data set 'moving_digits:3': give moving_digits"),
        ("moving_digits:1x8", "frames of 8 pixels: expected 16 to 256"),
        ("moving_shapes:999", "frames of 999 pixels"),
        ("moving_digit", "did you mean moving_digits"),
    ],
)
def test_other_names_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        data.open_source(spec)


def test_a_window_begins_anywhere_it_fits_and_says_where_it_does_not():
    starts = {int(window(20, 16, 1, turn)[0]) for turn in range(10)}
    assert starts == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(window(9, 4, 2, 2**63 + 1), 2 * np.arange(4) + (2**63 + 1) % 3)
    np.testing.assert_array_equal(window(6, 4, 2, 5), np.arange(4))  # too short for the stride
    with pytest.raises(UserError, match="a clip has 3 frames, expected at least 4"):
        window(3, 4, 1, 0)


def numbered(lengths):
    """Clips whose frames are of their item's and of their own number."""
    return data.Columns(
        {
            "clip": [
                np.stack([np.full((2, 2, 1), 20 * item + t, np.uint8) for t in range(length)])
                for item, length in enumerate(lengths)
            ]
        }
    )


def test_starts_are_a_function_of_seed_and_step_and_frames_follow_the_stride():
    source, groups = numbered([9, 5, 12]), ({"clip": Clip((3, 2, 2, 1))},)

    def batches(seed, **order):
        how = data.Order(batch=6, seed=seed, **order)
        return data.batches(source, groups, how, framing=Framing(stride=2))

    taken = [np.rint((batches(7)[step]["clip"] + 1) * 127.5) for step in range(20)]
    again = batches(7)
    seen = set()
    for step, clips in enumerate(taken):
        np.testing.assert_array_equal(np.rint((again[step]["clip"] + 1) * 127.5), clips)
        frames = clips[:, :, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(np.diff(frames), 2)
        seen |= {divmod(int(first), 20) for first in frames[:, 0]}
    assert seen == {(0, s) for s in range(5)} | {(1, 0)} | {(2, s) for s in range(8)}
    halves = [batches(7, process=p, processes=2)[3]["clip"] for p in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), batches(7)[3]["clip"])
    assert (batches(8)[0]["clip"] != batches(7)[0]["clip"]).any()
    still = np.rint((again.items("clip", [0, 1, 2]) + 1) * 127.5)[:, :, 0, 0, 0]
    np.testing.assert_array_equal(still[:, 0], [0, 20, 40])


def test_flows_lead_back_to_where_a_digit_was():
    plain = data.open_source("moving_digits:1x32:test")
    source = data.open_source("moving_digits:1x32:test:flow")
    assert source.columns["flow"] == Flow((20, 32, 32, 2))
    assert data.fingerprint(source) != data.fingerprint(plain)
    item = source[3]
    np.testing.assert_array_equal(item["clip"], plain[3]["clip"])
    assert np.isnan(item["flow"][0]).all()
    for before, after, flow in zip(
        item["clip"][:-1], item["clip"][1:], item["flow"][1:], strict=True
    ):
        known = np.isfinite(flow).all(-1)
        np.testing.assert_array_equal(known, after[..., 0] > 0)
        rows, columns = np.nonzero(known)
        x, y = flow[known].astype(int).T
        np.testing.assert_array_equal(before[rows + y, columns + x], after[known])
    assert np.abs(item["flow"][1:][np.isfinite(item["flow"][1:])]).max() >= 1


def test_flows_go_with_the_frames_of_their_clip_and_are_shown_in_colours(tmp_path):
    raw = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 2))
    field = Flow((3, 2, 3, 2))
    np.testing.assert_array_equal(field.fit(raw, turn=2)[:, 0, 0, 0], [2, 3, 4])
    assert "set it to 1" in field.refusal(Flow((20, 2, 3, 2)), Framing(stride=2))
    assert field.refusal(Flow((20, 2, 3, 2))) is None
    assert "choose another" in field.refusal(Flow((20, 4, 3, 2)))
    flow = np.array([[[[0, 0], [2, 0], [np.nan, 0]]]])
    shown = field.show(flow, {})
    np.testing.assert_array_equal(shown[0, :, :], [[255] * 3, [255, 64, 64], [0] * 3])
    field.write(flow, tmp_path / "flow.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "flow.npy"), flow)
