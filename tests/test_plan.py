"""Plans for the devices that the tests have; other compilers are an extra."""

import dataclasses
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import jax
import pytest

from jaxgan import cli, config
from jaxgan.config import Data, Experiment, Mesh
from jaxgan.errors import UserError
from jaxgan.parallel.hardware import CHIPS
from jaxgan.plan import find_topology, plan, quick_plan
from jaxgan.systems.gan import GAN
from tests.toys import TinyGAN

FIELDS = {
    *("topology", "devices", "processes", "batch", "parameters"),
    *("argument_bytes", "temporary_bytes", "peak_bytes", "memory_bytes", "fits"),
    *("flops_per_step", "flops_per_image", "bytes_accessed", "collectives"),
    *("step_seconds", "step_seconds_source", "images_per_second", "mfu", "compile_seconds"),
    *("wire_hidden_seconds", "wire_exposed_seconds", "effort", "quick"),
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
    assert (one.wire_hidden_seconds, one.wire_exposed_seconds, one.effort) == (None, None, None)


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
    with pytest.raises(UserError, match="effort is -1, but cpu:1 has no such choice"):
        plan(experiment(), "cpu:1", effort=-1)
    with pytest.raises(UserError, match="effort is 2"):
        plan(experiment(), "cpu:1", effort=2)
    with pytest.raises(UserError, match="no quick plan for cpu:8"):
        quick_plan(experiment, "cpu:8")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--quick"], "no quick plan for cpu:1: it is for TPUs and GPUs; leave out --quick"),
        (["--effort", "-1"], "effort is -1, but cpu:1 has no such choice: leave out --effort"),
        (["--effort", "5"], "--effort is 5: it must be from -1 to 1"),
    ],
)
def test_choices_that_a_compiler_lacks_are_refused_before_any_is_asked(options, says, capsys):
    """Though the first topology would have them."""
    topologies = ["--topology", "tpu:v3:2x2", "cpu:1"]
    assert cli.main(["plan", "gan_ring", *topologies, *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err


def test_what_a_compiler_refuses_is_one_line(monkeypatch):
    def refuse(self, options):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM.\nMore lines."
        )

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    with pytest.raises(UserError, match=r"cpu:1 does not compile: .* on HBM: choose a smaller"):
        plan(experiment(), "cpu:1")


@pytest.mark.skipif(find_spec("libtpu") is not None, reason="the TPU compiler is here")
def test_a_compiler_that_is_missing_is_named():
    with pytest.raises(UserError, match=r"pip install 'jaxgan\[tpu\]'"):
        find_topology("tpu:v3:2x2")


def test_a_quick_plan_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    """Another process finds out what is wrong: here, that there is no such topology."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    load = functools.partial(config.load, "gan_ring")
    with pytest.raises(UserError, match="no topology 'tpu:v9:2x2': TPU versions are"):
        quick_plan(load, "tpu:v9:2x2")
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


needs_tpu = pytest.mark.skipif(find_spec("libtpu") is None, reason="needs jaxgan[tpu]")


@needs_tpu
def test_a_tpu_plan():
    system = dataclasses.replace(GAN(), dtype="bfloat16")
    found = plan(experiment(system), "tpu:v3:2x2")
    assert (found.devices, found.chips, found.processes) == (8, 4, 1)
    assert found.fits
    assert found.step_seconds > 0
    assert 0 < found.mfu < 1
    assert (found.effort, found.quick) == (0, False)
    # All eight cores take part, two on a chip, which lacks 3/4: once, or twice where they reduce.
    assert {*found.collectives} == {"all-reduce", "all-gather"}
    reduced, gathered = (found.collectives[f"all-{kind}"]["bytes"] for kind in ("reduce", "gather"))
    seconds = 3 / 4 * (2 * reduced + gathered) / CHIPS["tpu v3"].links
    assert found.wire_hidden_seconds == 0
    assert found.wire_exposed_seconds == pytest.approx(seconds)


@needs_tpu
def test_effort_is_recorded_and_changes_the_program():
    system = dataclasses.replace(GAN(), dtype="bfloat16")
    least = plan(experiment(system), "tpu:v3:2x2", effort=-1)
    usual = plan(experiment(system), "tpu:v3:2x2")
    assert (least.effort, usual.effort) == (-1, 0)
    assert least.step_seconds != usual.step_seconds
    assert least.flops_per_step == pytest.approx(usual.flops_per_step, rel=0.05)


@needs_tpu
def test_a_quick_plan_agrees_with_a_whole_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    load = functools.partial(config.load, "gan_ring")
    quick, whole = quick_plan(load, "tpu:v3:2x2"), plan(load(), "tpu:v3:2x2")
    for name in ("argument_bytes", "output_bytes", "collectives", "wire_exposed_seconds"):
        assert getattr(quick, name) == getattr(whole, name), name
    assert 0 < quick.temporary_bytes <= whole.temporary_bytes
    assert quick.bytes_accessed == pytest.approx(whole.bytes_accessed, rel=0.1)
    assert quick.quick
    assert quick.step_seconds_source == "roofline"
    assert not list(tmp_path.iterdir())


@needs_tpu
def test_a_model_that_does_not_fit_is_one_line(tmp_path, capsys):
    file = tmp_path / "c.py"
    file.write_text(
        "from jaxgan import Data, Experiment\nfrom jaxgan.systems.gan import GAN\n"
        "config = Experiment(\n"
        "    system=GAN(shape=(512, 512, 3)), data=Data(source='digits'), steps=1, batch=200_000\n"
        ")\n"
    )
    assert cli.main(["plan", str(file), "--topology", "tpu:v3:2x2"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "tpu:v3:2x2 does not compile: RESOURCE_EXHAUSTED" in said
    # What it would need is written down before the compiler refuses.
    assert cli.main(["plan", str(file), "--topology", "tpu:v3:2x2", "--quick", "--json"]) == 0
    (quick,) = json.loads(capsys.readouterr().out)
    assert quick["fits"] is False


@needs_tpu
def test_ctrl_c_leaves_nothing(tmp_path):
    """Neither a process that compiles nor what it has written."""
    command = [sys.executable, "-m", "jaxgan", "plan", "biggan_tiny", "--quick"]
    with subprocess.Popen(
        [*command, "--topology", "tpu:v5e:4x4"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("jaxgan-plan-*/*")) and time.monotonic() < end:
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate()  # to its end: all have left
    assert (child.returncode, said) == (130, b"jaxgan: interrupted\n")
    end = time.monotonic() + 10
    while list(tmp_path.glob("jaxgan-plan-*")) and time.monotonic() < end:
        time.sleep(0.1)
    assert not list(tmp_path.glob("jaxgan-plan-*"))


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
