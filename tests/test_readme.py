"""The README's text is what users run first: so it is run."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxgan
from jaxgan import config, data
from jaxgan.cli import COMMANDS

README = (Path(__file__).parents[1] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_new_gan_is_about_forty_lines_and_trains(tmp_path):
    (text,) = (block for block in PYTHON if "class LeastSquaresGAN" in block)
    assert len([line for line in text.splitlines() if line.strip()]) <= 48
    file = tmp_path / "my_gan.py"
    file.write_text(text)
    experiment = config.load(file)
    batches = data.batches(
        data.open_source("ring"), shape=(2,), classes=0, batch=256, draws=1, seed=0
    )
    step, state = jaxgan.make_step(experiment.system), jaxgan.init(experiment.system)
    for number in range(300):
        state, metrics = step(state, batches[number])
    view = jaxgan.evaluation_view(experiment.system, state)
    latents = experiment.system.draw_latents(jax.random.key(0), 500)
    points = np.asarray(experiment.system.generate(view, latents, None))
    assert np.isfinite(float(metrics["generator"]["loss"]))
    # On its way from the origin to the ring of radius 2.
    assert 1 < np.median(np.linalg.norm(points, axis=1)) < 3


def test_the_notebook_form_runs():
    (text,) = (block for block in PYTHON if "my_batches" in block)
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
    names = {"my_batches": [images, images], "latents": np.zeros((3, 100), np.float32)}
    exec(text, names)
    assert names["fakes"].shape == (3, 32, 32, 3)


@pytest.mark.parametrize("line", re.findall(r"^jaxgan .*", README, re.M))
def test_commands_exist(line):
    assert line.split()[1] in COMMANDS


def test_ci_installs_what_the_readme_says_and_nothing_else():
    script = (Path(__file__).parents[1] / ".ci" / "run").read_text()
    installed = re.findall(r"^\S*pip3? install.*", script, re.M)
    assert [line.replace(" --quiet", "") for line in installed] == [
        "pip install '.[demo]'",
        "pip install -e '.[test]'",
    ]
    for line in installed:
        assert line.replace(" --quiet", "") in README


def test_files_and_configs_that_are_named_exist():
    root = Path(__file__).parents[1]
    named = re.findall(r"\b(?:configs|jaxgan|tests)/[\w/]+\.(?:py|png)", README)
    named += re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert named
    assert [name for name in named if not (root / name).exists()] == []


def test_the_table_of_systems_names_every_config():
    configs = {path.stem for path in Path("configs").glob("*.py")}
    assert {name for name in configs if f"`{name}" not in README} == set()
