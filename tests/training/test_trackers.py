import subprocess
import sys

import numpy as np
import pytest

from jaxgan import UserError, pictures
from jaxgan.training.trackers import TRACKERS, named


def test_trackers_are_known_by_name():
    assert named("tensorboard, wandb,tensorboard") == ["tensorboard", "wandb"]
    assert named("") == []
    with pytest.raises(UserError, match="did you mean tensorboard"):
        named("tensorbord")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jaxgan\[wandb\]'"):
        named("wandb")


@pytest.mark.filterwarnings("default")  # of wandb's own
def test_wandb_keeps_a_run_offline_and_goes_on_with_it(tmp_path):
    for start in (0, 4, 8):
        tracker = TRACKERS["wandb"](tmp_path, start, {"batch": 4})
        tracker.scalars({"generator/loss": 0.5}, start + 1)
        tracker.picture("samples", np.zeros((8, 8), np.uint8), start + 1)
        tracker.picture("samples", np.zeros((8, 8, 4), np.uint8), start + 2)
        tracker.close()
    # Three within a second are called offline-run-TIME-ID, …-ID-1 and …-ID-2.
    runs = [run.name.split("-") for run in (tmp_path / "wandb").glob("offline-run-*")]
    assert len(runs) == 3
    assert len({run[3] for run in runs}) == 1
    assert len(list((tmp_path / "wandb").rglob("samples_*.png"))) == 6


def test_tensorboard_does_not_load_torch(tmp_path):
    """It takes seconds, and nothing of it is used."""
    code = (
        "import sys; from pathlib import Path; from jaxgan.training.trackers import TRACKERS;"
        "TRACKERS['tensorboard'](Path(sys.argv[1]), 0, {}).close();"
        "assert not any(name.partition('.')[0] == 'torch' for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_tensorboard_keeps_numbers_and_pictures(tmp_path):
    tracker = TRACKERS["tensorboard"](tmp_path, 0, {})
    tracker.scalars({"generator/loss": 0.5}, 1)
    tracker.picture("samples", np.zeros((8, 8), np.uint8), 1)
    pictures.animate(
        np.zeros((3, 1, 8, 8, 1), np.uint8)
        + np.arange(3, dtype=np.uint8)[:, None, None, None, None],
        film := tmp_path / "a.gif",
    )
    tracker.film("clips", film, 1)
    tracker.close()
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"generator/loss" in events.read_bytes()
    assert b"samples" in events.read_bytes()
    assert film.read_bytes() in events.read_bytes()
    assert b"PNG" in events.read_bytes()
