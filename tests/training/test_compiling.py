import jax
import numpy as np
import pytest

from jaxgan import backend, init
from jaxgan.parallel.mesh import make_mesh
from jaxgan.training import compiling, loop
from tests.toys import StagedGAN, TinyGAN


class Noise:
    def __getitem__(self, step):
        return {"image": np.zeros((16, 2), "f")}

    def iterate(self, start):
        while True:
            yield self[start]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def told(steps=1):
    system, mesh = StagedGAN(), make_mesh(1)
    lines = []
    state = init(system, mesh=mesh)
    list(loop.iterate(system, state, lambda _: Noise(), steps=steps, mesh=mesh, tell=lines.append))
    return lines


def test_who_waits_for_a_step_again_is_told_how_long_it_took(monkeypatch):
    # Nothing is found on disk, where other tests may have left it.
    monkeypatch.setattr(loop, "compile_step", lambda step, state, batch: step)
    assert told() == ["compiling the step"]
    ((key, seconds),) = compiling._known().items()
    assert seconds > 0
    compiling.keep_seconds(key, 12.3)
    assert told() == ["compiling the step (12 s last time)"]
    assert compiling._known()[key] != 12.3


def test_only_a_step_of_the_same_sizes_is_known():
    def key(batch, system=None, micro=1):
        x = jax.numpy.zeros((batch, 2))
        return compiling.key_of(system or TinyGAN(), [x], micro)

    assert key(4) == key(4)
    assert len({key(4), key(8), key(4, StagedGAN()), key(4, micro=2)}) == 4
    assert key(4, TinyGAN(dtype="bfloat16")) != key(4)


def test_what_came_from_the_disk_is_no_time_to_compile(monkeypatch):
    monkeypatch.setattr(loop, "compile_step", lambda step, state, batch: hit(step, state, batch))

    def hit(step, state, batch):
        jax.monitoring.record_event("/jax/compilation_cache/cache_hits")
        return step.lower(state, batch).compile()

    told()
    assert compiling._known() == {}


@pytest.mark.parametrize("text", [b"", b"[]", b'{"a": "12"}', b"\xff"])
def test_a_broken_file_of_times_is_of_no_use_and_no_harm(text):
    backend.cache().mkdir(parents=True)
    (backend.cache() / "compile_seconds.json").write_bytes(text)
    assert compiling.seconds_of("a") is None
    compiling.keep_seconds("a", 3.0)
    assert compiling.seconds_of("a") == 3.0


def test_the_oldest_times_are_forgotten():
    for number in range(210):
        compiling.keep_seconds(str(number), float(number))
    assert compiling.seconds_of("9") is None
    assert compiling.seconds_of("10") == 10.0
