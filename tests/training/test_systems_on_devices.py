"""Whole systems: one device against eight, logged spectral norms against the SVD, bfloat16."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxgan import init, make_step
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.systems.sagan import SAGAN
from jaxgan.systems.sngan import SNGAN
from jaxgan.training.report import _sigmas

SMALL = {
    "sngan": SNGAN(
        shape=(16, 16, 3),
        classes=3,
        latent=8,
        generator_channels=(16, 8),
        discriminator_channels=(8, 16),
        discriminator_updates=1,
    ),
    "sagan": SAGAN(shape=(16, 16, 3), width=16, latent=8),
}


def batches(system, count, rng):
    lead = (n,) if (n := system.stages()[0].draws) > 1 else ()
    for _ in range(count):
        batch = {"image": rng.uniform(-1, 1, (*lead, 16, *system.shape)).astype(np.float32)}
        if system.labels():
            batch["label"] = rng.integers(0, system.classes, (*lead, 16)).astype(np.int32)
        yield batch


@pytest.mark.usefixtures("all_in_shares")
@pytest.mark.parametrize("system", SMALL.values(), ids=SMALL)
def test_eight_devices_equal_one(system, rng):
    """The sums' order differs, so where a ReLU or the hinge is at its kink, a sample may fall on
    either side, and Adam's first steps make much of it: 2 of 6 starts of this small SNGAN meet such
    a sample in five steps (0 and 3), the others agree to 1e-5.
    """
    data = list(batches(system, 5, rng))
    states = []
    for mesh in (make_mesh(1), make_mesh(8)):
        step, state = make_step(system, mesh=mesh), init(system, 1, mesh=mesh)
        sharding = batch_sharding(mesh, leading=int(system.stages()[0].draws > 1))
        for batch in data:
            state, _ = step(state, jax.device_put(batch, sharding))
        states.append(jax.device_get(state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


def test_logged_spectral_norms_are_those_of_the_svd(rng):
    """After 200 steps of training, within 1% for every wrapped layer.

    Of a start that leaves no layer with two largest values within 1% of each other that still move:
    there one iteration an update lags by up to 6% at 200 steps, and by 0.5% at 400.
    """
    system = dataclasses.replace(SMALL["sngan"], generator_batch=1)
    step, state = make_step(system), init(system, 3)
    (batch,) = batches(system, 1, rng)
    for _ in range(200):
        state, _ = step(state, batch)
    logged = _sigmas(state)
    kernels = jax.tree_util.tree_leaves_with_path(state.params["discriminator"])
    checked = 0
    for path, leaf in kernels:
        *layer, name = (entry.key for entry in path)
        if name != "kernel":
            continue
        w = np.asarray(leaf, np.float64)
        w = w if layer == ["embed"] else np.moveaxis(w, -1, 0).reshape(w.shape[-1], -1)
        top = np.linalg.svd(w, compute_uv=False)[0]
        assert logged["spectral/discriminator/" + "/".join(layer)] == pytest.approx(top, rel=0.01)
        checked += 1
    assert checked == len(logged) == 8


def test_bfloat16_keeps_a_float32_state_and_stays_close(rng):
    system = SMALL["sngan"]
    (batch,) = batches(system, 1, rng)
    losses = []
    for dtype in ("float32", "bfloat16"):
        typed = dataclasses.replace(system, dtype=dtype)
        step, state = make_step(typed), init(typed)
        state, metrics = step(state, batch)
        losses.append([float(m["loss"]) for m in metrics.values()])
        types = {leaf.dtype.name for leaf in jax.tree.leaves(state)}
        assert types == {"float32", "int32"}
    np.testing.assert_allclose(*losses, atol=0.05)
