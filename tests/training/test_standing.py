"""Standing statistics: batch norm's, measured anew for what is drawn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import UserError, init
from jaxgan.fields import draw_items
from jaxgan.training.apply import evaluation_view
from jaxgan.training.standing import standing_statistics
from jaxgan.view import View
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
    keys = jax.random.split(jax.random.fold_in(stream, index), count)
    level = None if truncation is None else jnp.float32(truncation)
    return draw_items(SYSTEM.latents(), keys, level)["z"]


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
