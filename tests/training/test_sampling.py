"""Standing statistics, and sampling on many devices; on one it is tested in test_run.py."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxgan import init
from jaxgan.errors import UserError
from jaxgan.parallel.mesh import make_mesh
from jaxgan.system import View
from jaxgan.systems.pix2pix import Pix2Pix
from jaxgan.training.sampling import (
    evaluation_view,
    make_sampler,
    make_translator,
    standing_statistics,
)
from tests.toys import TinyGAN

SYSTEM = TinyGAN()


@pytest.fixture(scope="module")
def state():
    """With averages, and both sets of statistics, away from the start."""
    rng = np.random.default_rng(0)
    state = init(SYSTEM)
    return jax.tree.map(
        lambda x: x + rng.uniform(0.1, 0.5, x.shape).astype(np.float32) if x.ndim else x, state
    )


def latents(seed, index, count, truncation):
    """What pass `index` sees."""
    stream = jax.random.fold_in(jax.random.key(seed), 0xFFFFFFFF)
    key, _ = jax.random.split(jax.random.fold_in(stream, index))
    return SYSTEM.draw_latents(key, count, truncation)


def averaged(state, train):
    average = state.ema["generator"]
    stats = {**state.stats["generator"], "batch_stats": average["batch_stats"]}
    networks = SYSTEM.networks()
    return View(networks, {"generator": average["params"]}, {"generator": stats}, train=train)


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_one_pass_reproduces_its_batch_in_training_mode(state, truncation):
    after = standing_statistics(SYSTEM, state, 1, truncation=truncation, seed=3, batch=16)
    z = latents(3, 0, 16, truncation)
    want = averaged(state, train=True)("generator", z)
    got = evaluation_view(SYSTEM, after)("generator", z)
    np.testing.assert_allclose(got, want, atol=1e-5)
    before = evaluation_view(SYSTEM, state)("generator", z)
    assert abs(got - before).max() > 1e-2


def test_statistics_are_means_over_passes(state):
    after = standing_statistics(SYSTEM, state, 3, batch=16)
    params = state.ema["generator"]["params"]["hidden"]
    maps = [latents(0, k, 16, None) @ params["kernel"] + params["bias"] for k in range(3)]
    for stats in (after.stats["generator"], after.ema["generator"]):
        norm = stats["batch_stats"]["norm"]
        np.testing.assert_allclose(norm["mean"], np.mean([h.mean(0) for h in maps], 0), atol=1e-6)
        np.testing.assert_allclose(norm["var"], np.mean([h.var(0) for h in maps], 0), rtol=1e-5)


def test_nothing_else_changes(state):
    after = standing_statistics(SYSTEM, state, 2, batch=16)
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    np.testing.assert_array_equal(
        after.stats["discriminator"]["spectral"]["hidden"]["SpectralNorm_0"]["u"],
        state.stats["discriminator"]["spectral"]["hidden"]["SpectralNorm_0"]["u"],
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_what_cannot_be_measured_is_refused(state):
    with pytest.raises(UserError, match="at least 1"):
        standing_statistics(SYSTEM, state, -1)
    plain = dataclasses.replace(SYSTEM, norm=False)
    with pytest.raises(UserError, match="no batch norm"):
        standing_statistics(plain, init(plain), 2)


def test_devices_share_the_samples_and_change_none(monkeypatch):
    monkeypatch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 0)
    alone, shared = (
        make_sampler(SYSTEM, chunk=10)(init(SYSTEM, mesh=mesh), 25, seed=5)[0]
        for mesh in (make_mesh(1), make_mesh(4, 2))
    )
    assert alone.shape == (25, 2)
    np.testing.assert_allclose(alone, shared, atol=1e-6)


def test_devices_share_translations_and_change_none(monkeypatch, rng):
    monkeypatch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 0)
    system = Pix2Pix(shape=(8, 8, 1), input_channels=1, width=4, patch_halvings=1)
    examples = {
        name: rng.uniform(-1, 1, (11, 8, 8, 1)).astype(np.float32) for name in ("image", "input")
    }
    alone, shared = (
        make_translator(system, system.preview, chunk=4)(
            init(system, mesh=mesh), examples, np.arange(11), 5
        )
        for mesh in (make_mesh(1), make_mesh(4, 2))
    )
    for one, other in zip(alone, shared, strict=True):
        assert one.shape == (11, 8, 8, 1)
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_array_equal(alone[0], examples["input"])
    np.testing.assert_array_equal(alone[2], examples["image"])
    # Of its number, not of its place.
    last = {name: x[10:] for name, x in examples.items()}
    (_, made, _) = make_translator(system, system.preview, chunk=4)(
        init(system), last, np.array([10]), 5
    )
    np.testing.assert_allclose(made, alone[1][10:], atol=1e-6)
