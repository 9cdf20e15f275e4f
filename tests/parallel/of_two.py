"""What each of two processes checks; `launch/local 2 2 python tests/parallel/of_two.py FOLDER`.

FOLDER/run holds a run that one process made; FOLDER/again gets its State from two.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import UserError, data
from jaxgan.fields import Image, Label
from jaxgan.parallel import distributed, sharding
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.run.open import Run
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.digest import state_sha256
from jaxgan.training.step import state_shapes


def they_agree(me: int) -> None:
    assert distributed.told(f"I am {me}") == ["I am 0", "I am 1"]
    assert distributed.told("ü" * 3000) == ["ü" * 1000] * 2
    assert distributed.together(lambda: me) == me

    def complain(only: int | None) -> None:
        if only in (me, None):
            raise UserError("no such file")

    with pytest.raises(UserError, match=r"^no such file$"):
        distributed.together(lambda: complain(None))
    with pytest.raises(UserError, match=r"^process 1: no such file$"):
        distributed.together(lambda: complain(1))


def a_batch_is_that_of_one_process() -> None:
    """Same rows in the same order, with every kind of leading axis."""
    for shape in ((4, 1), (2, 2), (1, 4)):
        mesh = make_mesh(*shape)
        mine = distributed.part(mesh)
        assert mine == (jax.process_index(), 2)
        for draws, micro in ((1, 1), (3, 1), (1, 2), (3, 2)):

            def batches(process, processes, draws=draws, micro=micro):
                order = data.Order(
                    batch=16, draws=draws, micro=micro, process=process, processes=processes
                )
                group = {"image": Image((8, 8, 1)), "label": Label(classes=10)}
                return data.batches(data.open_source("digits"), (group,), order, flip=True)[5]

            layout = batch_sharding(mesh, leading=(draws > 1) + (micro > 1))
            whole = batches(0, 1)
            for name, rows in batches(*mine).items():
                array = jax.make_array_from_process_local_data(layout, rows)
                assert array.shape == whole[name].shape
                for shard in array.addressable_shards:
                    np.testing.assert_array_equal(shard.data, whole[name][shard.index])
    with pytest.raises(UserError, match="the mesh takes 2 of 4 devices"):
        distributed.part(make_mesh(2))
    with pytest.raises(UserError, match="the mesh takes 3 of 4 devices"):
        distributed.part(make_mesh(3))


def checkpoints_pass_between_one_and_two(folder: Path) -> None:
    """State of which every array is split that can be, over all devices or two of them."""
    sharding._WHOLE_BELOW = 0
    system = Run(folder / "run").system
    for fsdp in (None, 1, 2):
        mesh = make_mesh(-1, fsdp)
        like = state_shapes(system, mesh)
        with Checkpoints(folder / "run" / "checkpoints") as reader:
            state = reader.restore(like)
        whole = jax.jit(lambda state: state, out_shardings=sharding.replicated(mesh))(state)
        if distributed.is_first():
            print(f"fsdp {fsdp} has {state_sha256(whole)}")
        with Checkpoints(folder / f"again{fsdp}" / "checkpoints", keep=1) as writer:
            writer.save(state)


def one_broken_for_one_is_passed_over_by_all(folder: Path) -> None:
    """Only process 1 fails to read the newest."""
    system = Run(folder / "run").system
    with Checkpoints(folder / "run" / "checkpoints") as reader:
        steps = sorted(reader._manager.all_steps())
        restore = reader._manager.restore

        def fail(step, args):
            state = restore(step, args=args)
            if jax.process_index() == 1 and step == steps[-1]:
                raise OSError("a bad disk")
            return state

        reader._manager.restore = fail
        assert int(reader.restore(state_shapes(system, make_mesh())).step) == steps[-2]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    given = parser.parse_args()
    distributed.start(
        distributed.Processes(
            coordinator=given.coordinator, processes=given.processes, process=given.process
        )
    )
    assert jax.process_index() == given.process
    they_agree(given.process)
    a_batch_is_that_of_one_process()
    checkpoints_pass_between_one_and_two(given.folder)
    one_broken_for_one_is_passed_over_by_all(given.folder)
    print("all well")
