"""The README files are what users run first: so what they say is run, and what they name exists."""

import re
from pathlib import Path

import numpy as np
import pytest

import jaxgan
from jaxgan import config, data
from jaxgan.cli import COMMANDS

ROOT = Path(__file__).parents[1]
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for folder in (".", "configs", "launch", "jaxgan", "jaxgan/*")
    for path in sorted(ROOT.glob(f"{folder}/README.md"))
}
PYTHON = [
    block
    for name in ("README.md", "jaxgan/README.md")
    for block in re.findall(r"```python\n(.*?)```", TEXTS[name], re.S)
]
CONFIGS = {path.stem for path in (ROOT / "configs").glob("*.py")}


def test_the_new_gan_is_about_forty_lines_and_trains(tmp_path):
    (text,) = (block for block in PYTHON if "class LeastSquaresGAN" in block)
    assert len([line for line in text.splitlines() if line.strip()]) <= 48
    file = tmp_path / "my_gan.py"
    file.write_text(text)
    system = config.load(file).system
    batches = data.batches(data.open_source("ring"), system.data(), data.Order(batch=256, seed=0))
    step, state = jaxgan.make_step(system), jaxgan.init(system)
    for number in range(300):
        state, metrics = step(state, batches[number])
    points = jaxgan.apply(system, state, "generate", numbers=500).made["image"]
    assert np.isfinite(float(metrics["generator"]["loss"]))
    # On its way from the origin to the ring of radius 2.
    assert 1 < np.median(np.linalg.norm(points, axis=1)) < 3


def test_steps_without_a_run(tmp_path, monkeypatch):
    (text,) = (block for block in PYTHON if "my_batches" in block)
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
    names = {"my_batches": [images, images]}
    exec(text, names)
    assert names["fakes"].shape == (16, 32, 32, 3)
    assert (tmp_path / "checkpoints" / "2").is_dir()


def test_a_run_of_arrays_is_trained_and_used(tmp_path, monkeypatch):
    training, using = (
        next(block for block in PYTHON if word in block) for word in ("my_images", "run.use")
    )
    monkeypatch.chdir(tmp_path)
    exec(training, {"my_images": np.zeros((16, 32, 32, 3), np.uint8)})
    # The text opens a run of digits with labels; this one has none.
    names = {}
    exec(re.sub(r"label=\d, ", "", using.replace("runs/quickstart", "runs/mine")), names)
    assert names["images"].shape == names["made"].shape == (16, 32, 32, 3)


def test_ci_installs_what_the_readme_says_and_nothing_else():
    script = (ROOT / ".ci" / "run").read_text()
    installed = re.findall(r"^\S*pip3? install.*", script, re.M)
    assert [line.replace(" --quiet", "") for line in installed] == [
        "pip install '.[demo]'",
        "pip install -e '.[test]'",
    ]
    for line in installed:
        assert line.replace(" --quiet", "") in TEXTS["README.md"]


def test_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in CONFIGS:
        assert config.load(name) == config.load(ROOT / "configs" / f"{name}.py")
    with pytest.raises(jaxgan.UserError, match="did you mean quickstart"):
        config.load("quickstrat")


LINES = [
    (name, line)
    for name, text in TEXTS.items()
    for block in re.findall(r"```sh\n(.*?)```", text, re.S)
    for line in re.findall(r"\bjaxgan [a-z].*", block)
]


@pytest.mark.parametrize(("name", "line"), LINES)
def test_commands_and_their_configs_exist(name, line):
    command, target, *_ = *line.split()[1:], ""
    assert command in COMMANDS
    if command in ("train", "plan", "bench") and re.fullmatch(r"[a-z0-9_]+", target):
        assert target in CONFIGS


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_named_exist(name):
    named = re.findall(r"\]\(((?!http)[^)#]+)", TEXTS[name])
    assert [link for link in named if not (ROOT / name).parent.joinpath(link).exists()] == []
    named = re.findall(
        r"\b(?:configs|jaxgan|tests|launch)/[a-z0-9_/]+\.(?:py|png|yaml)", TEXTS[name]
    )
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_the_tables_name_every_config():
    assert {name for name in CONFIGS if f"`{name}`" not in TEXTS["README.md"]} == set()
    assert {name for name in CONFIGS if f"| `{name}` |" not in TEXTS["configs/README.md"]} == set()
