"""metrics.jsonl of a run that goes on: whatever it holds, the run goes on."""

import io
import json

from rich.console import Console

from jaxgan.training.report import _rows_up_to


def taken_up(path, step):
    out = io.StringIO()
    _rows_up_to(path, step, Console(file=out, width=200)).close()
    return path.read_text(), out.getvalue()


def row(step, **more):
    return json.dumps({"step": step, **more}) + "\n"


def test_rows_that_come_again_go_and_others_stay_as_they_are(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert taken_up(path, 0) == ("", "")
    kept = row(1, x=float("nan")) + row(5)
    path.write_text(kept + row(9))
    before = path.stat().st_ino
    assert taken_up(path, 5) == (kept, "")
    assert path.stat().st_ino != before  # replaced as a whole
    before = path.stat().st_ino
    assert taken_up(path, 5) == (kept, "")
    assert path.stat().st_ino == before  # nothing was to do


def test_broken_rows_are_left_out_and_told(tmp_path):
    path = tmp_path / "metrics.jsonl"
    broken = [b"{", b"[1]", b'{"step": "1"}', b"\xff\xfe", b"[" * 100_000, b'{"step": 1e999}']
    broken += [b'{"step": -1}', b'{"step": true}', b'{"step": ' + b"9" * 5000 + b"}", b""]
    path.write_bytes(
        row(1).encode() + b"\n".join(broken) + b"\n" + row(2).encode() + b'{"step": 3, "torn'
    )
    text, told = taken_up(path, 10)
    assert text == row(1) + row(2)
    assert f"left out {len(broken) + 1} lines that are no row of numbers" in told
