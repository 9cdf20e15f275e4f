"""Checkpoints of loops of one's own; those of runs are tested in tests/run/test_train.py."""

import dataclasses
import shutil
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxgan
from jaxgan.parallel.mesh import make_mesh
from jaxgan.training.checkpoint import Checkpoints, Diverged
from jaxgan.training.digest import state_sha256
from jaxgan.training.step import state_shapes
from tests.toys import TinyGAN


def test_a_loop_of_ones_own_saves_and_restores(tmp_path, rng):
    system = TinyGAN()
    step, state = jaxgan.make_step(system), jaxgan.init(system)
    batch = {"image": rng.standard_normal((8, 2), np.float32)}
    for _ in range(4):
        state, _ = step(state, batch)
        jaxgan.save(state, tmp_path / "own")
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["1", "2", "3", "4"]
    for mesh in (None, make_mesh(8, 1)):
        restored = jaxgan.restore(system, str(tmp_path / "own"), mesh=mesh)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))
        assert len(restored.step.devices()) == (1 if mesh is None else 8)
    again, _ = step(jaxgan.restore(system, tmp_path / "own"), batch)
    state, _ = step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(again), jax.device_get(state))


def test_what_cannot_be_saved_or_restored_is_told(tmp_path):
    state = jaxgan.init(TinyGAN())
    (tmp_path / "file").write_text("")
    with pytest.raises(jaxgan.UserError, match="cannot be written"):
        jaxgan.save(state, tmp_path / "file" / "own")
    with pytest.raises(jaxgan.UserError, match="does not exist"):
        jaxgan.restore(TinyGAN(), tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(jaxgan.UserError, match="holds no checkpoint"):
        jaxgan.restore(TinyGAN(), tmp_path / "empty")
    jaxgan.save(state, tmp_path / "own")
    with pytest.raises(jaxgan.UserError, match=r"\(8,\) there, \(9,\) in the system"):
        jaxgan.restore(TinyGAN(width=9), tmp_path / "own")
    broken = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
    with pytest.raises(Diverged, match="is not finite"):
        jaxgan.save(broken, tmp_path / "broken")


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory):
    """Checkpoints 0 and 1 of other weights, large enough to lie in files of their own."""
    folder = tmp_path_factory.mktemp("two")
    system = TinyGAN(width=64, latent=64)
    states = [jaxgan.init(system, seed) for seed in (0, 1)]
    states[1] = dataclasses.replace(states[1], step=states[1].step + 1)
    for state in states:
        jaxgan.save(state, folder)
    return folder, system, [state_sha256(state) for state in states]


def test_a_bit_flipped_in_any_file_is_never_restored_in_silence(
    two_saved, tmp_path, caplog, capfd, rng
):
    folder, system, (before, newest) = two_saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    like = state_shapes(system, make_mesh(1, 1))
    files = [path for path in sorted((tmp_path / "1").rglob("*")) if path.is_file()]
    fell_back = 0
    # Files have random names, so which bits these are is not the same every time: two of each.
    for path in files * 2:
        whole = path.read_bytes()
        bits = np.unpackbits(np.frombuffer(whole, np.uint8))
        bits[rng.integers(len(bits))] ^= 1
        path.write_bytes(np.packbits(bits).tobytes())
        caplog.clear()
        with Checkpoints(tmp_path) as reader:
            found = state_sha256(reader.restore(like))
        path.write_bytes(whole)
        if "falling back" in caplog.text:
            fell_back += 1
            assert found == before, path
        else:  # a file, or a part of one, that restoring does not need
            assert found == newest, path
    assert len(files) > 10
    assert fell_back >= 5
    assert len(capfd.readouterr().err.splitlines()) < 10  # Orbax alone says hundreds


def test_arrays_that_are_not_those_that_were_saved_are_told(two_saved, tmp_path, caplog):
    """A compressor's checksum does not help where the wrong bytes were compressed."""
    folder, system, (before, _) = two_saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    about = tmp_path / "1" / "default" / "_METADATA"
    text = about.read_text()
    digest = text.split('"state_sha256": "')[1][:64]
    about.write_text(text.replace(digest, f"{zlib.crc32(digest.encode()):064x}"))
    like = state_shapes(system, make_mesh(4, 2))
    with Checkpoints(tmp_path) as reader:
        assert state_sha256(reader.restore(like)) == before
    assert "1 cannot be read (its arrays are not those that were saved" in caplog.text
    shutil.rmtree(tmp_path / "0")
    caplog.clear()
    with Checkpoints(tmp_path) as reader, pytest.raises(jaxgan.UserError, match="none of 1 check"):
        reader.restore(like)
    assert "falling back" not in caplog.text  # there is none to fall back to


def test_names_that_differ_are_told_in_one_line(two_saved, caplog):
    folder, system, _ = two_saved
    like = state_shapes(system, make_mesh(1, 1))
    less = dataclasses.replace(like, memory={}, ema={})
    more = dataclasses.replace(like, memory={"clock": like.step, "pool": like.step})
    for wanted, message in ((less, "has ema.generator.* and 7 more"), (more, "lacks memory.clock")):
        with Checkpoints(Path(folder)) as reader, pytest.raises(jaxgan.UserError) as told:
            reader.restore(wanted)
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 300
        told.match(message)
