import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jaxgan import Data, Experiment, Log, Mesh, UserError
from jaxgan.fields import Framing
from jaxgan.latent import one_image
from jaxgan.latent.one_image import default_scale, edit, reconstruct, soften, walk
from jaxgan.run import train
from jaxgan.systems.singan import SinGAN
from tests.toys import TinyGAN

IMAGE = np.random.default_rng(0).integers(0, 256, (36, 44, 3), np.uint8)


def trained(system, data, steps, folder):
    experiment = Experiment(
        system=system, data=data, batch=1, steps=steps, mesh=Mesh(data=1), log=Log(grid=2)
    )
    return train(experiment, folder, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of scales of 12x15, 15x18 and 18x22."""
    system = SinGAN(
        shape=(18, 22, 3),
        shortest=12,
        factor=0.5,
        width=4,
        iterations=2,
        updates=1,
        learning_rate=0.05,
    )
    data = Data(source="image:china", resize=True)
    return trained(system, data, 6, tmp_path_factory.mktemp("runs") / "one")


@pytest.mark.parametrize("task", ["harmonise", "edit", "paint"])
def test_an_image_is_redrawn(run, task):
    made = edit(run, IMAGE, task)
    assert (made.shape, made.dtype) == ((18, 22, 3), np.uint8)
    np.testing.assert_array_equal(made, edit(run, IMAGE, task))
    low, high = (edit(run, IMAGE, task, scale=scale) for scale in (1, 2))
    assert (low != high).any()
    assert (edit(run, IMAGE, task, scale=1, seed=1) != low).any()
    assert (edit(run, 255 - IMAGE, task, scale=1) != low).any()


def test_outside_of_a_mask_the_image_stays(run):
    mask = np.zeros((36, 44, 1), np.uint8)
    mask[2:8, 2:8] = 255
    given = run.gives("inject")["image"].fit(IMAGE, Framing(resize=True))
    made = edit(run, IMAGE, "harmonise", mask=mask)
    np.testing.assert_array_equal(made[8:, 8:], given[8:, 8:])
    assert (made[1:4, 1:4] != given[1:4, 1:4]).any()


def test_an_image_of_any_size_gets_larger(run):
    made = edit(run, IMAGE, "superres", factor=1.5)
    assert (made.shape, made.dtype) == ((54, 66, 3), np.uint8)


def test_an_animation_moves_about_the_image(run):
    frames = edit(run, IMAGE, "animate", scale=0, frames=3, alpha=1.0)
    assert frames.shape == (3, 18, 22, 3)
    for frame in frames:
        np.testing.assert_array_equal(frame, reconstruct(run))
    moving = edit(run, IMAGE, "animate", frames=3)
    assert (moving[0] != moving[1]).any()
    np.testing.assert_array_equal(moving, edit(run, IMAGE, "animate", frames=3))
    assert (moving != edit(run, IMAGE, "animate", frames=3, seed=1)).any()


def test_a_run_that_is_not_done_edits_with_the_scales_that_it_has(run, tmp_path):
    part = trained(run.system, run.experiment.data, 4, tmp_path / "part")
    assert edit(part, IMAGE, "paint", scale=1).shape == (15, 18, 3)
    with pytest.raises(UserError, match="paint has 1 to 1 in this run"):
        edit(part, IMAGE, "paint", scale=2)
    part = trained(run.system, run.experiment.data, 2, tmp_path / "first")
    assert edit(part, IMAGE, "animate", frames=1).shape == (1, 12, 15, 3)
    with pytest.raises(UserError, match="the only one that is trained yet"):
        edit(part, IMAGE, "paint")


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("melt", {}, "no task 'melt': give one of harmonise"),
        ("paint", {"mask": IMAGE}, "paint takes no mask"),
        ("paint", {"scale": 3}, "paint has 1 to 2 in this run"),
        ("superres", {"scale": 1}, "superres takes no scale"),
        ("superres", {"factor": 1.0}, "factor is .*: it must be above 1 and at most 16"),
        ("animate", {"alpha": 2.0}, "alpha is 2: it must be from 0 to 1"),
        ("edit", {"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_is_refused(run, task, settings, message):
    with pytest.raises(UserError, match=message):
        edit(run, IMAGE, task, **settings)


def test_a_system_without_the_uses_is_told_what_is_missing(tmp_path):
    run = trained(TinyGAN(), Data(source="ring"), 1, tmp_path / "points")
    for task, missing in (
        ("paint", "inject"),
        ("animate", "inject and reconstruct"),
        ("superres", "enlarge"),
    ):
        with pytest.raises(UserError, match=rf"did not learn to {task} \({missing} missing\)"):
            edit(run, IMAGE, task)
    with pytest.raises(UserError, match=r"\(reconstruct missing\): it has generate") as caught:
        reconstruct(run)
    assert "\n" not in str(caught.value)


def test_systems_are_found_by_what_they_can_do():
    assert "singan" not in Path(one_image.__file__).read_text().split('"""', 2)[2].lower()


def test_a_mask_is_widened_by_a_disk_and_softened():
    mask = np.zeros((250, 250), bool)
    mask[125, 125] = True
    weights = soften(mask, "harmonise")[..., 0]
    assert (weights.min(), weights.max()) == (0, 1)
    rows, columns = np.indices(mask.shape) - 125
    distance = np.hypot(rows, columns)
    # A disk of radius 7, blurred by 5.
    assert weights[distance < 3].min() > 0.8
    assert 0.2 < weights[125, 132] < 0.8
    assert weights[distance > 25].max() == 0
    wide = soften(mask, "edit")[..., 0]
    assert wide[125, 140] > 0.7 > weights[125, 140]
    small = soften(mask[100:150, 100:150], "harmonise")[..., 0]  # a fifth of the size
    assert small[25, 31] < 0.01
    assert soften(np.ones((20, 30), bool), "edit").min() == 1
    assert soften(np.zeros((20, 30), bool), "edit").max() == 0


def test_walks_stay_about_their_anchor():
    anchor = np.random.default_rng(3).standard_normal(2000).astype(np.float32)
    frames = np.stack(list(walk(anchor, 60, alpha=0.1, beta=0.9, seed=1)))
    assert frames.shape == (60, 2000)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames[:5], list(walk(anchor, 5, alpha=0.1, beta=0.9, seed=1)))
    away = (frames - anchor).std(1)
    assert away[0] < 0.2
    assert 0.1 < away[30:].mean() < 2
    step = np.diff(frames, axis=0).std()
    rough = np.diff(list(walk(anchor, 60, alpha=0.1, beta=0.0, seed=1)), axis=0).std()
    assert step < rough
    # Drawn back entirely, it does not move.
    np.testing.assert_array_equal(next(walk(anchor, 1, alpha=1.0, beta=0.9, seed=1)), anchor)


@pytest.mark.parametrize(
    ("task", "few", "many"),
    [("paint", 1, 2), ("harmonise", 2, 5), ("edit", 2, 5), ("animate", 2, 2)],
)
def test_scales_that_suit_a_task(task, few, many):
    assert (default_scale(task, 4), default_scale(task, 10)) == (few, many)
    assert default_scale(task, 2) == 1
