import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import Data, Experiment, Mesh, UserError
from jaxgan.bench import Stepper, bench, bench_input
from tests.toys import StagedGAN, TinyGAN

ONE = Mesh(data=1)


def experiment(system=None, **settings) -> Experiment:
    settings = {"batch": 16, "mesh": ONE, **settings}
    return Experiment(system=system or TinyGAN(), data=Data(source="ring"), **settings)


def test_a_step_is_timed_and_described():
    (result,) = bench({"toy": experiment(TinyGAN(repeats=2))}, steps=3)
    step = result["step_ms"]
    assert 0 < step["min"] <= step["median"] <= step["max"]
    assert (result["config"], result["system"], result["steps"]) == ("toy", "TinyGAN", 3)
    assert (result["batch"], result["draws"], result["micro"], result["stage"]) == (16, 2, 1, 0)
    assert (result["device"], result["devices"]) == ("cpu", 1)
    assert result["images_per_second"] == pytest.approx(32e3 / step["median"])
    assert result["flops_per_second"] == pytest.approx(
        1e3 * result["flops_per_step"] / step["median"]
    )
    assert result["peak_flops_per_second"] is result["utilization"] is None
    assert result["peak_memory_bytes"] > 2**26
    assert 0 < result["program_memory_bytes"] < 2**24
    assert result["compile_seconds"] > 0


def test_every_step_is_an_iteration_of_training():
    stepper = Stepper("toy", experiment(batch=16, mesh=Mesh(data=4), micro=2))
    before = jax.tree.map(np.asarray, stepper._state.params)
    stepper()
    stepper()
    assert int(stepper._state.step) == 2
    assert stepper._batch["image"].shape == (2, 8, 2)
    assert len(stepper._batch["image"].devices()) == 4
    for network in before:
        old, new = (jax.tree.leaves(tree[network]) for tree in (before, stepper._state.params))
        assert all((a != b).any() for a, b in zip(old, new, strict=True) if a.ndim == 2)


def flops(system, **settings) -> float:
    return Stepper("toy", experiment(system, **settings)).facts["flops_per_step"]


def test_work_depends_neither_on_devices_nor_on_micro_batches():
    # So large that random numbers and what is done once for the weights do not count.
    system, batch = TinyGAN(width=512, norm=False), 1024
    plain = flops(system, batch=batch)
    assert flops(system, batch=batch, micro=4) == pytest.approx(plain, rel=0.1)
    assert flops(system, batch=batch, mesh=Mesh(data=4)) == pytest.approx(plain, rel=0.1)


def test_of_several_stages_the_last_or_the_one_asked_for():
    staged = experiment(StagedGAN())
    last, first = (Stepper("toy", staged, stage).facts for stage in (None, 0))
    assert (last["stage"], last["batch"]) == (1, 8)
    assert (first["stage"], first["batch"]) == (0, 16)


def test_two_are_compared_in_turns(tmp_path):
    results = bench({"a": experiment(), "b": experiment(batch=8)}, steps=2, trace=tmp_path / "t")
    ours, theirs = results[0]["vs"]["b"], results[1]["vs"]["a"]
    medians = [result["step_ms"]["median"] for result in results]
    assert ours["ratio"] == pytest.approx(medians[0] / medians[1])
    assert ours["min"] <= ours["max"]
    assert theirs["max"] == pytest.approx(1 / ours["min"])
    assert all(result["peak_memory_bytes"] is None for result in results)
    assert list((tmp_path / "t").rglob("*.xplane.pb"))


def test_input_is_timed_by_itself():
    found = bench_input(experiment(TinyGAN(repeats=2)), seconds=0.01)
    assert found["source"] == "ring"
    assert found["batches"] >= 2
    assert found["images_per_second"] == pytest.approx(32 * found["batches"] / found["seconds"])


STAGES = ["read", "decode", "fit", "assemble", "copy"]


def test_the_slowest_stage_of_input_is_named(tmp_path, monkeypatch):
    from jaxgan.systems.dcgan import DCGAN

    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (600, 600, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    system = DCGAN(shape=(32, 32, 3), width=4)
    source = Data(source=str(tmp_path), resize=True)
    settings = Experiment(system=system, data=source, batch=4, mesh=ONE)
    found = bench_input(settings, seconds=0.01)
    assert list(found["stages_us"]) == STAGES
    assert all(us >= 0 for us in found["stages_us"].values())
    assert found["bottleneck"] == max(found["stages_us"], key=found["stages_us"].get)
    monkeypatch.setattr(
        "jaxgan.bench.costs", lambda *_: {"read": 9.0, "decode": 0.0, "fit": 0.0, "assemble": 0.0}
    )
    slow = bench_input(settings, seconds=0.01)
    assert slow["bottleneck"] == "read"
    assert slow["stages_us"]["read"] == 9e6
    assert slow["hint"].startswith(f"`jaxgan data pack {tmp_path} OUT`")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bench({"toy": experiment()}, steps=0), "--steps is 0: it must be at least 1"),
        (lambda: bench({"toy": experiment()}, stage=1), "--stage is 1: TinyGAN has 1 stage, 0"),
        (lambda: bench({"toy": experiment(StagedGAN())}, stage=-1), "has 2 stages, 0 to 1"),
        (lambda: bench({"toy": experiment(micro=3)}), "not divisible by 1 devices x 3"),
        (lambda: bench_input(experiment(micro=3)), "not divisible by 1 devices x 3"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_a_trace_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--trace is .*file/x: it cannot be made: Not a directory"):
        bench({"toy": experiment()}, trace=tmp_path / "file" / "x")


def test_a_broken_image_is_named(tmp_path):
    from jaxgan.systems.dcgan import DCGAN

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("hello")
    system = DCGAN(shape=(32, 32, 3), width=4)
    broken = Experiment(system=system, data=Data(source=str(tmp_path)), batch=4, mesh=ONE)
    with pytest.raises(UserError, match=r"b\.png"):
        bench_input(broken)
