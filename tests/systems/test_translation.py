"""A translator that grows: a system of its own, which the package knows nothing of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import FromData, Image
from jaxgan.nn.layers import Conv
from jaxgan.system import Player, Stage, System, Use, stages_of
from jaxgan.training.apply import apply, draw
from jaxgan.training.step import init, make_step


class Layers(nn.Module):
    """Two convolutions, for images of any size."""

    features: int

    @nn.compact
    def __call__(self, x, *, train):
        return Conv(self.features, name="out")(nn.relu(Conv(4, name="hidden")(x)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrowingTranslator(System):
    """Grey images to images in colour, at 8 and then at 16 pixels."""

    def data(self):
        return ({"image": Image((16, 16, 3)), "input": Image((16, 16, 1))},)

    def networks(self):
        return {"generator": Layers(3), "discriminator": Layers(1)}

    def inputs(self):
        fields = self.data()[0]
        return {
            "generator": (fields["input"].zeros(),),
            "discriminator": (jnp.zeros((1, 16, 16, 4)),),
        }

    def stages(self):
        adam = optax.adam(1e-3)
        judge = Player(
            name="discriminator", owns=("discriminator",), loss=self.judge, optimizer=adam
        )
        make = Player(
            name="generator", owns=("generator",), loss=self.make, optimizer=adam, reuse=True
        )
        return (
            Stage(players=(judge, make), steps=2, resolution=8),
            Stage(players=(judge, make), resolution=16),
        )

    def logits(self, view, batch, image):
        pair = jnp.concatenate([batch["input"], image], -1)
        return view("discriminator", view.augment(pair))

    def judge(self, view, batch, key):
        made = view("generator", batch["input"])
        real, fake = (self.logits(view, batch, x) for x in (batch["image"], made))
        return losses.non_saturating.discriminator(real, fake), {}

    def make(self, view, batch, key):
        side = jnp.float32(view.resolution)
        logits = self.logits(view, batch, view("generator", batch["input"]))
        return losses.non_saturating.generator(logits), {"side": side}

    def uses(self):
        return {
            "AtoB": Use(
                call=lambda view, taken, keys, options: {
                    "image": view("generator", taken["input"])
                },
                takes={"input": FromData(column="input")},
                gives={"image": Image((16, 16, 3))},
            )
        }


SYSTEM = GrowingTranslator()


class Arrays:
    """Six pairs of 16x16 pixels, brought to a resolution as data are."""

    def __init__(self, resolution):
        rng = np.random.default_rng(0)
        self.fields = {n: field.at(resolution) for n, field in SYSTEM.data()[0].items()}
        colours = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
        self.raw = {"image": colours, "input": colours[..., :1]}

    def count(self, name):
        return len(self.raw[name])

    def items(self, name, indices):
        field = self.fields[name]
        return field.to_network(
            np.stack([field.fit(self.raw[name][i]) for i in indices % self.count(name)])
        )

    def batch(self):
        return {name: self.items(name, np.arange(6)) for name in self.fields}


def test_it_trains_and_translates_at_both_resolutions():
    state = init(SYSTEM)
    for stage, side in zip(stages_of(SYSTEM), (8, 16), strict=True):
        data = Arrays(side)
        step = make_step(SYSTEM, stage, augment="translation")
        for _ in range(2):
            before = jax.device_get(state.params)
            state, metrics = step(state, data.batch())
        assert metrics["generator"]["side"] == side
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, state.params)
        assert all(jax.tree.leaves(moved))
        # Of what is given, and of what is drawn from the data.
        given = data.batch()["input"][:3]
        made = apply(SYSTEM, state, "AtoB", {"input": given}, chunk=4).made["image"]
        assert made.shape == (3, side, side, 3)
        drawn = apply(SYSTEM, state, "AtoB", numbers=3, data=data, chunk=4)
        assert drawn.taken["input"].shape == (3, side, side, 1)
        again = apply(SYSTEM, state, "AtoB", {"input": drawn.taken["input"]}, chunk=4)
        np.testing.assert_array_equal(again.made["image"], drawn.made["image"])


def test_inputs_of_another_resolution_are_refused():
    state = dataclasses.replace(init(SYSTEM), step=jnp.int32(2))
    with pytest.raises(UserError, match="takes input of image 8x8x1, not of shape"):
        draw(SYSTEM, state, "AtoB", {"input": Arrays(16).batch()["input"]})
