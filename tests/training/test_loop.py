"""The loop over iterations: stages in turn, each compiled while the one before trains."""

import threading

import numpy as np
import pytest

from jaxgan import init
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.training import loop
from tests.toys import StagedGAN


class Noise:
    """The batches of a stage."""

    def __init__(self, size):
        self.size = size

    def __getitem__(self, step):
        return {"image": np.random.default_rng(step).normal(size=(self.size, 2)).astype("f")}

    def iterate(self, start):
        while True:
            yield self[start]
            start += 1


def moments(batches_of=lambda number: Noise((16, 8)[number]), steps=6):
    system, mesh = StagedGAN(), make_mesh(1)
    return loop.iterate(system, init(system, mesh=mesh), batches_of, steps=steps, mesh=mesh)


def test_the_next_stage_is_compiled_while_this_one_trains(monkeypatch):
    compiled, real = [threading.Event(), threading.Event()], loop.compile_step

    def compile_step(step, state, batch):
        done = real(step, state, batch)
        compiled[len(batch["image"]) == 8].set()
        return done

    monkeypatch.setattr(loop, "compile_step", compile_step)
    iterations = moments()
    first = next(iterations)
    assert compiled[0].is_set()
    assert compiled[1].wait(60)  # and nobody has asked for its stage yet
    seen = [(moment.step, moment.number) for moment in (first, *iterations)]
    assert seen == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 1)]


def test_a_stage_that_is_not_reached_is_not_compiled(monkeypatch):
    asked = []
    iterations = moments(lambda number: asked.append(number) or Noise(16), steps=4)
    assert [moment.number for moment in iterations] == [0] * 4
    assert asked == [0]


def test_what_fails_ahead_is_raised_when_its_turn_comes():
    def batches_of(number):
        if number:
            raise OSError("no such images")
        return Noise(16)

    iterations = moments(batches_of)
    assert [next(iterations).step for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(OSError, match="no such images"):
        next(iterations)


@pytest.mark.parametrize(("most", "ahead"), [(4, 2), (3, 2), (2, 1), (1, 0), (0, 0)])
def test_large_batches_are_placed_less_far_ahead(monkeypatch, most, ahead):
    monkeypatch.setattr(loop, "_BYTES_AHEAD", most * 16 * 2 * 4)
    asked = []

    def batches():
        for step in range(9):
            asked.append(step)
            yield Noise(16)[step]

    feed = loop.to_devices(batches(), batch_sharding(make_mesh(1)))
    for step, placed in enumerate(feed):
        np.testing.assert_array_equal(placed["image"], Noise(16)[step]["image"])
        assert asked[-1] == min(step + ahead, 8)
    assert step == 8
