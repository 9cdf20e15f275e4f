"""Plans for the devices that the tests have; other compilers are an extra."""

import dataclasses
import json
from importlib.util import find_spec

import jax
import pytest

from jaxgan import cli
from jaxgan.config import Data, Experiment, Mesh
from jaxgan.errors import UserError
from jaxgan.plan import find_topology, plan
from jaxgan.systems.gan import GAN
from tests.toys import TinyGAN

FIELDS = {
    *("topology", "devices", "processes", "batch", "parameters"),
    *("argument_bytes", "temporary_bytes", "peak_bytes", "memory_bytes", "fits"),
    *("flops_per_step", "flops_per_image", "bytes_accessed", "collectives"),
    *("step_seconds", "step_seconds_source", "images_per_second", "mfu", "compile_seconds"),
}


def experiment(system=None, **changes):
    return Experiment(
        system=system or TinyGAN(), data=Data(source="ring"), steps=1, **{"batch": 64, **changes}
    )


def test_a_plan_counts_what_the_layers_cost():
    """Operations of a step of dense layers by hand, on one device and on eight."""
    one = plan(experiment(), "cpu:1")
    eight = plan(experiment(), "cpu:8")
    assert (
        one.parameters
        == eight.parameters
        == sum(
            x.size for x in jax.tree.leaves(jax.eval_shape(TinyGAN().init, jax.random.key(0))[0])
        )
    )
    assert not one.collectives
    assert eight.collectives["all-reduce"]["count"] > 0
    assert eight.flops_per_image == pytest.approx(one.flops_per_image, rel=0.5)
    assert one.peak_bytes >= one.argument_bytes + one.temporary_bytes
    assert (one.step_seconds, one.fits, one.memory_bytes) == (None, None, None)


def work(micro=1, **settings):
    """FLOPs of a step so wide that its products are nearly all of it."""
    system = TinyGAN(width=512, norm=False, **settings)
    return plan(experiment(system, batch=1024, micro=micro), "cpu:2").flops_per_step


def test_loops_cost_as_often_as_they_run():
    once = work()
    assert work(micro=4) == pytest.approx(once, rel=0.2)
    assert 1.5 * once < work(repeats=3) < 3 * once


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tpu", "give one such as"),
        ("tpu:v9:2x2", "versions are v2, v3"),
        ("tpu:v3:many", "sizes are chips"),
        ("gpu:k80:8", "GPUs are h100"),
        ("gpu:h100:x", "give one such as"),
        ("cpu:0", "cpu:8 is eight devices"),
        ("cpu:999", "device_count before it starts"),
    ],
)
def test_topologies_that_do_not_exist(name, says):
    with pytest.raises(UserError, match=says):
        find_topology(name)


def test_what_does_not_divide_is_refused():
    with pytest.raises(UserError, match="not divisible by 8 devices"):
        plan(experiment(batch=60), "cpu:8")
    with pytest.raises(UserError, match="fsdp 3"):
        plan(experiment(mesh=Mesh(fsdp=3)), "cpu:8")
    with pytest.raises(UserError, match="stage is 4"):
        plan(experiment(), "cpu:1", stage=4)


@pytest.mark.skipif(find_spec("libtpu") is not None, reason="the TPU compiler is here")
def test_a_compiler_that_is_missing_is_named():
    with pytest.raises(UserError, match=r"pip install 'jaxgan\[tpu\]'"):
        find_topology("tpu:v3:2x2")


@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs jaxgan[tpu]")
def test_a_tpu_plan():
    system = dataclasses.replace(GAN(), dtype="bfloat16")
    found = plan(experiment(system), "tpu:v3:2x2")
    assert (found.devices, found.chips, found.processes) == (8, 4, 1)
    assert found.fits
    assert found.step_seconds > 0
    assert 0 < found.mfu < 1


def test_the_command(tmp_path, capsys):
    config = tmp_path / "c.py"
    config.write_text(
        "from jaxgan import Data, Experiment\nfrom jaxgan.systems.gan import GAN\n"
        "config = Experiment(system=GAN(shape=(8, 8, 1)), data=Data(source='digits'), steps=1)\n"
    )
    assert cli.main(["plan", str(config), "--topology", "cpu:1", "cpu:8", "--json"]) == 0
    plans = json.loads(capsys.readouterr().out)
    assert [each["topology"] for each in plans] == ["cpu:1", "cpu:8"]
    assert plans[0].keys() >= FIELDS
    assert cli.main(["plan", str(config), "--topology", "cpu:2", "--batch", "32"]) == 0
    assert "all-reduce" in capsys.readouterr().out
    assert cli.main(["plan", str(config)]) == 2
    assert "--topology" in capsys.readouterr().err
