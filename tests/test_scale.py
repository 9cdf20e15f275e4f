"""A tiny BigGAN over devices and processes, by the commands that train a large one on a pod.

Run with `pytest -m slow`: every mesh compiles its step for half a minute or more. As in
test_systems_on_devices.py the start is one that meets no kink of a ReLU: with seed 1, one bias's
second moment differs by 9e-5 of itself on 4 x 2 devices.
"""

import json
import shutil

import jax
import numpy as np
import pytest

from jaxgan.cli import main
from jaxgan.parallel.mesh import make_mesh
from jaxgan.run.open import Run
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.digest import state_sha256
from jaxgan.training.step import state_shapes
from tests.test_launch import launch  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow

CONFIG = """
from jaxgan import Checkpoint, Data, Experiment, Log
from jaxgan.parallel import sharding
from jaxgan.systems.biggan import BigGAN
sharding._WHOLE_BELOW = 0  # also in processes of their own
config = Experiment(
    system=BigGAN(shape=(32, 32, 1), classes=10, channels=2, latent=8, shared=4,
                  generator_attention=(16,), discriminator_attention=(), ema_start=1),
    data=Data(source="mnist5k", resize=True), batch=16, seed=2, steps=3,
    checkpoint=Checkpoint(every=2, keep=2), log=Log(every=1, samples=10**6, grid=10))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("scale") / "tiny.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(autouse=True, scope="module")
def _small_arrays_are_split():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 0)
        yield


def assert_same(run, other):
    """To 1e-5; Adam's moments, where squares of gradients reach 5 here, to 2e-5 of the largest."""

    def compare(path, a, b):
        name = jax.tree_util.keystr(path)
        scale = 2 * max(1.0, np.abs(a).max(initial=0)) if name.startswith(".opt") else 1.0
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale, err_msg=name)

    jax.tree_util.tree_map_with_path(compare, *(jax.device_get(r.state) for r in (run, other)))


@pytest.fixture(scope="module")
def one(config, tmp_path_factory):
    """The run on one device."""
    folder = tmp_path_factory.mktemp("one") / "run"
    assert main(["train", str(config), "--out", str(folder), "--mesh.data", "1"]) == 0
    return Run(folder)


@pytest.fixture(scope="module")
def split(config, tmp_path_factory):
    """The run on 4 x 2 devices, with checkpoints of steps 2 and 3."""
    folder = tmp_path_factory.mktemp("split") / "run"
    mesh = ["--mesh.data", "4", "--mesh.fsdp", "2"]
    assert main(["train", str(config), "--out", str(folder), *mesh]) == 0
    return Run(folder)


@pytest.fixture
def before_the_end(split, tmp_path):
    """A copy of that run as it was at step 2."""
    shutil.copytree(split.folder, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "3")
    return tmp_path / "again"


def test_eight_devices_equal_one(config, one, split, tmp_path, capsys):
    """Two discriminator updates an iteration, attention, an average; one row, and 4 x 2."""
    eight = tmp_path / "eight"
    assert main(["train", str(config), "--out", str(eight), "--mesh.data", "8"]) == 0
    assert_same(one, Run(eight))
    assert_same(one, split)
    capsys.readouterr()
    assert main(["info", str(eight), "--compare", str(one.folder), "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["largest_difference"] < 1e-3


def test_two_processes_of_four_equal_one(config, one, launch, tmp_path):  # noqa: F811
    two = launch(config, "--out", tmp_path / "two", "--mesh.fsdp", "2", devices=4)
    assert two.status() == 0, two.said
    assert_same(one, Run(tmp_path / "two"))


@pytest.mark.usefixtures("all_in_shares")
@pytest.mark.parametrize("devices", [1, 4])
def test_a_checkpoint_of_eight_goes_on_elsewhere(config, one, before_the_end, devices, tmp_path):
    digests = set()
    for mesh in (
        make_mesh(4, 2),
        make_mesh(8, 1),  # parameters whole
        make_mesh(devices),
        make_mesh(devices // 2 or 1, min(devices, 2)),
    ):
        with Checkpoints(before_the_end / "checkpoints") as reader:
            digests.add(state_sha256(reader.restore(state_shapes(one.system, mesh))))
    assert len(digests) == 1
    again = ["--out", str(before_the_end), "--mesh.data", str(devices)]
    assert main(["train", str(config), *again]) == 0
    assert Run(before_the_end).step == 3
    assert_same(one, Run(before_the_end))


def test_a_checkpoint_of_one_process_goes_on_in_two(config, one, before_the_end, launch):  # noqa: F811
    """That two processes read the same bits as one is in parallel/of_two.py."""
    two = launch(config, "--out", before_the_end, devices=4)
    assert two.status() == 0, two.said
    assert "resuming at step 2" in two.said
    assert_same(one, Run(before_the_end))
