"""evaluations.jsonl: read by its schema; a broken line is named, and keeps no run from going on."""

import dataclasses
import json

import pytest

from jaxgan import UserError
from jaxgan.metrics.records import FILE, Record, append, forget, read_records

GOOD = Record(
    metric="fid",
    value=1.5,
    images=10,
    real_images=10,
    extractor="inception",
    weights="0",
    resize="x",
    data="0",
    shape="8x8x3",
    source="runs/a",
    step=5,
    ema=True,
    truncation=None,
    seed=0,
)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2, is no score"),
        ("[1]", "line 2, is no score"),
        (json.dumps(dataclasses.asdict(GOOD) | {"value": "low"}), "value is 'low'"),
        (json.dumps(dataclasses.asdict(GOOD) | {"images": 1.5}), "images is 1.5"),
        (json.dumps(dataclasses.asdict(GOOD) | {"value": float("nan")}), "NaN is no number"),
        (json.dumps(dataclasses.asdict(GOOD) | {"metric": "$x^"}), "no score gives"),
        (json.dumps(dataclasses.asdict(GOOD) | {"more": 1}), "more"),
        ("[" * 100_000, "nested too deeply"),
        ('{"metric": "fid", "metric": "kid"}', "stands there twice"),
    ],
)
def test_a_broken_line_is_named_and_left_out_when_the_run_goes_on(tmp_path, caplog, line, message):
    append(tmp_path, [GOOD])
    with (tmp_path / FILE).open("a") as file:
        file.write(line + "\n")
    append(tmp_path, [dataclasses.replace(GOOD, step=9)])
    with pytest.raises(UserError, match=message) as caught:
        read_records(tmp_path)
    assert "line 2" in str(caught.value)
    assert "\n" not in str(caught.value)
    forget(tmp_path, after=7)
    assert "left out 1 lines that are no scores" in caplog.text
    assert read_records(tmp_path) == [GOOD]


def test_records_are_not_appended_through_a_link(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match="is a link"):
        append(tmp_path, [GOOD])
    assert (tmp_path / "victim").read_text() == "precious"
