import json

import pytest

from jaxgan.cli import main

CONFIG = """
from jaxgan import Data, Experiment, Mesh
from tests.toys import TinyGAN
config = Experiment(system=TinyGAN(), data=Data(source="ring"), batch=16, mesh=Mesh(data=1))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxgan.bench.SECONDS", 0.01)


def bench(capsys, *options):
    assert main(["bench", "tiny.py", *options]) == 0
    return capsys.readouterr().out


def test_json(place, capsys):
    result = json.loads(bench(capsys, "--steps", "2", "--batch", "8", "--input", "--json"))
    assert set(result) >= {
        *("config", "system", "dtype", "data", "stage", "batch", "draws", "micro", "device"),
        *("devices", "compile_seconds", "compile_cached", "steps", "step_ms"),
        *("images_per_second", "flops_per_step", "flops_per_second", "peak_flops_per_second"),
        *("utilization", "program_memory_bytes", "peak_memory_bytes", "input"),
    }
    assert (result["config"], result["batch"], result["steps"]) == ("tiny.py", 8, 2)
    assert set(result["step_ms"]) == {"median", "min", "max"}
    assert result["input"]["images_per_second"] > 0


def test_the_same_config_with_and_without_options(place, capsys):
    options = ("--vs", "tiny.py", "--steps", "1", "--system.width", "16", "--json")
    ours, theirs = json.loads(bench(capsys, *options))
    assert (ours["config"], theirs["config"]) == ("tiny.py", "tiny.py (as it is)")
    assert ours["flops_per_step"] > theirs["flops_per_step"]


def test_text(place, capsys):
    lines = bench(capsys, "--vs", "tiny.py", "--steps", "1", "--input").splitlines()
    assert lines[0] == "tiny.py: TinyGAN, points of 2 numbers, batch 16, float32, on 1 x cpu"
    words = [line.split()[0] for line in lines[1:5]]
    assert words == ["compile", "step", "work", "memory"]
    assert "feeds the step's" in lines[5] or "does not feed the step's" in lines[5]
    assert lines[6].startswith("           us an image: read ")
    assert lines[7].startswith("           most is to ")
    assert lines[7].endswith(": input is no bottleneck") == ("does not feed" not in lines[5])
    assert "times as long as tiny.py (as it is) [" in lines[8]


def test_input_alone(place, capsys):
    lines = bench(capsys, "--input", "--no-step").splitlines()
    assert lines[0] == "tiny.py"
    assert lines[1].startswith("  input    ring: ")
    assert len(lines) == 4
    facts = json.loads(bench(capsys, "--input", "--no-step", "--json"))
    assert set(facts) == {"config", "input"}


def test_checkpoints_alone(place, capsys):
    options = ("--checkpoint-to", "here", "--no-step")
    lines = bench(capsys, *options, "--preemptions-per-day", "12").splitlines()
    assert lines[0] == "tiny.py"
    assert lines[1].startswith("  saving   training waits ")
    assert lines[2].startswith("  interval --checkpoint.minutes ")
    assert "% of the time at 12 preemptions a day instead of " in lines[2]
    facts = json.loads(bench(capsys, *options, "--json"))
    assert set(facts) == {"config", "checkpoint"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no CONFIG given; usage: jaxgan bench CONFIG"),
        (["tinny.py"], "did you mean tiny.py?"),
        (["tiny.py", "--vs", "tinny.py"], "did you mean tiny.py?"),
        (["tiny.py", "--steps", "0"], "--steps is 0: it must be at least 1"),
        (["tiny.py", "--stage", "2"], "--stage is 2"),
        (["tiny.py", "--no-step"], "--no-step leaves only --input and --checkpoint-to"),
        (
            ["tiny.py", "--preemptions-per-day", "0"],
            "--preemptions-per-day is 0: it must be from 0.001 to 10000",
        ),
        (
            ["tiny.py", "--preemptions-per-day", "3"],
            "is for --checkpoint-to FOLDER: give that, too",
        ),
        (["tiny.py", "--imput"], "unknown option --imput; did you mean --input?"),
        (["tiny.py", "--data", "rong", "--input", "--no-step"], "no data set 'rong'"),
    ],
)
def test_mistakes_are_told_in_one_line(place, capsys, arguments, expected):
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err
