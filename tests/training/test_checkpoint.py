"""Checkpoints of loops of one's own; those of runs are tested in tests/run/test_train.py."""

import jax
import numpy as np
import pytest

import jaxgan
from jaxgan.parallel.mesh import make_mesh
from jaxgan.training.checkpoint import Diverged
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
