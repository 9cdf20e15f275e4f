"""Scores of runs that make images or masks of the data's images."""

import dataclasses
import io
import json

import numpy as np
import optax
import pytest
from rich.console import Console

import jaxgan
from jaxgan import Data, Experiment, Log, UserError, data
from jaxgan.cli import main
from jaxgan.fields import FromData, Image, Mask
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.features import pixels
from jaxgan.run import train
from jaxgan.run.scored import makes, scored_use
from jaxgan.system import Player, Stage, System, Use
from jaxgan.systems.cyclegan import CycleGAN
from jaxgan.systems.pix2pix import Pix2Pix
from jaxgan.systems.segan import SegAN
from jaxgan.systems.stackgan import StackGAN
from jaxgan.systems.stylegan2 import StyleGAN2
from tests.toys import Number, TinyGAN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold(System):
    """Marks what is red, and inverts images; it learns nothing."""

    classes: int = 1
    sees_masks: bool = True

    def data(self):
        masks = {"mask": Mask((8, 8, self.classes))} if self.sees_masks else {}
        return ({"image": Image((8, 8, 3)), **masks},)

    def uses(self):
        def segment(view, taken, keys, options):
            red = (taken["image"][..., :1] > 0).astype("float32")
            return {"mask": red if self.classes == 1 else np.array([0, 1]) * (2 * red - 1)}

        return {
            "segment": Use(
                call=segment,
                takes={"image": FromData(column="image")},
                gives={"mask": Mask((8, 8, self.classes))},
            )
        }

    def networks(self):
        return {"a": Number(1.0)}

    def inputs(self):
        return {"a": (np.zeros(1, np.float32),)}

    def stages(self):
        def loss(view, batch, key):
            return view("a", batch["image"].mean()) ** 2, {}

        return (
            Stage(players=(Player(name="a", owns=("a",), loss=loss, optimizer=optax.sgd(0.1)),)),
        )


def painted(rng, count=30):
    images = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    items = {"image": images, "mask": np.where(images[..., :1] > 127, 255, 0).astype(np.uint8)}
    fields = {"image": Image((8, 8, 3)), "mask": Mask((8, 8, 1))}
    return data.Columns(items, fields, name="painted")


@pytest.fixture(scope="module", params=[True, False], ids=["masks", "without"])
def folder(tmp_path_factory, request):
    experiment = Experiment(
        system=Threshold(sees_masks=request.param),
        data=Data(source=painted(np.random.default_rng(0))),
        batch=8,
        steps=1,
        log=Log(grid=4),
    )
    place = tmp_path_factory.mktemp("runs") / "threshold"
    train(experiment, place, console=Console(file=io.StringIO()))
    return place


def test_masks_are_compared_with_those_of_their_images(folder, rng):
    """Any other order of either side would show."""
    run = jaxgan.open(folder)
    made, true = run.made_of(painted(rng), kind="mask")
    records = evaluate(made, true, "iou,dice,accuracy", extractor=pixels(made.shape))
    assert [record.value for record in records] == [1] * 4
    assert {record.images for record in records} == {30}
    assert records[0].label == "iou"
    made, true = run.made_of(painted(rng), 10, kind="mask")
    assert (len(made), len(true)) == (10, 10)


def test_from_the_command_line(folder, rng, capsys, monkeypatch):
    source = painted(rng)
    monkeypatch.setattr(data, "open_source", lambda name, reading=None: source)
    command = ["evaluate", str(folder), "--against", "painted"]
    assert main([*command, "--metrics", "iou", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["metric"], each["value"]) for each in found] == [("iou", 1.0), ("iou_best", 1.0)]
    for more, told in (
        (["--metrics", "iou,fid"], "iou compares masks, fid compares images"),
        (["--metrics", "swd"], "has no images to score"),
        (["--metrics", "iou", "--truncation", "0.5"], "makes masks of images, not of latents"),
    ):
        assert main([*command, *more]) == 2
        assert told in capsys.readouterr().err


def test_the_use_is_chosen_by_what_it_gives():
    for system, kind, of_data, use in (
        (SegAN(shape=(40, 40, 3), width=2), "mask", True, "segment"),
        (Pix2Pix(shape=(64, 64, 1), masks=True, patch_halvings=1), "mask", True, "segment"),
        (Pix2Pix(), "image", True, "AtoB"),
        (CycleGAN(), "image", True, "AtoB"),
        (StyleGAN2(), "image", False, "generate"),
    ):
        assert scored_use(system, kind, of_data=of_data) == use
        assert makes(system, kind) == of_data
    with pytest.raises(UserError, match=r"no images to score.*generate gives points"):
        scored_use(TinyGAN(), "image")
    with pytest.raises(UserError, match="generate takes caption"):
        scored_use(StackGAN(), "image")
    assert scored_use(StackGAN(), "image", captions=True) == "generate"
